"""Fine-tuning from files to files: what is refused, and what a user has to know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.test_api import training_spec
from tests.tiny import Points, network
from wpack import api
from wpack.errors import UsageError
from wpack.events import Event, Finished, Note
from wpack.spec import Spec, parse
from wpack.stopping import Interrupted


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """The tiny network, as a user saves it."""
    torch.save(network().state_dict(), tmp_path / "tiny.pt")
    return tmp_path / "tiny.pt"


def notes(events: list[Event]) -> list[str]:
    """What a user is told beside the run itself."""
    return [event.text for event in events if isinstance(event, Note)]


def test_another_task_is_not_resumed_unseen(checkpoint: Path, tmp_path: Path) -> None:
    """T05: nor is one that was named beside the spec, though its data are the same."""
    output, polls = tmp_path / "m.wpool", iter([0] * 5)
    with pytest.raises(Interrupted):
        list(
            api.finetune(
                checkpoint,
                training_spec(),
                output,
                task="tests.jobs:points",
                stop=lambda: next(polls, 130),
            )
        )
    with pytest.raises(
        UsageError, match=r'task: "tests\.jobs:points" in the run, null'
    ):
        list(api.finetune(checkpoint, training_spec(), output, resume="auto"))


def test_a_run_has_one_folder(checkpoint: Path, tmp_path: Path) -> None:
    """One to resume and another to write to are a mistake; the same twice is none."""
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    options: dict[str, Any] = {"force": True, "resume": other}
    begin = checkpoint, training_spec(), tmp_path / "m.wpool"
    with pytest.raises(UsageError, match=r"^--resume: the run of \S+other cannot"):
        list(api.finetune(*begin, run=one, **options))
    assert not (tmp_path / "one").exists()

    list(api.finetune(*begin, run=other, **options))
    assert (tmp_path / "other" / "config.json").exists()


def test_a_wpool_is_its_own_teacher(checkpoint: Path, tmp_path: Path) -> None:
    """Which is said, unless another one teaches, or nobody."""
    packed = tmp_path / "m.wpool"
    api.compress(checkpoint, training_spec(), packed)
    told = []
    for more in ("", "  distill: null\n", f"  distill: {{teacher: {checkpoint}}}\n"):
        spec = training_spec()
        found = parse(spec.text + more)
        events = list(
            api.finetune(
                packed,
                found,
                tmp_path / "n.wpool",
                force=True,
                run=tmp_path / f"run{len(told)}",
            )
        )
        told.append(any("is its own teacher" in text for text in notes(events)))

    assert [True, False, False] == told


def test_a_teachers_file_with_several_models(checkpoint: Path, tmp_path: Path) -> None:
    """There is no --key for it, and none is advised."""
    weights = network().state_dict()
    torch.save({"model": weights, "ema": weights}, tmp_path / "two.pth")
    text = f"{training_spec().text}  distill: {{teacher: {tmp_path / 'two.pth'}}}\n"
    spec = parse(text)
    with pytest.raises(UsageError) as caught:
        list(api.finetune(checkpoint, spec, tmp_path / "m.wpool"))

    assert str(caught.value) == (
        f"{tmp_path / 'two.pth'}: holds several models: 'model', 'ema'. Save the one"
        " that is to teach in a file of its own"
    )


class Half(Points):
    """A network in bfloat16, a norm included."""

    def model(self) -> nn.Module:
        """The tiny network, halved."""
        return super().model().bfloat16()

    def inputs(self, batch: Any) -> Any:
        """Points in bfloat16."""
        return batch[0].bfloat16()


half = Half()


class WideInputs(Half):
    """The same network, fed with float32."""

    def inputs(self, batch: Any) -> Any:
        """The points as they are."""
        return batch[0]


wide = WideInputs()


def halved(task: str, **options: Any) -> Spec:
    """A recipe of steps so small that bfloat16 would round them away."""
    more = "".join(f"  {key}: {value}\n" for key, value in options.items())
    text = (
        training_spec("bfloat16").text.replace("1e-2", "1e-4").replace("0.01", "1e-4")
    )
    return parse(
        text.replace("tests.test_api:points", f"tests.test_tuning:{task}") + more
    )


@pytest.mark.parametrize(
    ("task", "options"),
    [("half", {"precision": "bfloat16"}), ("wide", {"precision": "float32"})],
)
def test_what_is_kept_in_half_precision_learns(
    tmp_path: Path, task: str, options: dict[str, Any]
) -> None:
    """Norms of a bfloat16 network move by steps that are far below its last bit, and
    are rounded once, when the file is written."""
    model = half.model()
    torch.save(model.state_dict(), tmp_path / "half.pt")
    output, run = tmp_path / "m.wpool", tmp_path / "run"
    spec = halved(task, **options)
    events = list(api.finetune(tmp_path / "half.pt", spec, output, run=run))
    (state, *_) = sorted(run.glob("step-*/training.safetensors"), reverse=True)
    from safetensors.torch import load_file

    trained: Tensor = load_file(state)["model/module.1.weight"]
    stored = {t.name: t.dtype for t in api.stats(output).tensors}

    assert isinstance(events[-1], Finished)
    assert torch.float32 == trained.dtype
    assert 0 < (trained - 1).abs().max() < 2**-8
    assert "bfloat16" == str(stored["1.weight"])


@pytest.mark.parametrize("task", ["half", "wide"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_inputs_of_either_precision(tmp_path: Path, task: str, precision: str) -> None:
    """A bfloat16 network may be fed with either, in everything that calls it: to
    measure Fisher information, calibrate, teach, train and evaluate.  What training
    found is what the file scores."""
    source, output = tmp_path / "half.pt", tmp_path / "m.wpool"
    torch.save(half.model().state_dict(), source)
    spec = halved(task, precision=precision, calibrate=2, fisher="{samples: 8}")
    found = parse(spec.text.replace("1.5,", "1.5, projection: fisher,"))
    *_, last = api.finetune(source, found, output)
    scores = api.evaluate(output, f"tests.test_tuning:{task}")

    assert isinstance(last, Finished)
    if precision == "float32":
        assert last.after["test"] == pytest.approx(scores, abs=1e-6)
