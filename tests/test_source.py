"""Which checkpoint a file was made from, as the file says."""

from __future__ import annotations

from importlib import metadata

import pytest

from wpack import source, strict_json
from wpack.errors import FormatError
from wpack.source import Source, read_source


def test_round_trip() -> None:
    """Digest and size are read back; the name has never been written."""
    made = Source("ab" * 32, 99, "/home/me/model.safetensors")

    assert Source("ab" * 32, 99) == read_source(made.to_json(), "x.wpool")
    assert "model" not in made.to_json()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON: Expecting value at character 0"),
        ("[]", "the entry must be an object, got []"),
        ('{"nbytes": 1}', "sha256 must be a name, got None"),
        ('{"sha256": "a"}', "nbytes must be an integer from 0, got None"),
        (
            '{"sha256": "a", "sha256": "b"}',
            "the key 'sha256' stands twice in one object",
        ),
    ],
)
def test_refused(text: str, message: str) -> None:
    """What is not in the format's words is refused at its place."""
    with pytest.raises(FormatError) as error:
        read_source(text, "x.wpool")

    assert f"x.wpool: wpool.source: {message}" == str(error.value)


def test_a_folder_of_sources_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is run without having been installed says so."""
    assert metadata.version("wpack") == source.version()

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)

    found = strict_json.loads(Source("a", 1).to_json())
    assert {"sha256": "a", "nbytes": 1, "wpack": "uninstalled"} == found
