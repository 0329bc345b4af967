"""A pickle followed on paper, before torch follows it.

Instructions only move nodes about here: what they would call is known by name, and
what they would hand to it is counted as if it were written out.
"""

from __future__ import annotations

from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from functools import partial

from .torch_calls import Calls, Node
from .wrappers import RECIPE

#: What one instruction does on paper.
_Instruction = Callable[["_Paper"], None]


_STOP = ord(".")
#: Any value that nothing need be known of.
_SCALAR = Node()
_SMALL = [Node("number", number=value) for value in range(256)]


def follow(pickled: bytes, where: str, file_bytes: int, pickles: int = 1) -> bool:
    """Follow pickles that stand one behind the other.

    Args:
        where: The file, for messages.
        file_bytes: Its size, which tensors' claims are compared with.

    Returns:
        Whether the last of them ends; torch refuses those that do not.

    Raises:
        CheckpointError: They call what no state dict needs, or hand to it what takes
            far longer than to read it.
    """
    paper = _Paper(pickled, where, file_bytes)
    return all(paper.follow() for _ in range(pickles))


class _Paper:
    """The unpickler's stack, marks and memo, with nodes for values."""

    def __init__(self, pickled: bytes, where: str, file_bytes: int) -> None:
        self.pickled, self.at = pickled, 0
        self.calls = Calls(where, len(pickled), file_bytes)
        self.stack: list[Node] = []
        self.marked: list[list[Node]] = []
        self.memo: dict[int, Node] = {}

    def follow(self) -> bool:
        """One pickle; whether it ends."""
        self.stack, self.marked, self.memo = [], [], {}
        try:
            while (code := self.byte()) != _STOP:
                if code not in _INSTRUCTIONS:
                    self.calls.refuse(
                        f"its pickle has the instruction 0x{code:02x}, which torch.save"
                        " does not write",
                        RECIPE,
                    )
                _INSTRUCTIONS[code](self)
        except (IndexError, KeyError, ValueError):
            # It ends too early, or takes what is not there: torch says so too.
            return False
        return True

    def byte(self) -> int:
        self.at += 1
        return self.pickled[self.at - 1]

    def take(self, nbytes: int) -> bytes:
        begin, self.at = self.at, self.at + nbytes
        if self.at > len(self.pickled):
            raise IndexError
        return self.pickled[begin : self.at]

    def length(self, nbytes: int) -> int:
        return int.from_bytes(self.take(nbytes), "little")

    def line(self) -> str:
        end = self.pickled.find(b"\n", self.at)
        if end < 0:
            raise IndexError
        line, self.at = self.pickled[self.at : end], end + 1
        return line.decode()

    def skip(self) -> None:
        self.take(1)  # The protocol's number.

    def push_scalar(self, nbytes: int = 0) -> None:
        self.take(nbytes)
        self.stack.append(_SCALAR)

    def push_number(self, nbytes: int) -> None:
        self.push_value(self.length(nbytes))

    def push_signed(self, nbytes: int) -> None:
        self.push_value(int.from_bytes(self.take(nbytes), "little", signed=True))

    def push_long(self) -> None:
        self.push_signed(self.byte())

    def push_value(self, value: int) -> None:
        small = 0 <= value < len(_SMALL)
        self.stack.append(_SMALL[value] if small else Node("number", number=value))

    def push_text(self, nbytes: int) -> None:
        text = self.take(self.length(nbytes))
        short = len(text) <= 16
        self.stack.append(Node(text=text.decode("latin-1")) if short else _SCALAR)

    def push_name(self) -> None:
        module, name = self.line(), self.line()
        if (module, name) in NAME_MAPPING:
            module, name = NAME_MAPPING[module, name]
        else:
            module = IMPORT_MAPPING.get(module, module)
        self.calls.check_name(f"{module}.{name}")
        self.stack.append(Node("name", f"{module}.{name}"))

    def get(self, nbytes: int) -> None:
        self.stack.append(self.memo[self.length(nbytes)])

    def put(self, nbytes: int) -> None:
        self.memo[self.length(nbytes)] = self.stack[-1]

    def mark(self) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Node]:
        items, self.stack = self.stack, self.marked.pop()
        return items

    def push_tuple(self, size: int) -> None:
        items = self.stack[-size:]
        if len(items) < size:
            raise IndexError
        self.stack[-size:] = [Node("tuple", items=items)]

    def push_long_tuple(self) -> None:
        items = self.since_mark()
        self.stack.append(Node("tuple", items=items))

    def append(self) -> None:
        self.extend([self.stack.pop()])

    def extend(self, items: list[Node] | None = None) -> None:
        items = self.since_mark() if items is None else items
        self.open("list").hold(items)

    def set_item(self) -> None:
        self.set_items([self.stack.pop(), self.stack.pop()][::-1])

    def set_items(self, items: list[Node] | None = None) -> None:
        items = self.since_mark() if items is None else items
        self.calls.count(items[::2])  # Keys are hashed.
        self.open("dict", "made").hold(items)

    def open(self, *kinds: str) -> Node:
        """What items are put into; torch refuses what takes none."""
        if self.stack[-1].kind not in kinds:
            raise IndexError
        return self.stack[-1]

    def persistent(self) -> None:
        self.calls.check_storage(self.stack.pop())
        self.stack.append(Node("made", "storage"))

    def reduce(self) -> None:
        arguments = self.stack.pop()
        called = self.stack[-1]
        self.calls.check(called, arguments)
        self.stack[-1] = Node("made", called.text)

    def new(self) -> None:
        arguments, called = self.stack.pop(), self.stack.pop()
        self.calls.check(called, arguments)
        self.stack.append(Node("made", called.text))

    def build(self) -> None:
        state = self.stack.pop()
        built = self.stack[-1]
        self.calls.check_state(built, state)
        built.hold([state])


