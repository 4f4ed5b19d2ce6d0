import io
import warnings

import numpy as np
import pytest
from PIL import Image

from scoremix.data import limits
from scoremix.data.decode import decode, is_grey, resize_area, with_channels


def saved(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    file.seek(0)
    return file


def picture(h=16, w=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), np.uint8)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "TGA"])
def test_lossless_formats_keep_every_byte(form):
    pixels = picture()
    assert np.array_equal(decode(saved(Image.fromarray(pixels), form), 16), pixels)


@pytest.mark.parametrize("form, options", [("JPEG", {"quality": 98, "subsampling": 0}), ("WEBP", {"quality": 98})])
def test_lossy_formats_come_close(form, options):
    smooth = np.asarray(Image.fromarray(picture(4, 4)).resize((16, 16), Image.Resampling.BICUBIC))
    got = decode(saved(Image.fromarray(smooth), form, **options), 16)
    assert np.abs(got.astype(int) - smooth).mean() < 10


def test_short_side_is_scaled_and_the_centre_cut():
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = picture(20, 20)
    for array in (wide, wide.transpose(1, 0, 2)):
        centre = array[:, 20:40] if array.shape[1] == 60 else array[20:40]
        assert np.array_equal(decode(saved(Image.fromarray(np.ascontiguousarray(array))), 20), centre)
        small = decode(saved(Image.fromarray(np.ascontiguousarray(array))), 8).astype(int)
        expected = np.asarray(Image.fromarray(np.ascontiguousarray(centre)).resize((8, 8), Image.Resampling.LANCZOS))
        assert np.abs(small - expected)[1:-1, 1:-1].max() <= 40 and np.abs(small - expected).mean() < 8


def test_large_images_are_anti_aliased():
    checks = np.indices((256, 256)).sum(0) % 2 * 255
    got = decode(saved(Image.fromarray(checks.astype(np.uint8))), 16)
    assert np.abs(got.astype(int) - 127.5).max() < 6


def test_a_line_of_pixels_costs_nothing():
    assert decode(saved(Image.fromarray(picture(1, 5000))), 64).shape == (64, 64, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    upright = picture()
    undo = {1: lambda x: x, 2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1],
            5: lambda x: x.transpose(1, 0, 2), 6: lambda x: np.rot90(x),
            7: lambda x: np.rot90(x.transpose(1, 0, 2), 2),
            8: lambda x: np.rot90(x, -1)}[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo(upright)))
    assert np.array_equal(decode(saved(stored, "PNG", exif=exif), 16), upright)


def test_modes():
    grey = picture()[..., 0]
    repeated = np.repeat(grey[..., None], 3, -1)
    assert np.array_equal(decode(saved(Image.fromarray(grey)), 16), repeated)
    sixteen = Image.fromarray(grey.astype(np.uint16) * 257)
    for form in ("PNG", "TIFF"):
        assert np.array_equal(decode(saved(sixteen, form), 16), repeated)
    assert np.array_equal(decode(saved(Image.fromarray(grey.astype(np.int32) * 257), "TIFF"), 16), repeated)
    assert np.array_equal(decode(saved(Image.fromarray(grey.astype(np.float32) / 255), "TIFF"), 16), repeated)
    assert np.array_equal(decode(saved(Image.fromarray(grey.astype(np.float32)), "TIFF"), 16), repeated)
    bits = Image.fromarray(grey > 127)
    assert set(np.unique(decode(saved(bits), 16))) == {0, 255}
    few = Image.fromarray(picture(4, 4).repeat(4, 0).repeat(4, 1)).quantize(16)
    assert np.array_equal(decode(saved(few), 16), np.asarray(few.convert("RGB")))
    cmyk = Image.fromarray(np.full((16, 16, 3), (200, 100, 50), np.uint8)).convert("CMYK")
    assert np.abs(decode(saved(cmyk, "TIFF"), 16).astype(int) - (200, 100, 50)).max() < 3
    assert np.abs(decode(saved(cmyk, "JPEG", quality=98), 16).astype(int) - (200, 100, 50)).max() < 8


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_lies_over_white(mode):
    array = np.zeros((16, 16, 4), np.uint8)
    array[:, 8:, 3] = 255
    image = Image.fromarray(array)
    if mode == "LA":
        image = image.convert("LA")
    if mode == "P":
        image = Image.fromarray((array[..., 3] // 255).astype(np.uint8), "L").convert("P")
        image.putpalette([10, 20, 30, 0, 0, 0])
        image.info["transparency"] = 0
    got = decode(saved(image), 16)
    assert (got[:, :8] == 255).all() and (got[:, 8:] == 0).all()


def test_half_transparency_blends():
    array = np.full((8, 8, 4), (0, 0, 0, 128), np.uint8)
    assert np.abs(decode(saved(Image.fromarray(array)), 8).astype(int) - 127).max() <= 1


def test_first_frame_of_an_animation():
    frames = [Image.fromarray(np.full((8, 8), v, np.uint8)) for v in (10, 200)]
    file = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decode(file, 8) == 10).all()


@pytest.mark.parametrize("cut", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "TIFF"])
def test_truncated_files_give_one_line(form, cut):
    data = saved(Image.fromarray(picture(64, 64)), form).getvalue()
    with pytest.raises(ValueError) as caught:
        decode(io.BytesIO(data[: int(len(data) * cut)]), 16)
    assert str(caught.value) and "\n" not in str(caught.value)


