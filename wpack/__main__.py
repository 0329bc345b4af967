"""``python -m wpack``, and the ``wpack`` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line and leave with its exit status."""
    from .cli import _leaving, _signals, _streams, cli

    _streams.prepare()
    with _leaving.at_once(), _signals.ending():
        cli.main()


if __name__ == "__main__":
    main()
