"""Tiny random models of diffusers; a test that asks for one is skipped where the extra is not installed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

NARROW = {"norm_num_groups": 4, "layers_per_block": 1}


def diffusers() -> Any:
    return pytest.importorskip("diffusers", reason="the extra diffusers is not installed")


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=g) * 0.15)
    return model


def unet(**options: Any) -> Any:
    settings: dict[str, Any] = {
        **NARROW,
        "sample_size": 8,
        "in_channels": 1,
        "out_channels": 1,
        "block_out_channels": (8, 16),
        "down_block_types": ("DownBlock2D",) * 2,
        "up_block_types": ("UpBlock2D",) * 2,
        "num_class_embeds": 5,
        "add_attention": False,
    }
    return randomised(diffusers().UNet2DModel(**settings | options))


def dit(channels: int = 1, **options: Any) -> Any:
    settings: dict[str, Any] = {
        "num_attention_heads": 2,
        "attention_head_dim": 4,
        "in_channels": channels,
        "out_channels": 2 * channels,
        "num_layers": 1,
        "sample_size": 8,
        "patch_size": 2,
        "norm_num_groups": 4,
        "num_embeds_ada_norm": 5,
    }
    return randomised(diffusers().DiTTransformer2DModel(**settings | options))


def autoencoder() -> Any:
    """To 4 channels of half the side."""
    blocks = ("DownEncoderBlock2D",) * 2, ("UpDecoderBlock2D",) * 2
    return diffusers().AutoencoderKL(1, 1, *blocks, latent_channels=4, block_out_channels=(8, 8), **NARROW)
