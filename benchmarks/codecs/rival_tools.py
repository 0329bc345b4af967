"""The other tools: how each makes a file of a float32 state dict, and reads it back.

nncodec asks for numpy < 2 and for torchvision, and torchvision of PyPI for PyPI's own
torch: beside a `+cpu` build it fails with "operator torchvision::nms does not exist".

- *safetensors*: `zstd` is one frame of level 19 around the whole file.
- *zipnn*: of the whole file; the tensors one by one, its other layout, come out larger.
- *nncodec*: DeepCABAC of ISO/IEC 15938-17 behind trellis quantisation.  `qp` is the
  step, doubled every fourth, of all that has two dimensions or more; the rest has -75
  unless said.  `n bits` sets each tensor's step by its largest values instead.
- *torchao*: weight-only, of `nn.Linear` alone: convolutions and norms stay what they
  were, so a bfloat16 network is tried too.  `Int4WeightOnlyConfig` runs on no CPU
  ("Requires mslk >= 1.0.0"): int4 is its prototype's for CPUs, which takes layers of a
  multiple of 16 outputs.  The quantised numbers are counted as a safetensors file;
  `torch.save`, its own way, adds a tenth and more to a file this small.
"""

from __future__ import annotations

import copy
import importlib
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F

State = dict[str, Tensor]


@dataclass(frozen=True)
class Original:
    """A checkpoint.

    Attributes:
        state: Name → float32.
        network: Holds it; not to be written to.
    """

    state: State
    network: nn.Module


@dataclass(frozen=True)
class Rival(ABC):
    """One tool with one setting.

    Attributes:
        package: What ``pip`` calls it.
        imports: The modules that it needs.
    """

    name: str
    package: ClassVar[str]
    imports: ClassVar[tuple[str, ...]]

    @abstractmethod
    def encode(self, original: Original) -> bytes:
        """The file's content."""

    @abstractmethod
    def decode(self, data: bytes) -> State:
        """Name → float32 of a file's content."""

    def absent(self) -> str | None:
        """Why it cannot be used here, if it cannot."""
        try:
            for module in self.imports:
                importlib.import_module(module)
        except Exception as error:  # built for another torch, each fails in its own way
            return f"{type(error).__name__}: {error}"
        return None


@dataclass(frozen=True)
class Safetensors(Rival):
    """A plain file."""

    dtype: torch.dtype = torch.float32
    package = "safetensors"
    imports = ("safetensors",)

    def encode(self, original: Original) -> bytes:
        return save({n: t.to(self.dtype) for n, t in original.state.items()})

    def decode(self, data: bytes) -> State:
        return {name: tensor.float() for name, tensor in load(data).items()}


@dataclass(frozen=True)
class Zstandard(Safetensors):
    """A plain file in one frame of level 19."""

    package = "zstandard"
    imports = ("zstandard",)

    def encode(self, original: Original) -> bytes:
        import zstandard

        return zstandard.ZstdCompressor(level=19).compress(super().encode(original))

    def decode(self, data: bytes) -> State:
        import zstandard

        return super().decode(zstandard.ZstdDecompressor().decompress(data))


@dataclass(frozen=True)
class ZipNN(Safetensors):
    """A plain file through ``ZipNN.compress``."""

    package = "zipnn"
    imports = ("zipnn",)

    def encode(self, original: Original) -> bytes:
        # It scrambles the bytes that it is given: they must be nobody else's.
        return bytes(self._coder().compress(super().encode(original)))

    def decode(self, data: bytes) -> State:
        return super().decode(bytes(self._coder().decompress(data)))

    def _coder(self) -> Any:
        import zipnn

        name = str(self.dtype).removeprefix("torch.")
        return zipnn.ZipNN(input_format="byte", bytearray_dtype=name, threads=1)


@dataclass(frozen=True)
class NNCodec(Rival):
    """``nncodec.nn.encode`` of a dict of arrays.

    Attributes:
        options: What differs from its defaults, as pairs.
    """

    options: tuple[tuple[str, Any], ...] = ()
    package = "nncodec"
    imports = ("nncodec.nn",)

    def encode(self, original: Original) -> bytes:
        from nncodec.nn import encode

        arrays = {name: t.numpy().copy() for name, t in original.state.items()}
        with tempfile.TemporaryDirectory() as folder:  # it writes the stream there too
            settings = {"verbose": False, "results": folder, **dict(self.options)}
            return bytes(encode(arrays, settings))

    def decode(self, data: bytes) -> State:
        from nncodec.nn import decode

        arrays = decode(bytearray(data))
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


