"""First values of pools that nothing is projected onto."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wpack import techniques
from wpack.errors import TrainingError
from wpack.initial import CUT, LEFT, initialise, truncated_normal
from wpack.plan import Plan, PoolPlan
from wpack.planner import make_plan
from wpack.pool import straight
from wpack.spec import parse
from wpack.techniques import Technique
from wpack.tensors import FLOAT32, TensorInfo

SHAPES = {"first.weight": (64, 16, 3, 3), "second.weight": (128, 96)}
#: Root mean square of each tensor as the network starts.
SIZES = {"first.weight": 0.25, "second.weight": 0.04}
#: √(2 / (3 · 3 · 64)) of the convolution, 1 / √128 of the matrix.
FAN_OUT = {"first.weight": 0.058926, "second.weight": 0.088388}
SPEC = """
version: 1
pools:
  first: {{tensors: [first.weight], ratio: {ratio}, technique: {technique}}}
  second: {{tensors: [second.weight], ratio: {ratio}, technique: {technique}}}
"""
TOGETHER = """
version: 1
pools:
  both: {{tensors: ["*.weight"], ratio: {ratio}, technique: {technique}}}
"""


def planned(technique: str, ratio: float, spec: str = SPEC) -> Plan:
    """A plan for two tensors."""
    infos = [TensorInfo(name, FLOAT32, shape) for name, shape in SHAPES.items()]
    return make_plan(parse(spec.format(technique=technique, ratio=ratio)), infos).plan


def weights(**sizes: float) -> Callable[[str, int, int], np.ndarray]:
    """A reader of a network whose tensors have alternating signs and these sizes."""
    made = {
        name: np.resize([size, -size], prod(SHAPES[name])).astype("<f4")
        for name, size in {**SIZES, **sizes}.items()
    }
    return lambda name, first, numel: made[name][first : first + numel]


def made(pool: PoolPlan, backing: np.ndarray) -> dict[str, np.ndarray]:
    """Tensor → the working weights that a pool makes."""
    return {
        piece.label: pool.technique.expand(
            np, pool.table, piece, straight(pool, piece, backing)
        )
        for piece in pool.table.slices
    }


def root_mean_square(values: np.ndarray) -> float:
    """The size of an array."""
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def test_truncated_normal() -> None:
    """Mean 0, standard deviation 1, cut at two of the distribution's own."""
    drawn = truncated_normal(np.random.default_rng(0), 1_000_000)

    assert drawn.std() == pytest.approx(1.0, abs=3e-3)
    assert drawn.mean() == pytest.approx(0.0, abs=3e-3)
    assert CUT / LEFT == pytest.approx(np.abs(drawn).max(), abs=1e-4)


@pytest.mark.parametrize("ratio", [3, 9])
@pytest.mark.parametrize("name", techniques.names())
def test_working_weights_are_as_large_as_the_networks_own(
    name: str, ratio: float
) -> None:
    """Each pool's working weights have the size that its tensor started with, over many
    seeds (an outer product may have three values for a factor); those of ``smh`` have
    the fan-out scale of its paper."""
    plan = planned(name, ratio)
    drawn = [initialise(plan, weights(), seed).values for seed in range(40)]
    for pool in plan.pools:
        (piece,) = pool.table.slices
        expected = (FAN_OUT if name == "smh" else SIZES)[piece.tensor]

        all_made = [made(pool, values[pool.name])[piece.tensor] for values in drawn]
        assert root_mean_square(np.array(all_made)) == pytest.approx(expected, rel=0.1)
        assert {values[pool.name].dtype for values in drawn} == {np.dtype("f4")}


@pytest.mark.parametrize(
    "name", ["global", pytest.param("layered", marks=pytest.mark.technique("layered"))]
)
def test_untied_is_as_the_network_starts(name: str) -> None:
    """With one backing weight for each working weight, every tensor has its own size,
    also where they share a pool."""
    (pool,) = planned(name, 1, TOGETHER).pools
    values = initialise(planned(name, 1, TOGETHER), weights(), 0).values["both"]

    reached = {n: root_mean_square(w) for n, w in made(pool, values).items()}
    assert reached == pytest.approx(SIZES, rel=0.03)