def test_damaged_bytes_never_raise_anything_else():
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "TGA", "PPM"):
            data = np.frombuffer(saved(Image.fromarray(picture(24, 24)), form).getvalue(), np.uint8)
            for _ in range(40):
                broken = data.copy()
                broken[rng.integers(0, len(data), 8)] = rng.integers(0, 256, 8)
                try:
                    assert decode(io.BytesIO(broken.tobytes()), 16).shape == (16, 16, 3)
                except ValueError as error:
                    assert str(error)


def test_reasons(tmp_path, monkeypatch):
    empty, text, link = tmp_path / "empty.png", tmp_path / "text.png", tmp_path / "link.png"
    empty.touch()
    text.write_text("not an image")
    link.symlink_to(tmp_path / "nowhere")
    for file, reason in (
        (empty, "0 bytes"),
        (text, "not an image format"),
        (link, "broken link"),
        (tmp_path, "regular"),
    ):
        with pytest.raises(ValueError, match=reason):
            decode(file, 8)
    with pytest.raises(ValueError, match="neither 8 nor 16 bits"):
        decode(saved(Image.fromarray(np.full((8, 8), 1 << 20, np.int32)), "TIFF"), 8)
    with pytest.raises(ValueError, match="neither 8 nor 16 bits"):
        decode(saved(Image.fromarray(np.full((8, 8), np.nan, np.float32)), "TIFF"), 8)
    bomb = saved(Image.new("1", (2000, 1000)))
    for limit in (1_500_000, 500_000):
        monkeypatch.setattr(limits, "PIXELS", limit)
        with warnings.catch_warnings(), pytest.raises(ValueError, match="pixels"):
            warnings.simplefilter("ignore")
            decode(bomb, 8)


def test_grey_and_channels():
    grey = picture()[None, ..., :1]
    colour = grey.repeat(3, -1)
    assert is_grey(grey) and is_grey(colour) and not is_grey(picture()[None])
    assert np.array_equal(with_channels(grey, 3), colour) and np.array_equal(with_channels(colour, 1), grey)
    one = colour.copy()
    one[0, 3, 5, 1] = one[0, 3, 5, 0] ^ 128  # a single coloured pixel
    assert not is_grey(one)
    luma = with_channels(picture()[None], 1)[0, ..., 0].astype(int)
    assert np.abs(luma - np.asarray(Image.fromarray(picture()).convert("L"))).max() <= 1


@pytest.mark.parametrize("source, size", [(32, 16), (32, 8), (30, 12), (12, 30), (5, 3), (7, 7)])
def test_area_resizing_is_the_mean_of_what_a_pixel_covers(source, size):
    images = np.random.default_rng(0).integers(0, 256, (3, source, source, 3), np.uint8)
    fine = images.repeat(size, 1).repeat(size, 2).astype(float)  # a common grid
    means = fine.reshape(3, size, source, size, source, 3).mean((2, 4))
    assert np.abs(resize_area(images, size) - means).max() <= 0.5 + 1e-3
    flat = np.full((1, source, source, 1), 255, np.uint8)
    assert (resize_area(flat, size) == 255).all()


def test_area_resizing_cuts_the_centre():
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 12, 1), np.uint8)
    assert np.array_equal(resize_area(images, 8), images[:, :, 2:10])


def test_the_transparent_value_of_a_16_bit_png_is_white():
    values = np.full((8, 8), 30_000, np.uint16)
    values[2:5, 2:5] = 0
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG", transparency=0)
    got = decode(io.BytesIO(file.getvalue()), 8)
    assert (got[2:5, 2:5] == 255).all() and (got[0] == round(30_000 / 257)).all()
