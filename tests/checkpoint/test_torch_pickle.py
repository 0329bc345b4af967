"""Pickles are followed on paper before torch follows them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoint.instructions import (
    LISTS,
    OF_TYPE,
    REBUILD,
    TUPLES,
    archive,
    call,
    name,
    number,
    state_dict,
    tensor,
    tensor_arguments,
    text,
)
from tests.checkpoint.torch_files import everything, legacy, refused, save
from wpack.checkpoint.torch_pickle import follow
from wpack.checkpoint.wrappers import RECIPE
from wpack.errors import CheckpointError

_REPEATS = "its pickle repeats itself without end"
_NO_STATE = "its pickle sets the state of what has none"
_NO_NUMBERS = "its pickle gives a tensor's size in no numbers"


def of_what(called: str) -> str:
    """The words for a call with odd arguments."""
    return f"its pickle calls {called} of what it is not for"


def blocked(called: str) -> str:
    """The words for a call that is not made."""
    return f"needs the Python object {called}, which is not run"


_REFUSED = {
    "unknown instruction": (b"\x95", "its pickle has the instruction 0x95, which"),
    "unknown name": (name("os.system"), blocked("os.system")),
    "name of Python 2": (name("__builtin__.eval"), blocked("builtins.eval")),
    "name that has moved": (name("__builtin__.reduce"), blocked("functools.reduce")),
    "name in escapes": (name("os.\x1b[2J\u2028"), blocked(r"os.\x1b[2J\u2028")),
    "torch's, but not called": (
        call("torch.FloatTensor", number(1 << 40)),
        blocked("torch.FloatTensor"),
    ),
    "made by naming, not calling": (
        name("torch.load") + b")\x81",
        blocked("torch.load"),
    ),
    "call of lists": (LISTS + b")R", "its pickle calls what is no function"),
    "arguments of a tensor": (
        name("builtins.set") + tensor(2) + b"R",
        "its pickle calls builtins.set without arguments",
    ),
    "arguments that repeat": (call("builtins.set", LISTS), _REPEATS),
    "key that repeats": (b"}" + TUPLES + b"Ns", _REPEATS),
    "keys that repeat": (b"}(" + TUPLES + b"Nu", _REPEATS),
    "list in itself": (b"]q\0h\0a" + name("builtins.set") + b"h\0\x85R", _REPEATS),
    "storage that repeats": (b"(" + LISTS + b"tQ", _REPEATS),
    "storage of a tensor": (
        b"(" + tensor(2) + b"tQ",
        "its pickle asks for a storage that is none",
    ),
    "state of a list": (b"]}b", _NO_STATE),
    "state of a tensor": (tensor(2) + b"}b", _NO_STATE),
    "state that is a tensor": (
        call("collections.OrderedDict") + tensor(2) + b"b",
        _NO_STATE,
    ),
    "state that repeats": (
        call("collections.OrderedDict") + LISTS + b"b",
        _REPEATS,
    ),
    "a terabyte": (
        call("builtins.bytearray", number(1 << 40)),
        of_what("builtins.bytearray"),
    ),
    "bytes of a tensor": (
        call("builtins.bytearray", tensor(9)),
        of_what("builtins.bytearray"),
    ),
    "bytes of bytes": (
        call("builtins.bytearray", call("builtins.bytearray")),
        of_what("builtins.bytearray"),
    ),
    "another encoding": (
        call("_codecs.encode", text("a"), text("punycode")),
        of_what("_codecs.encode"),
    ),
    "no encoding": (call("_codecs.encode", text("a")), of_what("_codecs.encode")),
    "set of a tensor": (call("builtins.set", tensor(9)), of_what("builtins.set")),
    "pairs of a tensor": (
        call("collections.OrderedDict", b"](" + tensor(2, 2) + b"e"),
        of_what("collections.OrderedDict"),
    ),
    "size of a tensor": (
        call(REBUILD, b"N", b"K\0", tensor(2)),
        _NO_NUMBERS,
    ),
    "size of tensors": (
        call(REBUILD, b"N", b"K\0", b"(" + tensor() + b"t"),
        _NO_NUMBERS,
    ),
    "2^26 + 1 elements": (
        tensor((1 << 26) + 1),
        "a tensor claims more than 67108864 elements, of a file of 1000 bytes",
    ),
    "a call in a call, ten thousand deep": (
        name(OF_TYPE) + b"q\0" + b"(h\0N" * 10_000 + b")" + b"t" * 10_000 + b"R",
        _REPEATS,
    ),
    "2^60 elements of a subclass": (
        call(
            OF_TYPE,
            name(REBUILD),
            name("torch.Tensor"),
            b"(NK\0(" + number(1 << 60) + b"tt",
        ),
        "a tensor claims more than 67108864 elements, of a file of 1000 bytes",
    ),
}


@pytest.mark.parametrize(("pickled", "what"), _REFUSED.values(), ids=_REFUSED)
def test_refused(pickled: bytes, what: str) -> None:
    """What torch.save does not write, and would take long or much, or run."""
    with pytest.raises(CheckpointError) as caught:
        follow(b"\x80\2" + pickled + b".", "x.pt", 1000)

    assert caught.value.what.startswith(what)
    assert caught.value.where == "x.pt"
    assert caught.value.hint


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        *(b"X\4\0\0\0abc", b"X", b"cos", b"cos\nsystem", b"ccollections\n\xff\n."),
        *(b"R.", b"NR.", b"h\0.", b"q\0.", b"u.", b"t.", b"N\x86.", b"Na.", b"NNNs."),
        *(b"]NNs.", b"}Na.", b"K", b"\x8a", b"G1234567.", b"e.", b"Q."),
        name(OF_TYPE) + b")R.",
        name(REBUILD) + b")R.",
    ],
)
def test_what_torch_cannot_follow_either(pickled: bytes) -> None:
    """What ends too early or takes what is not there is left to torch's words."""
    assert follow(pickled, "x.pt", 1000) is False


