"""Pickles made by hand, instruction by instruction."""

from __future__ import annotations

import io
import zipfile

REBUILD = "torch._utils._rebuild_tensor_v2"
OF_TYPE = "torch._tensor._rebuild_from_type_v2"
#: Ten levels of a list of the one below, ten times: 10^10 lists, written out.
LISTS = b"(]q\0%bt" % b"".join(
    b"](%beq%c" % (b"h%c" % n * 10, n + 1) for n in range(10)
)
#: The same of tuples, which can be keys.
TUPLES = b"()q\0%bt" % b"".join(
    b"(%btq%c" % (b"h%c" % n * 10, n + 1) for n in range(10)
)


def name(path: str) -> bytes:
    """Something to call, by its full name."""
    module, _, last = path.rpartition(".")
    return f"c{module}\n{last}\n".encode()


def text(value: str) -> bytes:
    """A text."""
    encoded = value.encode()
    return b"X" + len(encoded).to_bytes(4, "little") + encoded


def number(value: int) -> bytes:
    """A whole number."""
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def call(path: str, *arguments: bytes) -> bytes:
    """A call of something."""
    return name(path) + b"(" + b"".join(arguments) + b"tR"


def tensor(*size: int) -> bytes:
    """A tensor of this size, all of one element of storage 0."""
    return call(REBUILD, tensor_arguments(*size))


def tensor_arguments(*size: int) -> bytes:
    """What it is made of."""
    storage = name("torch.FloatStorage") + text("0") + text("cpu") + b"K\1"
    shape = b"(" + b"".join(map(number, size)) + b"t"
    stride = b"(" + b"K\0" * len(size) + b"t"
    hooks = call("collections.OrderedDict")
    begin = b"(" + text("storage") + storage + b"tQK\0"
    return begin + shape + stride + b"\x89" + hooks


def state_dict(*items: bytes) -> bytes:
    """A pickle of a dictionary: keys and values in turn."""
    return b"\x80\2}(" + b"".join(items) + b"u."


def archive(pickled: bytes) -> bytes:
    """A zip file as torch.save writes it, of this pickle and a storage of a float."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/version", "3\n")
        file.writestr("archive/data/0", bytes(4))
    return buffer.getvalue()