def _pushing(kind: str) -> _Instruction:
    return lambda paper: paper.stack.append(Node(kind))


def _of(method: Callable[..., None], **argument: int) -> _Instruction:
    return partial(method, **argument)


#: What torch's unpickler follows, and nothing else.
_INSTRUCTIONS: dict[int, _Instruction] = {
    0x80: _Paper.skip,
    ord("c"): _Paper.push_name,
    0x81: _Paper.new,
    ord("R"): _Paper.reduce,
    ord("b"): _Paper.build,
    ord("a"): _Paper.append,
    ord("e"): _Paper.extend,
    ord("s"): _Paper.set_item,
    ord("u"): _Paper.set_items,
    ord("("): _Paper.mark,
    ord("t"): _Paper.push_long_tuple,
    0x85: _of(_Paper.push_tuple, size=1),
    0x86: _of(_Paper.push_tuple, size=2),
    0x87: _of(_Paper.push_tuple, size=3),
    ord(")"): _pushing("tuple"),
    ord("]"): _pushing("list"),
    ord("}"): _pushing("dict"),
    0x8F: _pushing("set"),
    ord("N"): _Paper.push_scalar,
    0x88: _Paper.push_scalar,
    0x89: _Paper.push_scalar,
    ord("G"): _of(_Paper.push_scalar, nbytes=8),
    ord("K"): _of(_Paper.push_number, nbytes=1),
    ord("M"): _of(_Paper.push_number, nbytes=2),
    ord("J"): _of(_Paper.push_signed, nbytes=4),
    0x8A: _Paper.push_long,
    ord("U"): _of(_Paper.push_text, nbytes=1),
    ord("X"): _of(_Paper.push_text, nbytes=4),
    ord("Q"): _Paper.persistent,
    ord("h"): _of(_Paper.get, nbytes=1),
    ord("j"): _of(_Paper.get, nbytes=4),
    ord("q"): _of(_Paper.put, nbytes=1),
    ord("r"): _of(_Paper.put, nbytes=4),
}
