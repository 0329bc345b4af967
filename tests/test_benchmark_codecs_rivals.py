"""The benchmark of other tools' files: what runs without them, and what is said of
those that are not there."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from benchmarks.codecs import rivals
from benchmarks.codecs.rival_tools import (
    RIVALS,
    NNCodec,
    Original,
    Rival,
    Safetensors,
    State,
    TorchAO,
    Zstandard,
)
from wpack.errors import UsageError, WpackError

#: A network that answers with the sign: right on three of four.
TASK = """
import torch
from torch import nn

from wpack.tasks import Task, TensorData


class Signs(Task):
    def model(self):
        return nn.Linear(1, 2)

    def data(self, split):
        inputs = torch.tensor([[-1.0], [-2.0], [1.0], [2.0]])
        return TensorData(inputs, torch.tensor([0, 0, 1, 0]))
"""


@pytest.fixture
def original() -> Original:
    """Two layers of weights that bfloat16 cannot hold."""
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(64, 32))
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    state = {n: torch.randn(s, generator=generator) for n, s in shapes.items()}
    network.load_state_dict(state)
    return Original(state, network.eval())


def nothing(state: State) -> dict[str, float]:
    """The metrics of no task."""
    return {}


@dataclass(frozen=True)
class Loses(Safetensors):
    """A tool that drops a tensor."""

    def decode(self, data: bytes) -> State:
        state = super().decode(data)
        state.popitem()
        return state


def missing(rival: Rival, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a tool's package one that cannot be imported."""
    for module in rival.imports:
        monkeypatch.setitem(sys.modules, module.partition(".")[0], None)
        monkeypatch.setitem(sys.modules, module, None)


def test_names_are_unique() -> None:
    """A row says which rival it is of."""
    names = [rival.name for rival in RIVALS]

    assert sorted(set(names)) == sorted(names)


def test_every_tool_is_there() -> None:
    """Those that the benchmark promises, whether they are installed or not."""
    expected = {"safetensors", "zstandard", "zipnn", "nncodec", "torchao"}

    assert expected == {rival.package for rival in RIVALS}


def test_float32_is_what_safetensors_writes(original: Original) -> None:
    """The first row is the yardstick: its file, all of its bytes, no value changed."""
    row = rivals.measure(Safetensors("plain"), original, nothing)

    assert len(save(original.state)) == row.nbytes
    assert (1.0, 0.0, {}) == (row.share, row.changed, row.metrics)


