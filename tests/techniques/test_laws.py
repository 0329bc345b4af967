"""Laws that every technique of the listing obeys."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.strategies import block_lists
from wpack import techniques
from wpack.errors import PlanError
from wpack.plan import PoolPlan
from wpack.pool import straight
from wpack.table import Block, SliceTable
from wpack.techniques import Technique
from wpack.tensors import FLOAT64

every_technique = pytest.mark.parametrize("name", techniques.names())


def laid_out(technique: Technique, blocks: list[Block], ratio: float) -> SliceTable:
    """The layout at a ratio, or a rejected draw where the rule forbids it."""
    working = sum(b.numel for b in blocks)
    try:
        return technique.layout(blocks, max(1, int(working / ratio)))
    except PlanError:
        assume(False)
        raise


def expanded(technique: Technique, table: SliceTable, backing: np.ndarray) -> list:
    """Working weights of every slice, by numpy."""
    pool = PoolPlan("p", technique, FLOAT64, table)
    return [
        technique.expand(np, table, s, straight(pool, s, backing)) for s in table.slices
    ]


def projected(technique: Technique, table: SliceTable, working: list) -> np.ndarray:
    """The projection of these working weights, given in uneven stretches."""
    projection = technique.project(table, np.dtype("<f8"))
    for piece, weights in zip(table.slices, working, strict=True):
        for at in range(0, len(weights), 7):
            projection.add(piece, at, weights[at : at + 7])
    return projection.finish()


def random_backing(table: SliceTable, seed: int) -> np.ndarray:
    """Float64 backing weights away from zero."""
    random = np.random.default_rng(seed)
    return random.uniform(0.5, 1.5, table.backing) * random.choice(
        [-1, 1], table.backing
    )


ratios = st.floats(1.0, 4.0)
seeds = st.integers(0, 2**32)


@every_technique
@given(blocks=block_lists(), ratio=ratios)
def test_each_working_weight_is_made_once(name, blocks, ratio) -> None:
    """The slices of a tensor tile it in row-major order, in checkpoint order."""
    technique = techniques.named(name)()
    table = laid_out(technique, blocks, ratio)
    made: dict[str, int] = {}
    for piece in table.slices:
        assert made.get(piece.tensor, 0) == piece.first
        assert 0 <= piece.start < table.backing

        made[piece.tensor] = piece.first + piece.numel

    assert list(made.items()) == [(b.tensor, b.numel) for b in blocks]


@every_technique
@given(blocks=block_lists(), ratio=ratios)
def test_the_budget_is_met(name, blocks, ratio) -> None:
    """The pool is no larger than asked, but for one backing weight a tensor."""
    budget = max(1, int(sum(b.numel for b in blocks) / ratio))
    table = laid_out(techniques.named(name)(), blocks, ratio)

    assert table.backing <= budget + len(blocks)


@every_technique
@given(blocks=block_lists(), ratio=ratios)
def test_no_layout_is_objected_to(name, blocks, ratio) -> None:
    """What the planner lays out, a reader accepts."""
    technique = techniques.named(name)()
    table = laid_out(technique, blocks, ratio)

    assert {technique.objection(table, s) for s in table.slices} == {""}


@every_technique
@given(blocks=block_lists(), ratio=ratios, seed=seeds)
def test_numpy_and_torch_agree(name, blocks, ratio, seed) -> None:
    """One body serves both: equal to the last bits of float64."""
    technique = techniques.named(name)()
    table = laid_out(technique, blocks, ratio)
    backing = random_backing(table, seed)
    pool = PoolPlan("p", technique, FLOAT64, table)
    for piece, ours in zip(
        table.slices, expanded(technique, table, backing), strict=True
    ):
        read = torch.from_numpy(straight(pool, piece, backing).copy())
        theirs = technique.expand(torch, table, piece, read)

        assert ours.shape == (piece.numel,)
        np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-13)


@every_technique
@given(blocks=block_lists(), ratio=ratios, seed=seeds, data=st.data())
def test_a_stretch_is_a_stretch_of_the_whole(name, blocks, ratio, seed, data) -> None:
    """Expanding from first for numel gives what the full expansion has there."""
    technique = techniques.named(name)()
    table = laid_out(technique, blocks, ratio)
    backing = random_backing(table, seed)
    pool = PoolPlan("p", technique, FLOAT64, table)
    for piece, whole in zip(
        table.slices, expanded(technique, table, backing), strict=True
    ):
        first = data.draw(st.integers(0, piece.numel - 1))
        numel = data.draw(st.integers(1, piece.numel - first))
        read = straight(pool, piece, backing)
        stretch = technique.expand(np, table, piece, read, first, numel)

        np.testing.assert_allclose(stretch, whole[first : first + numel], rtol=1e-13)


@every_technique
@settings(max_examples=30)
@given(blocks=block_lists(max_size=3, max_side=5), ratio=ratios, seed=seeds)
def test_projecting_what_expands_is_a_fixed_point(name, blocks, ratio, seed) -> None:
    """Working weights that a pool can make are made again by their projection."""
    technique = techniques.named(name)()
    table = laid_out(technique, blocks, ratio)
    working = expanded(technique, table, random_backing(table, seed))
    again = expanded(technique, table, projected(technique, table, working))
    for a, b in zip(working, again, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)


@every_technique
@settings(max_examples=15)
@given(blocks=block_lists(max_size=3, max_side=4), ratio=ratios, seed=seeds)
def test_gradients_are_exact(name, blocks, ratio, seed) -> None:
    """Torch's numeric check of the expansion's derivative, in float64."""
    technique = techniques.named(name)()
    table = laid_out(technique, blocks, ratio)
    backing = random_backing(table, seed)
    pool = PoolPlan("p", technique, FLOAT64, table)
    for piece in table.slices:
        read = torch.from_numpy(straight(pool, piece, backing).copy())

        assert torch.autograd.gradcheck(
            lambda values, p=piece: technique.expand(torch, table, p, values),
            (read.requires_grad_(),),
        )


@every_technique
@settings(max_examples=15)
@given(
    blocks=block_lists(max_size=3, max_side=4),
    ratio=ratios,
    seed=seeds,
    data=st.data(),
)
def test_gradients_of_stretches_are_exact(name, blocks, ratio, seed, data) -> None:
    """So they are of what is expanded from first for numel."""
    technique = techniques.named(name)()
    table = laid_out(technique, blocks, ratio)
    backing = random_backing(table, seed)
    piece = data.draw(st.sampled_from(table.slices))
    first = data.draw(st.integers(0, piece.numel - 1))
    numel = data.draw(st.integers(1, piece.numel - first))
    read = straight(PoolPlan("p", technique, FLOAT64, table), piece, backing).copy()

    assert torch.autograd.gradcheck(
        lambda values: technique.expand(torch, table, piece, values, first, numel),
        (torch.from_numpy(read).requires_grad_(),),
    )


@every_technique
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_pools_train(name, dtype) -> None:
    """After ``.half()`` working weights and gradients have the pool's dtype, and the
    values of wide ones but for rounding."""
    technique = techniques.named(name)()
    table = technique.layout([Block("t", (12, 10), 0, 120, "")], 60)
    (piece,) = table.slices
    pool = PoolPlan("p", technique, FLOAT64, table)
    values = straight(pool, piece, random_backing(table, 3))
    found = []
    for kind in (dtype, torch.float64):
        read = torch.from_numpy(values.copy()).to(kind).requires_grad_()
        made = technique.expand(torch, table, piece, read)
        made.backward(torch.linspace(-1, 1, len(made)).to(kind))
        found += [made.detach(), read.grad]

        assert [kind, kind] == [tensor.dtype for tensor in found[-2:]]

    for narrow, wide in zip(found[:2], found[2:], strict=True):
        torch.testing.assert_close(narrow.double(), wide, rtol=0.05, atol=0.2)


@every_technique
@settings(max_examples=20)
@given(blocks=block_lists(max_size=3, max_side=5), ratio=ratios, seed=seeds)
def test_no_small_change_of_a_projection_lowers_its_error(
    name, blocks, ratio, seed
) -> None:
    """The projection is a local least-squares optimum: the gradient of its error, or of
    error and ridge together, vanishes."""
    technique = techniques.named(name)()
    table = laid_out(technique, blocks, ratio)
    random = np.random.default_rng(seed)
    working = [random.standard_normal(s.numel) for s in table.slices]
    backing = torch.from_numpy(projected(technique, table, working)).requires_grad_()
    error = torch.zeros((), dtype=torch.float64)
    ridge = torch.zeros((), dtype=torch.float64)
    energies: dict[tuple[int, int], list[float]] = {}
    for piece, wanted in zip(table.slices, working, strict=True):
        ranges = [backing[a : a + n] for a, _, n in table.pieces(piece)]
        made = technique.expand(torch, table, piece, torch.cat(ranges))
        importance = technique.importance(piece)
        error = error + importance * ((made - torch.from_numpy(wanted)) ** 2).sum()
        read = energies.setdefault((piece.start, piece.length), [])
        read += (importance * wanted**2).tolist()
    for (start, length), energy in energies.items():
        size = np.mean(energy) ** (1 - 1 / technique.degree)
        values = backing[start : start + length]
        ridge = ridge + technique.ridge * size * (values**2).sum()
    slopes = [
        float(torch.autograd.grad(sum_, backing, retain_graph=True)[0].abs().max())
        for sum_ in ([error, error + ridge] if technique.ridge else [error])
    ]
    energy = sum(sum(read) for read in energies.values())

    assert min(slopes) <= 2e-3 * max(energy, 1.0) ** 0.5


@every_technique
@given(blocks=block_lists(), ratio=ratios)
def test_decompression_is_counted(name, blocks, ratio) -> None:
    """A product of m factors takes m - 1 multiplications or more and at most m reads
    out of order; what is read as it lies takes neither."""
    technique = techniques.named(name)()
    table = laid_out(technique, blocks, ratio)
    multiplications = technique.multiplications(table)
    random_accesses = technique.random_accesses(table)

    assert multiplications >= (technique.degree - 1) * table.working
    assert 0 <= random_accesses <= technique.degree * table.working
    if technique.zero_copy:
        assert (multiplications, random_accesses) == (0, 0)


@every_technique
def test_a_pool_that_nothing_reads_takes_nothing(name) -> None:
    """A file may hold a pool without slices, and its stats are asked for."""
    technique = techniques.named(name)()
    unread = SliceTable(6, ())

    assert technique.multiplications(unread) == 0
    assert technique.random_accesses(unread) == 0


@every_technique
def test_options_round_trip(name) -> None:
    """What a file records of a technique makes it again."""
    technique = techniques.named(name)()

    assert technique.options() == {}
    assert technique == techniques.named(name).from_options(technique.options())


@every_technique
def test_unknown_options_are_refused(name) -> None:
    """A file cannot set what the technique does not have."""
    with pytest.raises(ValueError, match=r"^has no option 'evil'$"):
        techniques.named(name).from_options({"evil": 1})


SCRIPT = """
import hashlib, numpy as np, sys
from wpack import techniques
from wpack.plan import PoolPlan
from wpack.pool import straight
from wpack.table import Block
from wpack.tensors import FLOAT64
for name in techniques.names():
    technique = techniques.named(name)()
    blocks = [Block(f"t{i}", (16, 9), 0, 144, "") for i in range(3)]
    table = technique.layout(blocks, 216)
    pool = PoolPlan("p", technique, FLOAT64, table)
    backing = np.arange(1.0, table.backing + 1)
    made = [technique.expand(np, table, s, straight(pool, s, backing)).tobytes()
            for s in table.slices]
    digest = hashlib.sha256(repr(table).encode() + b"".join(made))
    print(name, digest.hexdigest())
"""


def test_layouts_are_the_same_in_any_process() -> None:
    """Hash seeds and processes change neither a layout nor an expansion."""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(outputs) == 1
    assert len(outputs.pop().splitlines()) == len(techniques.names())


def test_an_unknown_technique_is_named() -> None:
    """The message suggests the nearest and lists all."""
    with pytest.raises(Exception, match=r"unknown technique 'globl', did you mean"):
        techniques.named("globl")
