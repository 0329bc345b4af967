"""What modules put out, and how two networks are compared by it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from wpack.errors import TrainingError, UsageError
from wpack.hints import Outputs, modules, pairs

LAYERS = ("first", "second")


class Block(nn.Module):
    """A layer and its activation."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.layer(x))


class Tower(nn.Module):
    """Two blocks, and modules that are not called."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.idle = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class Pair(NamedTuple):
    """An output as transformers have them."""

    index: Tensor
    hidden: Tensor


class Giving(nn.Module):
    """A module that puts out something made of its weight."""

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.inner = _Inner(make)

    def forward(self, x: Tensor) -> Any:
        return self.inner(x)


class _Inner(nn.Module):
    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.make = make
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Any:
        return self.make(x * self.weight)


X = torch.ones(4, 3)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["blocks.0"], ["blocks.0"]),
        (["blocks.*"], ["blocks.0", "blocks.1"]),
        (["blocks.*.relu"], ["blocks.0.relu", "blocks.1.relu"]),
        (["re:blocks\\.[01]\\.layer"], ["blocks.0.layer", "blocks.1.layer"]),
        (["*"], ["blocks", "idle"]),
        (["blocks.1.relu", "blocks.*"], ["blocks.1.relu", "blocks.0", "blocks.1"]),
    ],
)
def test_modules_of_patterns(patterns: list[str], expected: list[str]) -> None:
    """Globs as for tensors; of nested matches of one pattern the outermost."""
    tower = Tower()
    found = modules(tower, patterns)

    assert expected == list(found)
    assert all(tower.get_submodule(name) is module for name, module in found.items())


def test_pattern_that_matches_nothing() -> None:
    """A misspelt hint is refused, with what there is."""
    with pytest.raises(UsageError) as caught:
        modules(Tower(), ["blocks.0", "block.*"])

    assert (
        "finetune.distill.hints: 'block.*' matches no module."
        " The network is made of blocks, idle"
    ) == str(caught.value)


def test_pattern_of_a_network_without_modules() -> None:
    """There is nothing to name."""
    with pytest.raises(UsageError, match=r"matches no module\. It has no modules$"):
        modules(nn.ReLU(), ["*"])


def test_pattern_that_takes_too_long() -> None:
    """A regular expression that would never end is stopped."""
    tower = nn.ModuleDict({"a" * 40: nn.ReLU()})
    with pytest.raises(UsageError) as caught:
        modules(tower, ["re:(a+)+b"])

    assert "finetune.distill.hints: 're:(a+)+b' takes over 1 s to match" == str(
        caught.value
    )


def test_outputs_are_heard_in_the_block_only() -> None:
    """What is called outside, as an evaluation does, is not kept; each block begins
    anew."""
    tower = Tower()
    outputs = Outputs(modules(tower, ["blocks.*"]))
    tower(X)
    assert {} == outputs.heard
    for _ in range(2):
        with outputs.listening():
            result = tower(X)
    tower(0 * X)
    first, second = outputs.heard.values()

    assert second[0] is result
    assert [1, 1] == [len(first), len(second)]
    assert torch.equal(tower.blocks[0](X), first[0])


def test_closing_takes_the_hooks_away() -> None:
    """The network is as it was, and can be copied without what was heard."""
    tower = Tower()
    outputs = Outputs(modules(tower, ["blocks.*"]))
    with outputs.listening():
        tower(X)
    outputs.close()

    assert {} == outputs.heard
    assert not any(module._forward_hooks for module in tower.modules())
    copy.deepcopy(tower)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x,
        lambda x: (None, x, 2 * x),
        lambda x: {"n": 3, "index": torch.arange(2), "hidden": [x]},
        lambda x: Pair(torch.arange(2), x),
    ],
)
def test_first_float_tensor_is_the_output(make: Callable[[Tensor], Any]) -> None:
    """Of tuples, mappings and what is made of them."""
    module = Giving(make)
    outputs = Outputs({"inner": module.inner})
    with outputs.listening():
        module(torch.tensor([2.0, 3.0]))

    assert [[2.0, 3.0]] == [t.tolist() for t in outputs.heard["inner"]]


def test_scalar_output_is_one_example() -> None:
    """A rank of 0 counts as one example of one value."""
    module = Giving(lambda x: x.sum())
    outputs = Outputs({"inner": module.inner})
    with outputs.listening():
        module(torch.tensor([2.0, 3.0]))

    assert [5.0] == outputs.heard["inner"][0].tolist()


def test_module_that_is_called_twice() -> None:
    """Each of its outputs is compared with the teacher's of the same call."""
    shared = nn.Linear(3, 3)
    network = nn.Sequential(shared, nn.Sequential(shared))
    outputs = Outputs({"0": shared})
    with outputs.listening():
        result = network(X)
    (first, again), (second, _) = pairs(outputs, outputs)

    assert first is again
    assert torch.equal(second, result)


