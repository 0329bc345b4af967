"""Files of ``torch.save`` for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.crafting import refusal
from wpack import checkpoint
from wpack.errors import CheckpointError


def save(path: Path, tree: Any, **options: Any) -> Path:
    """A file of torch.save."""
    torch.save(tree, path, **options)
    return path


def legacy(path: Path, tree: Any) -> Path:
    """A file in the format before torch 1.6."""
    return save(path, tree, _use_new_zipfile_serialization=False)


def refused(path: Path) -> str:
    """The words with which opening is refused."""
    with pytest.raises(CheckpointError) as caught:
        checkpoint.open(path)
    return refusal(caught, path)


def everything(path: Path) -> dict[str, tuple[tuple[int, ...], list[Any]]]:
    """Shapes and elements of all tensors."""
    with checkpoint.open(path) as opened:
        return {i.name: (i.shape, opened.read(i.name).tolist()) for i in opened.infos}
