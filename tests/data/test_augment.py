import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from scoremix.data import augment as room
from scoremix.data.augment import INTERPOLATIONS, PRESETS, Augment, Part, augment, resampling, to_uint8, to_unit

OPERATIONS = {
    "shift": Augment(shift=0.5, shift_pixels=3),
    "affine": Augment(affine=0.5, rotation=20),
    "crop": Augment(crop=0.5),
    "low_resolution": Augment(low_resolution=0.5),
    "photometric": Augment(photometric=0.5),
    "flip": Augment(flip=0.5),
    "noise": Augment(noise=0.5),
}
EVERYTHING = Augment(shift=0.7, affine=0.7, crop=0.7, low_resolution=0.7, photometric=0.7, flip=0.7, noise=0.7)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(b=64, c=3, h=20, w=16, seed=0):
    return torch.rand(b, c, h, w, generator=generator(seed)) * 2 - 1


@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize("name", [*OPERATIONS, "everything"])
def test_laws_of_every_operation(name, c):
    settings = OPERATIONS.get(name, EVERYTHING)
    x = pictures(c=c)
    before = x.clone()
    y = augment(x, generator(1), settings)
    assert torch.equal(x, before) and y.shape == x.shape and y.dtype == x.dtype
    assert y.min() >= -1 - 1e-6 and y.max() <= 1 + 1e-6
    assert torch.equal(y, augment(x, generator(1), settings))
    assert not torch.equal(y, augment(x, generator(2), settings))
    # an image's result does not depend on the other images of the batch
    other = torch.cat([x[:5], pictures(b=59, c=c, seed=9)])
    assert torch.allclose(augment(other, generator(1), settings)[:5], y[:5], atol=1e-6)


@pytest.mark.parametrize("name", [*OPERATIONS, "everything"])
def test_parts_of_a_batch_are_augmented_as_within_the_whole(name):
    settings = OPERATIONS.get(name, EVERYTHING)
    x = pictures(b=30)
    parts = [augment(x[i : i + 10], generator(1), settings, Part(i, 10, 30)) for i in (0, 10, 20)]
    assert torch.allclose(torch.cat(parts), augment(x, generator(1), settings), atol=1e-6)


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_the_stated_share_of_images_changes_each_by_its_own_draw(name):
    x = pictures(b=1).expand(4000, -1, -1, -1)
    y = augment(x, generator(), OPERATIONS[name])
    changed = (y - x).abs().amax((1, 2, 3)) > 1e-5
    tolerance = 5 * math.sqrt(0.25 / 4000) + {"shift": 0.5 / 49, "crop": 0.05, "low_resolution": 0.05}.get(name, 0)
    assert abs(changed.float().mean() - 0.5) < tolerance
    if name not in ("flip", "shift"):  # those have few outcomes
        results = y[changed][:200].flatten(1)
        assert torch.pdist(results).min() == 0 or len(torch.unique(results, dim=0)) > 190


def test_identity_without_probabilities():
    x, g = pictures(), generator()
    state = g.get_state()
    assert augment(x, g, PRESETS["none"]) is x
    assert torch.equal(g.get_state(), state)


def test_certain_operations_of_size_zero_are_identities():
    still = Augment(shift=1, shift_pixels=0, affine=1, rotation=0, scale=(1, 1), translation=0, crop=1,
                    crop_area=(1, 1), crop_ratio=(1, 1), low_resolution=1, low_side=(1, 1), photometric=1,
                    brightness=0, contrast=0, saturation=0)  # fmt: skip
    x = pictures(h=16)
    assert torch.allclose(augment(x, generator(), still), x, atol=2e-6)


def test_shift_is_a_roll_with_filled_border():
    x = pictures(b=300, h=7, w=5)
    y = augment(x, generator(), Augment(shift=1, shift_pixels=2, fill=0.25))
    seen = set()
    for a, b in zip(x.numpy(), y.numpy(), strict=True):
        matches = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if np.array_equal(ndimage.shift(a, (0, dy, dx), order=0, mode="constant", cval=0.25), b)
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == 25


def test_shift_without_a_fill_mirrors_the_image_at_its_edge():
    x = pictures(b=100, h=7, w=5)
    y = augment(x, generator(), Augment(shift=1, shift_pixels=2, fill=None))
    filled = augment(x, generator(), Augment(shift=1, shift_pixels=2))
    seen = set()
    for a, b, c in zip(x.numpy(), y.numpy(), filled.numpy(), strict=True):
        matches = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if np.array_equal(ndimage.shift(a, (0, dy, dx), order=0, mode="mirror"), b)
            and np.array_equal(ndimage.shift(a, (0, dy, dx), order=0, mode="constant", cval=-1), c)
        ]
        assert len(matches) == 1  # the same move with either edge
        seen.add(matches[0])
    assert len(seen) == 25
    with pytest.raises(ValueError, match="affine and crop need a value"):
        Augment(affine=1, fill=None)


