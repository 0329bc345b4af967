"""One target under atheris: ``python -m fuzz.engine NAME`` and what libFuzzer takes.

The only file that needs atheris.  wpack alone is instrumented, all of it before the
first input, so that what it imports late counts too.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from random import Random

import atheris

#: Changes that know nothing of the input, among those that do.
_BLIND = 0.2


def main() -> None:
    """Instrument wpack and run its target until libFuzzer ends it."""
    name, *arguments = sys.argv[1:]
    with atheris.instrument_imports(include=["wpack"], enable_loader_override=False):
        _import_wpack()
    from fuzz.target import examine, named

    target = named(name)
    last = b""

    def run(data: bytes) -> None:
        examine(target, data)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        nonlocal last
        random, other, last = Random(seed), last or data, data
        found = None
        if random.random() >= _BLIND:
            found = target.mutate(data, other, random)
        if found is None or len(found) > max_size:
            found = atheris.Mutate(data, max_size)
        assert isinstance(found, bytes)
        return found

    atheris.Setup([sys.argv[0], *arguments], run, custom_mutator=mutate)
    atheris.Fuzz()


def _import_wpack() -> None:
    import wpack

    for found in pkgutil.walk_packages(wpack.__path__, "wpack."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)


if __name__ == "__main__":
    main()
