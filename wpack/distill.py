"""The losses that pull a student to its teacher."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``T² · KL(softmax(teacher / T) ‖ softmax(student / T))``, the mean over rows.

    T² keeps the gradient's size about the same at every temperature (Hinton, Vinyals,
    Dean: "Distilling the Knowledge in a Neural Network").

    Args:
        student: Logits, ``(..., classes)``; computed in float32 whatever their dtype.
        teacher: Logits of the same shape; no gradient flows into them.
        temperature: T > 0.

    Returns:
        A 0-d float32 tensor, at least 0 up to rounding.
    """
    classes = student.shape[-1]
    log_q = functional.log_softmax(student.float() / temperature, dim=-1)
    log_p = functional.log_softmax(teacher.detach().float() / temperature, dim=-1)
    return temperature**2 * functional.kl_div(
        log_q.reshape(-1, classes),
        log_p.reshape(-1, classes),
        reduction="batchmean",
        log_target=True,
    )


def blend(task_loss: Tensor, distillation: Tensor, weight: float) -> Tensor:
    """``(1 - weight) · task + weight · distillation``, both 0-d."""
    return torch.lerp(task_loss.float(), distillation, weight)
