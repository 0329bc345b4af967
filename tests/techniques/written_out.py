"""The techniques a second time: docs/format.md §7 in loops over plain Python integers,
with nothing of wpack."""

from __future__ import annotations

import hashlib
from math import gcd, prod, sqrt
from typing import Any

import numpy as np

MASK = 2**64 - 1
GAMMA = 0x9E3779B97F4A7C15


def splitmix64(x: int) -> int:
    """The hash of one 64-bit integer."""
    z = (x + GAMMA) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def stream(seed: int, r: int) -> int:
    """Output r of the stream of a seed."""
    return splitmix64((seed + r * GAMMA) & MASK)


def seed_of(seed: int, label: str) -> int:
    """The seed of a tensor or part."""
    digest = hashlib.sha256(f"{seed}:{label}".encode()).digest()
    return sum(byte << (8 * i) for i, byte in enumerate(digest[:8]))


def permutation(seed: int, lap: int, factor: int, length: int) -> list[int]:
    """π for a seed, a lap and a factor."""
    state = splitmix64(seed ^ splitmix64(lap * 2**32 + factor))
    return sorted(range(length), key=lambda r: (stream(state, r), r))


def layered(b: Any, n: int, label: str, m: int = 1, seed: int = 0) -> list[float]:
    """A lap in order, then permuted laps; products of m such sequences."""
    length, t = len(b), seed_of(seed, label)
    orders: dict[tuple[int, int], list[int]] = {}
    made = []
    for i in range(n):
        q, r = divmod(i, length)
        value = 1.0
        for j in range(m):
            if q == 0 and j == 0:
                value *= b[r]
                continue
            if (q, j) not in orders:
                orders[q, j] = permutation(t, q, j, length)
            value *= b[orders[q, j][r]]
        made.append(value)
    return made


def hashed(b: Any, n: int, label: str, seed: int = 0) -> list[float]:
    """A bucket by hash for each weight."""
    t = seed_of(seed, label)
    return [b[stream(t, i) % len(b)] for i in range(n)]


def second_side(n: int, row: int, n1: int) -> int:
    """The smallest N2 that is large enough, co-prime to the rows and slow to repeat."""
    n2 = 1
    while n1 * n2 < n or gcd(n2, row) != 1 or n2 * row // gcd(n2, row) < n:
        n2 += 1
    return n2


def outer(
    b: Any, n: int, label: str, row: int, permute: bool = False, seed: int = 0
) -> list[float]:
    """u times v, row by row of N2."""
    n1 = 2
    while n1 + second_side(n, row, n1) != len(b):
        n1 += 1
    n2 = len(b) - n1
    u, v = b[:n1], b[n1:]
    cells = list(range(n1 * n2))
    if permute:
        cells = permutation(seed_of(seed, label), 0, 0, n1 * n2)
    return [u[p // n2] * v[p % n2] for p in cells[:n]]


def all_pairs(b: Any, n: int) -> list[float]:
    """Neighbours at distance 1, then at distance 2, and so on."""
    made: list[float] = []
    distance = 1
    while len(made) < n:
        for i in range(len(b)):
            made.append(b[i] * b[(i + distance) % len(b)])
        distance += 1
    return made[:n]


def smh(
    b: Any, n: int, before: int, working: int, shape: tuple[int, ...]
) -> list[float]:
    """Entries of U V from where the tensors before this one ended, scaled."""
    side = 1
    while side * side < working:
        side += 1
    inner = len(b) // (2 * side)
    fan_out = prod(shape[2:]) * shape[0]
    scale = sqrt((2 if len(shape) > 2 else 1) / fan_out)
    made = []
    for p in range(before, before + n):
        row, column = divmod(p, side)
        total = 0.0
        for k in range(inner):
            total += b[row * inner + k] * b[side * inner + k * side + column]
        made.append(scale * total)
    return made


def expanded(
    plan: dict[str, Any], tensor: dict[str, Any], pools: dict[str, np.ndarray]
) -> np.ndarray:
    """A tensor's working weights from a file's plan, flat, float64."""
    specs = {p["name"]: dict(p["technique"]) for p in plan["pools"]}
    made: list[float] = []
    for part in tensor["parts"]:
        pool, n = part["pool"], part["numel"]
        options = dict(specs[pool])
        name = options.pop("name")
        values = pools[pool]
        b = [
            float(values[(part["start"] + j) % len(values)])
            for j in range(part["length"])
        ]
        row = prod(tensor["shape"][1:])
        label = tensor["name"] + (f"#{part['part']}" if "part" in part else "")
        if name == "global":
            made += b
        elif name == "layered":
            made += layered(b, n, label, **options)
        elif name == "hashed":
            made += hashed(b, n, label, **options)
        elif name == "outer":
            made += outer(b, n, label, row, **options)
        elif name == "all_pairs":
            made += all_pairs(b, n)
        else:
            before, working = _before(plan, pool, tensor["name"], len(made))
            shape = (n // row, *tensor["shape"][1:])
            made += smh(b, n, before, working, shape)
    return np.array(made)


def _before(plan: dict[str, Any], pool: str, name: str, first: int) -> tuple[int, int]:
    """Working weights of the pool before weight ``first`` of a tensor, and in all."""
    before = working = 0
    for tensor in plan["tensors"]:
        at = 0
        for part in tensor.get("parts", ()):
            if part["pool"] == pool:
                if tensor["name"] == name and at == first:
                    before = working
                working += part["numel"]
            at += part["numel"]
    return before, working
