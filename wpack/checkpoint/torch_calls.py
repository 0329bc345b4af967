"""What a pickle may call, and of what: the calls that torch.save writes.

torch's restricted unpickler runs nothing that a file brings along.  But what it calls,
hashes or writes into a message can be a list of ten lists of ten lists, which takes a
kilobyte to say and years to write out, or a tensor of 2^60 equal elements.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NoReturn

from ..errors import CheckpointError
from ..names import printable
from .wrappers import RECIPE

#: Nodes that calls may be handed, all together, and so many more for each byte.
_FREE_NODES, _NODES_A_BYTE = 100_000, 2
#: Bytes that views may claim of any file, and times its size beyond that.
FREE_CLAIM, MAX_CLAIM = 64 << 20, 4

_ORDERED_DICT, _COUNTER = "collections.OrderedDict", "collections.Counter"
_ENCODE, _BYTES = "_codecs.encode", "builtins.bytearray"
_OF_TYPE, _PARAMETER = "torch._tensor._rebuild_from_type_v2", "torch.nn.parameter"
_UTILS = "torch._utils._rebuild_"
#: These take a storage, an offset and a size.
_OF_SIZE = tuple(
    f"{_UTILS}{n}" for n in ("tensor", "tensor_v2", "tensor_v3", "qtensor")
)
#: These may be handed tensors.
_OF_TENSORS = (
    *_OF_SIZE,
    *(_OF_TYPE, f"{_PARAMETER}.Parameter"),
    *(f"{_UTILS}parameter", f"{_UTILS}parameter_with_state"),
    *(f"{_UTILS}sparse_tensor", f"{_UTILS}nested_tensor"),
)
#: All that is called: what torch.save has written since torch 0.4.
_CALLED = frozenset(
    {
        *_OF_TENSORS,
        *(_ORDERED_DICT, _COUNTER, _ENCODE, _BYTES, "builtins.set"),
        *("builtins.complex", "torch.Size", "torch.device"),
        *("torch.serialization._get_layout", f"{_UTILS}meta_tensor_no_storage"),
    }
)


class Node:
    """A value on paper.

    Attributes:
        kind: ``list``, ``dict``, ``tuple``, ``name`` of something to call, ``made`` by
            a call, ``number`` or ``scalar``.
        text: A short text, the name, or the name of what made it.
        number: A whole number's value.
        items: What it holds, keys too.
    """

    __slots__ = ("items", "kind", "number", "text")

    def __init__(
        self,
        kind: str = "scalar",
        text: str = "",
        items: Sequence[Node] = (),
        number: int = 0,
    ) -> None:
        self.kind = kind
        self.text = text
        self.number = number
        self.items = items

    def hold(self, items: Sequence[Node]) -> None:
        """Hold some more.  Most nodes hold nothing, and take no room for it."""
        if not isinstance(self.items, list):
            self.items = list(self.items)
        self.items.extend(items)


class Calls:
    """The rules for one file.

    Args:
        where: The file, for messages.
        pickle_bytes: Size of its pickle, or of what is read of its pickles.
        file_bytes: Its own size.
    """

    def __init__(self, where: str, pickle_bytes: int, file_bytes: int) -> None:
        self.where = where
        self.pickle_bytes, self.file_bytes = pickle_bytes, file_bytes
        self.left = _FREE_NODES + _NODES_A_BYTE * pickle_bytes

    def check(self, called: Node, arguments: Node) -> None:
        """Insist that a call is one that torch.save writes, and its arguments small."""
        self._check_form(called, arguments)
        while called.text == _OF_TYPE:
            called, _, arguments, *_ = arguments.items
            self._check_form(called, arguments)
        if called.text in _OF_SIZE:
            self._check_claim(arguments.items[2])
        elif called.text not in _OF_TENSORS:
            self._check_contents(called.text, arguments.items)

    def check_name(self, name: str) -> None:
        """Insist that something is called, or is torch's: a dtype, a storage's type."""
        if name not in _CALLED and not name.startswith("torch."):
            self._refuse_name(name)

    def check_state(self, built: Node, state: Node) -> None:
        """Insist that a state is set of what torch.save writes one of."""
        has_one = built.kind == "made" and built.text in (_ORDERED_DICT, _COUNTER)
        if not has_one or state.kind == "made":
            self.refuse("its pickle sets the state of what has none", RECIPE)
        self.count([state])

    def check_storage(self, described: Node) -> None:
        """Insist that a storage is described in plain words and numbers."""
        if any(item.kind == "made" for item in described.items):
            self.refuse("its pickle asks for a storage that is none", RECIPE)
        self.count([described])

    def _check_form(self, called: Node, arguments: Node) -> None:
        if called.kind != "name":
            self.refuse("its pickle calls what is no function", RECIPE)
        if called.text not in _CALLED:
            self._refuse_name(called.text)
        if arguments.kind != "tuple":
            self.refuse(f"its pickle calls {called.text} without arguments", RECIPE)
        self.count(arguments.items)

    def _check_claim(self, size: Node) -> None:
        numbers = [item.number for item in size.items]
        if size.kind != "tuple" or any(i.kind != "number" for i in size.items):
            self.refuse("its pickle gives a tensor's size in no numbers", RECIPE)
        most = max(FREE_CLAIM, MAX_CLAIM * self.file_bytes)
        claimed = 0 if 0 in numbers else 1
        for number in numbers:
            claimed *= number
            if claimed > most:
                self.refuse(
                    f"a tensor claims more than {most} elements, of a file of"
                    f" {self.file_bytes} bytes",
                    "Save expanded tensors as they are before .expand()",
                )

    def _check_contents(self, called: str, arguments: Sequence[Node]) -> None:
        """What is read item by item must not be a tensor, nor bytes a number."""
        inner = [item for argument in arguments for item in argument.items]
        if called == _BYTES:
            large = any(item.number > self.pickle_bytes for item in arguments)
            odd = large or any(item.text == _BYTES for item in arguments)
            inner += [item for item in arguments if item.text != _ENCODE]
        elif called == _ENCODE:
            odd = [item.text for item in arguments[1:]] not in (["latin1"], ["latin-1"])
            inner += arguments
        else:
            odd = False
            inner += arguments
        if odd or any(item.kind == "made" for item in inner):
            self.refuse(f"its pickle calls {called} of what it is not for", RECIPE)

    def count(self, nodes: Iterable[Node]) -> None:
        """Count nodes as they would be written out, one within the other."""
        waiting = list(nodes)
        self.left -= len(waiting)
        while waiting and self.left >= 0:
            items = waiting.pop().items
            self.left -= len(items)
            if self.left >= 0:
                waiting += items
        if self.left < 0:
            self.refuse("its pickle repeats itself without end", RECIPE)

    def _refuse_name(self, name: str) -> NoReturn:
        name = printable(name[:120])
        self.refuse(f"needs the Python object {name}, which is not run", RECIPE)

    def refuse(self, what: str, hint: str) -> NoReturn:
        """Raise the refusal of the file."""
        raise CheckpointError(what, where=self.where, hint=hint)
