"""transformers' causal models in local folders, from the folder to the .wpool."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import wpack
from wpack import api
from wpack.data import ItemData, converted, fingerprint
from wpack.devices import place
from wpack.errors import UsageError
from wpack.finetune import finetune
from wpack.fisher import fisher
from wpack.spec import FinetuneSpec, load
from wpack.tasks import Task, make_task
from wpack.transformers_folder import TransformersFolder, library

PLACEMENT = place("cpu", "float32")
TEXT = "the cat sat on the mat and the rat sat on the cat\n" * 8
SPEC = """
version: 1
pools: {blocks: {tensors: ["model.layers.*.weight"], ratio: 1.5}}
finetune:
  task:
    name: language-modeling
    model: model
    train: a.txt
    validation: 0.2
    length: 8
  steps: 6
  batch_size: 4
  optimizer: {name: adamw, lr: 1e-2}
"""


@pytest.fixture
def transformers() -> Any:
    """The library; tests that need it are skipped where it is not installed."""
    return pytest.importorskip(
        "transformers", reason="the extra hf is not installed", exc_type=ImportError
    )


@pytest.fixture
def folder(tmp_path: Path, transformers: Any) -> Path:
    """A text, and in ``model`` a Llama of two layers whose output matrix is its
    embedding, with a tokenizer of bytes."""
    config = transformers.LlamaConfig(
        vocab_size=257,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=32,
        tie_word_embeddings=True,
        dtype="bfloat16",
    )
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    tokenizers = library("tokenizers")
    letters = {chr(code): code for code in range(256)}
    inner = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({**letters, "[U]": 256}, unk_token="[U]")
    )
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=inner)
    fast.save_pretrained(tmp_path / "model")
    (tmp_path / "a.txt").write_text(TEXT)
    return tmp_path


def task(folder: Path, **options: Any) -> Task:
    """The task on the folder's model."""
    defaults = {"model": "model", "train": "a.txt", "validation": 0.2, "length": 8}
    return make_task("language-modeling", {**defaults, **options}, folder)


def test_model(folder: Path) -> None:
    """The folder's model, in float32 whatever it was stored in, with no cache."""
    model = task(folder).model()

    assert {torch.float32} == {p.dtype for p in model.parameters()}
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.config.use_cache is False


def test_tokenizer(folder: Path) -> None:
    """Text is read with the folder's tokenizer; nothing is added to it."""
    data = task(folder).data("validation")
    assert data is not None

    assert list(TEXT[320:].encode()) == data.tokens.tolist()
    assert 257 == data.vocabulary


def test_finetune_a_folder(folder: Path) -> None:
    """A checkpoint of save_pretrained is tied, trained with itself as the teacher, and
    loads; its output matrix is still its embedding."""
    checkpoint, output = folder / "model" / "model.safetensors", folder / "out.wpool"
    (folder / "spec.yaml").write_text(SPEC)
    spec = load(folder / "spec.yaml")
    *_, finished = api.finetune(checkpoint, spec, output, device="cpu")
    state = wpack.load_file(output)
    model = task(folder).model()

    assert finished.after["validation"]["loss"] < finished.before["validation"]["loss"]
    assert "lm_head.weight" not in load_file(checkpoint)
    wpack.load_model(model, output)
    embedding = model.model.embed_tokens.weight
    assert torch.equal(state["model.embed_tokens.weight"].float(), embedding)
    assert model.lm_head.weight is embedding
    assert api.stats(output).free_parameters < sum(p.numel() for p in state.values())


def test_longest_text(folder: Path) -> None:
    """More tokens than the model has positions for are refused."""
    with pytest.raises(UsageError) as caught:
        task(folder, length=33)

    assert (
        "language-modeling: length: must be a whole number from 1 to 32, got 33"
    ) == str(caught.value)


def test_code_of_a_folder_is_not_run(folder: Path) -> None:
    """A configuration that names code of its own is refused."""
    path = folder / "model" / "config.json"
    config = json.loads(path.read_text())
    config |= {"model_type": "new", "auto_map": {"AutoConfig": "evil.Config"}}
    path.write_text(json.dumps(config))
    (folder / "model" / "evil.py").write_text("raise SystemExit")
    with pytest.raises(UsageError) as caught:
        task(folder)

    said = str(caught.value)
    assert said.startswith(
        f"{folder / 'model'}: transformers cannot read the configuration: ValueError: "
    )


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without transformers, the way to install it is told."""
    (tmp_path / "config.json").write_text("{}")

    def absent(name: str, package: str | None = None) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr("wpack.transformers_folder.importlib.import_module", absent)
    with pytest.raises(UsageError) as caught:
        TransformersFolder(tmp_path).model()

    assert (
        "language-modeling: transformers is needed and cannot be imported: No module"
        " named 'transformers'. pip install 'wpack[hf]'"
    ) == str(caught.value)


class Labelled(Task):
    """A user's own task whose batches are a tokenizer's output, with labels in it."""

    metric = "loss"

    def __init__(self, model: nn.Module, encoding: type) -> None:
        self.made = model
        self.encoding = encoding

    def model(self) -> nn.Module:
        return self.made

    def data(self, split: str) -> Any:
        tokens = torch.arange(24).reshape(6, 4)
        labels = torch.arange(6) % 3
        return [
            self.encoding({"input_ids": row, "labels": label})
            for row, label in zip(tokens, labels, strict=True)
        ]


class Pooled(nn.Module):
    """Class logits of token numbers given by name."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(24, 3)

    def forward(self, *, input_ids: Tensor) -> Tensor:
        logits: Tensor = self.table(input_ids).mean(1)
        return logits


@pytest.mark.parametrize("kind", ["dict", "BatchEncoding"])
def test_batches_by_name(kind: str, request: pytest.FixtureRequest) -> None:
    """Batches that are dicts or a tokenizer's BatchEncoding train (in parts, too),
    evaluate and are measured like tuples."""
    encoding: type = dict
    if kind == "BatchEncoding":
        encoding = request.getfixturevalue("transformers").BatchEncoding
    torch.manual_seed(0)
    labelled = Labelled(Pooled(), encoding)
    recipe = {
        "epochs": 20,
        "batch_size": 6,
        "accumulate": 2,
        "optimizer": {"name": "adamw", "lr": 0.1},
        "distill": None,
    }
    found = fisher(
        labelled.made,
        labelled,
        ItemData(labelled.data("train")),
        samples=6,
        placement=PLACEMENT,
    )
    *_, finished = finetune(
        labelled.made, labelled, FinetuneSpec.model_validate(recipe), device="cpu"
    )

    assert (found["table.weight"] > 0).all()
    assert 1.0 == finished.after["test"]["accuracy"]


@pytest.mark.parametrize("kind", ["dict", "BatchEncoding"])
def test_converted(kind: str, request: pytest.FixtureRequest) -> None:
    """A batch keeps its kind when its tensors are converted, and is not changed; it is
    moved and told from another alike."""
    encoding: type = dict
    if kind == "BatchEncoding":
        encoding = request.getfixturevalue("transformers").BatchEncoding
    data = ItemData(Labelled(Pooled(), encoding).data("train"))
    batch = data.batch(torch.arange(3), torch.Generator())
    part = converted(batch, lambda tensor: tensor[1:])

    assert encoding is type(batch) is type(part)
    assert isinstance(batch, Mapping)
    assert [3, 2] == [len(each["labels"]) for each in (batch, part)]
    assert torch.equal(batch["labels"], PLACEMENT.move(batch)["labels"])
    assert fingerprint(data) == fingerprint(data)
