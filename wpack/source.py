"""What a ``.wpool`` was made from, and by which wpack."""

from __future__ import annotations

from dataclasses import dataclass

from . import strict_json, untrusted
from .errors import FormatError


@dataclass(frozen=True, slots=True)
class Source:
    """The checkpoint a file was made from.

    Attributes:
        sha256: Of its bytes, in hexadecimal.
        nbytes: Its size.
        name: What to call it in messages; a ``.wpool`` does not record it, so that
            the same checkpoint under another name gives the same bytes.
    """

    sha256: str
    nbytes: int
    name: str = ""

    def to_json(self) -> str:
        """The text of ``wpool.source``."""
        fields = {"sha256": self.sha256, "nbytes": self.nbytes, "wpack": version()}
        return strict_json.dumps(fields)


def read_source(text: str, path: str) -> Source:
    """Read ``wpool.source`` of a file.

    Raises:
        FormatError: It is not in the words of ``docs/format.md``.
    """
    where = f"{path}: wpool.source"
    try:
        fields = untrusted.mapping(strict_json.loads(text), where, "the entry")
    except ValueError as error:
        raise FormatError(str(error), where=where) from None
    return Source(
        untrusted.text(fields.get("sha256"), where, "sha256"),
        untrusted.integer(fields.get("nbytes"), where, "nbytes"),
    )


def version() -> str:
    """wpack's own version."""
    # Takes as long to import as all of wpack, and only writing asks for it.
    from importlib import metadata as installed

    try:
        return installed.version("wpack")
    except installed.PackageNotFoundError:  # Run from its source folder.
        return "uninstalled"