def test_several_pickles() -> None:
    """One behind the other; what follows the last is no concern."""
    assert follow(b"N." * 3, "x.pt", 1000, 3) is True
    assert follow(b"N.N.\xff", "x.pt", 1000, 2) is True
    assert follow(b"N.N.", "x.pt", 1000, 3) is False


def test_many_names() -> None:
    """Of one byte, and of four; of a bytes object, which only other writers use."""
    long = b"r\0\1\0\0j\0\1\0\0"

    assert follow(b"Nq\1h\1.", "x.pt", 1000) is True
    assert follow(b"N" + long + b"U\3abc.", "x.pt", 1000) is True
    assert follow(b"N" + long + b"j\1\1\0\0.", "x.pt", 1000) is False


def test_memos_are_a_pickles_own() -> None:
    """What one pickle remembers, the next one does not."""
    assert follow(b"Nq\0.h\0.", "x.pt", 1000, 2) is False


_ALL: dict[str, Callable[[], Any]] = {
    "nothing": dict,
    "numbers": lambda: {"a": [-1, 255, 256, 1 << 16, 1 << 40, 1 << 70, 0.5]},
    "words": lambda: {"a": ["", "x" * 300, "é", None, True, False, b"\0\xff"]},
    "containers": lambda: {"a": [(), (1,), (1, 2), (1, 2, 3), (1,) * 4, {1}, set()]},
    "bytes": lambda: {"a": bytearray(b"abc"), "b": complex(1, 2)},
    "torch's": lambda: {"a": [torch.Size([2]), torch.device("cpu"), torch.float16]},
    "many": lambda: {str(i): i for i in range(1000)},
    "metadata": lambda: OrderedDict(torch.nn.Linear(2, 3).state_dict()),
    "parameter": lambda: {"a": torch.nn.Parameter(torch.ones(2))},
    "zero elements": lambda: {"a": torch.ones(0, 1 << 40)},
    "shared settings": lambda: [{"betas": (0.9, 0.99)}] * 500,
}


@pytest.mark.parametrize("make", _ALL.values(), ids=_ALL)
@pytest.mark.parametrize("file", [save, legacy])
def test_what_torch_saves_is_followed(
    tmp_path: Path, file: Callable[[Path, Any], Path], make: Callable[[], Any]
) -> None:
    """In files of both kinds, beside a tensor."""
    path = file(tmp_path / "m.pt", {"model": {"w": torch.ones(2)}, "x": make()})

    assert {"w": ((2,), [1.0, 1.0])} == everything(path)


@pytest.mark.parametrize(
    "attribute", ["dim", "data_ptr", "stride", "element_size", "detach", "contiguous"]
)
def test_attributes_with_the_names_of_methods(tmp_path: Path, attribute: str) -> None:
    """A file may give a tensor any; its methods are torch's all the same."""
    path = tmp_path / "m.pt"
    made = b"(" + tensor_arguments(3) + b"t"
    state = b"}" + text(attribute) + b"K\3s"
    weight = call(OF_TYPE, name(REBUILD), name("torch.Tensor"), made, state)
    path.write_bytes(archive(state_dict(text("w"), weight)))

    assert {"w": ((3,), [0.0] * 3)} == everything(path)


def test_words_of_torch_are_escaped(tmp_path: Path) -> None:
    """They quote names from the file."""
    path = tmp_path / "m.pt"
    storage = name("torch.FloatStorage") + text("\x1b[2J\u202e") + text("cpu")
    pickled = b"(" + text("storage") + storage + b"K\1tQ"
    path.write_bytes(archive(state_dict(text("w"), pickled)))
    found = refused(path)

    assert r"\x1b[2J" in found
    assert found.isprintable()
    assert found.startswith("cannot be loaded by torch: ")


def test_names_that_torch_refuses(tmp_path: Path) -> None:
    """They are torch's own, and not called, so that wpack has nothing against them."""
    path = tmp_path / "m.pt"
    named = name("torch.hub.\x1b[2Jload\u202e")
    path.write_bytes(archive(state_dict(text("w"), tensor(1), text("x"), named)))
    what = r"needs the Python object torch.hub.\x1b[2Jload\u202e, which is not run"

    assert f"{what}. {RECIPE}" == refused(path)


def test_names_that_are_not_used(tmp_path: Path) -> None:
    """Made by naming, as some protocols do, and not by calling."""
    path = tmp_path / "m.pt"
    made = name("collections.OrderedDict") + b")\x81"
    path.write_bytes(archive(state_dict(text("w"), tensor(1), text("x"), made)))

    assert {"w": ((1,), [0.0])} == everything(path)


def test_expanded_tensors_are_followed(tmp_path: Path) -> None:
    """As far as a small file may claim."""
    path = tmp_path / "m.pt"
    path.write_bytes(archive(state_dict(text("w"), tensor(3, 2))))

    assert {"w": ((3, 2), [0.0] * 6)} == everything(path)


def test_refused_before_torch(tmp_path: Path) -> None:
    """The whole way: torch would be at it for ever."""
    path = tmp_path / "m.pt"
    path.write_bytes(archive(state_dict(text("w"), call("builtins.set", LISTS))))

    assert f"{_REPEATS}. {RECIPE}" == refused(path)