@pytest.mark.parametrize("h, w", [(24, 24), (24, 36)])
@pytest.mark.parametrize(
    "rotation, scale, translation",
    [(30, (1, 1), 0), (0, (1.3, 1.3), 0), (0, (1, 1), 0.2), (25, (0.7, 0.7), 0.1)],
)
def test_affine_agrees_with_scipy(monkeypatch, h, w, rotation, scale, translation):
    monkeypatch.setattr(torch, "rand", lambda *s, **k: torch.ones(*s))  # the upper end of every range
    monkeypatch.setattr(room, "_chosen", lambda p, part, g: torch.arange(part.batch))
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(h, w)), 2)
    x = torch.tensor(smooth / np.abs(smooth).max(), dtype=torch.float32)[None, None]
    y = augment(x, generator(), Augment(affine=1, rotation=rotation, scale=scale, translation=translation))
    t, s = math.radians(rotation), scale[0]
    centre = np.array([(h - 1) / 2, (w - 1) / 2])
    inverse = np.array([[math.cos(t), -math.sin(t)], [math.sin(t), math.cos(t)]]) / s  # rows (y, x)
    move = np.array([translation * h, translation * w])
    expected = ndimage.affine_transform(
        x[0, 0].numpy() + 1, inverse, centre - inverse @ (centre + move), order=1, mode="constant", cval=0
    )
    got = y[0, 0].numpy() + 1
    away_from_border = ndimage.minimum_filter((expected > 0) & (got > 0), 5)
    assert away_from_border.mean() > 0.2
    assert np.abs(got - expected)[away_from_border].max() < 1e-4


def test_crop_fills_all_but_a_box_of_the_stated_area_and_shape():
    settings = Augment(crop=1)
    x = torch.ones(2000, 1, 40, 40)
    kept = augment(x, generator(), settings)[:, 0] == 1
    heights, widths = kept.any(2).sum(1), kept.any(1).sum(1)
    assert torch.equal(kept.sum((1, 2)), heights * widths)  # a full box
    area, ratio = heights * widths / 1600, widths / heights
    assert area.min() > 0.17 and area.max() > 0.95 and abs(area.mean() - 0.55) < 0.06
    assert ratio.min() > 0.7 and ratio.max() < 1.42 and abs(ratio.log().mean()) < 0.02
    places = kept.float().mean(0)
    assert torch.allclose(places, places.flip(0), atol=0.06) and torch.allclose(places, places.flip(1), atol=0.06)


def test_crop_of_a_shape_that_never_fits_is_the_largest_allowed_box():
    kept = augment(torch.ones(50, 1, 10, 100), generator(), Augment(crop=1, crop_area=(0.9, 1)))[:, 0] == 1
    assert (kept.any(2).sum(1) == 10).all() and (kept.any(1).sum(1) == round(10 * 4 / 3)).all()


def matrices(source, target, name, side):
    kind = torch.tensor([INTERPOLATIONS.index(name)])
    return resampling(torch.tensor([source]), torch.tensor([target]), kind, side)[0, :target, :source].double()


@pytest.mark.parametrize("source, target", [(32, 13), (32, 7), (9, 32), (32, 32), (5, 4), (1, 6)])
@pytest.mark.parametrize("name, mode", [("nearest", "nearest"), ("linear", "bilinear"), ("cubic", "bicubic")])
def test_resampling_agrees_with_interpolate(source, target, name, mode):
    x = torch.rand(1, 1, source, 3, dtype=torch.float64, generator=generator())
    expected = F.interpolate(x, size=(target, 3), mode=mode, **({} if mode == "nearest" else {"align_corners": False}))
    assert torch.allclose(matrices(source, target, name, 32) @ x, expected, atol=1e-6)


def test_area_and_lanczos_agree_with_plain_loops():
    for source, target in ((32, 13), (30, 10), (32, 31)):
        area, lanczos = np.zeros((target, source)), np.zeros((target, source))
        ratio = source / target
        for j in range(target):
            for i in range(source):
                area[j, i] = max(0.0, min((j + 1) * ratio, i + 1) - max(j * ratio, i)) / ratio
            centre = (j + 0.5) * ratio - 0.5
            for i in range(-4, source + 4):
                t = centre - i
                if abs(t) < 4:
                    lanczos[j, min(max(i, 0), source - 1)] += np.sinc(t) * np.sinc(t / 4)
        assert np.abs(matrices(source, target, "area", 32).numpy() - area).max() < 1e-6
        assert (
            np.abs(matrices(source, target, "lanczos4", 32).numpy() - lanczos / lanczos.sum(1, keepdims=True)).max()
            < 1e-6
        )


