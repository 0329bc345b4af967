"""Text files and token files."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.lib.npyio import NpzFile

from .errors import TrainingError

#: Files of tokens; all others are text.
TOKEN_SUFFIXES = (".npy", ".npz", ".bin")
#: Numbers that a ``.bin`` may consist of, little-endian.
RAW_DTYPES = ("uint16", "uint32")


def load_text(path: Path) -> str:
    """A whole text, line ends as they are.

    Raises:
        TrainingError: The file cannot be read, or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise _unreadable(path, error) from None
    except UnicodeDecodeError as error:
        raise TrainingError(
            f"is no UTF-8 text: {error.reason} at byte {error.start}",
            where=path,
            hint=f"Convert it, or name files of tokens {', '.join(TOKEN_SUFFIXES)}",
        ) from None


def load_raw(path: Path, dtype: str) -> np.ndarray:
    """A file of nothing but numbers, mapped, not read: ``(n,)``.

    Raises:
        TrainingError: The file cannot be read, or does not consist of such numbers.
    """
    try:
        if path.stat().st_size == 0:
            return np.empty(0, dtype)
        numbers: np.ndarray = np.memmap(path, np.dtype(dtype).newbyteorder("<"), "r")
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError:
        raise TrainingError(
            f"has {path.stat().st_size} bytes, which are no {dtype} numbers", where=path
        ) from None
    return numbers


def load_tokens(path: Path, array: str = "tokens", dtype: str = "uint16") -> np.ndarray:
    """The tokens of a ``.npy``, ``.npz`` or ``.bin``; all but an ``.npz`` are mapped.

    Args:
        array: Name of the array in an ``.npz``.
        dtype: Of the numbers in a ``.bin``, one of :data:`RAW_DTYPES`.

    Returns:
        ``(tokens,)``, or ``(texts, tokens)``, of any integer dtype.

    Raises:
        TrainingError: The file or the array is not that.
    """
    if path.suffix == ".bin":
        return load_raw(path, dtype)
    tokens = _load_array(path, array)
    if tokens.ndim not in (1, 2) or not np.issubdtype(tokens.dtype, np.integer):
        raise TrainingError(
            "tokens must be (tokens,) or (texts, tokens) integers, got"
            f" {tokens.shape} of {tokens.dtype}",
            where=path,
        )
    return tokens


def _load_array(path: Path, name: str) -> np.ndarray:
    try:
        if path.suffix == ".npy":
            mapped: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
            return mapped
        # Opened here, since np.load leaves a file that it cannot read open.
        with open(path, "rb") as file:
            arrays = np.load(file, allow_pickle=False)
            if not isinstance(arrays, NpzFile):
                raise ValueError("it is one array")
            if name not in arrays.files:
                raise TrainingError(
                    f"there is no array {name!r}",
                    where=path,
                    hint=f"There are: {', '.join(arrays.files)}",
                )
            found: np.ndarray = arrays[name]
            return found
    except OSError as error:
        raise _unreadable(path, error) from None
    except (ValueError, EOFError, BadZipFile) as error:
        raise TrainingError(
            f"is no file of {path.suffix} arrays: {error}", where=path
        ) from None


def _unreadable(path: Path, error: OSError) -> TrainingError:
    return TrainingError(f"cannot be read: {error.strerror or error}", where=path)
