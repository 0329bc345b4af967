"""What loading a file takes, found by doing it."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, replace

from . import loader, weight_file
from .limits import Limits
from .stats import FileStats, LoadStats, of_container, of_file


def measured(path: str | os.PathLike[str], backend: str, limits: Limits) -> FileStats:
    """What a file costs; a ``.wpool`` is opened and all its tensors taken, so that what
    is said of copies is what happened.

    Args:
        backend: As for :func:`wpack.loader.open`, which also says what is raised.
    """
    if not weight_file.is_wpool(path, limits):
        return of_file(path, backend, limits)
    # Reading it first leaves nothing to import while the clock runs.
    with weight_file.container_of(path, limits) as container:
        started = time.perf_counter()
        with loader.open(
            path,
            backend=backend,
            max_header=limits.max_header,
            max_working_bytes=limits.max_working_bytes,
        ) as file:
            file.get_tensors()
            seconds = time.perf_counter() - started
        load = LoadStats(**asdict(file.loaded), backend=file.backend, seconds=seconds)
        return replace(of_container(container, file.residence), load=load)
