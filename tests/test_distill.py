"""Distillation losses, against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from wpack.distill import blend, divergence, relative_error


def test_divergence_by_hand() -> None:
    """Softmax at T = 2 of logits 2 ln 3 and 0 is (3/4, 1/4); against a flat student
    the divergence is 4 · (3/4 ln 3/2 + 1/4 ln 1/2)."""
    teacher = torch.tensor([[2 * math.log(3.0), 0.0]])
    student = torch.tensor([[1.0, 1.0]])
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))

    assert expected == pytest.approx(divergence(student, teacher, 2.0).item(), rel=1e-6)


def test_divergence_is_a_mean_over_rows() -> None:
    """Rows are averaged, however many dimensions they are arranged in."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 6, 5, generator=generator)
    rows = [
        divergence(s[None], t[None], 3.0) for s, t in zip(student, teacher, strict=True)
    ]
    expected = torch.stack(rows).mean()

    assert torch.allclose(expected, divergence(student, teacher, 3.0))
    cube = divergence(student.view(2, 3, 5), teacher.view(2, 3, 5), 3.0)
    assert torch.allclose(expected, cube)


def test_divergence_of_what_does_not_count() -> None:
    """Padding, rows of zeros in both, changes nothing; zeros in one of them count."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 3, 5, generator=generator)
    teacher[1] = 0
    padding = torch.zeros(7, 5)
    expected = divergence(student, teacher, 2.0)
    padded = divergence(
        torch.cat([student, padding]), torch.cat([teacher, padding]), 2.0
    )

    assert torch.allclose(expected, padded)
    assert 0.0 == divergence(padding, padding, 2.0).item()


def test_divergence_from_itself() -> None:
    """A student that agrees with its teacher has nothing to learn."""
    logits = torch.tensor([[3.0, -1.0, 0.5]], requires_grad=True)
    loss = divergence(logits, logits, 4.0)
    loss.backward()

    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert logits.grad is not None
    assert torch.allclose(torch.zeros(1, 3), logits.grad, atol=1e-6)


def test_divergence_teaches_the_student_only() -> None:
    """No gradient flows into the teacher, and half precision is widened first."""
    student = torch.tensor([[1.0, 2.0]], dtype=torch.bfloat16, requires_grad=True)
    teacher = torch.tensor([[2.0, 1.0]], requires_grad=True)
    loss = divergence(student, teacher, 1.0)
    loss.backward()

    assert torch.float32 == loss.dtype
    assert student.grad is not None
    assert teacher.grad is None


def test_relative_error_by_hand() -> None:
    """Energies of the errors, 1 and 8, over the teacher's, 4 and 2: the mean of the
    examples' shares."""
    student = torch.tensor([[[1.0, 0.0]], [[-1.0, 3.0]]])
    teacher = torch.tensor([[[2.0, 0.0]], [[1.0, 1.0]]])

    assert (1 / 4 + 8 / 2) / 2 == relative_error(student, teacher).item()


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_relative_error_has_no_scale(scale: float) -> None:
    """Nothing changes where both are a thousand times as large, and silence is 1."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 5, 3, 2, generator=generator)
    expected = relative_error(student, teacher).item()

    assert expected == pytest.approx(
        relative_error(scale * student, scale * teacher).item(), rel=1e-5
    )
    assert 1.0 == pytest.approx(relative_error(0 * teacher, scale * teacher).item())


def test_relative_error_teaches_the_student_only() -> None:
    """No gradient flows into the teacher; half precision is widened first; where the
    teacher is silent nothing is taught, and no NaN either."""
    student = torch.tensor([[1.0], [2.0]], dtype=torch.float16, requires_grad=True)
    teacher = torch.tensor([[2.0], [0.0]], requires_grad=True)
    loss = relative_error(student, teacher)
    loss.backward()

    assert torch.float32 == loss.dtype
    assert 0.125 == loss.item()
    assert student.grad is not None
    assert [[-0.25], [0.0]] == student.grad.tolist()
    assert teacher.grad is None


@pytest.mark.parametrize(("weight", "expected"), [(0.0, 2.0), (0.25, 3.0), (1.0, 6.0)])
def test_blend(weight: float, expected: float) -> None:
    """(1 - w) · task + w · distillation."""
    assert expected == blend(torch.tensor(2.0), torch.tensor(6.0), weight).item()
