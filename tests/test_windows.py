"""Windows of token streams."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from wpack.data import Data, fingerprint
from wpack.errors import TrainingError
from wpack.windows import IGNORED, RandomWindows, StridedWindows, Texts


def stream(count: int) -> np.ndarray:
    """The tokens 0, 1, 2, …: each says where it stands."""
    return np.arange(count, dtype=np.uint16)


def fetched(data: Any, *indices: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Examples by their numbers, all unless told which."""
    chosen = torch.tensor(indices or range(len(data)))
    tokens, targets = data.batch(chosen, torch.Generator().manual_seed(seed))
    return tokens, targets


def test_random_windows() -> None:
    """Windows are pieces of the stream; a target is the token that follows."""
    data = RandomWindows(stream(100), "a", 8)
    tokens, targets = fetched(data)

    assert isinstance(data, Data)
    assert 12 == len(data)
    assert (12, 8) == tokens.shape
    assert torch.int64 == tokens.dtype == targets.dtype
    assert torch.equal(tokens + 1, targets)
    assert torch.equal(tokens[:, :1] + torch.arange(8), tokens)


def test_random_windows_are_the_generators() -> None:
    """Where they start is a function of the generator: a run resumes exactly."""
    data = RandomWindows(stream(100), "a", 8)
    first, _ = fetched(data, seed=3)

    assert torch.equal(first, fetched(data, seed=3)[0])
    assert not torch.equal(first, fetched(data, seed=4)[0])
    assert fingerprint(data) == fingerprint(RandomWindows(stream(100), "a", 8))
    assert fingerprint(data) != fingerprint(RandomWindows(stream(100), "a", 9))


def test_every_start_is_equally_likely() -> None:
    """Over all windows each start is drawn as often as any other, first and last
    included."""
    data = RandomWindows(stream(30), "a", 8)
    starts = torch.cat([fetched(data, seed=s)[0][:, 0] for s in range(3000)])
    counts = torch.bincount(starts, minlength=22)

    assert (22,) == counts.shape
    assert (counts - 9000 / 22).abs().max() < 5 * (9000 / 22) ** 0.5


def test_shortest_stream() -> None:
    """One window and the token after it suffice."""
    tokens, targets = fetched(RandomWindows(stream(5), "a", 4))

    assert [[0, 1, 2, 3]] == tokens.tolist()
    assert [[1, 2, 3, 4]] == targets.tolist()


@pytest.mark.parametrize("count", [9, 10, 16, 17, 18, 40])
@pytest.mark.parametrize("stride", [1, 3, 8])
def test_each_token_is_predicted_once(count: int, stride: int) -> None:
    """All tokens but the first are targets, once each, whatever the stride; of what
    comes after the first window each has enough tokens before it."""
    tokens, targets = fetched(StridedWindows(stream(count), "a", 8, stride))
    predicted = targets[targets != IGNORED]
    row, column = (targets != IGNORED).nonzero(as_tuple=True)

    assert list(range(1, count)) == sorted(predicted.tolist())
    assert torch.equal(tokens[row, column] + 1, predicted)
    assert (column[row > 0] >= 8 - stride).all()


def test_strided_windows_in_parts() -> None:
    """An example is the same whichever others are fetched with it."""
    data = StridedWindows(stream(30), "a", 8, 5)
    whole = fetched(data)[1]
    alone = torch.cat([fetched(data, i)[1] for i in range(len(data))])

    assert torch.equal(whole, alone)


def test_texts() -> None:
    """Rows are examples as they are; padding is no target, but is seen."""
    rows = np.array([[5, 6, 7, 0], [8, 9, 0, 0]], np.int32)
    data = Texts(rows, "a", padding=0)
    tokens, targets = fetched(data, 1, 0)

    assert 2 == len(data)
    assert [[8, 9, 0], [5, 6, 7]] == tokens.tolist()
    assert [[9, IGNORED, IGNORED], [6, 7, IGNORED]] == targets.tolist()


def test_too_short() -> None:
    """A stream without one window is refused."""
    with pytest.raises(TrainingError) as caught:
        StridedWindows(stream(8), "a.txt", 8, 8)

    assert (
        "a.txt: has 8 tokens, a window and the token after it are 9."
        " Set a smaller length"
    ) == str(caught.value)


@pytest.mark.parametrize(
    ("tokens", "vocabulary", "expected"),
    [
        ([[0, 1], [2, 9]], 9, "there is a token 9, and the model knows 0 to 8"),
        ([[0, 1], [2, -100]], None, "there is a token -100, and the model knows 0 and"),
    ],
)
def test_foreign_tokens(
    tokens: list[list[int]], vocabulary: int | None, expected: str
) -> None:
    """Tokens that no embedding has are refused before one is asked for them."""
    data = Texts(np.array(tokens), "a.npy", vocabulary=vocabulary)
    with pytest.raises(TrainingError) as caught:
        fetched(data)

    assert str(caught.value).startswith(f"a.npy: {expected}")
