"""The class-conditional denoising network of EDM2 and its preconditioning (EDM2 section 2, EDM section 5)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from jaxtyping import Float, Int
from torch import Tensor, nn

from scoremix.diffusion.layers import (
    SILU_RMS,
    FixedConditions,
    MPConv,
    MPFourier,
    Resample,
    mp_cat,
    normalize,
    sum_factors,
)

Precision = Literal["float32", "bfloat16", "float16"]


class ResidualBlock(nn.Module):
    """Residual block: resampling, two convolutions modulated by the embedding, self-attention."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        part: Literal["encoder", "decoder"],
        *,
        embedding: int,
        resample: Literal["keep", "down", "up"] = "keep",
        resample_filter: Sequence[float] = (1, 1),
        attention: bool = False,
        channels_per_head: int | None = None,
        dropout: float = 0.0,
        res_balance: float = 0.3,
        attn_balance: float = 0.3,
        clip_act: float | None = 256.0,
    ) -> None:
        super().__init__()
        self.part, self.dropout, self.clip_act = part, dropout, clip_act
        self.resample = Resample(resample, resample_filter)
        self.heads = _heads(outputs, channels_per_head) if attention else 0
        self.keep_res, share_res = sum_factors(res_balance)
        self.keep_attn, share_attn = sum_factors(attn_balance)
        self.emb_gain = nn.Parameter(torch.zeros([]))
        first = outputs if part == "encoder" else inputs
        self.conv_res0 = MPConv(first, outputs, 3, 3, factor=1 / SILU_RMS)
        self.emb_linear = MPConv(embedding, outputs)
        self.conv_res1 = MPConv(outputs, outputs, 3, 3, factor=share_res / SILU_RMS)
        self.conv_skip = MPConv(inputs, outputs, 1, 1) if inputs != outputs else None
        self.attn_qkv = MPConv(outputs, 3 * outputs, 1, 1) if attention else None
        self.attn_proj = MPConv(outputs, outputs, 1, 1, factor=share_attn) if attention else None

    def forward(self, x: Float[Tensor, "b c h w"], emb: Float[Tensor, "n e"]) -> Float[Tensor, "b d h2 w2"]:
        x = self.resample(x)
        if self.part == "encoder":
            x = x if self.conv_skip is None else self.conv_skip(x)
            x = normalize(x, (1,))
        y = self.conv_res0(F.silu(x))
        modulation = self.emb_linear(emb, self.emb_gain) + 1
        y = F.silu(y * modulation.to(y.dtype)[:, :, None, None])
        if self.training and self.dropout:
            y = F.dropout(y, self.dropout)
        y = self.conv_res1(y)
        if self.part == "decoder" and self.conv_skip is not None:
            x = self.conv_skip(x)
        x = torch.add(y, x, alpha=self.keep_res)  # mp_sum, y scaled by conv_res1
        if self.heads:
            x = torch.add(self._attend(x), x, alpha=self.keep_attn)  # mp_sum, scaled by attn_proj
        if self.clip_act is None:
            return x
        return F.hardtanh(x, -self.clip_act, self.clip_act)  # clamp with a one-pass backward

    def _attend(self, x: Tensor) -> Tensor:
        """Cosine self-attention over pixels; the channels of the qkv map are (head, channel, q|k|v)."""
        assert self.attn_qkv is not None and self.attn_proj is not None
        b, c, h, w = x.shape
        qkv = self.attn_qkv(x).reshape(b, self.heads, c // self.heads, 3, h * w)
        q, k, v = normalize(qkv, (2,)).permute(3, 0, 1, 4, 2).unbind(0)  # (b, heads, pixels, channels)
        y = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(b, c, h, w)
        projected: Tensor = self.attn_proj(y)
        return projected


def _heads(channels: int, channels_per_head: int | None) -> int:
    """Number of attention heads; by default 64 channels each where 64 divides them, else one head."""
    if channels_per_head is None:
        return channels // 64 if channels % 64 == 0 else 1
    if channels_per_head < 1 or channels % channels_per_head:
        raise ValueError(
            f"channels_per_head={channels_per_head}: must divide the {channels} channels of every level with "
            "attention (attention would be lost or cut); give a divisor, None, or attention=False"
        )
    return channels // channels_per_head


class UNet(nn.Module):
    """The body F(c_in x, c_noise, labels): embedding in the parameters' precision, the rest in `dtype`."""

    def __init__(
        self,
        img_resolution: int,
        img_channels: int,
        label_dim: int,
        *,
        model_channels: int = 192,
        channel_mult: Sequence[int] = (1, 2, 3, 4),
        channel_mult_noise: int | None = None,
        channel_mult_emb: int | None = None,
        num_blocks: int = 3,
        attention: bool = True,
        attn_resolutions: Sequence[int] | None = None,
        fixed_conditions: bool = False,
        moves: int = 0,
        label_balance: float = 0.5,
        concat_balance: float = 0.5,
        dtype: torch.dtype | None = None,
        **block_options: Any,
    ) -> None:
        super().__init__()
        resolutions = _resolutions(img_resolution, len(channel_mult))
        attending = _attending(resolutions, attn_resolutions) if attention else set()
        widths = [model_channels * m for m in channel_mult]
        noise_channels = model_channels * (channel_mult_noise or channel_mult[0])
        embedding = model_channels * (channel_mult_emb or max(channel_mult))
        self.label_dim, self.dtype, self.memory_format = label_dim, dtype, torch.channels_last
        self.label_balance, self.concat_balance = label_balance, concat_balance
        self.checkpointing = False  # blocks keep their input alone for the backward pass and compute again
        self.out_gain = nn.Parameter(torch.zeros([]))
        self.emb_fourier = MPFourier(noise_channels)
        self.emb_noise = MPConv(noise_channels, embedding)
        conditions = FixedConditions if fixed_conditions else MPConv
        self.emb_label = conditions(label_dim, embedding) if label_dim else None
        self.emb_moves = MPConv(moves, embedding, factor=math.sqrt(moves)) if moves else None

        block: Callable[..., ResidualBlock] = partial(ResidualBlock, embedding=embedding, **block_options)
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        first = f"{img_resolution}x{img_resolution}_conv"
        width = widths[0]
        self.enc[first] = MPConv(img_channels + 1, width, 3, 3)
        skips = [width]
        for level, (r, wide) in enumerate(zip(resolutions, widths, strict=True)):
            if level:
                self.enc[f"{r}x{r}_down"] = block(width, width, "encoder", resample="down")
                skips.append(width)
            for i in range(num_blocks):
                self.enc[f"{r}x{r}_block{i}"] = block(width, wide, "encoder", attention=r in attending)
                width = wide
                skips.append(width)
        for level in reversed(range(len(widths))):
            r, wide = resolutions[level], widths[level]
            if level == len(widths) - 1:
                self.dec[f"{r}x{r}_in0"] = block(width, width, "decoder", attention=attention)
                self.dec[f"{r}x{r}_in1"] = block(width, width, "decoder")
            else:
                self.dec[f"{r}x{r}_up"] = block(width, width, "decoder", resample="up")
            for i in range(num_blocks + 1):
                joined = width + skips.pop()
                self.dec[f"{r}x{r}_block{i}"] = block(joined, wide, "decoder", attention=r in attending)
                width = wide
        self.out_conv = MPConv(width, img_channels, 3, 3)

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        c_noise: Float[Tensor, " n"],
        labels: Tensor | None,
        label_weights: Tensor | None = None,
        moves: Tensor | None = None,
    ) -> Float[Tensor, "b c h w"]:
        emb = self.emb_noise(self.emb_fourier(c_noise))
        if self.emb_label is not None:
            condition = self._condition(labels, label_weights)
            keep, share = sum_factors(self.label_balance)
            emb = emb * keep if condition is None else emb * keep + condition * share
        if moves is not None:
            assert self.emb_moves is not None
            emb = emb + self.emb_moves(moves)
        emb = F.silu(emb) / SILU_RMS

        x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        x = x.to(self.dtype or x.dtype, memory_format=self.memory_format)
        skips: list[Tensor] = []
        for layer in self.enc.values():
            x = self._through(layer, x, emb) if isinstance(layer, ResidualBlock) else layer(x)
            skips.append(x)
        for name, layer in self.dec.items():
            if "block" in name:
                x = mp_cat(x, skips.pop(), self.concat_balance)
            x = self._through(layer, x, emb)
        out: Tensor = self.out_conv(x, self.out_gain)
        return out.to(c_noise.dtype)

    def _through(self, block: nn.Module, x: Tensor, emb: Tensor) -> Tensor:
        kept = self.checkpointing and self.training
        result: Tensor = (
            torch.utils.checkpoint.checkpoint(block, x, emb, use_reentrant=False) if kept else block(x, emb)
        )
        return result

    def _condition(self, labels: Tensor | None, label_weights: Tensor | None) -> Tensor | None:
        """Rows emb_label(one_hot(labels) * sqrt(L)), shape (b, e); the sqrt(L) cancels 1 / sqrt(fan_in).

        In training, label -1 is no class: a row of zeros, as for no labels at all.
        """
        assert self.emb_label is not None
        weight = self.emb_label.effective_weight(math.sqrt(self.label_dim))  # (e, L), rows of unit RMS
        if labels is None:
            return None
        if labels.is_floating_point():
            return labels.to(weight.dtype) @ weight.t()
        known = labels.clamp(min=0) if self.training else labels
        columns = weight.index_select(1, known.reshape(-1)).t().reshape(*labels.shape, -1)
        if self.training:
            columns = torch.where(labels[..., None] >= 0, columns, 0.0)
        if label_weights is not None:
            columns = torch.einsum("bme,bm->be", columns, label_weights.to(weight.dtype))
        return columns


