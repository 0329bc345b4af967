"""Images blended in pairs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from wpack.mixing import Mixed, Mixing, cross_entropy

COUNT = 64


def mixed(mixing: Mixing, seed: int = 0) -> Mixed:
    """A batch in which every pixel of image i is i."""
    images = torch.arange(float(COUNT)).view(-1, 1, 1, 1).expand(-1, 3, 6, 8)
    generator = torch.Generator().manual_seed(seed)
    return mixing(images.contiguous(), torch.arange(COUNT), generator)


def test_mixup() -> None:
    """Each pixel is the image's and its partner's, in the shares that their labels
    have."""
    images, labels, others, share = mixed(Mixing(mixup=0.8))
    expected = share * labels + (1 - share) * others

    assert torch.allclose(expected.view(-1, 1, 1, 1).expand_as(images), images)
    assert [COUNT - 1, *range(COUNT - 1)] == others.tolist()
    assert len(set(share.tolist())) > COUNT // 2


def test_cutmix() -> None:
    """Some pixels are the partner's, in a rectangle, and the share counts them."""
    images, labels, others, share = mixed(Mixing(cutmix=1.0))
    foreign = images[:, 0] == others.view(-1, 1, 1)

    assert torch.equal(
        images == labels.view(-1, 1, 1, 1), ~foreign.unsqueeze(1).expand_as(images)
    )
    assert torch.allclose(1 - foreign.float().mean(dim=(1, 2)), share)
    rows, columns = foreign.any(2), foreign.any(1)
    assert torch.equal(rows.unsqueeze(2) & columns.unsqueeze(1), foreign)
    for line in (*rows, *columns):
        assert "0" not in "".join(map(str, line.int().tolist())).strip("0")


@pytest.mark.parametrize("mixing", [Mixing(mixup=0.3), Mixing(cutmix=0.3)])
def test_shares_are_beta_distributed(mixing: Mixing) -> None:
    """Of mean ½, and the smaller α is, the nearer to 0 or 1."""
    images = torch.zeros(4000, 1, 32, 32)
    *_, share = mixing(images, torch.arange(4000), torch.Generator().manual_seed(0))

    assert float(share.min()) >= 0
    assert float(share.max()) <= 1
    if mixing.mixup:  # A rectangle that is cut off at the edge leaves more.
        assert 0.5 == pytest.approx(float(share.mean()), abs=0.03)
        assert 1 / (4 * 1.6) == pytest.approx(float(share.var()), abs=0.01)
    else:
        assert 0.55 < float(share.mean()) < 0.75


def test_both_kinds_take_turns() -> None:
    """With both, a batch is of one kind, about every second of each."""
    kinds = []
    for seed in range(100):
        images, labels, others, _ = mixed(Mixing(0.8, 1.0), seed)
        own = (images == labels.view(-1, 1, 1, 1)) | (
            images == others.view(-1, 1, 1, 1)
        )
        kinds.append(bool(own.all()))

    assert 50 == pytest.approx(sum(kinds), abs=15)


def test_rows_of_a_batch_are_a_batch() -> None:
    """The loss of a batch is the mean of its parts', as processes share it out."""
    _, *targets = mixed(Mixing(0.8))
    logits = torch.randn(COUNT, COUNT, generator=torch.Generator().manual_seed(0))
    whole = cross_entropy(logits, targets, 0.1)
    halves = [
        cross_entropy(logits[rows], [target[rows] for target in targets], 0.1)
        for rows in (slice(0, COUNT // 2), slice(COUNT // 2, COUNT))
    ]

    assert torch.allclose(whole, torch.stack(halves).mean())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_against_soft_targets(smoothing: float) -> None:
    """Both labels in their shares are what torch makes of one distribution."""
    _, labels, others, share = mixed(Mixing(cutmix=1.0))
    logits = torch.randn(COUNT, COUNT, generator=torch.Generator().manual_seed(0))

    def one_hot(classes: Tensor) -> Tensor:
        return functional.one_hot(classes, COUNT).float()

    column = share.unsqueeze(1)
    soft = column * one_hot(labels) + (1 - column) * one_hot(others)
    expected = functional.cross_entropy(logits, soft, label_smoothing=smoothing)

    found = cross_entropy(logits, (labels, others, share), smoothing)
    assert torch.allclose(expected, found)
    plain = functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    assert torch.equal(plain, cross_entropy(logits, (labels,), smoothing))
