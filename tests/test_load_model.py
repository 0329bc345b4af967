"""Views as a model's parameters: what fits, what does not, what stays tied."""

from __future__ import annotations

import copy
import io
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.handmade import alias, kept, plan_of, pooled, write
from wpack.errors import CheckpointError
from wpack.loader import Unmatched, load_file, load_model
from wpack.tensors import BFLOAT16, BY_NAME, DType

INT64 = BY_NAME["int64"]


class Net(nn.Module):
    """An embedding, two layers with batch norm between them, and a head."""

    def __init__(self, tied: bool = True) -> None:
        super().__init__()
        self.embed = nn.Embedding(8, 6)
        self.first = nn.Linear(6, 6)
        self.norm = nn.BatchNorm1d(6)
        self.second = nn.Linear(6, 6)
        self.lm_head = nn.Linear(6, 8, bias=False)
        self.register_buffer("scratch", torch.zeros(2), persistent=False)
        if tied:
            self.lm_head.weight = self.embed.weight

    def forward(self, token: Tensor) -> Tensor:
        """``(batch,)`` → ``(batch, 8)``."""
        hidden = self.first(self.embed(token))
        found: Tensor = self.lm_head(self.second(self.norm(hidden).relu()))
        return found


def net_file(path: Path, *, head: str = "alias", dtype: DType | None = None) -> Path:
    """A file that fits :class:`Net`; its two layers read the same backing weights.

    ``head``: ``alias``, ``absent``, ``own``.
    """
    options = {} if dtype is None else {"dtype": dtype}
    tensors = [
        pooled("embed.weight", (8, 6), ("p", 0), **options),
        pooled("first.weight", (6, 6), ("p", 50), **options),
        kept("first.bias", (6,)),
        kept("norm.weight", (6,)),
        kept("norm.bias", (6,)),
        kept("norm.running_mean", (6,)),
        kept("norm.running_var", (6,)),
        kept("norm.num_batches_tracked", (), INT64),
        pooled("second.weight", (6, 6), ("p", 50), **options),
        kept("second.bias", (6,)),
    ]
    if head == "alias":
        tensors.append(alias("lm_head.weight", "embed.weight", (8, 6), **options))
    if head == "own":
        tensors.append(pooled("lm_head.weight", (8, 6), ("p", 3), **options))
    write(path, plan_of({"p": 64}, *tensors, **options, alignment=64))
    return path


def test_parameters_are_the_files_memory(tmp_path: Path) -> None:
    """Every tensor of the state dict is the file's view of it; ties stay ties."""
    path = net_file(tmp_path / "n.wpool")
    model = Net()
    model.first.bias.requires_grad_(False)
    result = load_model(model, path, backend="copy")
    state = load_file(path)

    assert result == Unmatched([], [])
    assert set(state) == set(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(state[name], tensor), name
    assert model.lm_head.weight is model.embed.weight
    assert isinstance(model.first.weight, nn.Parameter)
    assert model.first.weight.requires_grad
    assert not model.first.bias.requires_grad
    assert model.first.weight.data_ptr() == model.second.weight.data_ptr()
    assert model(torch.arange(8)).shape == (8, 8)


def test_model_on_meta_gets_all_its_memory_from_the_file(tmp_path: Path) -> None:
    """A model built without memory computes what one built with it does."""
    path = net_file(tmp_path / "n.wpool")
    with torch.device("meta"):
        model = Net().eval()
    load_model(model, path)
    other = Net().eval()
    load_model(other, path)

    assert {"cpu"} == {p.device.type for p in model.parameters()}
    assert torch.equal(other(torch.arange(8)), model(torch.arange(8)))


@pytest.mark.parametrize("head", ["alias", "absent"])
def test_ties_of_the_model_need_one_name(tmp_path: Path, head: str) -> None:
    """A tied name may be an alias in the file, or not be there at all."""
    model = Net()
    result = load_model(model, net_file(tmp_path / "n.wpool", head=head))

    assert result == Unmatched([], [])
    assert model.lm_head.weight is model.embed.weight


def test_ties_of_the_file_share_memory(tmp_path: Path) -> None:
    """What is an alias in the file is the same memory in a model that has two."""
    model = Net(tied=False)
    load_model(model, net_file(tmp_path / "n.wpool"))

    assert model.lm_head.weight is not model.embed.weight
    assert model.lm_head.weight.data_ptr() == model.embed.weight.data_ptr()


def test_ties_of_the_model_that_differ_in_the_file(tmp_path: Path) -> None:
    """Tying two different tensors would lose one of them."""
    path = net_file(tmp_path / "n.wpool", head="own")
    with pytest.raises(CheckpointError) as caught:
        load_model(Net(), path)
    untied = Net(tied=False)
    load_model(untied, path)

    assert str(caught.value) == (
        f"{path}: the model ties 'lm_head.weight' to 'embed.weight', but the file holds"
        " different values for them. Untie them in the model"
    )
    assert not torch.equal(untied.lm_head.weight, untied.embed.weight)


def test_misfits_are_listed_and_nothing_is_changed(tmp_path: Path) -> None:
    """One error names what is missing, unknown (with the likeliest name) and of
    another shape, five of each at most."""
    path = net_file(tmp_path / "n.wpool")
    model = Net()
    model.frist = model.first
    del model.first
    model.second = nn.Linear(6, 5)
    model.extra = nn.ModuleList(nn.Linear(1, 1) for _ in range(3))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CheckpointError) as caught:
        load_model(model, path)

    assert str(caught.value) == (
        f"{path}: does not fit the model Net: 8 missing from the file: frist.weight,"
        " frist.bias, extra.0.weight, extra.0.bias, extra.1.weight and 3 more;"
        " 2 unknown to the model: first.weight (did you mean frist.weight?), first.bias"
        " (did you mean frist.bias?); 2 of another shape: second.weight ([6, 6] in the"
        " file, [5, 6] in the model), second.bias ([6] in the file, [5] in the model)"
    )
    for name, tensor in model.state_dict().items():
        assert torch.equal(before[name], tensor), name


