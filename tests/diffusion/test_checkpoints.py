"""Snapshots and averages reconstructed from them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from scoremix.diffusion import checkpoints, training
from scoremix.diffusion.checkpoints import Pixels
from scoremix.diffusion.unet import EDM2

NETWORK = {"img_resolution": 8, "img_channels": 1, "label_dim": 4, "model_channels": 8, "channel_mult": [1, 2]}
NETWORK |= {"num_blocks": 1, "dtype": "float32"}
BATCH, STEPS = 8, 48


def batches(nimg: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(nimg)
    return torch.randn(BATCH, 1, 8, 8, generator=g) / 2, torch.randint(4, (BATCH,), generator=g)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor], dict[str, Tensor]]:
    """A folder of 8 x 2 snapshots, the average of length .075 kept along, and the last parameters."""
    folder = tmp_path_factory.mktemp("snapshots")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = EDM2(**NETWORK)  # type: ignore[arg-type]
    state = training.start(net, [0.05, 0.1, 0.075])
    for _ in training.train(state, batches, batch=BATCH, total=STEPS * BATCH, seed=0, rate=lambda nimg: 1e-2):
        if state.nimg % (STEPS * BATCH // 8) == 0:
            for i in range(2):
                content = checkpoints.to_bytes(state.ema.state(i), NETWORK, Pixels(0.1, 2.0))
                (folder / checkpoints.snapshot_name(state.nimg, state.ema.stds[i])).write_bytes(content)
    last = {n: t.detach().clone() for n, t in net.state_dict().items()}
    return folder, {n: t.clone() for n, t in state.ema.state(2).items()}, last


def distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    return float(torch.stack([(a[n] - b[n]).norm() for n in b]).norm())


def test_a_length_between_is_what_training_would_have_kept(trained):
    folder, kept, last = trained
    _, tensors, missing = checkpoints.reconstructed(folder, 0.075, STEPS * BATCH)
    assert 0 < missing < 0.03
    scale = distance(last, kept)
    assert distance(tensors, kept) < 0.05 * scale
    short, _ = checkpoints.load(folder / checkpoints.snapshot_name(STEPS * BATCH, 0.05))
    assert distance(short.state_dict(), kept) > 0.2 * scale  # the nearest stored one is no substitute
    assert all(torch.equal(tensors[n], last[n]) for n in last if n.endswith(("freqs", "phases")))


def test_a_stored_average_is_read_not_rebuilt(trained):
    folder, _, _ = trained
    stored, pixels = checkpoints.load(folder / checkpoints.snapshot_name(96, 0.1))
    net, same = checkpoints.average(folder, 0.1, 96)
    assert all(torch.equal(t, stored.state_dict()[n]) for n, t in net.state_dict().items())
    assert pixels == same == Pixels(0.1, 2.0) and not net.training
    _, tensors, missing = checkpoints.reconstructed(folder, 0.1, 96)
    assert missing < 1e-6 and distance(tensors, stored.state_dict()) < 1e-4


def test_what_snapshots_cannot_express_is_refused(trained, tmp_path: Path):
    folder, _, _ = trained
    with pytest.raises(ValueError, match=r"EMA length 0\.2 .* missing"):
        checkpoints.average(folder, 0.2, 48)
    with pytest.raises(ValueError, match="0 snapshots up to 10 images"):
        checkpoints.average(folder, 0.075, 10)
    with pytest.raises(ValueError, match=r"std=0\.5"):
        checkpoints.average(folder, 0.5, 96)
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a readable snapshot"):
        checkpoints.load(tmp_path / "x.safetensors")


def test_stored_lists_lengths_and_times(trained):
    found = checkpoints.stored(trained[0])
    assert [(s, n) for s, n, _ in found] == [(s, 48 * k) for s in (0.05, 0.1) for k in range(1, 9)]


def test_tensors_of_another_configuration_are_refused_in_one_line(trained, tmp_path: Path):
    path = trained[0] / checkpoints.snapshot_name(96, 0.1)
    description, tensors = checkpoints.read(path)
    other = checkpoints.to_bytes(tensors, {**description["network"], "model_channels": 16}, Pixels())
    (tmp_path / "other.safetensors").write_bytes(other)
    with pytest.raises(ValueError, match="not those of its configuration") as error:
        checkpoints.load(tmp_path / "other.safetensors")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{tmp_path / 'other.safetensors'}: ") and "must be" in str(error.value)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    net = EDM2(**NETWORK)  # type: ignore[arg-type]
    tensors = {n: t.detach().clone() for n, t in net.state_dict().items()}
    name = sorted(n for n in tensors if n.endswith(".weight"))[0]
    tensors[name].view(-1)[0] = torch.nan
    path = tmp_path / checkpoints.snapshot_name(8, 0.05)
    path.write_bytes(checkpoints.to_bytes(tensors, NETWORK, Pixels()))
    for read in (checkpoints.load, checkpoints.read):
        with pytest.raises(ValueError, match=rf"{path}: 1 weights are not finite, the first in {name}"):
            read(path)
