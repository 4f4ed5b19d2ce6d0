"""EDM2's published sizes and training lengths (Karras et al. 2024), as generator settings."""

from __future__ import annotations

from scoremix.config import Generator

EDM2_SIZES: dict[str, tuple[int, float, float, int]] = {
    # channels, learning rate, dropout, length at 64 px in 2^20 images; xxs and xxl have no published length at 64 px:
    # that of the neighbour (xs, xl) is taken
    "xxs": (64, 0.0170, 0.0, 1024),
    "xs": (128, 0.0120, 0.0, 1024),
    "s": (192, 0.0100, 0.0, 1024),
    "m": (256, 0.0090, 0.1, 2048),
    "l": (320, 0.0080, 0.1, 1024),
    "xl": (384, 0.0070, 0.1, 640),
    "xxl": (448, 0.0065, 0.1, 640),
}


def edm2_generator(size: str) -> Generator:
    """EDM2's network of that size and its training for pixels at 64 px; attention at the two deepest levels.

    Published runs decay the rate from 35,000 batches of 2048 on, after a rise over 10M images.
    """
    if size not in EDM2_SIZES:
        raise ValueError(f"EDM2 size {size!r}: must be one of {', '.join(EDM2_SIZES)}")
    channels, lr, dropout, mebi_images = EDM2_SIZES[size]
    total = mebi_images * 2**20
    return Generator(
        model_channels=channels,
        channel_mult=(1, 2, 3, 4),
        num_blocks=3,
        attention=True,
        dropout=dropout,
        images_seen=total,
        batch=2048,
        lr=lr,
        rampup=10_000_000 / total,
        decay_start=35_000 * 2048 / total,
        noise_mean=-0.8,
        noise_std=1.6,
        snapshots=32,
        shift=0,
    )
