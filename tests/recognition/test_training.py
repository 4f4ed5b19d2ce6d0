"""The recognizer's loop: restarts bit for bit, schedules, embeddings, and that it learns."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scoremix.recognition import training
from scoremix.recognition.heads import AdaFace, ArcFace, CosFace, Head
from scoremix.recognition.iresnet import IRNet
from scoremix.recognition.training import RecognizerTraining, initialised, learning_rate, sgd, train
from support.host_reads import HostReads

CLASSES, BATCH = 6, 24


def patterns() -> Tensor:
    return torch.randn(CLASSES, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def next_batch(nimg: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(nimg)
    labels = torch.randint(0, CLASSES, (BATCH,), generator=g)
    return (patterns()[labels] + 0.7 * torch.randn(BATCH, 1, 8, 8, generator=g)).clamp(-1, 1), labels


def fresh(
    make: Callable[[int, int], Head] = ArcFace,
    dropout: float = 0.3,
    memory: torch.memory_format = torch.contiguous_format,
) -> RecognizerTraining:
    net = initialised(lambda: IRNet(8, 1, (8, 12), (1, 1), 16, dropout), 0).to(memory_format=memory)
    head = initialised(lambda: make(16, CLASSES), 1)
    return RecognizerTraining(net, head, sgd(net, head))


def steps(state: RecognizerTraining, count: int, **change: Any) -> RecognizerTraining:
    settings: dict[str, Any] = {"batch": BATCH, "total": 40 * BATCH, "seed": 3, "warmup": 5 * BATCH} | change
    for _ in islice(train(state, next_batch, **settings), count):
        pass
    return state


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("make", [ArcFace, AdaFace])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_ten_and_ten_steps_are_twenty(make: type[Head], precision: str, memory: torch.memory_format) -> None:
    whole = steps(fresh(make, memory=memory), 20, precision=precision)
    half = steps(fresh(make, memory=memory), 10, precision=precision)
    tensors = {name: t.clone() for name, t in half.tensors().items()}
    info = json.loads(json.dumps(half.info()))
    torch.rand(7)  # the caller's random state must not matter
    resumed = fresh(make, memory=memory)
    resumed.restore(tensors, info)
    steps(resumed, 10, precision=precision)
    assert (resumed.nimg, resumed.step) == (20 * BATCH, 20)
    expected, found = whole.tensors(), resumed.tensors()
    assert expected.keys() == found.keys()
    assert sum(name.startswith("momentum.") for name in found) == len(
        [p for module in (whole.net, whole.head) for p in module.parameters() if p.requires_grad]
    )
    assert {"net.bn1.running_mean", "net.bn1.num_batches_tracked", "head.weight"} <= found.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name
    assert not torch.equal(expected["net.fc.weight"], tensors["net.fc.weight"])


def test_the_state_fits_into_safetensors() -> None:
    import safetensors.torch

    state = steps(fresh(), 2)
    loaded = safetensors.torch.load(safetensors.torch.save(state.tensors()))
    for name, tensor in state.tensors().items():
        assert torch.equal(tensor, loaded[name])


def test_global_random_state_is_untouched() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    steps(fresh(), 2)
    assert torch.equal(torch.rand(3), expected)


def test_initialisation_follows_its_seed() -> None:
    def make() -> nn.Module:
        return IRNet(8, 1, (4,), (1,), 4)

    def weight(seed: int) -> Tensor:
        return initialised(make, seed).state_dict()["conv1.weight"]

    assert torch.equal(weight(3), weight(3))
    assert not torch.equal(weight(3), weight(4))


def test_dropout_depends_on_seed_and_images_seen_only() -> None:
    x = torch.ones(1000)
    with training.seeded(1, 128):
        a = F.dropout(x)
    torch.rand(5)
    with training.seeded(1, 128):
        assert torch.equal(F.dropout(x), a)
    for seed, nimg in ((2, 128), (1, 256)):
        with training.seeded(seed, nimg):
            assert not torch.equal(F.dropout(x), a)


def test_training_learns_the_classes() -> None:
    state = fresh(lambda dim, classes: ArcFace(dim, classes, 16.0, 0.2), dropout=0.0)
    losses = [s.take_reports()[0][0] for s in train(state, next_batch, batch=BATCH, total=40 * BATCH, seed=0)]
    assert np.mean(losses[-5:]) < 0.3 * np.mean(losses[:3])
    x, labels = next_batch(10**6)
    embeddings = F.normalize(training.embed(state.net, x))
    assert ((embeddings @ state.head.centers().T).argmax(1) == labels).float().mean() > 0.9
    assert state.nimg == 40 * BATCH


def test_soft_labels_and_hard_labels_agree_where_they_mean_the_same() -> None:
    def pairs(nimg: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        x, labels = next_batch(nimg)
        return x, (torch.stack([labels, labels.roll(1)], 1), torch.tensor([[1.0, 0.0]]).expand(BATCH, 2))

    a, b = fresh(), fresh()
    for one, two in zip(
        train(a, next_batch, batch=BATCH, total=3 * BATCH, seed=0),
        train(b, pairs, batch=BATCH, total=3 * BATCH, seed=0),
        strict=True,
    ):
        assert one.take_reports()[0][0] == pytest.approx(two.take_reports()[0][0], rel=1e-5)


def test_objective_and_backward_can_be_replaced() -> None:
    state, calls = fresh(), []

    def objective(images: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        calls.append("objective")
        return state.head(state.net(images), labels, weights).mean()

    def backward(loss: Tensor) -> None:
        calls.append("backward")
        loss.backward()

    found = steps(state, 2, objective=objective, backward=backward).tensors()
    assert calls == ["objective", "backward"] * 2
    for name, tensor in steps(fresh(), 2).tensors().items():
        assert torch.equal(tensor, found[name])


@pytest.mark.parametrize("where", ["loss", "gradient norm"])
def test_what_is_not_finite_is_named_and_never_kept(where: str) -> None:
    state = steps(fresh(), 2)
    state.take_reports()

    def objective(images: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        y = state.net(images)
        return y.mean() * torch.nan if where == "loss" else (y.sum() * 0).sqrt()

    steps(state, 1, objective=objective)
    message = f"{where} is (nan|inf) after {2 * BATCH} images seen"
    with pytest.raises(FloatingPointError, match=message):
        state.tensors()
    with pytest.raises(FloatingPointError, match=message):
        state.take_reports()
    with pytest.raises(FloatingPointError, match=message):
        steps(state, 38, objective=objective)


@pytest.mark.parametrize("make", [ArcFace, AdaFace])
@pytest.mark.parametrize("microbatch", [None, 7])
def test_no_step_waits_for_the_device(make: type[Head], microbatch: int | None) -> None:
    state = fresh(make)
    with HostReads() as reads:
        steps(state, 8, microbatch=microbatch)
        assert reads.count == 0
        state.reports[0][0].item()
        assert reads.count == 1


class WithoutStatistics(nn.Module):
    """A network whose rows do not see each other."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 16)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.fc(x.flatten(1)))


