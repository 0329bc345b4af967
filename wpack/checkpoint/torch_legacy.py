"""A file of ``torch.save`` before 1.6, looked through before torch sees it.

It is pickles, one after the other, and then the storages.  Nothing says how long a
pickle is but its own end.
"""

from __future__ import annotations

from ..errors import CheckpointError
from ..inputs import read_bytes
from . import torch_pickle
from .handle import Handle
from .torch_archive import MAX_PICKLE
from .wrappers import RECIPE

#: The magic number, the version, the system's sizes, the objects, the storages' keys.
_PICKLES = 5


def check_pickles(handle: Handle) -> None:
    """Follow the pickles on paper, to the end of the last one.

    Raises:
        CheckpointError: It is not within what is read of a pickle, or they are what
            :func:`wpack.checkpoint.torch_pickle.follow` refuses.
    """
    most = min(handle.nbytes, MAX_PICKLE)
    begin = read_bytes(handle.fd, 0, most, handle.where)
    if not torch_pickle.follow(begin, handle.where, handle.nbytes, _PICKLES):
        # A file that is cut, or takes what is not there: torch has the words for it.
        if most < handle.nbytes:
            raise CheckpointError(
                f"its pickles do not end within {MAX_PICKLE} bytes",
                where=handle.where,
                hint=RECIPE,
            )
