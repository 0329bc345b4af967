"""A small DeiT (Touvron et al. 2021), its tensors named as timm names them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from samples.digits.models import Block


class PatchEmbedding(nn.Module):
    """Cuts an image into ``patch`` × ``patch`` squares, one token each."""

    def __init__(self, channels: int, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """Images ``(batch, channels, size, size)`` to logits ``(batch, classes)``.

    Pre-norm blocks with one fused matrix for query, key and value; the class token's
    last state is what the head sees.
    """

    def __init__(
        self,
        *,
        size: int = 28,
        channels: int = 1,
        patch: int = 7,
        width: int = 96,
        depth: int = 6,
        heads: int = 3,
        mlp_ratio: int = 4,
        classes: int = 10,
    ) -> None:
        super().__init__()
        tokens = (size // patch) ** 2
        self.patch_embed = PatchEmbedding(channels, patch, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + tokens, width))
        self.blocks = nn.Sequential(
            *(Block(width, heads, mlp_ratio * width) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)
        self.apply(_initialise)
        for table in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(table, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patch_embed(images)  # (batch, tokens, width)
        first = self.cls_token.expand(len(images), -1, -1)
        tokens = torch.cat([first, patches], dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(tokens))[:, 0])


def _initialise(module: nn.Module) -> None:
    """As DeiT does; torch's own default makes dense layers about three times wider."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
