"""Both kinds of file read alike, and told apart by what they say of themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from wpack import api
from wpack.limits import Limits
from wpack.spec import parse
from wpack.weight_file import PlainWeights, PooledWeights, is_wpool, opened

LIMITS = Limits()
SPEC = parse('{version: 1, pools: {main: {tensors: ["w*"], ratio: 2}}}')


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A checkpoint and the .wpool made of it."""
    random = np.random.default_rng(0)
    weights = {
        f"w{i}": random.standard_normal((8, 16), dtype="<f4") for i in range(3)
    } | {"bias": random.standard_normal(5, dtype="<f4")}
    save_file(weights, tmp_path / "m.safetensors")
    api.compress(tmp_path / "m.safetensors", SPEC, tmp_path / "m.wpool")
    return tmp_path / "m.safetensors", tmp_path / "m.wpool"


def test_kinds(files: tuple[Path, Path]) -> None:
    """A .wpool gives pooled weights, a checkpoint plain ones, with the same tensors."""
    plain, pooled = files
    with opened(plain, limits=LIMITS) as a, opened(pooled, limits=LIMITS) as b:
        assert isinstance(a, PlainWeights)
        assert isinstance(b, PooledWeights)
        assert list(a.infos) == list(b.infos)


def test_kept_tensors_are_bit_identical(files: tuple[Path, Path]) -> None:
    """What no pool claims is stored as it was."""
    with opened(files[0], limits=LIMITS) as a, opened(files[1], limits=LIMITS) as b:
        left = np.concatenate(list(a.blocks("bias")))
        right = np.concatenate(list(b.blocks("bias")))

    assert left.tobytes() == right.tobytes()


def test_renamed_wpool_is_recognised(files: tuple[Path, Path]) -> None:
    """The header says what the file is, whatever its name."""
    renamed = files[1].rename(files[1].with_name("m2.safetensors"))

    assert is_wpool(renamed, LIMITS)
    assert not is_wpool(files[0], LIMITS)


def test_what_is_no_file_is_no_wpool(tmp_path: Path) -> None:
    """Folders and missing files are left to the reader of checkpoints."""
    assert not is_wpool(tmp_path, LIMITS)
    assert not is_wpool(tmp_path / "nothing.safetensors", LIMITS)
