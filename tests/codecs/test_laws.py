"""Laws that every codec of the listing obeys."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.blobs import SPEC
from tests.codecs.coding import called, decoded, every, fingerprints, weights
from wpack import codecs
from wpack.codecs import Codec, Entropy, Quantiser, Selector
from wpack.codecs._packing import symbol_dtype
from wpack.errors import SpecError

every_codec = pytest.mark.parametrize("codec", every(Codec), ids=called)
every_quantiser = pytest.mark.parametrize("codec", every(Quantiser), ids=called)
every_selector = pytest.mark.parametrize("codec", every(Selector), ids=called)
every_entropy = pytest.mark.parametrize("codec", every(Entropy), ids=called)

dtypes = st.sampled_from(["<f4", "<f8"])
#: Weights that are not like those of a network.
ODD = {
    "none": [],
    "one": [-0.3],
    "zero": [0.0],
    "zeros": [0.0, -0.0] * 70,
    "constant": [0.7] * 200,
    "denormal": [1e-45, -3e-42, 1e-39, 0.0] * 40,
    "denormal beside normal": [1e-40, -0.1, 1e-41, 0.2] * 40,
    "huge": [1e30, -3e29, 1e-30, 0.0] * 40,
    "signs of one magnitude": [0.1, -0.1, -0.1] * 60,
}
odd = pytest.mark.parametrize("name", ODD)


def agree(codec: Quantiser, values: np.ndarray) -> None:
    """Decoding is idempotent, and torch does the same."""
    made = decoded(codec, values)
    faked = codec.fake(torch.from_numpy(values.copy()))

    assert np.isfinite(made).all()
    assert made.tobytes() == decoded(codec, made).tobytes()
    assert made.dtype == faked.numpy().dtype
    assert made.tobytes() == faked.numpy().tobytes()


@every_quantiser
@settings(max_examples=15)
@given(dtype=dtypes, data=st.data())
def test_encoding_again_changes_nothing(codec, dtype, data) -> None:
    """What is decoded is a fixed point, to the bit, and what torch makes is it too."""
    agree(codec, data.draw(weights(dtype)))


@every_quantiser
@odd
@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_odd_weights(codec, name, dtype) -> None:
    """The same, where there are few, no or strange weights; or they are refused."""
    values = np.array(ODD[name], dtype)
    if (name, codec.name) == ("huge", "float16"):
        with pytest.raises(ValueError, match="has no room for a magnitude of 1e"):
            codec.encode(values)
        return

    agree(codec, values)


@every_quantiser
def test_many_weights(codec) -> None:
    """The same, where they are worked on in stretches; in any number of threads."""
    random = np.random.default_rng(0)
    values = (random.standard_normal(200_001) * 0.05).astype("<f4")
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        agree(codec, values)
    finally:
        torch.set_num_threads(threads)


@every_quantiser
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_latents(codec, dtype) -> None:
    """They are computed with as float32 and rounded back."""
    latents = torch.linspace(-1, 1, 99).to(dtype).requires_grad_()
    faked = codec.fake(latents)
    expected = torch.from_numpy(decoded(codec, latents.detach().float().numpy()))

    assert torch.equal(expected.to(dtype), faked)
    assert not faked.requires_grad


@every_quantiser
@given(numel=st.integers(0, 400))
@settings(max_examples=10)
def test_streams_are_as_announced(codec, numel) -> None:
    """How many symbols of how many levels is known before any value is."""
    streams = codec.encode(np.linspace(-1, 1, numel, dtype="<f4"))

    assert [(len(s.symbols), s.levels) for s in streams] == [
        (a.numel, a.levels) for a in codec.alphabets(numel)
    ]
    assert numel == codec.alphabets(numel)[-1].numel
    for symbols, levels in streams:
        assert np.dtype(symbol_dtype(levels)) == symbols.dtype
        assert levels > symbols.max(initial=0)


@every_quantiser
def test_a_stretch_is_a_stretch_of_the_whole(codec) -> None:
    """Codes are decoded from any block on, into memory that is not aligned either."""
    values = np.random.default_rng(1).standard_normal(1000).astype("<f4")
    whole = decoded(codec, values)
    *parameters, codes = (stream.symbols for stream in codec.encode(values))
    decode = codec.decoder(parameters, len(values))
    for first in (0, 256, 512):
        for numel in (0, 1, 128, 300, 1000 - first):
            made = np.full(numel + 1, np.nan, "<f4")[1:]
            decode(codes[first : first + numel], first, made)

            assert whole[first : first + numel].tobytes() == made.tobytes()


@every_selector
@settings(max_examples=15)
@given(dtype=dtypes, data=st.data())
def test_as_many_are_selected_as_announced(codec, dtype, data) -> None:
    """The count is known before any value is, and torch selects the same; what was
    selected is selected again from what that left."""
    values = data.draw(weights(dtype))
    mask = codec.select(values)
    theirs = codec.select(torch.from_numpy(values.copy()))
    left = np.where(mask, values, 0)

    assert (bool, len(values)) == (mask.dtype, len(mask))
    assert codec.survivors(len(values)) == np.count_nonzero(mask)
    assert mask.tolist() == theirs.tolist()
    assert left.tolist() == np.where(codec.select(left), left, 0).tolist()


@every_selector
@odd
def test_odd_weights_to_select_from(codec, name) -> None:
    """As many as announced, whatever they are."""
    values = np.array(ODD[name], "<f4")
    mask = codec.select(values)

    assert codec.survivors(len(values)) == np.count_nonzero(mask)
    assert mask.tolist() == codec.select(torch.from_numpy(values)).tolist()


@every_entropy
@settings(max_examples=25)
@given(raw=st.binary(max_size=500))
def test_no_byte_is_lost(codec, raw) -> None:
    """What is decompressed is what was compressed."""
    given_bytes = np.frombuffer(raw, "u1")
    frame = np.frombuffer(codec.compress(given_bytes), "u1")

    assert raw == bytes(codec.decompress(frame, len(raw)))


@every_codec
def test_options_round_trip(codec) -> None:
    """What a file records of a codec makes it again."""
    kind = type(codec)

    assert {} == kind().options()
    assert codec == kind.from_options(codec.options())


@every_codec
def test_a_spec_sets_the_first_field(codec) -> None:
    """``name: value`` is short for it; a bare name is all defaults; a whole number
    stands for a real one."""
    kind = type(codec)
    fields = codec.fields()
    wholes = {k: int(v) if v in (0.0, 1.0) else v for k, v in codec.options().items()}

    def means(item: object) -> Codec:
        (found,) = SPEC.validate_python([item])
        return found

    assert kind() == means(codec.name) == means({codec.name: None})
    assert codec == means({codec.name: codec.options()})
    assert codec == means({codec.name: wholes})
    if fields:
        first, value = next(iter(fields.items()))
        assert kind(**{first: value}) == means({codec.name: value})
    else:
        with pytest.raises(ValidationError, match=r"takes no value, not 3"):
            means({codec.name: 3})


@every_codec
def test_an_unknown_field_is_named(codec) -> None:
    """A misspelt key is no silent default."""
    with pytest.raises(ValueError, match=r"^has no option 'bitz'$"):
        type(codec).from_options({"bitz": 4})


SCRIPT = """
import sys
from tests.codecs.coding import fingerprints
print(*fingerprints(), "torch" in sys.modules)
"""


def test_the_same_bytes_in_any_process() -> None:
    """Hash seeds, threads and processes change no bit; nothing is waited for torch."""
    printed = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for seed, threads in (("1", "1"), ("2", "2"))
    ]

    assert [[*fingerprints(), "False"]] * 2 == printed


def test_an_unknown_codec_is_named() -> None:
    """The message lists all there are."""
    with pytest.raises(SpecError, match=r"unknown codec 'nothing' \(there are: "):
        codecs.named("nothing")
