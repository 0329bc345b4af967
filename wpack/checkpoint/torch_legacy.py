"""A file of ``torch.save`` before 1.6, looked through before torch sees it.

It is pickles, one after the other, and then the storages.  Nothing says how long a
pickle is but its own end.
"""

from __future__ import annotations

import pickletools
from io import BytesIO

from ..errors import CheckpointError
from ..inputs import read_bytes
from .handle import Handle
from .torch_archive import MAX_PICKLE
from .wrappers import RECIPE

#: The magic number, the version, the system's sizes, the objects, the storages' keys.
_PICKLES = 5


def check_pickles(handle: Handle) -> None:
    """Look for the end of the last pickle, by its instructions alone.

    Raises:
        CheckpointError: It is not within what is read of a pickle.
    """
    most = min(handle.nbytes, MAX_PICKLE)
    pickles = BytesIO(read_bytes(handle.fd, 0, most, handle.where))
    try:
        for _ in range(_PICKLES):
            for _ in pickletools.genops(pickles):
                pass
    except Exception as error:
        # Instructions that nobody knows, text that is none: torch's own words for them
        # are as good.  So they are for a file that is cut.
        if most == handle.nbytes or pickles.tell() < most:
            return
        raise CheckpointError(
            f"its pickles do not end within {MAX_PICKLE} bytes",
            where=handle.where,
            hint=RECIPE,
        ) from error
