"""The built-in task for next-token prediction."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from wpack.devices import place
from wpack.distill import divergence
from wpack.errors import UsageError
from wpack.evaluate import evaluate
from wpack.finetune import finetune
from wpack.spec import FinetuneSpec
from wpack.tasks import Task, make_task
from wpack.windows import IGNORED, RandomWindows, StridedWindows, Texts

TEXT = "the cat sat on the mat and the rat sat on the cat\n" * 12
MODELS = "tests.tasks.test_language_modeling"
PLACEMENT = place("cpu", "float32")


class Bigram(nn.Module):
    """A model whose next token depends on the last alone."""

    def __init__(self, vocabulary: int = 14) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, vocabulary)

    def forward(self, tokens: Tensor) -> Any:
        return self.table(tokens)


class Wrapped(Bigram):
    """The same with its logits in an object and a cache to turn off, as transformers'
    models have."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(use_cache=True)

    def forward(self, tokens: Tensor) -> Any:
        return SimpleNamespace(logits=super().forward(tokens))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A text of 600 characters, 14 different ones, and rows of tokens."""
    (tmp_path / "a.txt").write_text(TEXT)
    np.save(tmp_path / "rows.npy", np.array([[1, 2, 3, 0], [4, 5, 0, 0]]))
    return tmp_path


def task(folder: Path, **options: Any) -> Task:
    """The task on the text, with relative paths from ``folder``."""
    defaults = {
        "model": f"{MODELS}:Bigram",
        "train": "a.txt",
        "validation": 0.1,
        "tokenizer": "characters",
        "length": 16,
    }
    return make_task("language-modeling", {**defaults, **options}, folder)


def batch(made: Task, split: str) -> Any:
    """All of a split."""
    data = made.data(split)
    return data.batch(torch.arange(len(data)), torch.Generator().manual_seed(0))


def test_tokens_are_counted(folder: Path) -> None:
    """Speed is in tokens: two rows of as many as are predicted, padding too."""
    made = task(folder, train="rows.npy", validation=None, length=None, padding=0)

    assert ("tokens", 2 * 3) == (made.unit, made.count(batch(made, "train")))


def test_splits(folder: Path) -> None:
    """Training sees random windows, evaluation every token; a split that is not named
    is None."""
    made = task(folder, stride=4)

    assert isinstance(made.data("train"), RandomWindows)
    assert isinstance(made.data("validation"), StridedWindows)
    assert 33 == len(made.data("train"))
    assert 12 == len(made.data("validation"))
    assert made.data("test") is None


def test_rows_of_tokens(folder: Path) -> None:
    """Rows are examples as they are, and need no length."""
    made = task(folder, train="rows.npy", validation="rows.npy", length=None, padding=0)

    assert isinstance(made.data("train"), Texts)
    assert [2, 3, IGNORED, 5, IGNORED, IGNORED] == made.targets(
        batch(made, "validation")
    ).tolist()


def test_loss_and_metrics_by_hand(folder: Path) -> None:
    """The loss is the mean over tokens that are predicted; metrics have a value for
    each of those."""
    made = task(folder, train="rows.npy", validation=None, length=None, padding=0)
    examples = batch(made, "train")
    logits = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0))
    rows = logits.log_softmax(-1)
    losses = torch.stack([-rows[0, 0, 2], -rows[0, 1, 3], -rows[1, 0, 5]])
    guesses = [logits[0, 0].argmax() == 2, logits[0, 1].argmax() == 3]
    metrics = made.metrics(logits, examples)

    assert torch.allclose(losses.mean(), made.loss(logits, examples))
    assert torch.allclose(losses, metrics["loss"])
    assert [*guesses, logits[1, 0].argmax() == 5] == metrics["accuracy"].tolist()


def test_label_smoothing(folder: Path) -> None:
    """Smoothing is torch's, over the tokens that are predicted."""
    made = task(folder, train="rows.npy", validation=None, length=None, padding=0)
    examples = batch(made, "train")
    logits = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0))
    expected = functional.cross_entropy(
        logits.flatten(0, 1),
        made.targets(examples),
        ignore_index=IGNORED,
        label_smoothing=0.1,
    )

    assert torch.allclose(expected, made.loss(logits, examples, label_smoothing=0.1))


def test_nothing_to_predict(folder: Path) -> None:
    """A batch of padding alone costs nothing, rather than NaN."""
    np.save(folder / "rows.npy", np.zeros((2, 4), np.int64))
    made = task(folder, train="rows.npy", validation=None, length=None, padding=0)

    assert 0.0 == float(made.loss(torch.randn(2, 3, 6), batch(made, "train")))