def test_loose_loading_says_what_was_left(tmp_path: Path) -> None:
    """Without ``strict`` names may differ; shapes may not."""
    path = net_file(tmp_path / "n.wpool")
    model = Net()
    del model.first
    model.extra = nn.Linear(1, 1, bias=False)
    result = load_model(model, path, strict=False)
    model.second = nn.Linear(6, 5)
    with pytest.raises(CheckpointError, match="Net: 2 of another shape: second"):
        load_model(model, path, strict=False)

    assert result == Unmatched(["extra.weight"], ["first.weight", "first.bias"])
    assert torch.equal(load_file(path)["embed.weight"], model.embed.weight)


def test_dtypes_are_the_files(tmp_path: Path) -> None:
    """Parameters take the stored dtype, so that nothing has to be copied."""
    model = Net()
    load_model(model, net_file(tmp_path / "n.wpool", dtype=BFLOAT16))

    assert torch.bfloat16 == model.first.weight.dtype
    assert torch.float32 == model.first.bias.dtype
    assert torch.int64 == model.state_dict()["norm.num_batches_tracked"].dtype


def test_training_mode_writes_to_memory_only(tmp_path: Path) -> None:
    """Batch norm counts in its buffers, which are pages of the file, copied when
    written."""
    path = net_file(tmp_path / "n.wpool")
    stored = path.read_bytes()
    model = Net().train()
    load_model(model, path, backend="mmap")
    count = model.state_dict()["norm.num_batches_tracked"].clone()
    model(torch.arange(8))

    assert count + 1 == model.state_dict()["norm.num_batches_tracked"]
    assert stored == path.read_bytes()


def test_a_loaded_model_is_an_ordinary_module(tmp_path: Path) -> None:
    """``half``, ``state_dict``, ``torch.save`` and ``deepcopy`` work; what copies gives
    each parameter memory of its own, while the model's own ties stay."""
    path = net_file(tmp_path / "n.wpool")
    model = Net().eval()
    load_model(model, path)
    twin = copy.deepcopy(model)
    stream = io.BytesIO()
    torch.save(model.state_dict(), stream)
    stream.seek(0)
    saved = Net().eval()
    saved.load_state_dict(torch.load(stream))
    halved = copy.deepcopy(model).half()

    expected = model(torch.arange(8))
    assert torch.equal(expected, twin(torch.arange(8)))
    assert torch.equal(expected, saved(torch.arange(8)))
    assert torch.float16 == halved.first.weight.dtype
    assert twin.lm_head.weight is twin.embed.weight
    assert halved.lm_head.weight is halved.embed.weight
    assert twin.first.weight.data_ptr() != twin.second.weight.data_ptr()
    with torch.no_grad():
        twin.first.weight.zero_()
    assert torch.equal(expected, model(torch.arange(8)))


def test_compiled_models_compute_the_same(tmp_path: Path) -> None:
    """Views as parameters pass through ``torch.compile``'s tracing."""
    model = Net().eval()
    load_model(model, net_file(tmp_path / "n.wpool"))
    compiled = torch.compile(model, backend="aot_eager")

    assert torch.equal(model(torch.arange(8)), compiled(torch.arange(8)))


def test_device_is_the_models_own(tmp_path: Path) -> None:
    """``device`` may be named; else it is where the model's tensors are."""
    path = net_file(tmp_path / "n.wpool")
    model = Net()
    load_model(model, path, device="meta")

    assert {"meta"} == {p.device.type for p in model.parameters()}