def test_low_resolution_loses_detail_and_keeps_flat_images():
    flat = torch.full((40, 3, 24, 24), 0.3)
    assert torch.allclose(augment(flat, generator(), Augment(low_resolution=1)), flat, atol=1e-5)
    noise = pictures(b=300, h=24, w=24)
    low = augment(noise, generator(), Augment(low_resolution=1, low_side=(0.3, 0.3)))
    assert not torch.isnan(low).any() and 0.05 < low.var() / noise.var() < 1.05
    spectrum = torch.fft.fft2(low)[..., 11, 11].abs().mean() / torch.fft.fft2(noise)[..., 11, 11].abs().mean()
    assert spectrum < 0.6


def test_photometric_against_formulas(monkeypatch):
    x = pictures(b=1, h=6, w=6)
    unit = x / 2 + 0.5
    grey = (unit * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    expected = {
        "brightness": unit * 1.4,
        "contrast": grey.mean() + 1.4 * (unit - grey.mean()),
        "saturation": grey + 1.4 * (unit - grey),
    }
    monkeypatch.setattr(torch, "rand", lambda *s, **k: torch.ones(*s))
    monkeypatch.setattr(room, "_chosen", lambda p, part, g: torch.arange(part.batch))
    off = dict.fromkeys(expected, 0.0)
    for name, value in expected.items():
        y = augment(x, generator(), Augment(photometric=1, **(off | {name: 0.4})))
        assert torch.allclose(y / 2 + 0.5, value.clamp(0, 1), atol=1e-6), name


def test_grey_stays_grey_and_saturation_needs_colour():
    grey = pictures(c=1)
    colour = grey.expand(-1, 3, -1, -1)
    y = augment(colour, generator(), Augment(photometric=1))
    assert (y - y[:, :1]).abs().max() < 1e-6
    assert torch.allclose(y[:, :1], augment(grey, generator(), Augment(photometric=1)), atol=1e-6)


def test_presets_are_the_fields_recipe():
    face = PRESETS["face"]
    assert (face.crop, face.low_resolution, face.photometric, face.flip) == (0.2, 0.2, 0.2, 0.5)
    assert (face.brightness, face.contrast, face.saturation) == (0.5, 0.5, 0.5)
    assert face.crop_area == (0.2, 1) and face.crop_ratio == (3 / 4, 4 / 3) and face.low_side == (0.2, 1)
    assert face.affine == face.shift == 0
    assert PRESETS["characters"].flip == PRESETS["characters"].photometric == 0 < PRESETS["characters"].affine


def test_all_bytes_survive_a_round_trip():
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, 3)
    unit = to_unit(every, "cpu")
    assert unit.shape == (1, 3, 16, 16) and unit.dtype == torch.float32 and unit.is_contiguous()
    assert unit.min() == -1 and unit.max() == 1
    assert np.array_equal(to_uint8(unit).numpy(), every)
    assert torch.equal(to_unit(torch.from_numpy(every), "cpu"), unit)
    assert to_uint8(torch.tensor([-3.0, 3.0]).view(1, 1, 1, 2)).flatten().tolist() == [0, 255]


def test_batches_of_none_and_one():
    assert augment(torch.zeros(0, 3, 8, 8), generator(), EVERYTHING).shape == (0, 3, 8, 8)
    for seed in range(30):
        assert augment(pictures(b=1), generator(seed), EVERYTHING).shape == (1, 3, 20, 16)


@pytest.mark.parametrize(
    "change",
    [{"flip": 1.5}, {"crop": -0.1}, {"crop_area": (0, 1)}, {"low_side": (0.5, 2)}, {"scale": (2, 1)},
     {"photometric": math.nan}, {"brightness": 2}, {"shift_pixels": -1}],
)  # fmt: skip
def test_bad_settings_are_named(change):
    with pytest.raises(ValueError, match=f"^{next(iter(change))} is "):
        dataclasses.replace(Augment(), **change)


@pytest.mark.parametrize(
    "bad", [torch.zeros(2, 4, 8, 8), torch.zeros(3, 8, 8), torch.zeros(2, 3, 8, 8, dtype=torch.uint8)]
)
def test_bad_images_are_named(bad):
    with pytest.raises(ValueError, match=r"^images have"):
        augment(bad, generator(), Augment())
    with pytest.raises(ValueError, match=r"^images are"):
        to_unit(torch.zeros(2, 3, 4, 4), "cpu")


@pytest.mark.gpu
def test_a_cpu_generator_gives_the_same_augmentations_on_cuda():
    x = pictures()
    y = augment(x.cuda(), generator(1), EVERYTHING).cpu()
    assert torch.allclose(y, augment(x, generator(1), EVERYTHING), atol=1e-3)
