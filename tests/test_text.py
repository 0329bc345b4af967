"""Text files and token files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wpack.errors import TrainingError
from wpack.text import load_raw, load_text, load_tokens

TOKENS = np.array([3, 1, 4, 1, 5], np.uint16)


def test_text(tmp_path: Path) -> None:
    """A text is read as it is: no line end is changed."""
    path = tmp_path / "a.txt"
    path.write_bytes("a\r\nö\n".encode())

    assert "a\r\nö\n" == load_text(path)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.bin"])
def test_tokens(tmp_path: Path, name: str) -> None:
    """All three kinds of files give the same tokens, in their own dtype."""
    path = tmp_path / name
    if path.suffix == ".npy":
        np.save(path, TOKENS)
    elif path.suffix == ".npz":
        np.savez(path, tokens=TOKENS)
    else:
        path.write_bytes(TOKENS.astype("<u2").tobytes())
    found = load_tokens(path)

    assert np.uint16 == found.dtype
    assert TOKENS.tolist() == found.tolist()


@pytest.mark.parametrize("name", ["a.npy", "a.bin"])
def test_large_files_are_mapped(tmp_path: Path, name: str) -> None:
    """Tokens are read when they are needed, not before."""
    path = tmp_path / name
    if path.suffix == ".npy":
        np.save(path, TOKENS)
    else:
        TOKENS.tofile(path)

    assert isinstance(load_tokens(path), np.memmap)


def test_raw_dtype(tmp_path: Path) -> None:
    """A .bin may have 32 bits a token; an empty one has none."""
    path = tmp_path / "a.bin"
    path.write_bytes(np.array([1, 70000], "<u4").tobytes())

    assert [1, 70000] == load_tokens(path, dtype="uint32").tolist()
    path.write_bytes(b"")
    assert [] == load_raw(path, "uint16").tolist()


def test_named_array(tmp_path: Path) -> None:
    """An .npz may hold the tokens under another name, as rows too."""
    path = tmp_path / "a.npz"
    np.savez(path, x=TOKENS, y=TOKENS.reshape(1, 5))

    assert (1, 5) == load_tokens(path, "y").shape


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "a.txt",
            b"abc\xff",
            "is no UTF-8 text: invalid start byte at byte 3. Convert it, or name files"
            " of tokens .npy, .npz, .bin",
        ),
        ("b.txt", None, "cannot be read: No such file or directory"),
        ("b.npz", None, "cannot be read: No such file or directory"),
        ("b.bin", None, "cannot be read: No such file or directory"),
        ("a.bin", b"abc", "has 3 bytes, which are no uint16 numbers"),
        ("a.npz", b"abc", "is no file of .npz arrays: "),
        ("a.npy", b"", "is no file of .npy arrays: "),
    ],
)
def test_unreadable(
    tmp_path: Path, name: str, content: bytes | None, expected: str
) -> None:
    """A file that is not what its name says is refused with its path."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrainingError) as caught:
        load_text(path) if path.suffix == ".txt" else load_tokens(path)

    assert str(caught.value).startswith(f"{path}: {expected}")


def test_wrong_arrays(tmp_path: Path) -> None:
    """Tokens are integers, in one row or several; an .npz has them by name."""
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((2, 3), np.float32))
    with pytest.raises(TrainingError) as caught:
        load_tokens(path)
    assert (
        f"{path}: tokens must be (tokens,) or (texts, tokens) integers, got (2, 3) of"
        " float32"
    ) == str(caught.value)

    path = tmp_path / "a.npz"
    np.savez(path, x=TOKENS)
    with pytest.raises(TrainingError) as caught:
        load_tokens(path)
    assert f"{path}: there is no array 'tokens'. There are: x" == str(caught.value)


def test_python_objects_are_not_read(tmp_path: Path) -> None:
    """An array of pickled objects is refused: unpickling runs code."""
    path = tmp_path / "a.npy"
    np.save(path, np.array([{}], object))
    with pytest.raises(TrainingError, match=r"is no file of \.npy arrays: "):
        load_tokens(path)