@pytest.mark.parametrize("microbatch", [1, 7, 23])
def test_microbatches_add_up_to_the_batch(microbatch: int) -> None:
    def state() -> RecognizerTraining:
        net = initialised(WithoutStatistics, 0).double()
        head = initialised(lambda: ArcFace(16, CLASSES), 1).double()
        return RecognizerTraining(net, head, sgd(net, head))

    def doubles(nimg: int) -> tuple[Tensor, Tensor]:
        x, labels = next_batch(nimg)
        return x.double(), labels

    whole, parts = state(), state()
    options: dict[str, Any] = {"batch": BATCH, "total": 5 * BATCH, "seed": 0}
    for a, b in zip(
        train(whole, doubles, **options), train(parts, doubles, microbatch=microbatch, **options), strict=True
    ):
        assert a.take_reports()[0] == pytest.approx(b.take_reports()[0], rel=1e-5)
    for name, tensor in whole.tensors().items():
        torch.testing.assert_close(parts.tensors()[name], tensor, rtol=1e-12, atol=1e-10)


def test_clipping_bounds_the_network_and_leaves_the_head() -> None:
    state = fresh(CosFace)
    steps(state, 1, clip=1e-3)
    norm = torch.stack([p.grad.norm() for p in state.net.parameters() if p.grad is not None]).norm()
    assert norm.item() == pytest.approx(1e-3, rel=1e-3)
    assert state.take_reports()[0][1] > 1
    assert state.head.weight.grad.norm() > 1e-2


def test_decay_is_for_matrices_and_kernels() -> None:
    state = fresh()
    decayed, free = state.optimizer.param_groups
    assert decayed["weight_decay"] == 5e-4
    assert free["weight_decay"] == 0
    assert {p.ndim for p in decayed["params"]} == {2, 4}
    assert {p.ndim for p in free["params"]} == {1}
    assert any(p is state.head.weight for p in decayed["params"])


