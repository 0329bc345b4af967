"""Pools of techniques that there are not, or that cannot make what a file asks of them:
S11 to S13."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.bad_plans import with_plan
from tests.crafting import POOL, plan_with, wpool
from tests.hostile.case import Case, Maker, pool_case
from tests.hostile.plans import tensor_of
from wpack import techniques

_TECHNIQUES = ", ".join(techniques.names())


def _of(name: str) -> Callable[[Maker], Maker | None]:
    """A case of one technique; none where there is no such technique."""
    there = name in techniques.names()
    return lambda maker: maker if there else None


def _technique(folder: Path, technique: object, message: str) -> Case:
    """A pool of another technique."""
    data = with_plan(pools__0__technique=technique)
    return pool_case(folder, data, f"pool 'main': {message}")


def _reading(folder: Path, name: str, numel: int, length: int, message: str) -> Case:
    """A tensor of another technique's pool that its slice cannot make."""
    tensor = tensor_of("w", numel, length)
    data = wpool(
        plan_with(pools__0__technique={"name": name}, tensors=[tensor]), [POOL]
    )
    return pool_case(folder, data, f"tensor 'w': technique {name}: {message}")


def _laps(folder: Path, name: str) -> Case:
    """One weight that reads all of memory: the working weights are few, what they are
    made from is not."""
    tensor = tensor_of("w", 1, 2**62)
    technique = {"name": name}
    data = wpool(plan_with(pools__0__technique=technique, tensors=[tensor]), [POOL])
    says = (
        f"tensor 'w': reads {2**62} backing weights, but pool 'main' has 16; technique"
        f" {name} does not go round"
    )
    return pool_case(folder, data, says)


@_of("hashed")
def s04_laps_of_hashed(folder: Path) -> Case:
    return _laps(folder, "hashed")


@_of("all_pairs")
def s04_laps_of_all_pairs(folder: Path) -> Case:
    return _laps(folder, "all_pairs")


@_of("all_pairs")
def s11_more_weights_than_pairs(folder: Path) -> Case:
    says = "5 backing weights make 10 pairs, not 11"
    return _reading(folder, "all_pairs", 11, 5, says)


def s12_unknown_technique(folder: Path) -> Case:
    says = (
        f"unknown technique 'globul', did you mean 'global'? (there are: {_TECHNIQUES})"
    )
    return _technique(folder, {"name": "globul"}, says)


def s12_technique_that_is_a_path(folder: Path) -> Case:
    says = f"unknown technique '../evil' (there are: {_TECHNIQUES})"
    return _technique(folder, {"name": "../evil"}, says)


def s12_technique_that_is_a_module(folder: Path) -> Case:
    """Modules beside the techniques are none."""
    says = f"unknown technique '_ranges' (there are: {_TECHNIQUES})"
    return _technique(folder, {"name": "_ranges"}, says)


def s12_technique_that_is_a_list(folder: Path) -> Case:
    says = "technique must be an object, got ['global']"
    return _technique(folder, ["global"], says)


def s12_technique_without_a_name(folder: Path) -> Case:
    return _technique(folder, {}, "technique name must be a name, got None")


@_of("hashed")
def s12_unknown_option(folder: Path) -> Case:
    says = "technique hashed has no option 'generator'"
    return _technique(folder, {"name": "hashed", "generator": 1}, says)


@_of("hashed")
def s12_seed_of_text(folder: Path) -> Case:
    says = "technique hashed option 'seed' must be int, got '0'"
    return _technique(folder, {"name": "hashed", "seed": "0"}, says)


@_of("hashed")
def s12_seed_of_true(folder: Path) -> Case:
    says = "technique hashed option 'seed' must be int, got True"
    return _technique(folder, {"name": "hashed", "seed": True}, says)


@_of("layered")
def s12_no_factors(folder: Path) -> Case:
    says = "technique layered m must be at least 1, got 0"
    return _technique(folder, {"name": "layered", "m": 0}, says)


@_of("layered")
def s12_a_billion_factors(folder: Path) -> Case:
    """Each costs as much as the first, for every weight."""
    says = "technique layered m must be at most 64, got 1000000000"
    return _technique(folder, {"name": "layered", "m": 10**9}, says)


@_of("outer")
def s13_outer_product_of_no_sides(folder: Path) -> Case:
    says = "no outer product of 9 weights has 16 backing weights"
    return _reading(folder, "outer", 9, 16, says)


@_of("smh")
def s13_squares_that_do_not_fill_the_pool(folder: Path) -> Case:
    says = "16 backing weights are not two factors of side 3"
    return _reading(folder, "smh", 9, 16, says)