def test_shared_backing_weights_have_the_mean_variance() -> None:
    """A backing weight that two tensors read is between them; one that only one of them
    reads is that one's."""
    plan = planned("global", 1.2, TOGETHER)
    (pool,) = plan.pools
    values = initialise(plan, weights(), 0).values["both"]
    shared = pool.working - pool.backing
    mean = np.sqrt((SIZES["first.weight"] ** 2 + SIZES["second.weight"] ** 2) / 2)

    assert root_mean_square(values[:shared]) == pytest.approx(mean, rel=0.05)
    first = values[shared : prod(SHAPES["first.weight"])]
    assert root_mean_square(first) == pytest.approx(SIZES["first.weight"], rel=0.05)
    second = values[prod(SHAPES["first.weight"]) :]
    assert root_mean_square(second) == pytest.approx(SIZES["second.weight"], rel=0.05)


@given(seed=st.integers(0, 2**32 - 1))
def test_a_pools_values_depend_on_seed_and_name_alone(seed: int) -> None:
    """The same again; others for another seed or name; whatever pools are beside it."""
    plan = planned("global", 64)
    first = initialise(plan, weights(), seed).values
    alone = Plan(plan.pools[1:], plan.tensors[1:], plan.alignment)
    (tensor,) = alone.tensors
    pieces = tuple((0, piece) for _, piece in tensor.pieces)
    moved = Plan(alone.pools, (type(tensor)(tensor.info, pieces),), plan.alignment)
    again = initialise(moved, weights(), seed).values["second"]

    assert first["second"].tobytes() == again.tobytes()
    one, other = (first[n][:100] / SIZES[f"{n}.weight"] for n in ("first", "second"))
    assert not np.allclose(one, other)
    changed = initialise(plan, weights(), seed ^ 1).values["second"]
    assert not np.allclose(first["second"], changed)


def test_zeros_stay_zeros_where_they_can_be_left() -> None:
    """A tensor that the network starts at 0 starts at 0."""
    plan = planned("global", 2)
    values = initialise(plan, weights(**{"second.weight": 0.0}), 0).values

    assert not values["second"].any()
    assert values["first"].any()


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.technique(n)) for n in ("all_pairs", "outer")],
)
def test_products_of_zeros_are_refused(name: str) -> None:
    """No gradient would ever move them."""
    plan = planned(name, 4)
    with pytest.raises(TrainingError) as caught:
        initialise(plan, weights(**{"second.weight": 0.0}), 0)

    assert str(caught.value) == (
        f"second.weight: starts at 0, and products of zeros ({name}) have no gradient"
        " to leave it by. Keep the tensor, or pool it with global or layered"
    )


@pytest.mark.technique("smh")
def test_smh_needs_no_sizes() -> None:
    """Its scales say how large weights are, so zeros are none."""
    plan = planned("smh", 4)
    values = initialise(plan, weights(**{"second.weight": 0.0}), 0).values

    assert values["second"].all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(bad: float) -> None:
    """The message says whose."""
    with pytest.raises(TrainingError) as caught:
        initialise(planned("global", 2), weights(**{"first.weight": bad}), 0)

    assert str(caught.value) == (
        "first.weight: the task's model starts with weights that are NaN or infinite."
        " Give it an initialiser that does not"
    )


@pytest.mark.technique("layered")
def test_factors_take_the_root_of_their_number() -> None:
    """Three factors of a product have the third root of its standard deviation."""
    technique: Technique = techniques.named("layered").from_options({"m": 3})
    (pool, _) = planned("layered", 2).pools
    found = technique.deviations(pool.table, [0.008])

    assert found == pytest.approx(np.full(pool.backing, 0.2))


@pytest.mark.technique("smh")
def test_smh_by_hand() -> None:
    """√(1/√M), M = 4 for 256 weights of a 16 × 16 product made from 128."""
    info = TensorInfo("first.weight", FLOAT32, (16, 16))
    text = SPEC.format(technique="smh", ratio=2).replace("  second", "  # second")
    (pool,) = make_plan(parse(text), [info]).plan.pools
    found = pool.technique.deviations(pool.table, [123.0])

    assert found == pytest.approx(np.full(128, 1 / np.sqrt(2)))
