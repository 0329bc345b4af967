"""The verbs with codecs: any chain, of pools and of kept tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from tests import independent_reader
from tests.blobs import needs
from tests.tiny import Points, network
from wpack import api, codecs, container, loader
from wpack.errors import CheckpointError, UsageError
from wpack.spec import Spec, parse

points = Points()

#: One of each kind, and each codec alone.
CHAINS = [
    *codecs.names(),
    "int: 4, zstd",
    "int: {bits: 3, block: 32}",
    "prune: 0.9, kmeans: 5, zstd",
    "prune: 0.5, zstd",
    "prune: 0.5, float16",
]


def params(*written: str) -> list[Any]:
    """Parameters for a test: chains, each of them gone with its codecs."""
    return [pytest.param(f"[{each}]", marks=needs(each)) for each in written]


def spec_of(chain: str, kept: str = "[]", dtype: str = "float32") -> Spec:
    """A pool of matrices, and perhaps a group of all else."""
    groups = "" if kept == "[]" else f'keep_codecs: {{"*": {kept}}}\n'
    pool = f'{{tensors: ["*.weight"], ratio: 1.7, dtype: {dtype}, codecs: {chain}}}'
    return parse(f"version: 1\npools: {{main: {pool}}}\n{groups}")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Matrices that wrap, biases of two lengths, and what no codec stores."""
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("plain") / "a.safetensors"
    shapes = {
        "a.weight": (60, 30),
        "b.weight": (41, 30),
        "a.bias": (60,),
        "b.bias": (9,),
    }
    tensors = {
        name: random.standard_normal(shape).astype("<f4")
        for name, shape in shapes.items()
    }
    save_file({**tensors, "steps": np.array([7, 8], "<i8")}, path)
    return path


@pytest.mark.parametrize(
    ("kept", "dtype"),
    [
        ("[]", "float32"),
        ("[]", "float64"),
        pytest.param("[int, zstd]", "bfloat16", marks=needs("int, zstd")),
    ],
)
@pytest.mark.parametrize("chain", params(*CHAINS))
def test_every_verb_takes_any_chain(
    checkpoint: Path, tmp_path: Path, chain: str, kept: str, dtype: str
) -> None:
    """What was planned is written, verifies, and is the same to every reader."""
    packed, back = tmp_path / "a.wpool", tmp_path / "b.safetensors"
    spec = spec_of(chain, kept, dtype)
    planned = api.plan(checkpoint, spec)
    made = api.compress(checkpoint, spec, packed)
    api.inflate(packed, back)
    found, source = load_file(back), load_file(checkpoint)
    size = packed.stat().st_size

    assert made.stats.file_bytes == size
    assert size <= planned.stats.file_bytes
    assert not planned.plan.exact or size == planned.stats.file_bytes
    assert api.verify(packed) == ()
    assert api.diff(packed, back).same
    stats = api.stats(packed)
    assert sum(t.stored_bytes for t in stats.tensors) + stats.header_bytes == size
    assert np.array_equal(found["steps"], source["steps"])
    if kept == "[]":
        assert found["b.bias"].tobytes() == source["b.bias"].tobytes()
    for backend in ("memfd", "copy"):
        loaded = loader.load_file(packed, backend=backend)
        for name, tensor in loaded.items():
            assert tensor.numpy().tobytes() == found[name].tobytes()


@needs("float16")
@pytest.mark.parametrize("chain", params("int", "int: 4, zstd", "prune: 0.9, zstd"))
def test_a_second_reader_agrees(checkpoint: Path, tmp_path: Path, chain: str) -> None:
    """The one that was written from the document alone."""
    packed, back = tmp_path / "a.wpool", tmp_path / "b.safetensors"
    api.compress(checkpoint, spec_of(chain, "[float16]"), packed)
    api.inflate(packed, back)
    found = load_file(back)

    for name, values in independent_reader.load(packed).items():
        assert values.tobytes() == found[name].tobytes()


@needs("prune, kmeans, zstd, int")
def test_the_same_bytes_twice(checkpoint: Path, tmp_path: Path) -> None:
    """Encoding draws nothing."""
    for name in ("1.wpool", "2.wpool"):
        api.compress(
            checkpoint, spec_of("[prune: 0.5, kmeans, zstd]", "[int]"), tmp_path / name
        )

    assert (tmp_path / "1.wpool").read_bytes() == (tmp_path / "2.wpool").read_bytes()


@needs("int")
def test_kept_tensors_are_stored_together(checkpoint: Path, tmp_path: Path) -> None:
    """As one entry, whose error is the codec's; what no codec stores is as it was."""
    api.compress(checkpoint, spec_of("[]", "[int]"), tmp_path / "a.wpool")
    api.inflate(tmp_path / "a.wpool", tmp_path / "b.safetensors")
    found, source = load_file(tmp_path / "b.safetensors"), load_file(checkpoint)
    with container.read(tmp_path / "a.wpool") as file:
        stored = [name for name in file.entries if not name.startswith("__pad__")]

    assert stored == ["pool/main", "steps", "kept/0"]
    for name in ("a.bias", "b.bias"):
        error = np.abs(found[name] - source[name]).max()

        assert 0 < error < np.abs(source["a.bias"]).max() / 127


