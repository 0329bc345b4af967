"""A Llama-type language model with the tensor names of karpathy's tinyllamas.

    python -m benchmarks.stories.model stories260K.safetensors tokens.npz

prints the checkpoint's mean negative log-likelihood over the array ``tokens`` of the
archive, in nats a token.  stories260K on tokens that it sampled itself: 1.1984.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

import wpack


@dataclass(frozen=True)
class Config:
    """Sizes of the network; the defaults are stories260K's."""

    dim: int = 64
    hidden_dim: int = 172
    n_layers: int = 5
    n_heads: int = 8
    n_kv_heads: int = 4
    vocab_size: int = 512
    max_seq_len: int = 512
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5

    @classmethod
    def read(cls, path: Path) -> Config:
        """From a JSON file, whose other keys are left out."""
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{k: v for k, v in values.items() if k in cls.__annotations__})


class Attention(nn.Module):
    """Causal self-attention; each key and value head serves several query heads."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.width = config.dim // config.n_heads
        kv_dim = config.n_kv_heads * self.width
        self.wq = nn.Linear(config.dim, config.dim, bias=False)
        self.wk = nn.Linear(config.dim, kv_dim, bias=False)
        self.wv = nn.Linear(config.dim, kv_dim, bias=False)
        self.wo = nn.Linear(config.dim, config.dim, bias=False)

    def forward(self, states: Tensor, angles: Tensor) -> Tensor:
        query, key, value = (
            project(states).unflatten(2, (-1, self.width)).transpose(1, 2)
            for project in (self.wq, self.wk, self.wv)
        )  # each (batch, heads, length, width)
        mixed = F.scaled_dot_product_attention(
            rotated(query, angles),
            rotated(key, angles),
            value,
            is_causal=True,
            enable_gqa=True,
        )
        return self.wo(mixed.transpose(1, 2).flatten(2))


def rotated(heads: Tensor, angles: Tensor) -> Tensor:
    """Rotary embedding: neighbouring entries of a head turn as one complex number.

    Args:
        heads: ``(batch, heads, length, width)``.
        angles: ``(length, width / 2)``, in radians.
    """
    pairs = torch.view_as_complex(heads.float().unflatten(3, (-1, 2)))
    turned = pairs * torch.polar(torch.ones_like(angles), angles)
    return torch.view_as_real(turned).flatten(3).type_as(heads)


class FeedForward(nn.Module):
    """SwiGLU: ``w2(silu(w1 x) · w3 x)``."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.dim, config.hidden_dim, bias=False)
        self.w2 = nn.Linear(config.hidden_dim, config.dim, bias=False)
        self.w3 = nn.Linear(config.dim, config.hidden_dim, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(states)) * self.w3(states))


class Layer(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.dim, config.norm_eps)
        self.attention = Attention(config)
        self.ffn_norm = nn.RMSNorm(config.dim, config.norm_eps)
        self.feed_forward = FeedForward(config)

    def forward(self, states: Tensor, angles: Tensor) -> Tensor:
        states = states + self.attention(self.attention_norm(states), angles)
        return states + self.feed_forward(self.ffn_norm(states))


class Llama(nn.Module):
    """Tokens ``(batch, length)`` int64 to logits ``(batch, length, vocabulary)``.

    The output matrix is the embedding's.
    """

    def __init__(self, config: Config | None = None) -> None:
        super().__init__()
        self.config = config or Config()
        self.tok_embeddings = nn.Embedding(self.config.vocab_size, self.config.dim)
        self.layers = nn.ModuleList(
            Layer(self.config) for _ in range(self.config.n_layers)
        )
        self.norm = nn.RMSNorm(self.config.dim, self.config.norm_eps)

    def forward(self, tokens: Tensor) -> Tensor:
        states = self.tok_embeddings(tokens)
        angles = self.angles(tokens.shape[1]).to(states.device)
        for layer in self.layers:
            states = layer(states, angles)
        return F.linear(self.norm(states), self.tok_embeddings.weight)

    def angles(self, length: int) -> Tensor:
        """Rotation of each position and pair, ``(length, width / 2)``, in radians."""
        width = self.config.dim // self.config.n_heads
        rates = self.config.rope_theta ** (-torch.arange(0, width, 2) / width)
        return torch.outer(torch.arange(length), rates)


def nll(model: nn.Module, tokens: Tensor) -> float:
    """Mean negative log-likelihood of each token given those before it, in nats.

    Args:
        tokens: ``(texts, length)`` int64.
    """
    model.eval()
    with torch.inference_mode():
        logits = model(tokens[:, :-1]).float()
    return float(F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()))


def main(checkpoint: str, archive: str) -> None:
    """Print the likelihood of a ``.wpool`` or ``.safetensors`` checkpoint."""
    load = wpack.load_file if checkpoint.endswith(".wpool") else load_file
    model = Llama()
    model.load_state_dict(load(checkpoint))
    tokens = torch.from_numpy(np.load(archive)["tokens"].astype(np.int64))
    print(f"{nll(model, tokens):.4f} nats a token")


if __name__ == "__main__":
    main(*sys.argv[1:])
