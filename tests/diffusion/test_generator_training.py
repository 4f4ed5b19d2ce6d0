"""The training loop: restarts bit for bit, the published loop, learning rate, refusal of broken losses."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scoremix.diffusion import training
from scoremix.diffusion.training import GeneratorTraining, learning_rate, weighted_error
from scoremix.diffusion.unet import EDM2
from support.host_reads import HostReads

BATCH = 8


def make(dropout: float = 0.0, dtype: str = "float32", seed: int = 0) -> EDM2:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        options: dict[str, Any] = {"model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1}
        return EDM2(8, 1, 4, **options, dropout=dropout, dtype=dtype)


def batches(nimg: int) -> tuple[Tensor, Tensor]:
    """Blurred squares in the corner of their class."""
    g = torch.Generator().manual_seed(nimg)
    labels = torch.randint(4, (BATCH,), generator=g)
    images = torch.full((BATCH, 1, 8, 8), -0.5)
    for i, k in enumerate(labels.tolist()):
        images[i, 0, 4 * (k // 2) :, 4 * (k % 2) :] = 0.5
    return images + 0.05 * torch.randn(images.shape, generator=g), labels


def run(
    state: GeneratorTraining, total: int, next_batch: training.NextBatch = batches, **options: Any
) -> GeneratorTraining:
    settings: dict[str, Any] = {"batch": BATCH, "seed": 3, "rate": lambda nimg: 1e-2} | options
    for _ in training.train(state, next_batch, total=total, **settings):
        pass
    return state


def equal(a: GeneratorTraining, b: GeneratorTraining) -> bool:
    left, right = a.tensors(), b.tensors()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.mark.parametrize("options", [{}, {"dropout": 0.2}, {"dtype": "bfloat16"}])
def test_four_and_four_steps_are_eight(options: dict[str, Any], tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    whole = run(training.start(make(**options), [0.05, 0.1]), 8 * BATCH)

    half = run(training.start(make(**options), [0.05, 0.1]), 4 * BATCH)
    safetensors.save_file(half.tensors(), tmp_path / "state.safetensors")
    info = json.loads(json.dumps(half.info()))
    torch.manual_seed(99)  # a restart does not share the global generator's state
    resumed = training.start(make(**options, seed=5), [0.05, 0.1])
    resumed.restore(safetensors.load_file(tmp_path / "state.safetensors"), info)
    assert resumed.nimg == 4 * BATCH
    assert equal(run(resumed, 8 * BATCH), whole)
    assert not equal(half, whole)


def test_stopping_between_steps_changes_nothing():
    whole = run(training.start(make(), [0.1]), 6 * BATCH)
    parts = training.start(make(), [0.1])
    for total in (1, 3, 6):
        run(parts, total * BATCH)
    assert equal(parts, whole)


def test_another_seed_is_another_run():
    a, b = (run(training.start(make(), [0.1]), 2 * BATCH, seed=s) for s in (0, 1))
    assert not equal(a, b)


def test_global_generator_is_left_alone():
    before = torch.get_rng_state()
    run(training.start(make(dropout=0.5), [0.1]), 2 * BATCH)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_loss_falls_and_classes_are_learned():
    state = training.start(make(), [0.1])
    losses: list[float] = []
    for current in training.train(state, batches, batch=BATCH, total=120 * BATCH, seed=0, rate=lambda nimg: 2e-2):
        losses += current.take_losses()
    assert len(losses) == 120
    assert np.mean(losses[-20:]) < np.mean(losses[:20]) - 0.5
    state.net.load_state_dict(state.ema.state(0))
    images, labels = batches(10**6)
    with torch.no_grad():
        x = images + 1.5 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
        net = state.net.eval()
        errors = torch.stack([(net(x, 1.5, (labels + k) % 4) - images).square().mean() for k in range(4)])
    assert errors.argmin() == 0  # the right condition explains the image best


def test_two_ranks_draw_what_one_draws():
    """Gradients averaged over two half batches are those of the whole batch."""
    seen: dict[tuple[int, int], list[Tensor]] = {}

    def spying(ranks: int, rank: int) -> Callable[[int], tuple[Tensor, Tensor]]:
        mine = slice(rank * BATCH // ranks, (rank + 1) * BATCH // ranks)
        return lambda nimg: tuple(t[mine] for t in batches(nimg))  # type: ignore[return-value]

    for ranks, rank in ((1, 0), (2, 0), (2, 1)):
        net = make()
        noisy: list[Tensor] = []
        net.register_forward_pre_hook(lambda module, args, noisy=noisy: noisy.append(args[0].clone()))
        run(training.start(net, [0.1]), BATCH, spying(ranks, rank), ranks=ranks, rank=rank)
        seen[ranks, rank] = noisy
    assert torch.equal(torch.cat([seen[2, 0][0], seen[2, 1][0]]), seen[1, 0][0])
    with pytest.raises(ValueError, match="batch=8"):
        run(training.start(make(), [0.1]), BATCH, ranks=3)


@pytest.mark.parametrize("batch", [8, 72])
def test_a_rank_draws_its_own_rows_alone(batch: int):
    like = torch.zeros(1, 1, 4, 4)
    whole = training.drawn(like, slice(0, batch), batch, 3, 64)
    for ranks in (2, 4, 8):
        rows = [slice(rank * batch // ranks, (rank + 1) * batch // ranks) for rank in range(ranks)]
        parts = [training.drawn(like, r, batch, 3, 64) for r in rows]
        for name in (0, 1):
            assert torch.equal(torch.cat([part[name] for part in parts]), whole[name])
    assert len(whole[1].flatten(1).unique(dim=0)) == batch and len(whole[0].unique()) == batch
    assert not torch.equal(training.drawn(like, slice(0, batch), batch, 3, 128)[1], whole[1])


def continued(state: GeneratorTraining, **options: Any) -> GeneratorTraining:
    """One more step of a copy of a training in float64."""
    copied = training.start(make().double(), [0.1])
    copied.restore({name: tensor.clone() for name, tensor in state.tensors().items()}, state.info())
    copied.net.unet.checkpointing = options.pop("checkpointing", False)
    return run(copied, state.nimg + BATCH, doubles, **options)


def doubles(nimg: int) -> tuple[Tensor, Tensor]:
    images, labels = batches(nimg)
    return images.double(), labels


def extra(denoised: Tensor, labels: Tensor, sigma: Tensor, nimg: int) -> Tensor:
    return (1 + labels) * denoised.flatten(1).square().mean(1)


@pytest.mark.parametrize("change", [{"microbatch": 1}, {"microbatch": 3}, {"microbatch": 5}, {"checkpointing": True}])
def test_gradients_of_microbatches_and_of_checkpoints_are_those_of_the_batch(change: dict[str, Any]):
    """Adam's first moment is linear in the gradient; the network's norms are computed in float32."""
    state = run(training.start(make().double(), [0.1]), 3 * BATCH, doubles, extra=extra)
    whole = continued(state, extra=extra).tensors()
    other = continued(state, extra=extra, **change).tensors()
    for name, tensor in whole.items():
        tolerance = 3e-8 if name.startswith("adam.exp_avg.") else 1e-6
        torch.testing.assert_close(other[name], tensor, rtol=0, atol=tolerance)


class Plain(torch.nn.Module):
    """A denoiser without anything in float32."""

    sigma_data, dropout = 0.5, 0.0

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.condition = torch.nn.Conv2d(1, 1, 3, padding=1), torch.nn.Embedding(4, 64)

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor, return_logvar: bool) -> tuple[Tensor, Tensor]:
        shown = self.conv(x) + self.condition(labels).reshape(-1, 1, 8, 8)
        return shown, sigma.log()[:, None, None, None] * self.conv.bias


@pytest.mark.parametrize("microbatch", [1, 3, 5])
def test_a_plain_network_agrees_to_rounding_in_float64(microbatch: int):
    def trained(size: int | None) -> GeneratorTraining:
        torch.manual_seed(0)
        return run(training.start(Plain().double(), [0.1]), 5 * BATCH, doubles, extra=extra, microbatch=size)

    with torch.random.fork_rng():
        whole, parts = trained(None).tensors(), trained(microbatch).tensors()
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-12, atol=1e-10)


def test_microbatches_in_float32_agree_within_rounding():
    whole, parts = (run(training.start(make(), [0.1]), 6 * BATCH, microbatch=size) for size in (None, 3))
    for name, tensor in whole.tensors().items():
        torch.testing.assert_close(parts.tensors()[name], tensor, rtol=1e-2, atol=1e-2)
    with pytest.raises(ValueError, match="microbatch is 0"):
        run(training.start(make(), [0.1]), BATCH, microbatch=0)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_checkpointing_keeps_less_and_draws_the_same_dropout(dropout: float):
    whole, saved = (training.start(make(dropout), [0.1]) for _ in range(2))
    saved.net.unet.checkpointing = True
    kept = []
    for state in (whole, saved):
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: s.append(t.nbytes) or t, lambda t: t):
            run(state, BATCH)
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 2
    for name, tensor in whole.tensors().items():
        if name.startswith("adam.exp_avg."):
            torch.testing.assert_close(saved.tensors()[name], tensor, rtol=1e-3, atol=1e-5)


def test_no_step_waits_for_the_device():
    loop = training.train(
        training.start(make(), [0.1]), batches, batch=BATCH, total=9 * BATCH, seed=0, rate=lambda n: 1e-3
    )
    with HostReads() as reads:
        for _ in range(8):
            next(loop)
    assert reads.count == 0


def test_engine_is_passed_in():
    calls: list[float] = []

    def backward(loss: Tensor) -> None:
        calls.append(float(loss.detach()))
        loss.backward()

    net = make()
    state = run(training.start(net, [0.1]), 2 * BATCH, forward=torch.nn.Sequential(net)[0], backward=backward)
    assert len(calls) == 2 and equal(state, run(training.start(make(), [0.1]), 2 * BATCH))


# ---- broken values ----


def test_a_loss_that_is_not_finite_names_the_images_seen_and_is_never_kept():
    def poisoned(nimg: int) -> tuple[Tensor, Tensor]:
        images, labels = batches(nimg)
        return images * (math.nan if nimg == 3 * BATCH else 1), labels

    state = training.start(make(), [0.1])
    loop = training.train(state, poisoned, batch=BATCH, total=10 * BATCH, seed=0, rate=lambda nimg: 1e-3)
    for _ in range(5):
        next(loop)
    message = f"nan after {4 * BATCH} images seen"
    with pytest.raises(FloatingPointError, match=message):
        state.tensors()
    with pytest.raises(FloatingPointError, match=message):
        state.take_losses()
    with pytest.raises(FloatingPointError, match=message):
        run(training.start(make(), [0.1]), 10 * BATCH, poisoned)


def test_gradients_that_are_not_finite_count_as_zero():
    def backward(loss: Tensor) -> None:
        loss.backward()
        assert net.unet.out_gain.grad is not None
        net.unet.out_gain.grad.fill_(math.inf)

    net = make()
    state = run(training.start(net, [0.1]), 2 * BATCH, backward=backward)
    assert state.info()["bad_steps"] == 2
    assert all(t.isfinite().all() for t in state.tensors().values())
    assert net.unet.out_gain == 0  # no gradient, no step


def test_another_training_is_refused():
    state = run(training.start(make(), [0.1]), BATCH)
    with pytest.raises(ValueError, match=r"ema=\[0.05\]"):
        training.start(make(), [0.05]).restore(state.tensors(), state.info())
    with pytest.raises(RuntimeError, match="size mismatch"):
        other = EDM2(8, 1, 5, model_channels=8, channel_mult=[1, 2], num_blocks=1)
        training.start(other, [0.1]).restore(state.tensors(), state.info())


# ---- learning rate ----


def test_learning_rate_in_short_runs():
    rate = lambda nimg: learning_rate(nimg, 0.01, decay_images=1000, rampup_images=100)
    assert [rate(n) for n in (0, 50, 100, 1000)] == pytest.approx([0, 0.005, 0.01, 0.01])
    assert rate(4000) == pytest.approx(0.005)  # inverse square root
    assert learning_rate(10**9, 0.01, 0, 0) == 0.01


# ---- published values ----


def test_learning_rate_matches(golden):
    data = np.load(golden("edm2_phema.npz"), allow_pickle=False)
    for i, case in enumerate(json.loads(str(data["meta"]))["lr_cases"]):
        rates = [
            learning_rate(
                nimg,
                case.get("ref_lr", 0.01),
                case.get("ref_batches", 70e3) * case["batch_size"],
                case.get("rampup_Mimg", 10) * 1e6,
            )
            for nimg in data[f"lr{i}_nimg"]
        ]
        np.testing.assert_allclose(rates, data[f"lr{i}"], rtol=1e-12)


@pytest.mark.parametrize("double", [False, True])
def test_loop_matches(double: bool, golden, golden_state):
    data = np.load(golden("edm2_base_loop.npz"), allow_pickle=False)
    meta = json.loads(str(data["meta"]))
    spec, values = golden_state("edm2_base_state.json")
    net = EDM2(**spec["config"])
    net.load_state_dict(values)
    state = training.start(net.double() if double else net, meta["ema_stds"])
    options, batch = meta["lr_kwargs"], meta["batch"]
    suffix, tolerance = ("64", 1e-7) if double else ("", 5e-5)
    dtype = torch.float64 if double else torch.float32
    get = lambda key, i: torch.from_numpy(data[key][i]).to(dtype)
    rates, means = [], []
    for i in range(len(data["loss_mean"])):
        sigma = (get("rnd_normal", i) - 0.4).exp().flatten()
        rate = learning_rate(
            state.nimg, options["ref_lr"], options["ref_batches"] * batch, options["rampup_Mimg"] * 1e6
        )
        training.step(
            state,
            get("images", i),
            get("labels", i),
            sigma,
            get("noise_unit", i) * sigma[:, None, None, None],
            batch=batch,
            rate=rate,
        )
        rates.append(rate)
        means += state.take_losses()
    np.testing.assert_allclose(rates, data["lr"], rtol=1e-12)
    np.testing.assert_allclose(means, data[f"loss_mean{suffix}"], rtol=0, atol=tolerance)
    tables = {"param": dict(state.net.named_parameters())}
    tables |= {f"ema{i}": state.ema.state(i) for i in range(2)}
    for table, tensors in tables.items():
        for k, name in enumerate(data["param_names"]):
            flat = tensors[str(name)].detach().double().flatten().numpy()
            norm = data[f"{table}_norm{suffix}"][k]
            assert np.linalg.norm(flat) == pytest.approx(norm, rel=tolerance, abs=tolerance)
            first = data[f"{table}_first8{suffix}"][k]
            first = first[~np.isnan(first)]
            np.testing.assert_allclose(flat[: len(first)], first, rtol=0, atol=tolerance)


def test_loss_of_a_perfect_denoiser_is_the_log_variance():
    images = torch.randn(3, 1, 4, 4)
    perfect = lambda x, sigma, labels, return_logvar: (images, torch.full((3, 1, 1, 1), -2.0))
    sigma = torch.rand(3) + 0.1
    loss = weighted_error(*perfect(images, sigma, None, True), images, sigma, 0.5)
    assert torch.equal(loss, torch.full_like(images, -2.0))
