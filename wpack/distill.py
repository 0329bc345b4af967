"""The losses that pull a student to its teacher."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``T² · KL(softmax(teacher / T) ‖ softmax(student / T))``, the mean over rows; but
    those that are nothing but zeros in both, as tasks have padding, do not count.

    T² keeps the gradient's size about the same at every temperature (Hinton, Vinyals,
    Dean: "Distilling the Knowledge in a Neural Network").  Teacher and student are to
    see the same crop of an image, and many of them (Beyer et al.: "Knowledge
    distillation: A good teacher is patient and consistent").

    Args:
        student: Logits, ``(..., classes)``; computed in float32 whatever their dtype.
        teacher: Logits of the same shape; no gradient flows into them.
        temperature: T > 0.

    Returns:
        A 0-d float32 tensor, at least 0 up to rounding.
    """
    teacher = teacher.detach()
    log_q = functional.log_softmax(student.float() / temperature, dim=-1)
    log_p = functional.log_softmax(teacher.float() / temperature, dim=-1)
    total = functional.kl_div(log_q, log_p, reduction="sum", log_target=True)
    counted = (student.detach() != 0).any(-1) | (teacher != 0).any(-1)
    return temperature**2 * total / counted.sum().clamp(min=1)


def relative_error(student: Tensor, teacher: Tensor) -> Tensor:
    """``‖student - teacher‖² / ‖teacher‖²`` of each example, the mean over examples.

    The hint of FitNets (Romero et al.: "FitNets: Hints for Thin Deep Nets") without
    their regressor, which networks of one architecture do not need.  Divided by the
    teacher's energy it has no scale: 0 is agreement, and a student that puts out zeros
    has 1, in a layer of large values as in one of small ones.  An example in which the
    teacher puts out nothing but zeros sets no scale, and counts as 0.

    Args:
        student: ``(examples, ...)``; computed in float32 whatever its dtype.
        teacher: Of the same shape; no gradient flows into it.

    Returns:
        A 0-d float32 tensor, at least 0.
    """
    examples = student.shape[0]
    target = teacher.detach().float().reshape(examples, -1)
    energy = target.square().sum(1)
    error = (student.float().reshape(examples, -1) - target).square().sum(1)
    # Where the divisor would be zero, the error is not divided but left out: an
    # infinity would be a NaN in the gradient even where another value is chosen.
    has_scale = energy > 0
    return (error * has_scale / energy.where(has_scale, 1.0)).mean()


def blend(task_loss: Tensor, distillation: Tensor, weight: float) -> Tensor:
    """``(1 - weight) · task + weight · distillation``, both 0-d."""
    return torch.lerp(task_loss.float(), distillation, weight)
