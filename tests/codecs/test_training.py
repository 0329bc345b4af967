"""What training asks of a codec that has nothing to say."""

from __future__ import annotations

import pytest
import torch

from tests.codecs.coding import called, every
from wpack.codecs import Codec, Quantiser


@pytest.mark.parametrize("codec", every(Codec), ids=called)
def test_in_the_end_it_is_itself(codec) -> None:
    """Whatever its schedule."""
    assert codec == codec.during(1.0)


@pytest.mark.parametrize("codec", every(Quantiser), ids=called)
def test_gradients_of_different_weights(codec) -> None:
    """Each is its own, of its dtype."""
    latents = torch.linspace(-1, 1, 999)
    gradient = torch.linspace(2, 3, 999)

    assert torch.equal(gradient, codec.shared_gradient(latents, gradient))
    assert codec.fixed(latents, 0.5) is None