@dataclass(frozen=True)
class TorchAO(Rival):
    """``quantize_`` of the network, weights only.

    Attributes:
        bits: 8, a scale per output; 4, a scale and a zero per ``group`` inputs.
        dtype: Of the network, and so of scales and of all that is not quantised.
    """

    bits: int = 8
    dtype: torch.dtype = torch.float32
    group: int = 32
    package = "torchao"
    imports = ("torchao.quantization", "torchao.prototype.quantization.int4")
    #: What becomes of a weight, by the names of its class.
    parts: ClassVar = {8: ("qdata", "scale"), 4: ("qdata", "scale_and_zero")}

    def encode(self, original: Original) -> bytes:
        from torchao.quantization import quantize_

        network = copy.deepcopy(original.network).to(self.dtype)
        quantize_(network, self._settings(), filter_fn=self._takes)
        held, tensors = network.state_dict(), {}
        for name in original.state:
            tensor = held[name].detach()
            if hasattr(tensor, "qdata"):
                for part in self.parts[self.bits]:
                    tensors[f"{name}.{part}"] = getattr(tensor, part).contiguous()
            else:
                tensors[name] = tensor.contiguous()
        return save(tensors)

    def decode(self, data: bytes) -> State:
        tensors, state = load(data), {}
        numbers, scales = ("." + part for part in self.parts[self.bits])
        for name, tensor in tensors.items():
            if name.endswith(numbers):
                name = name.removesuffix(numbers)
                tensor = self._values(tensor, tensors[name + scales])
            if not name.endswith(scales):
                state[name] = tensor.float()
        return state

    def _takes(self, module: nn.Module, name: str) -> bool:
        if not isinstance(module, nn.Linear):
            return False
        fits = module.out_features % 16 == 0 and module.in_features % self.group == 0
        return self.bits == 8 or fits

    def _settings(self) -> Any:
        from torchao.prototype.quantization import int4
        from torchao.quantization import Int8WeightOnlyConfig

        if self.bits == 8:
            return Int8WeightOnlyConfig()
        # HQQ: nearer to the weights than the default, in as many bytes.
        return int4.PrototypeInt4WeightOnlyConfig(self.group, "hqq")

    def _values(self, numbers: Tensor, scales: Tensor) -> Tensor:
        if self.bits == 8:
            return numbers * scales.float()
        from torchao.prototype.quantization.int4 import Int4OpaqueTensor

        outputs, inputs = numbers.shape[0], 2 * numbers.shape[1]
        shape = torch.Size((outputs, inputs))
        weight = Int4OpaqueTensor(numbers, scales, [1, self.group], shape)
        # The order of its nibbles is the kernel's business: ask the kernel.
        return F.linear(torch.eye(inputs, dtype=scales.dtype), weight).T.contiguous()


def _nncodec() -> Iterator[NNCodec]:
    for qp in (-38, -32, -28, -24, -20, -16):
        yield NNCodec(f"nncodec qp {qp}", (("qp", qp),))
    for qp in (-24, -22, -20, -18, -16, -14, -12):
        options = (("qp", qp), ("nonweight_qp", -50))
        yield NNCodec(f"nncodec qp {qp}, others -50", options)
    for bits in (5, 4, 3):
        yield NNCodec(f"nncodec {bits} bits", (("bitdepth", bits),))


RIVALS: tuple[Rival, ...] = (
    Safetensors("safetensors fp32"),
    Safetensors("safetensors bf16", torch.bfloat16),
    Zstandard("safetensors fp32 + zstd -19"),
    Zstandard("safetensors bf16 + zstd -19", torch.bfloat16),
    ZipNN("zipnn fp32"),
    ZipNN("zipnn bf16", torch.bfloat16),
    *_nncodec(),
    TorchAO("torchao int8"),
    TorchAO("torchao int8, bf16", 8, torch.bfloat16),
    TorchAO("torchao int4 of 32", 4),
    TorchAO("torchao int4 of 32, bf16", 4, torch.bfloat16),
    TorchAO("torchao int4 of 64, bf16", 4, torch.bfloat16, 64),
)
