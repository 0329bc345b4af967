"""Specs that are well formed and mean nothing: patterns, sizes, what does not fit the
checkpoint.  Y09 and Y10."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.hostile.case import OF_SPECS, Case
from tests.hostile.specs import BEGIN, pool_spec_case, spec_case


def _claim(folder: Path, text: str, problem: str) -> Case:
    """A spec that does not fit the checkpoint."""
    commands = tuple(name for name in OF_SPECS if name != "spec check")
    return replace(spec_case(folder, text, problem), commands=commands)


def y09_invalid_expression(folder: Path) -> Case:
    says = (
        "3:17: pools.p.tensors.0: is no regular expression: missing ), unterminated"
        " subpattern at position 1"
    )
    return pool_spec_case(folder, "tensors: ['re:a('], ratio: 2", says)


def y09_expression_of_a_kilobyte(folder: Path) -> Case:
    says = "3:17: pools.p.tensors.0: is longer than 1000 characters"
    return pool_spec_case(folder, f"tensors: ['re:{'a' * 1001}'], ratio: 2", says)


def y09_expression_that_never_ends(folder: Path) -> Case:
    """Matching is given one second."""
    pattern = "re:" + "(" * 16 + "." + "+)" * 16 + "x"
    text = f"version: 1\npools:\n  p: {{tensors: ['{pattern}'], ratio: 2}}\n"
    says = f"3:17: pools.p.tensors.0: '{pattern}' takes over 1 s to match"
    case = _claim(folder, text, says)
    return replace(case, seconds=2.5)


def y09_pattern_that_matches_nothing(folder: Path) -> Case:
    text = BEGIN.replace("weight", "wieght")
    says = "3:17: pools.p.tensors.0: 'wieght' matches no tensor, did you mean 'weight'?"
    return _claim(folder, text, says)


def y09_tensor_of_two_pools(folder: Path) -> Case:
    text = BEGIN + "  q: {tensors: ['w*'], ratio: 2}\n"
    says = "4:17: pools.q.tensors.0: 'w*' claims 'weight', which pool 'p' has"
    return _claim(folder, text, says)


def y10_pool_without_a_size(folder: Path) -> Case:
    says = "3:3: pools.p: needs exactly one of ratio, size and bytes, has none"
    return pool_spec_case(folder, "tensors: [weight]", says)


def y10_pool_with_two_sizes(folder: Path) -> Case:
    says = (
        "3:3: pools.p: needs exactly one of ratio, size and bytes, has ratio and size"
    )
    return pool_spec_case(folder, "tensors: [weight], ratio: 2, size: 3", says)


def y10_pool_larger_than_its_tensors(folder: Path) -> Case:
    case = _claim(folder, BEGIN.replace("ratio: 2", "size: 25"), "")
    says = (
        "pool 'p': 25 backing weights are asked for 24 working weights. Choose from 1"
        " to 24"
    )
    return replace(case, says=says)


def y10_unknown_technique(folder: Path) -> Case:
    says = "3:18: pools.p.technique: unknown technique 'globul', did you mean 'global'?"
    return pool_spec_case(
        folder, "technique: globul, tensors: [weight], ratio: 2", says
    )


def y10_parts_that_do_not_add_up(folder: Path) -> Case:
    says = "4:17: split.weight: 'weight' has 6 rows, not 4 equal parts"
    text = BEGIN.replace("[weight]", "['weight#a', 'weight#b']")
    return _claim(folder, text + "split: {weight: [a, b, c, d]}\n", says)
