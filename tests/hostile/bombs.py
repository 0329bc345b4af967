"""Small pickles that would take torch for ever, or all memory: C02 and C04.

Most were found by fuzzing: torch's careful reader runs nothing of a file's own, but
compares, hashes and writes out what the file makes it.
"""

from __future__ import annotations

from pathlib import Path

from tests.checkpoint.instructions import (
    LISTS,
    TUPLES,
    archive,
    call,
    name,
    number,
    state_dict,
    tensor,
    text,
)
from tests.hostile.case import Case
from tests.hostile.pickles import RECIPE, pickle_case

_REPEATS = f"its pickle repeats itself without end. {RECIPE}"


def _pickle(folder: Path, *items: bytes, says: str) -> Case:
    """A dictionary of a tensor and these keys and values."""
    pickled = state_dict(text("w"), tensor(1), *items)
    return pickle_case(folder, archive(pickled), says)


def c02_object_named_in_escapes(folder: Path) -> Case:
    """torch names it as it stands."""
    named = name("torch.\x1b[2J\u202e")
    says = rf"needs the Python object torch.\x1b[2J\u202e, which is not run. {RECIPE}"
    return _pickle(folder, text("x"), named, says=says)


def c04_function_that_repeats_itself(folder: Path) -> Case:
    """Where it cannot be called, it is written into the message."""
    says = f"its pickle calls what is no function. {RECIPE}"
    return _pickle(folder, text("x"), LISTS + b")R", says=says)


def c04_arguments_that_repeat_themselves(folder: Path) -> Case:
    """They are hashed."""
    return _pickle(folder, text("x"), call("builtins.set", TUPLES), says=_REPEATS)


def c04_key_that_repeats_itself(folder: Path) -> Case:
    """It is hashed."""
    return _pickle(folder, TUPLES, b"N", says=_REPEATS)


def c04_bytes_by_the_terabyte(folder: Path) -> Case:
    """An array of so many zeros."""
    says = f"its pickle calls builtins.bytearray of what it is not for. {RECIPE}"
    many = call("builtins.bytearray", number(1 << 40))
    return _pickle(folder, text("x"), many, says=says)


def c04_elements_one_by_one(folder: Path) -> Case:
    """A set of all elements of an expanded tensor."""
    says = f"its pickle calls builtins.set of what it is not for. {RECIPE}"
    elements = call("builtins.set", tensor(1 << 26))
    return _pickle(folder, text("x"), elements, says=says)


def c04_expanded_beyond_all_memory(folder: Path) -> Case:
    """One element, 2^60 times."""
    case = _pickle(folder, text("x"), tensor(1 << 60), says="")
    nbytes = (folder / case.file).stat().st_size
    says = (
        f"a tensor claims more than {1 << 26} elements, of a file of {nbytes} bytes."
        " Save expanded tensors as they are before .expand()"
    )
    return pickle_case(folder, (folder / case.file).read_bytes(), says)


def c04_tensor_that_is_copied_while_it_is_loaded(folder: Path) -> Case:
    """Expanded, and then of another dtype."""
    copy = "torch._utils._rebuild_device_tensor_from_cpu_tensor"
    says = f"needs the Python object {copy}, which is not run. {RECIPE}"
    made = call(copy, tensor(1 << 26), name("torch.float64"), text("cpu"), b"\x89")
    return _pickle(folder, text("x"), made, says=says)