def _resolutions(img_resolution: int, levels: int) -> list[int]:
    """Side of each level from the image down."""
    if levels < 1 or img_resolution % 2 ** (levels - 1):
        raise ValueError(
            f"img_resolution={img_resolution}: must be a multiple of {2 ** max(levels - 1, 0)} "
            f"for the {levels} levels of channel_mult"
        )
    return [img_resolution >> level for level in range(levels)]


def _attending(resolutions: list[int], attn_resolutions: Sequence[int] | None) -> set[int]:
    """Sides of the levels whose blocks attend."""
    if attn_resolutions is None:
        return set(resolutions[-2:])
    if attn_resolutions and not set(attn_resolutions) & set(resolutions):
        raise ValueError(
            f"attn_resolutions={list(attn_resolutions)}: none is the side of a level, {resolutions}; "
            "None is the two deepest, [] the first decoder block only"
        )
    return set(attn_resolutions)


class EDM2(nn.Module):
    """Preconditioned denoiser D(x; sigma, labels) in float32, its body in `dtype` (EDM section 5).

    Attention sits at the two deepest levels unless `attn_resolutions` lists the sides of the levels that have
    it ([] leaves only the first decoder block's, as in published layouts) or `attention` is False.
    `use_fp16=True` of published configurations is the same as dtype="float16".
    Raises ValueError for a side not divisible by 2^(levels-1), or a head size that does not fit.
    """

    def __init__(
        self,
        img_resolution: int,
        img_channels: int,
        label_dim: int,
        *,
        sigma_data: float = 0.5,
        logvar_channels: int = 128,
        dtype: Precision | None = None,
        use_fp16: bool = False,
        classless: bool = False,
        **unet: Any,
    ) -> None:
        super().__init__()
        self.classless = classless  # whether it is trained without classes, too
        self.img_resolution, self.img_channels, self.label_dim = img_resolution, img_channels, label_dim
        self.sigma_data, self.dropout = sigma_data, float(unet.get("dropout", 0.0))
        self.unet = UNet(img_resolution, img_channels, label_dim, dtype=_body_dtype(dtype, use_fp16), **unet)
        self.logvar_fourier = MPFourier(logvar_channels)
        self.logvar_linear = MPConv(logvar_channels, 1)

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        sigma: Float[Tensor, ...] | float,
        labels: Int[Tensor, " b"] | Int[Tensor, "b m"] | Float[Tensor, "b l"] | None = None,
        label_weights: Float[Tensor, "b m"] | None = None,
        return_logvar: bool = False,
        moves: Float[Tensor, "b a"] | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Estimate of the clean image, (b, c, h, w) in the parameters' precision; with `return_logvar`
        also the log variance u of the loss, (n, 1, 1, 1), n = number of sigmas.

        `sigma`: one value or one per row. `labels`: classes (b,), soft labels (b, L), None for no class,
        or classes (b, m) with `label_weights` (b, m): sum_k w_k C[k] without a dense (b, L) matrix. `moves`: how the
        images were moved about in training (diffusion/moves.py); None is not at all.
        """
        working = self.logvar_fourier.freqs.dtype
        x = x.to(working)
        s = torch.as_tensor(sigma, dtype=working, device=x.device).reshape(-1)
        c_noise = s.log() / 4
        s = s[:, None, None, None]
        total = s.square() + self.sigma_data**2
        body = self.unet(x / total.sqrt(), c_noise, labels, label_weights, moves)
        denoised: Tensor = x * (self.sigma_data**2 / total) + body * (s * self.sigma_data / total.sqrt())
        if not return_logvar:
            return denoised
        logvar: Tensor = self.logvar_linear(self.logvar_fourier(c_noise))
        return denoised, logvar[:, :, None, None]

    def without_classes(self) -> EDM2:
        """The same network asked for no class: one of label_dim 0 that shares its weights, for classifier-free guidance.

        ValueError where it was never trained without classes.
        """
        if not self.classless:
            raise ValueError("classless False: the network was not trained without classes (generator.label_dropout)")
        other = copy.copy(self)
        other.label_dim = 0
        return other


def _body_dtype(dtype: Precision | None, use_fp16: bool) -> torch.dtype | None:
    """Precision of the body; None = that of the parameters."""
    if use_fp16 and dtype not in (None, "float16"):
        raise ValueError(f"use_fp16=True contradicts dtype={dtype!r}: leave one of them out")
    name = "float16" if use_fp16 else dtype
    choices = {None: None, "float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in choices:
        raise ValueError(f"dtype={name!r}: must be one of float32, bfloat16, float16")
    return choices[name]


@torch.no_grad()
def condition_matrix(net: EDM2) -> Float[Tensor, "l e"]:
    """The generator's condition of each class, C[k] = column k of normalize(emb_label.weight), (L, e).

    Each of the e features has unit RMS over classes, norms of classes are free; fixed conditions are what they
    are. ValueError without classes.
    """
    if net.unet.emb_label is None:
        raise ValueError("label_dim=0: a network without classes has no condition matrix")
    if isinstance(net.unet.emb_label, FixedConditions):
        return net.unet.emb_label.weight.t().contiguous()
    if net.unet.emb_label.folded is not None:
        return net.unet.emb_label.folded.t().contiguous()
    return normalize(net.unet.emb_label.weight).t().contiguous()


@torch.no_grad()
def frozen(net: EDM2, dtype: Precision | None = None) -> EDM2:
    """A copy of `net` for sampling only: eval mode, effective weights computed once, body in `dtype`.

    Bit for bit what `net.eval()` gives with that body (default: the net's own). It has no weights to
    train, save or load, and does not follow later changes of `net`.
    """
    result = copy.deepcopy(net).eval().requires_grad_(False)
    unet = result.unet
    unet.dtype = unet.dtype if dtype is None else _body_dtype(dtype, False)
    gains: dict[MPConv, Tensor | float] = {unet.out_conv: unet.out_gain}
    gains |= {block.emb_linear: block.emb_gain for block in unet.modules() if isinstance(block, ResidualBlock)}
    if isinstance(unet.emb_label, MPConv):
        gains[unet.emb_label] = math.sqrt(unet.label_dim)
    for layer in [module for module in result.modules() if isinstance(module, MPConv)]:
        layer.fold(gains.get(layer, 1.0), unet.dtype if layer.weight.ndim == 4 else None)
    return result
