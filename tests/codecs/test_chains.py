"""Every selector × every quantiser × every entropy coder of the listing."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.codecs.coding import called, every, weights
from wpack.chain import Chain
from wpack.codecs import Entropy, Quantiser, Selector
from wpack.errors import FormatError
from wpack.tensors import FLOAT32, FLOAT64, DType

#: One of each kind, or none; of each codec one variant.
KINDS = [
    [(), *((codec,) for codec in {type(c): c for c in every(kind)}.values())]
    for kind in (Selector, Quantiser, Entropy)
]
CHAINS = [Chain(sum(stages, ())) for stages in product(*KINDS)]
every_chain = pytest.mark.parametrize(
    "chain",
    [chain for chain in CHAINS if chain],
    ids=lambda chain: "+".join(map(called, chain.codecs)),
)


def decoded(chain: Chain, data: np.ndarray, numel: int, dtype: DType) -> np.ndarray:
    """What comes back."""
    out = np.empty(numel, dtype.raw)
    chain.decode(lambda a, b: data[a:b], len(data), dtype, out, "pool 'main'")
    return out


@every_chain
@settings(max_examples=6)
@given(data=st.data(), dtype=st.sampled_from([FLOAT32, FLOAT64]))
def test_there_and_back(chain, data, dtype) -> None:
    """Encoding what was decoded changes no bit, the size is the foretold one, and the
    stages end with what is stored.

    Where a selector's choice is kept, that is: of the zeros that a quantiser makes, it
    would choose others.
    """
    values = data.draw(weights(dtype.raw))
    mask = chain.selector.select(values) if chain.selector else None
    encoded = chain.encode(values, dtype)
    made = decoded(chain, encoded.data, len(values), dtype)
    again = chain.encode(made, dtype, mask=mask)
    twice = decoded(chain, again.data, len(made), dtype)

    assert made.tobytes() == twice.tobytes()
    assert encoded.data.tobytes() == chain.encode(values, dtype).data.tobytes()
    assert len(encoded.data) <= chain.bound(len(values), dtype)
    if not chain.entropy:
        assert len(encoded.data) == chain.bound(len(values), dtype)
    if mask is not None:
        assert not made[~mask].any()
    if chain.quantiser or chain.entropy:
        assert len(encoded.data) == encoded.stages[-1].nbytes


@every_chain
def test_another_count_is_refused(chain) -> None:
    """A blob is of as many values as the plan says."""
    data = chain.encode(np.linspace(-1, 1, 1000, dtype="<f4"), FLOAT32).data
    for numel in (0, 500, 2000):
        with pytest.raises(FormatError):
            decoded(chain, data, numel, FLOAT32)


@every_chain
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_refused(chain, bad) -> None:
    """No codec stores NaN or infinity."""
    with pytest.raises(ValueError, match=r"^1 values are NaN or infinite, which no"):
        chain.encode(np.array([0.5, bad], "<f4"), FLOAT32)
