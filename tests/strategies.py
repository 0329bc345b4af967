"""What hypothesis draws: dtypes, blocks and pools of any technique."""

from __future__ import annotations

from math import prod

from hypothesis import strategies as st

from wpack.table import Block
from wpack.tensors import BY_NAME, DType

#: Dtypes that a pool may hold.
poolable: st.SearchStrategy[DType] = st.sampled_from(
    [d for d in BY_NAME.values() if d.poolable]
)


@st.composite
def block_lists(
    draw: st.DrawFn, min_size: int = 1, max_size: int = 5, max_side: int = 7
) -> list[Block]:
    """Whole tensors of rank 2 to 4, as a pool gets them."""
    shapes = draw(
        st.lists(
            st.lists(st.integers(1, max_side), min_size=2, max_size=4),
            min_size=min_size,
            max_size=max_size,
        )
    )
    return [
        Block(f"layer{i}.weight", tuple(shape), 0, prod(shape), "")
        for i, shape in enumerate(shapes)
    ]
