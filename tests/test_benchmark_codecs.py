"""The benchmarks of codecs, on few weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from benchmarks.codecs import decoding
from tests.blobs import needs

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="memory is read from /proc"
)


@needs("int, prune")
def test_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chains are measured one by one; a chain measured again takes its row's place."""
    path = tmp_path / "results" / "decoding.json"
    command = ["decoding", "--weights", "100K", "--turns", "2", "--json", str(path)]
    monkeypatch.chdir(Path(__file__).parents[1])
    for chain in ("int4", "prune+int8", "int4"):
        monkeypatch.setattr(sys, "argv", [*command, "--chain", chain])
        decoding.main()
    report = json.loads(path.read_text())
    row = report["rows"][0]

    assert ["int4", "prune+int8"] == [row["chain"] for row in report["rows"]]
    assert [{"name": "int", "bits": 4}] == row["codecs"]
    assert 400_000 == row["decoded_bytes"]
    assert row["stored_bytes"] == 3 * 16 + 4 + 2 * 1563 + 50_000
    assert row["decoded_bytes_per_second"] > 0
    assert row["memory_bytes"] >= 400_000


@needs("int, prune, kmeans, ternary, bfloat16, zstd")
def test_entropy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Matrices and kernels are one pool, vectors are left out; every chain has a row
    for each network."""
    from benchmarks.codecs import entropy

    (tmp_path / "models").mkdir()
    random = np.random.default_rng(0)
    weights = random.standard_normal((64, 256), "<f4")
    for file in entropy.MODELS.values():
        tensors = {"kernel": weights, "bias": np.zeros(9, "<f4")}
        save_file(tensors, tmp_path / "models" / file)
    path = tmp_path / "entropy.json"
    monkeypatch.setenv("WPACK_DATA", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["entropy", "--json", str(path), "--level", "1"])
    entropy.main()
    report = json.loads(path.read_text())

    networks = [*entropy.MODELS, "normal"]
    expected = [(name, label) for name in networks for label in entropy.CHAINS]

    assert expected == [(row["weights"], row["chain"]) for row in report["rows"]]
    assert {1 << 14, 1 << 20} == {row["numel"] for row in report["rows"]}
    assert all(row["over"] <= 0.03 for row in report["rows"] if row["numel"] > 1 << 14)
    assert "ResNet-56" in capsys.readouterr().out
