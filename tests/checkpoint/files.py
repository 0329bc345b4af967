"""Safetensors files for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wpack import checkpoint
from wpack.errors import WpackError
from wpack.tensors import FLOAT32, TensorInfo


def write(path: Path, **values: float) -> Path:
    """A safetensors file of one-element tensors."""
    infos = [TensorInfo(name, FLOAT32, (1,)) for name in values]
    arrays = [(name, [np.full(1, v, "<f4")]) for name, v in values.items()]
    checkpoint.write_safetensors(path, infos, arrays, force=True)
    return path


def refused(path: Path) -> WpackError:
    """The error that opening gives."""
    with pytest.raises(WpackError) as caught:
        checkpoint.open(path)
    return caught.value
