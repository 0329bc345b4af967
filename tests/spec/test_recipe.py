"""The ``finetune`` section."""

from __future__ import annotations

import json

import pytest

from tests.spec.spec_texts import LEAST, mistakes, with_finetune
from wpack.spec import (
    AdamWSpec,
    DistillSpec,
    FinetuneSpec,
    HintsSpec,
    ScheduleSpec,
    SGDSpec,
    parse,
)
from wpack.spec.recipe import FisherSpec


def recipe(keys: str) -> FinetuneSpec:
    """The section with these keys."""
    found = parse(with_finetune(keys)).finetune
    assert found is not None
    return found


def test_the_defaults() -> None:
    """An empty section is a whole recipe, distilled from the checkpoint."""
    made = recipe("")

    assert FinetuneSpec() == made
    assert (10, None, 128) == (made.epochs, made.steps, made.batch_size)
    assert AdamWSpec(lr=1e-3, weight_decay=0.05, betas=(0.9, 0.999)) == made.optimizer
    assert ScheduleSpec(name="cosine", warmup=0.05) == made.schedule
    assert DistillSpec(weight=0.9, temperature=4.0, teacher=None) == made.distill
    assert made.distill is not None
    assert made.distill.hints is None
    assert ("auto", False) == (made.distill.precision, made.distill.cache)
    assert ("auto", 0, 0.0) == (made.precision, made.seed, made.label_smoothing)
    assert (0, 0.0) == (made.calibrate, made.gradual)
    assert FisherSpec(samples=1024) == made.fisher
    assert "auto" == made.optimizer.fused
    assert [False] * 3 == [
        made.compile,
        made.channels_last,
        made.gradient_checkpointing,
    ]
    assert [None] * 6 == [
        made.task,
        made.eval_batch_size,
        made.clip_norm,
        made.ema,
        made.save_every,
        made.metric,
    ]


def test_no_section_is_no_recipe() -> None:
    """The section, like its value, may be left out."""
    assert parse(LEAST).finetune is None
    assert parse(LEAST + "finetune:").finetune is None


@pytest.mark.parametrize(
    ("keys", "epochs", "steps"),
    [
        ("epochs: 3", 3, None),
        ("steps: 1_000", None, 1000),
        ("steps: 5, epochs: null", None, 5),
        ("epochs: null", 10, None),
    ],
)
def test_length_is_epochs_or_steps(
    keys: str, epochs: int | None, steps: int | None
) -> None:
    """Who gives one has not the other."""
    made = recipe(keys)

    assert (epochs, steps) == (made.epochs, made.steps)


@pytest.mark.parametrize(
    ("task", "name", "options"),
    [
        ("image-classification", "image-classification", {}),
        ("samples.digits.task:task", "samples.digits.task:task", {}),
        ("'./my task.py:make.task'", "./my task.py:make.task", {}),
        (
            "{name: image-classification, data: x.npz, size: [32, 32], name_: no}",
            "image-classification",
            {"data": "x.npz", "size": (32, 32), "name_": "no"},
        ),
    ],
)
def test_a_task_is_a_name_and_options(
    task: str, name: str, options: dict[str, object]
) -> None:
    """A bare name is a task without options."""
    made = recipe(f"task: {task}").task

    assert made is not None
    assert (name, options) == (made.name, made.options)


def test_optimizers_have_their_own_keys_and_defaults() -> None:
    """The name chooses; adamw needs no name."""
    assert (
        SGDSpec(name="sgd", lr=0.1, weight_decay=5e-4, momentum=0.9)
        == recipe("optimizer: {name: sgd, lr: 0.1}").optimizer
    )
    assert AdamWSpec(lr=1e-4) == recipe("optimizer: {lr: 1e-4}").optimizer


@pytest.mark.parametrize(
    ("warmup", "expected"), [("0.1", 0.1), ("100", 100), ("0", 0), ("1.0", 1.0)]
)
def test_warmup_is_a_fraction_or_steps(warmup: str, expected: float) -> None:
    """The decimal point tells which; 1.0 is all steps, 1 is one."""
    made = recipe(f"schedule: {{warmup: {warmup}}}").schedule.warmup

    assert (expected, type(expected)) == (made, type(made))


