"""Margin heads: laws, the published implementations' outputs, and numerical gradients."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from scoremix.recognition import heads
from scoremix.recognition.heads import AdaFace, ArcFace, CombinedMargin, CosFace, Head, Softmax

Golden = Callable[[str], Path]
COSINE_HEADS = [ArcFace, CosFace, AdaFace]


def arrays(path: Path) -> tuple[dict[str, Tensor], list[dict]]:
    data = np.load(path, allow_pickle=False)
    tensors = {k: torch.from_numpy(data[k]) for k in data.files if k != "meta"}
    return tensors, json.loads(str(data["meta"]))["cases"]


def published_margin(case: dict) -> CombinedMargin:
    kw = case["kw"]
    match case["cls"]:
        case "ArcFace":
            return ArcFace(16, 9, kw["s"], kw["margin"], gradient="straight_through")
        case "CosFace":
            return CosFace(16, 9, kw["s"], kw["m"])
    threshold = kw.get("interclass_filtering_threshold")
    return CombinedMargin(16, 9, kw["s"], kw["m2"], kw["m3"], "straight_through", threshold)


@pytest.mark.parametrize("number", range(5))
def test_straight_through_margins_match_arcface_torch(golden: Golden, number: int) -> None:
    data, cases = arrays(golden("insightface_margin.npz"))
    head = published_margin(cases[number])
    cosine = data["logits"].clone().requires_grad_()
    out = head.logits(cosine, data["labels"])
    loss = F.cross_entropy(out, data["labels"])
    loss.backward()
    torch.testing.assert_close(out.detach(), data[f"k{number}_out"], rtol=0, atol=1e-4)
    torch.testing.assert_close(loss.detach(), data[f"k{number}_ce"], rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(cosine.grad, data[f"k{number}_grad_logits"], rtol=0, atol=2e-5)
    partial = head.logits(data["logits"], data["labels_partial"])
    torch.testing.assert_close(partial, data[f"k{number}_out_partial"], rtol=0, atol=1e-4)


def test_whole_heads_match_partial_fc(golden: Golden) -> None:
    data, cases = arrays(golden("insightface_partialfc.npz"))
    for i, case in enumerate(cases):
        head = CombinedMargin(16, 13, case["s"], case["m2"], case["m3"], "straight_through")
        head.weight.data.copy_(data["weight"])
        x = data["embeddings"].clone().requires_grad_()
        loss = head(x, data["labels"]).mean()
        loss.backward()
        torch.testing.assert_close(loss.detach(), data[f"p{i}_loss"], rtol=1e-4, atol=0)
        torch.testing.assert_close(x.grad, data[f"p{i}_grad_embeddings"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(head.weight.grad, data[f"p{i}_grad_weight"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("double", [False, True])
def test_exact_heads_match_adaface(golden: Golden, number: int, double: bool) -> None:
    data, cases = arrays(golden("adaface_heads.npz"))
    name, kw = cases[number]["cls"], cases[number]["kw"]
    h = f"h{number}_"
    match name:
        case "AdaFace":
            head: Head = AdaFace(16, 9, kw["s"], kw["m"], kw["h"], kw["t_alpha"])
        case "ArcFace":
            head = ArcFace(16, 9, kw["s"], kw["m"])
        case _:
            head = CosFace(16, 9, kw["s"], kw["m"])
    dtype, suffix = (torch.float64, "64") if double else (torch.float32, "")
    tight = 1e-9 if name == "AdaFace" else 1e-6  # the others' margin was rounded to float32
    head = head.to(dtype)
    for call in range(3):
        unit = data[h + "emb"][call].to(dtype, copy=True).requires_grad_()
        kernel = data[h + "kernel"].to(dtype, copy=True).requires_grad_()
        labels = data[h + "labels"][call]
        cosine = unit @ F.normalize(kernel, dim=0)
        if isinstance(head, AdaFace):
            logits = head.logits(cosine, labels, head.quality(data[h + "norms"][call, :, 0].to(dtype)))
            for buffer in ("batch_mean", "batch_std"):
                expected = data[h + buffer + suffix][call]
                torch.testing.assert_close(getattr(head, buffer), expected, rtol=1e-9 if double else 1e-6, atol=0)
        else:
            logits = head.logits(cosine, labels)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        for value, key, atol in (
            (logits, "logits", 1e-4),
            (loss, "ce", 2e-5),
            (unit.grad, "grad_emb", 5e-5),
            (kernel.grad, "grad_kernel", 5e-5),
        ):
            expected = data[h + key + suffix][call]
            torch.testing.assert_close(value.detach(), expected, rtol=1e-6, atol=tight if double else atol)


def test_raw_embeddings_reach_adaface_as_direction_and_norm(golden: Golden) -> None:
    data, cases = arrays(golden("adaface_heads.npz"))
    head = AdaFace(16, 9, cases[0]["kw"]["s"], cases[0]["kw"]["m"], cases[0]["kw"]["h"], cases[0]["kw"]["t_alpha"])
    head.weight.data.copy_(data["h0_kernel"].T)
    for call in range(3):
        raw = data["h0_emb"][call] * data["h0_norms"][call]
        loss = head(raw, data["h0_labels"][call]).mean()
        torch.testing.assert_close(loss.detach(), data["h0_ce"][call], rtol=1e-5, atol=2e-5)
    before = head.batch_mean.clone()
    head.eval()(raw, data["h0_labels"][0])
    assert torch.equal(head.batch_mean, before)


@pytest.mark.parametrize("make", [*COSINE_HEADS, Softmax, CombinedMargin])
def test_gradients_are_the_numerical_ones(make: type[Head]) -> None:
    torch.manual_seed(0)
    head = make(4, 5).double().eval()
    head.weight.data.normal_()
    if hasattr(head, "scale"):
        head.scale = 8.0
    x = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    if isinstance(head, AdaFace):  # its z is read off the norms without gradient
        head.h = 0.0
    assert torch.autograd.gradcheck(
        lambda x, w: torch.func.functional_call(head, {"weight": w}, (x, labels)), (x, head.weight)
    )


def test_margin_zero_is_plain_cosine_softmax_and_a_margin_costs() -> None:
    torch.manual_seed(1)
    x, labels = torch.randn(20, 8), torch.randint(0, 6, (20,))
    for make in COSINE_HEADS:
        head = make(8, 6, 16.0, 0.0)
        cosine = F.normalize(x) @ head.centers().T
        plain = F.cross_entropy(16 * cosine, labels, reduction="none")
        torch.testing.assert_close(head(x, labels), plain, rtol=2e-4, atol=2e-4)
        costly = make(8, 6, 16.0, 0.3)
        costly.load_state_dict(head.state_dict())
        if not isinstance(costly, AdaFace):
            assert (costly(x, labels) > plain).all()


def test_permuting_classes_changes_nothing() -> None:
    torch.manual_seed(2)
    x, labels, order = torch.randn(12, 8), torch.randint(0, 6, (12,)), torch.randperm(6)
    for make in (*COSINE_HEADS, Softmax):
        head, other = make(8, 6), make(8, 6)
        other.weight.data.copy_(head.weight.data[order])
        torch.testing.assert_close(other(x, torch.argsort(order)[labels]), head(x, labels))


@pytest.mark.parametrize("margin", [0.2, 0.5, 1.2])
def test_angular_margin_is_exact_then_keeps_falling(margin: float) -> None:
    theta = torch.linspace(0.01, math.pi - 0.001, 4001, dtype=torch.float64)
    shifted = heads.shift_angle(torch.cos(theta), margin)
    inside = theta + margin < math.pi
    torch.testing.assert_close(shifted[inside], torch.cos(theta + margin)[inside], rtol=0, atol=1e-9)
    assert (shifted.diff() < 0).all()
    assert (~inside).any()


def test_gradient_stays_finite_at_and_against_the_center() -> None:
    for make in COSINE_HEADS:
        head = make(3, 2)
        head.weight.data.copy_(torch.eye(3)[:2])
        x = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [1.0, 1e-4, 0]], requires_grad=True)
        head(x, torch.zeros(3, dtype=torch.long)).sum().backward()
        assert torch.isfinite(x.grad).all()
        assert torch.isfinite(head.weight.grad).all()


def test_several_classes_weigh_in_proportion() -> None:
    torch.manual_seed(3)
    x = torch.randn(5, 8)
    labels = torch.tensor([[0, 3], [1, 2], [4, 4], [5, 0], [2, 1]])
    weights = torch.tensor([[0.3, 0.7], [0.5, 0.5], [1, 0], [0.9, 0.1], [0, 1]])
    for make in (*COSINE_HEADS, Softmax):
        head = make(8, 6).eval()
        expected = weights[:, 0] * head(x, labels[:, 0]) + weights[:, 1] * head(x, labels[:, 1])
        torch.testing.assert_close(head(x, labels, weights), expected)
        dense = torch.zeros(5, 6).scatter_add_(1, labels, weights)
        torch.testing.assert_close(head(x, dense), expected)


def test_adaface_counts_a_batch_once_however_many_classes_a_sample_has() -> None:
    torch.manual_seed(4)
    x, labels = torch.randn(16, 8) * 10, torch.randint(0, 6, (16,))
    one, two = AdaFace(8, 6), AdaFace(8, 6)
    one(x, labels)
    two(x, torch.stack([labels, labels.roll(1)], 1), torch.full((16, 2), 0.5))
    assert torch.equal(one.batch_mean, two.batch_mean)
    assert one.batch_mean.item() == pytest.approx(20 * 0.99 + 0.01 * x.norm(dim=1).mean().item(), rel=1e-6)


def test_margins_are_float32_under_autocast() -> None:
    torch.manual_seed(5)
    x, labels = torch.randn(10, 8), torch.randint(0, 6, (10,))
    for make in (*COSINE_HEADS, Softmax):
        head = make(8, 6).eval()
        with torch.autocast("cpu", torch.bfloat16):
            loss = head(x.bfloat16(), labels)
        assert loss.dtype == torch.float32
        assert torch.equal(loss, head(x.bfloat16().float(), labels))


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="gradient: 'none' is not one of"):
        ArcFace(4, 3, gradient="none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="targets: float targets must be finite"):
        CosFace(4, 3)(torch.randn(2, 4), torch.tensor([[0.5, 0.5, 0], [1.5, -0.5, 0]]))


def test_centers_are_unit_and_follow_the_weight() -> None:
    head = ArcFace(7, 3)
    torch.testing.assert_close(head.centers().norm(dim=1), torch.ones(3))
    torch.testing.assert_close(head.centers() * head.weight.detach().norm(dim=1, keepdim=True), head.weight.detach())


def test_adafaces_statistics_of_two_halves_gathered_are_the_whole_batchs() -> None:
    norms = torch.cat([torch.linspace(5, 10, 16), torch.linspace(40, 60, 16)])
    whole = AdaFace(8, 3, t_alpha=1.0)
    expected = whole.quality(norms)
    for half in norms.split(16):  # each process sees its own half, and through `gathered` all norms
        head = AdaFace(8, 3, t_alpha=1.0)
        head.gathered = lambda own: norms
        found = head.quality(half)
        assert torch.equal(head.batch_mean, whole.batch_mean) and torch.equal(head.batch_std, whole.batch_std)
        assert torch.equal(found, expected[:16] if half[0] < 20 else expected[16:])
    assert float(whole.batch_mean) == pytest.approx(float(norms.mean()), rel=1e-6)