@needs("int")
def test_inflate_to_torch_decodes(checkpoint: Path, tmp_path: Path) -> None:
    """A .pt has no codecs: it holds what they made, and the views."""
    api.compress(checkpoint, spec_of("[{int: 4}]", "[int]"), tmp_path / "a.wpool")
    api.inflate(tmp_path / "a.wpool", tmp_path / "a.pt")

    assert api.diff(tmp_path / "a.wpool", tmp_path / "a.pt").same


@needs("int, zstd")
def test_eval_decodes(tmp_path: Path) -> None:
    """A coded file's metrics are those of what it inflates to."""
    torch.save(network().state_dict(), tmp_path / "tiny.pt")
    packed, back = tmp_path / "a.wpool", tmp_path / "b.safetensors"
    api.compress(tmp_path / "tiny.pt", spec_of("[{int: 4}, zstd]", "[int]"), packed)
    api.inflate(packed, back)
    task = "tests.test_api_coded:points"

    assert api.evaluate(packed, task) == api.evaluate(back, task)


@needs("int, zstd")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("name", "chain", "kept"),
    [("b.weight", "[int]", "[]"), ("a.bias", "[]", "[zstd]")],
)
def test_what_is_not_finite_is_refused(
    checkpoint: Path, tmp_path: Path, name: str, chain: str, kept: str, bad: float
) -> None:
    """By the name of its tensor; nothing is written.  Without codecs it is noted."""
    weights = load_file(checkpoint)
    weights[name] = weights[name].copy()
    weights[name].reshape(-1)[3:5] = bad
    save_file(weights, tmp_path / "bad.safetensors")
    with pytest.raises(CheckpointError) as caught:
        api.compress(
            tmp_path / "bad.safetensors", spec_of(chain, kept), tmp_path / "x.wpool"
        )

    assert str(caught.value) == (
        f"{name}: 2 weights are NaN or infinite, which no codec stores"
    )
    assert not (tmp_path / "x.wpool").exists()
    api.compress(tmp_path / "bad.safetensors", spec_of("[]"), tmp_path / "x.wpool")


@needs("float16")
def test_a_magnitude_that_a_codec_has_no_room_for(tmp_path: Path) -> None:
    """Told with the pool, or with the tensors that are stored together."""
    weights = {
        "a.weight": np.full((4, 4), 1e6, "<f4"),
        "bias": np.full(3, 1e6, "<f4"),
    }
    save_file(weights, tmp_path / "a.safetensors")
    says = []
    for spec in (spec_of("[float16]"), spec_of("[]", "[float16]")):
        with pytest.raises(CheckpointError) as caught:
            api.compress(tmp_path / "a.safetensors", spec, tmp_path / "x.wpool")
        says.append(str(caught.value))

    assert says == [
        f"{where}: float16 has no room for a magnitude of 1e+06"
        for where in ("pool 'main'", "the tensors with 'bias'")
    ]


@pytest.mark.parametrize(
    ("chain", "value", "says"),
    [
        pytest.param(
            "[pow2]", 49152, "magnitude of 65536, which pow2 makes", marks=needs("pow2")
        ),
        pytest.param("[zstd]", 70000, "magnitude of 70000", marks=needs("zstd")),
    ],
)
def test_a_magnitude_that_a_dtype_has_no_room_for(
    tmp_path: Path, chain: str, value: float, says: str
) -> None:
    """float16 ends at 65504: what would be infinite once decoded is not stored, also
    where only a codec has made it so large."""
    save_file({"a.weight": np.full((4, 4), value, "<f4")}, tmp_path / "a.safetensors")
    out = tmp_path / "x.wpool"
    with pytest.raises(CheckpointError) as caught:
        api.compress(tmp_path / "a.safetensors", spec_of(chain, dtype="float16"), out)

    assert str(caught.value) == f"pool 'main': float16 has no room for a {says}"
    assert not out.exists()
    api.compress(tmp_path / "a.safetensors", spec_of(chain, dtype="bfloat16"), out)


@needs("int")
def test_mmap_is_for_what_is_not_coded(checkpoint: Path, tmp_path: Path) -> None:
    """The file's pages are no weights; a file that has no coded pool can be mapped."""
    api.compress(checkpoint, spec_of("[int]"), tmp_path / "a.wpool")
    api.compress(checkpoint, spec_of("[]", "[int]"), tmp_path / "b.wpool")
    with pytest.raises(UsageError, match="backend mmap cannot be used: pool 'main'"):
        loader.load_file(tmp_path / "a.wpool", backend="mmap")

    mapped = loader.load_file(tmp_path / "b.wpool", backend="mmap")
    copied = loader.load_file(tmp_path / "b.wpool", backend="copy")
    assert all(torch.equal(mapped[name], copied[name]) for name in copied)