def test_hints() -> None:
    """Modules by pattern; they are gone by the end of the run."""
    made = recipe("distill: {hints: {modules: [layer1, 're:blocks\\.[0-9]']}}").distill

    assert made is not None
    modules = ("layer1", r"re:blocks\.[0-9]")
    assert HintsSpec(modules=modules, weight=1.0, anneal=True) == made.hints


@pytest.mark.parametrize(
    ("cache", "expected"),
    [("true", True), ("false", False), ("8GiB", 1 << 33), ("1", 1)],
)
def test_cache_is_a_switch_or_a_size(cache: str, expected: bool | int) -> None:
    """A number is bytes, and no switch."""
    made = recipe(f"distill: {{cache: {cache}}}").distill

    assert made is not None
    assert (expected, type(expected)) == (made.cache, type(made.cache))


_WARMUP = (
    "should be a fraction of the steps from 0.0 to 1.0, or a whole number of steps, not"
)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("epochs: 0", "20: finetune.epochs: should be 1 or more, not 0"),
        ("epochs: 1.5", "20: finetune.epochs: should be a whole number, not 1.5"),
        ("epochs: 5, steps: 5", "1: finetune: has both epochs and steps, should"),
        ("steps: x", "19: finetune.steps: should be a whole number, not 'x'"),
        ("epoch: 3", "12: finetune.epoch: unknown key 'epoch', did you mean 'epochs'?"),
        (
            "batch_size: '8'",
            "24: finetune.batch_size: should be a whole number, not '8'",
        ),
        (
            "optimizer: {name: sdg}",
            "30: finetune.optimizer.name: unknown optimizer 'sdg', did you mean 'sgd'?",
        ),
        (
            "optimizer: {name: {lr: 1}}",
            "30: finetune.optimizer.name: unknown optimizer a mapping (known: adamw,",
        ),
        (
            "optimizer: {name: lion}",
            "30: finetune.optimizer.name: unknown optimizer 'lion' (known: adamw, sgd)",
        ),
        (
            "optimizer: {name: [sgd]}",
            "30: finetune.optimizer.name: unknown optimizer a list (known: adamw, sgd)",
        ),
        (
            "optimizer: {momentum: 0.9}",
            "24: finetune.optimizer.momentum: unknown key 'momentum' (known: name, lr,"
            " weight_decay, betas, fused)",
        ),
        (
            "optimizer: sgd",
            "23: finetune.optimizer: should be a mapping of keys to values, not 'sgd'",
        ),
        ("optimizer: {lr: 0}", "28: finetune.optimizer.lr: should be above 0, not 0"),
        (
            "optimizer: {lr: .nan}",
            "28: finetune.optimizer.lr: should be a finite number, not nan",
        ),
        (
            "optimizer: {lr: '1e-4'}",
            "28: finetune.optimizer.lr: should be a number, not '1e-4'",
        ),
        (
            "optimizer: {betas: [0.9]}",
            "31: finetune.optimizer.betas.1: is missing",
        ),
        (
            "optimizer: {betas: [0.9, 1]}",
            "37: finetune.optimizer.betas.1: should be below 1, not 1",
        ),
        (
            "optimizer: {name: sgd, nesterov: 1}",
            "45: finetune.optimizer.nesterov: should be true or false, not 1",
        ),
        (
            "schedule: {name: cosin}",
            "29: finetune.schedule.name: should be 'cosine', 'linear' or 'constant',"
            " not 'cosin'",
        ),
        (
            "schedule: {warmup: 1.5}",
            f"31: finetune.schedule.warmup: {_WARMUP} 1.5",
        ),
        ("schedule: {warmup: -1}", f"31: finetune.schedule.warmup: {_WARMUP} -1"),
        ("schedule: {warmup: true}", f"31: finetune.schedule.warmup: {_WARMUP} true"),
        ("schedule: {warmup: .nan}", f"31: finetune.schedule.warmup: {_WARMUP} nan"),
        (
            "distill: {weight: 1.1}",
            "30: finetune.distill.weight: should be 1 or less, not 1.1",
        ),
        (
            "distill: {temperature: 0}",
            "35: finetune.distill.temperature: should be above 0, not 0",
        ),
        (
            "distill: {teacher: 3}",
            "31: finetune.distill.teacher: should be text, not 3",
        ),
        (
            "distill: {temp: 3}",
            "22: finetune.distill.temp: unknown key 'temp' (known:",
        ),
        (
            "distill: {precision: half}",
            "33: finetune.distill.precision: should be 'auto', 'float32', 'bfloat16' or"
            " 'float16', not 'half'",
        ),
        (
            "distill: {cache: 4XB}",
            "29: finetune.distill.cache: should be a size such as 64KiB, 4MiB or 1.5GB,"
            " not '4XB'",
        ),
        ("distill: {cache: 0}", "29: finetune.distill.cache: should be 1 or more, not"),
        (
            "distill: {cache: [1]}",
            "29: finetune.distill.cache: should be true, false or a size, not a list",
        ),
        (
            "distill: {cache: true, hints: {modules: [a]}}",
            "12: finetune.distill: has both hints and a cache, which keeps logits",
        ),
        (
            "distill: {hints: {weight: 1}}",
            "22: finetune.distill.hints.modules: is missing",
        ),
        (
            "distill: {hints: {modules: []}}",
            "39: finetune.distill.hints.modules: needs 1 or more, has 0",
        ),
        (
            "distill: {hints: {modules: ['qkv#q']}}",
            "40: finetune.distill.hints.modules.0: should name modules, 'qkv#q' names"
            " a part of a tensor",
        ),
        (
            "distill: {hints: {modules: ['re:(']}}",
            "40: finetune.distill.hints.modules.0: is no regular expression: missing",
        ),
        (
            "distill: {hints: {modules: [a], wait: 1}}",
            "44: finetune.distill.hints.wait: unknown key 'wait', did you mean",
        ),
        (
            "distill: {hints: {modules: [a], weight: 0}}",
            "52: finetune.distill.hints.weight: should be above 0, not 0",
        ),
        (
            "fisher: {samples: 0}",
            "30: finetune.fisher.samples: should be 1 or more, not 0",
        ),
        (
            "fisher: {sample: 3}",
            "21: finetune.fisher.sample: unknown key 'sample', did you mean 'samples'?",
        ),
        ("clip_norm: 0", "23: finetune.clip_norm: should be above 0, not 0"),
        (
            "label_smoothing: 1",
            "29: finetune.label_smoothing: should be below 1, not 1",
        ),
        ("gradual: 1", "21: finetune.gradual: should be below 1, not 1"),
        (
            "calibrate: 2, gradual: 0.5",
            "1: finetune: has both gradual and calibrate: a network whose ties"
            " fade in starts as the checkpoint, with nothing to calibrate",
        ),
        ("ema: 1", "17: finetune.ema: should be below 1, not 1"),
        (
            "precision: fp16",
            "23: finetune.precision: should be 'auto', 'float32', 'bfloat16' or"
            " 'float16', not 'fp16'",
        ),
        ("compile: 1", "21: finetune.compile: should be true or false, not 1"),
        (
            "optimizer: {fused: fast}",
            "31: finetune.optimizer.fused: should be true, false or 'auto', not 'fast'",
        ),
        ("seed: -1", "18: finetune.seed: should be 0 or more, not -1"),
        ("seed: 4294967296", "18: finetune.seed: should be below 4294967296, not"),
        ("save_every: 0", "24: finetune.save_every: should be 1 or more, not 0"),
        ("task: {data: x}", "12: finetune.task.name: is missing"),
        ("task: ''", "18: finetune.task.name: should not be empty"),
        ("task: [a]", "18: finetune.task: should be a mapping of keys to values, not"),
        (
            "task: 'a b:c'",
            "18: finetune.task.name: should be a built-in task's name, module:attribute"
            " or ./file.py:attribute, not 'a b:c'",
        ),
        ("task: 'a:'", "18: finetune.task.name: should be a built-in task's name,"),
    ],
)
def test_what_a_recipe_may_not_say(keys: str, expected: str) -> None:
    """One mistake, one message, at its place."""
    (problem,) = mistakes(with_finetune(keys))

    assert problem.startswith(f"s:3:{expected}")


def test_a_recipe_can_be_written_as_json() -> None:
    """A run records what it was asked to do."""
    made = recipe("task: {name: x, size: [1]}, optimizer: {name: sgd}, distill: null")
    record = json.loads(json.dumps(made.model_dump(mode="json")))

    assert FinetuneSpec.model_validate(record) == made
    assert {"name": "x", "size": [1]} == record["task"]
    assert "sgd" == record["optimizer"]["name"]