def test_distillation_leaves_padding_alone(folder: Path) -> None:
    """Student and teacher are compared where a token is predicted, with a row for each
    token of each example."""
    made = task(folder, train="rows.npy", validation=None, length=None, padding=0)
    examples = batch(made, "train")
    student, teacher = torch.zeros(2, 3, 6), torch.zeros(2, 3, 6)
    teacher[1, 1:, 0] = 9.0  # of padding

    rows = [made.logits(each, examples) for each in (student, teacher)]
    assert (6, 6) == rows[0].shape
    assert 0.0 == float(divergence(rows[0], rows[1], 2.0))


@pytest.mark.parametrize(
    ("options", "unit"),
    [({}, "character"), ({"tokenizer": "bytes"}, "byte")],
)
def test_derived_metrics(folder: Path, options: dict[str, Any], unit: str) -> None:
    """Perplexity and bits follow from the exact mean loss over all tokens, whatever
    the batches."""
    made = task(folder, **options)
    model = Bigram(128)
    found = [
        evaluate(
            model, made, made.data("validation"), batch_size=n, placement=PLACEMENT
        )
        for n in (1, 3)
    ]

    loss = found[0]["loss"]
    assert ["loss", "accuracy", "perplexity", f"bits_per_{unit}"] == list(found[0])
    assert math.exp(loss) == found[0]["perplexity"]
    assert loss / math.log(2) == found[0][f"bits_per_{unit}"]
    assert loss == pytest.approx(found[1]["loss"], rel=1e-6)
    assert set(found[0]) - {"accuracy"} <= set(made.lower_is_better)
    assert math.inf == made.derived({"loss": 1e9})["perplexity"]


def test_stride_changes_no_bigram(folder: Path) -> None:
    """A model that sees one token back scores the same at every stride: each token is
    counted once."""
    model = Bigram()
    losses = [
        evaluate(
            model,
            made := task(folder, stride=stride),
            made.data("validation"),
            batch_size=4,
            placement=PLACEMENT,
        )["loss"]
        for stride in (16, 5, 1)
    ]

    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert losses[0] == pytest.approx(losses[2], rel=1e-6)


def test_it_learns(folder: Path) -> None:
    """A table of pairs learns which character follows which."""
    made = task(folder)
    recipe = {
        "epochs": 8,
        "batch_size": 8,
        "optimizer": {"name": "adamw", "lr": 0.3},
        "distill": None,
    }
    torch.manual_seed(0)
    *_, finished = finetune(
        made.model(), made, FinetuneSpec.model_validate(recipe), device="cpu"
    )

    assert "loss" == finished.metric
    assert finished.before["validation"]["loss"] > 2.5
    assert finished.after["validation"]["loss"] < 1.1


def test_models_with_outputs_and_caches(folder: Path) -> None:
    """Logits may come in an object; a cache for generation is turned off."""
    made = task(folder, model=f"{MODELS}:Wrapped")
    model = made.model()
    examples = batch(made, "validation")

    assert model.config.use_cache is False
    outputs = model(made.inputs(examples))
    assert (len(examples[0]) * 16, 14) == made.logits(outputs, examples).shape


def message(folder: Path, **options: Any) -> str:
    """What is wrong with the options."""
    with pytest.raises(UsageError) as caught:
        task(folder, **options).data("train")
    return str(caught.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"length": None},
            "train: a.txt is one stream of tokens, and length is not given. Set length"
            " to the tokens that the model sees at once",
        ),
        ({"length": 0}, "length: must be a whole number of at least 1, got 0"),
        ({"length": 1.5}, "length: must be a whole number of at least 1, got 1.5"),
        ({"stride": 17}, "stride: must be a whole number from 1 to 16, got 17"),
        (
            {"train": "rows.npy", "length": 2},
            "train: length is 2, the texts in rows.npy have 3 tokens to predict. Cut"
            " them, or store them as one stream, (tokens,)",
        ),
        (
            {"model": "gpt"},
            "model: 'gpt' is no module:attribute, no ./file.py:attribute and no folder",
        ),
        (
            {"model": ".", "model_options": {"layers": 2}},
            "model_options: . is a folder, whose config.json has the model's options",
        ),
    ],
)
def test_wrong_options(folder: Path, options: dict[str, Any], expected: str) -> None:
    """Options that do not fit are told by their names."""
    found = message(folder, **options).replace(str(folder), ".")

    assert f"language-modeling: {expected}" == found


def test_folder_without_a_model(folder: Path) -> None:
    """A folder without a config.json is no model."""
    assert (
        f"{folder}: there is no config.json in it. save_pretrained writes one beside"
        " the model's weights"
    ) == message(folder, model=".")