def test_bfloat16_rounds(original: Original) -> None:
    """Each value comes back as the bfloat16 next to it, in two bytes."""
    rival = Safetensors("halved", torch.bfloat16)
    decoded = rival.decode(rival.encode(original))

    assert sorted(original.state) == sorted(decoded)
    for name, tensor in original.state.items():
        assert torch.float32 == decoded[name].dtype
        assert torch.equal(tensor.bfloat16().float(), decoded[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_zstandard_is_lossless(original: Original, dtype: torch.dtype) -> None:
    """The frame holds the plain file, in fewer bytes."""
    pytest.importorskip("zstandard")
    plain, frame = Safetensors("plain", dtype), Zstandard("frame", dtype)
    content, compressed = plain.encode(original), frame.encode(original)
    expected, decoded = plain.decode(content), frame.decode(compressed)

    assert len(compressed) < len(content)
    assert b"\x28\xb5\x2f\xfd" == compressed[:4]
    assert all(torch.equal(expected[name], decoded[name]) for name in expected)


@pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: rival.name)
def test_absence_has_a_row(
    rival: Rival, original: Original, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever tool cannot be imported: its row says so and has no numbers."""
    missing(rival, monkeypatch)
    row = rivals.measure(rival, original, nothing)

    assert row.absent is not None
    assert row.absent.startswith("ModuleNotFoundError: import of ")
    assert rivals.Row(rival.name, absent=row.absent) == row
    assert f"{rival.name:30} absent: {row.absent}" == rivals.line(row)


def test_a_broken_installation_is_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool built for another torch fails with whatever its C++ raises."""

    class Broken(ModuleType):
        """A package that answers for none of its modules."""

        def __getattr__(self, name: str) -> object:
            raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setitem(sys.modules, "nncodec", Broken("nncodec"))
    monkeypatch.delitem(sys.modules, "nncodec.nn", raising=False)

    assert (
        "RuntimeError: operator torchvision::nms does not exist"
        == NNCodec("broken").absent()
    )


def test_a_lost_tensor_is_an_error(original: Original) -> None:
    """Bytes of less than the whole network are no result."""
    with pytest.raises(WpackError) as caught:
        rivals.measure(Loses("thief"), original, nothing)

    assert "thief: other tensors come back than went in" == str(caught.value)


def test_changed_counts_bits() -> None:
    """One value of four is another; a zero's sign is a change too."""
    before = {"a": torch.tensor([0.0, 1.0]), "b": torch.tensor([2.0, float("nan")])}
    after = {"a": torch.tensor([-0.0, 1.0]), "b": before["b"].clone()}

    assert 0.25 == rivals.changed(before, after)


def test_torchao_takes_what_its_kernel_takes() -> None:
    """int8 every dense layer; int4 those of whole groups and of 16 outputs each."""
    int8, int4 = TorchAO("eight"), TorchAO("four", 4, group=64)
    layers = [nn.Linear(64, 32), nn.Linear(64, 10), nn.Linear(96, 32)]
    layers.append(nn.Conv2d(64, 32, 1))

    assert [True, True, True, False] == [int8._takes(m, "") for m in layers]
    assert [True, False, False, False] == [int4._takes(m, "") for m in layers]


def test_names_choose() -> None:
    """``--only`` takes the beginnings of names, and refuses what begins none."""
    found = [rival.name for rival in rivals.chosen(["safetensors bf16", "zipnn"])]

    assert [
        "safetensors bf16",
        "safetensors bf16 + zstd -19",
        "zipnn fp32",
        "zipnn bf16",
    ] == found
    assert RIVALS == rivals.chosen([])
    with pytest.raises(UsageError, match="no rival begins with 'zipper'"):
        rivals.chosen(["zipper"])


def test_only_float32_is_read(tmp_path: Path) -> None:
    """A rival that starts from less would have the smaller file for nothing."""
    path = tmp_path / "half.safetensors"
    save_file({"w": torch.zeros(2, dtype=torch.bfloat16)}, path)

    with pytest.raises(UsageError, match="w is bfloat16; rivals start from float32"):
        rivals.read(path, "never:asked")


def test_equal_states_are_evaluated_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lossless files differ in bytes only."""
    paths: list[Path] = []

    def evaluate(path: Path, task: str) -> dict[str, float]:
        paths.append(path)
        return {"accuracy": len(paths) / 2}

    monkeypatch.setattr(rivals.api, "evaluate", evaluate)
    ask = rivals.evaluator("task")
    one, other = {"w": torch.zeros(2)}, {"w": torch.ones(2)}

    assert [0.5, 0.5, 1.0] == [ask(s)["accuracy"] for s in (one, dict(one), other)]
    assert 2 == len(paths)


def test_the_command(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From a checkpoint to the rows asked for, the absent one too."""
    missing(NNCodec("gone"), monkeypatch)
    checkpoint, task = tmp_path / "signs.safetensors", tmp_path / "task.py"
    save_file(
        {"weight": torch.tensor([[-1.0], [1.0]]), "bias": torch.zeros(2)}, checkpoint
    )
    task.write_text(TASK)
    command = [str(checkpoint), "--task", f"{task}:Signs", "--only", "nncodec qp -32"]
    rivals.main([*command, "--only", "safetensors fp32", "--repeats", "1", "--json"])
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    rivals.main(command)
    table = capsys.readouterr().out.splitlines()

    assert checkpoint.stat().st_size == rows["safetensors fp32"]["nbytes"]
    assert 0.75 == rows["safetensors fp32"]["metrics"]["accuracy"]
    assert rows["nncodec qp -32"]["absent"].startswith("ModuleNotFoundError")
    assert rows["nncodec qp -32"]["nbytes"] is None
    assert [rivals.HEADINGS, "nncodec qp -32"] == [table[0], table[1][:14]]