def test_learning_rate_matches_the_published_schedule(golden: Callable[[str], Path]) -> None:
    data = np.load(golden("insightface_lr.npz"), allow_pickle=False)
    for i, case in enumerate(json.loads(str(data["meta"]))["cases"]):
        settings = case["total_iters"], case["base_lr"], case["warmup_iters"], case["power"]
        found = [learning_rate(k, *settings, variant="arcface_torch") for k in range(len(data[f"l{i}_lr"]))]
        np.testing.assert_allclose(found, data[f"l{i}_lr"][:, 0], rtol=1e-12, atol=1e-18)


def test_learning_rate_rises_to_the_base_and_falls_to_zero() -> None:
    rates = [learning_rate(k, 100, 0.2, 10) for k in range(101)]
    assert 0 < rates[0] < rates[9] < rates[10] == 0.2 == max(rates)
    assert np.diff(np.diff(rates[10:])) == pytest.approx(0, abs=1e-12)
    assert rates[99] > rates[100] == 0
    assert learning_rate(0, 100, 0.2) == 0.2


def test_embeddings_do_not_depend_on_what_follows() -> None:
    state = steps(fresh(), 3)
    x = next_batch(0)[0]
    full = training.embed(state.net, x, batch=10)
    assert full.dtype == torch.float32
    for n in (1, 9, 10, 11, 23):
        assert torch.equal(training.embed(state.net, x[:n], batch=10), full[:n])
    torch.testing.assert_close(training.embed(state.net, x, batch=7), full, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(state.net.eval()(x), full, rtol=1e-4, atol=1e-5)


def test_embedding_restores_the_mode_module_by_module() -> None:
    net = fresh().net.train()
    net.bn1.eval()
    before = net.bn1.running_mean.clone()
    training.embed(net, next_batch(0)[0])
    assert net.training
    assert not net.bn1.training
    assert torch.equal(net.bn1.running_mean, before)


def test_unknown_precision_is_named() -> None:
    with pytest.raises(ValueError, match="precision: 'bf16' is not one of"):
        steps(fresh(), 1, precision="bf16")
    with pytest.raises(ValueError, match="precision: 'half' is not one of"):
        training.embed(fresh().net, next_batch(0)[0], precision="half")  # type: ignore[arg-type]


def test_bytes_are_scaled_and_mirrors_are_added(golden: Callable[[str], Path]) -> None:
    data = np.load(golden("verification_test.npz"), allow_pickle=False)
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 24))
    net[1].weight.data.copy_(torch.from_numpy(data["W"]))
    net[1].bias.data.copy_(torch.from_numpy(data["b"]))
    images = torch.from_numpy(data["images_u8"])
    plain = training.embed(net, images, batch=64)
    both = training.embed(net, images, flip=True, batch=64)
    torch.testing.assert_close(plain, torch.from_numpy(data["emb"]), rtol=0, atol=1e-5)
    torch.testing.assert_close(both, torch.from_numpy(data["emb"] + data["emb_flip"]), rtol=0, atol=1e-5)
    from scoremix.evaluation.metrics import kfold_accuracy

    accuracy = kfold_accuracy(both[0::2], both[1::2], data["issame"])
    assert (accuracy.mean, accuracy.std) == pytest.approx((float(data["acc"]), float(data["std"])), abs=1e-6)


def test_raw_sums_are_adaface_fusion(golden: Callable[[str], Path]) -> None:
    """AdaFace weighs unit vectors by their norms; raw embeddings carry that already."""
    data = np.load(golden("adaface_fuse.npz"), allow_pickle=False)
    total = torch.from_numpy(data["emb"] * data["norm"]).sum(0)
    torch.testing.assert_close(F.normalize(total), torch.from_numpy(data["fused"]), rtol=0, atol=1e-12)


def test_class_centers_are_renormalised_means() -> None:
    x = torch.tensor([[2.0, 0], [0, 5], [0, -1], [0, -3]])
    centers = training.class_centers(x, torch.tensor([1, 1, 0, 0]), 2)
    torch.testing.assert_close(centers, torch.tensor([[0, -1], [0.5**0.5, 0.5**0.5]]))
    with pytest.raises(ValueError, match=r"missing \[2\]"):
        training.class_centers(x, torch.tensor([1, 1, 0, 0]), 3)