def heard(module: nn.Module, name: str = "inner") -> Outputs:
    """What a module put out for ones."""
    outputs = Outputs({name: module.get_submodule(name)})
    with outputs.listening():
        module(torch.ones(2))
    return outputs


_WHERE = "finetune.distill.hints: module 'inner': "


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [
        (
            lambda x: x,
            lambda x: x.repeat(2),
            "the student's puts out (2,), the teacher's (4,)",
        ),
        (lambda x: x.detach(), lambda x: x, "no gradient flows back from it"),
        (lambda x: "x", lambda x: x, "puts out a str without a float tensor"),
        (
            lambda x: torch.arange(2),
            lambda x: x,
            "puts out a Tensor without a float tensor",
        ),
    ],
)
def test_outputs_that_cannot_be_compared(
    student: Callable[[Tensor], Any], teacher: Callable[[Tensor], Any], expected: str
) -> None:
    """The message says which module, and why."""
    with pytest.raises(TrainingError) as caught:
        list(pairs(heard(Giving(student)), heard(Giving(teacher))))

    assert _WHERE + expected == str(caught.value)


def test_module_that_is_not_called() -> None:
    """A hint about a module that takes no part is refused, whosever it is."""
    tower = Tower()
    outputs = Outputs({"idle": tower.idle})
    with outputs.listening():
        tower(X)
    called = Outputs({"idle": tower.idle})
    with called.listening():
        tower.idle(X)
    for student, teacher, who in ((outputs, called, "st"), (called, outputs, "t")):
        with pytest.raises(TrainingError) as caught:
            list(pairs(student, teacher))
        expected = {"st": "student", "t": "teacher"}[who]
        assert (
            "finetune.distill.hints: module 'idle': the"
            f" {expected} does not call it. Name another"
        ) == str(caught.value)
    twice = Outputs({"idle": tower.idle})
    with twice.listening():
        tower.idle(tower.idle(X))
    with pytest.raises(TrainingError, match=r"calls it 2 times, the teacher 1$"):
        list(pairs(twice, called))


class Overwriting(nn.Module):
    """Layers whose outputs are written to in place, or are not."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.relu = nn.ReLU(inplace=inplace)
        self.second = nn.Linear(3, 3)
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        y = self.second(x)
        if not self.inplace:
            return y + x
        y += x
        return y


def test_what_is_overwritten_later() -> None:
    """It is heard as it was put out, with the gradients of that, at each batch."""
    torch.manual_seed(0)
    plain = Overwriting(False)
    inplace = Overwriting(True)
    inplace.load_state_dict(plain.state_dict())
    found = []
    for network in (plain, inplace):
        outputs = Outputs({name: network.get_submodule(name) for name in LAYERS})
        for _ in range(3):
            network.zero_grad()
            with outputs.listening():
                network(X)
            heard = [outputs.heard[name][0] for name in LAYERS]
            sum(h.square().sum() for h in heard).backward()
        found.append([*heard, *(p.grad for p in network.parameters())])

    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_what_is_not_overwritten_is_not_copied_twice() -> None:
    """After the first batch a module is heard as it is; overwritten only then, it is a
    mistake."""
    network = Overwriting(False)
    outputs = Outputs({"second": network.second})
    given: list[Tensor] = []
    network.second.register_forward_hook(lambda *called: given.append(called[2]))
    for _ in range(2):
        with outputs.listening():
            network(X)

    assert outputs.heard["second"][0] is given[1]
    network.inplace = True
    with pytest.raises(TrainingError, match=r"module 'second': is written to in place"):
        with outputs.listening():
            network(X)
