import base64

import numpy as np
import pytest
from PIL import Image, ImageChops, JpegImagePlugin

from models.backbone import ImagePreprocess
from models.errors import DurianError, InvalidInput, UnsupportedMedia
from models.manifest import InputSpec
from models.modalities import image, modality, preprocessor
from models.modalities.image import decode, encode_png
from tests.media import card, clip, encoded, picture, png, png_header, tone

SPEC = InputSpec(modality="image")
UNTURN = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

NO_BASE64 = (
    "%%%",
    "data:image/png,abc",
    "aGk\n=",
    "aGk=aGk=",
    "aGk",
    "aGk==",
    "=aGk",
    "aGk= ",
    " aGk=",
    "-_-_",
    "a\u00e9",
    "\U0001f600",
)


def canonical(value: object) -> bytes:
    return modality("image").canonical(value, SPEC, "row 2")


def error(value: object) -> DurianError:
    with pytest.raises(DurianError, match=r"^row 2: ") as caught:
        canonical(value)
    return caught.value


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(decode(data, "input"))


def photograph(width: int, height: int) -> Image.Image:
    """Large shapes with grain, unlike in its corners."""
    grain = picture(width, height).point(lambda level: level // 16)
    return ImageChops.add(picture(4, 3).resize((width, height)).point(lambda level: level * 0.9), grain)


def turned(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def prepare(data: bytes, **how: object) -> np.ndarray:
    return preprocessor(card("image", ImagePreprocess(**how)), {}).prepare(data)


@pytest.mark.parametrize("container", ["PNG", "JPEG", "WEBP"])
def test_bare_pictures_stay_as_uploaded(container):
    data = encoded(picture(), container)
    assert canonical(data) == data


@pytest.mark.parametrize("container", ["BMP", "GIF", "TIFF"])
def test_other_containers_are_kept_as_png_of_the_same_pixels(container):
    data = encoded(picture(), container)
    kept = canonical(data)
    assert kept.startswith(b"\x89PNG")
    np.testing.assert_array_equal(pixels(kept), pixels(data))


@pytest.mark.parametrize("container", ["JPEG", "BMP", "GIF", "TIFF"])
def test_a_picture_is_decoded_once(container, monkeypatch):
    calls = []
    rgb = image._rgb
    monkeypatch.setattr(image, "_rgb", lambda *given: (calls.append(1), rgb(*given))[1])
    canonical(encoded(picture(), container))
    assert len(calls) == 1


def test_base64_data_url_and_bytes_are_one_image():
    text = base64.b64encode(png()).decode()
    assert canonical(text) == canonical(f"data:image/png;base64,{text}") == png()


@pytest.mark.parametrize("container", ["ICO", "PPM", "TGA", "EPS", "PCX", "JPEG2000"])
def test_other_formats_are_unsupported(container):
    assert isinstance(error(encoded(picture(16, 16), container)), UnsupportedMedia)


@pytest.mark.parametrize(
    "data", [b"", b"%PDF-1.4", b"<svg xmlns='http://www.w3.org/2000/svg'/>", clip(tone())]
)
def test_what_is_no_image_is_unsupported(data):
    assert error(data).code == "unsupported_media"


@pytest.mark.parametrize("container", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_truncated_files_are_undecodable(container):
    data = encoded(picture(64, 64), container)
    for end in (20, len(data) // 2):
        assert error(data[:end]).code == "undecodable"


def test_a_corrupt_png_is_undecodable():
    data = bytearray(png(64, 64))
    data[60:80] = bytes(20)
    assert error(bytes(data)).code == "undecodable"


@pytest.mark.parametrize(("width", "height"), [(6000, 5000), (100_000, 100_000)])
def test_too_many_pixels_are_refused_by_the_header(width, height):
    refused = error(png_header(width, height))
    assert isinstance(refused, InvalidInput)
    assert refused.code == "image_too_large"


def test_a_30_megapixel_image_is_told_its_size():
    assert "30 megapixels" in error(png_header(6000, 5000)).message


@pytest.mark.parametrize("container", ["GIF", "PNG", "WEBP", "TIFF"])
def test_several_frames_are_refused(container):
    data = encoded(picture(), container, save_all=True, append_images=[picture(seed=1)])
    assert error(data).code == "multi_frame"


def test_a_jpeg_with_a_preview_is_its_first_picture():
    data = encoded(picture(64, 48), "MPO", save_all=True, append_images=[picture(8, 8, seed=1)])
    assert pixels(canonical(data)).shape == (48, 64, 3)


def test_transparency_is_laid_over_white():
    half_red = encoded(Image.new("RGBA", (1, 1), (255, 0, 0, 128)))
    assert pixels(half_red).tolist() == [[[255, 127, 127]]]
    assert pixels(encoded(Image.new("LA", (1, 1), (0, 0)))).tolist() == [[[255, 255, 255]]]


def test_a_transparent_palette_colour_is_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert pixels(encoded(image, "GIF", transparency=1)).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_16_bit_grey_is_divided_by_257():
    grey = np.array([[0, 257, 300, 65535]], np.uint16)
    assert pixels(encoded(Image.fromarray(grey)))[0, :, 0].tolist() == [0, 1, 1, 255]


def test_cmyk_becomes_rgb():
    data = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95)
    red, green, blue = pixels(data)[4, 4].tolist()
    assert red > 240 > 20 > max(green, blue)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_floating_point_and_32_bit_pixels_are_refused(mode):
    assert error(encoded(Image.new(mode, (4, 4)), "TIFF")).code == "image_mode"


@pytest.mark.parametrize("container", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_eight_exif_orientations_give_the_same_pixels(container):
    upright = picture(16, 8).resize((64, 32))
    options = {"lossless": True} if container == "WEBP" else {"quality": 100, "subsampling": 0}
    for orientation, turn in UNTURN.items():
        stored = upright if turn is None else upright.transpose(turn)
        got = pixels(encoded(stored, container, exif=turned(orientation), **options)).astype(int)
        assert got.shape == (32, 64, 3)
        assert abs(got - np.asarray(upright)).mean() <= (2 if container == "JPEG" else 0)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_broken_exif_block_does_not_matter():
    data = encoded(picture(), "JPEG", exif=b"Exif\0\0II*\0garbage")
    assert canonical(data) == encoded(picture(), "JPEG")


def test_squash_fills_the_frame():
    image = encoded(Image.fromarray(np.repeat(np.uint8([[0, 255]]), 3, axis=0)))
    out = prepare(image, width=2, height=1, resample="nearest")
    assert out.dtype == np.uint8
    assert out.tolist() == [[[0] * 3, [255] * 3]]


def test_crop_cuts_the_centre_of_the_short_side():
    image = encoded(Image.fromarray(np.repeat(np.uint8([[9, 100, 200, 9]]), 2, axis=0)))
    out = prepare(image, width=2, height=2, fit="crop", resample="bilinear")
    assert out[:, :, 0].tolist() == [[100, 200], [100, 200]]


def test_crop_equals_resize_then_cut():
    image = picture(300, 200)
    resized = image.resize((120, 80), Image.Resampling.BILINEAR)
    expected = np.asarray(resized.crop((28, 8, 92, 72))).astype(int)
    got = prepare(encoded(image), width=64, height=64, fit="crop", crop_ratio=0.8)
    assert abs(got - expected).max() <= 1


def test_a_very_long_picture_is_cropped_without_its_resized_length():
    assert prepare(encoded(Image.new("L", (100_000, 1))), width=32, height=32, fit="crop").shape == (
        32,
        32,
        3,
    )


@pytest.mark.parametrize("container", ["JPEG", "MPO", "PNG", "WEBP"])
@pytest.mark.parametrize("fit", ["crop", "squash"])
@pytest.mark.parametrize("orientation", UNTURN)
def test_a_large_picture_that_is_reduced_first_looks_the_same(container, fit, orientation):
    data = encoded(photograph(1203, 801), container, exif=turned(orientation), quality=90)
    how = {"width": 32, "height": 48, "fit": fit, "crop_ratio": 0.9}
    whole = prepare(data, **how).astype(int)
    reduced = prepare(data, **how, reducing_gap=2.0)
    assert abs(whole - reduced).mean() < 0.4
    assert abs(whole - reduced).max() <= 2


@pytest.mark.parametrize(
    ("gap", "resample", "sizes"),
    [
        (None, "bilinear", [(1200, 800)]),
        (2.0, "bilinear", [(150, 100)]),  # 25 pixels of the source for one
        (3.5, "bicubic", [(300, 200)]),
        (16.0, "bilinear", [(1200, 800)]),
        (2.0, "nearest", [(1200, 800)]),  # which picks pixels of the source
    ],
)
def test_how_far_a_jpeg_is_reduced_while_it_is_decoded(monkeypatch, gap, resample, sizes):
    seen = []
    load = JpegImagePlugin.JpegImageFile.load
    monkeypatch.setattr(
        JpegImagePlugin.JpegImageFile, "load", lambda self: (seen.append(self.size), load(self))[1]
    )
    prepare(encoded(picture(1200, 800), "JPEG"), width=32, height=32, reducing_gap=gap, resample=resample)
    assert seen[:1] == sizes


@pytest.mark.parametrize("container", ["JPEG", "PNG"])
def test_a_picture_of_less_than_twice_the_gap_is_prepared_as_ever(container):
    data = encoded(picture(127, 127), container)
    got = prepare(data, width=32, height=32, reducing_gap=2.0)
    assert np.array_equal(got, prepare(data, width=32, height=32))


def test_a_jpeg_that_cannot_be_copied_is_kept_with_all_its_pixels():
    data = encoded(photograph(640, 480), "JPEG")
    odd = data[:2] + b"\xff\xe5\x00\x01" + data[2:]  # a segment shorter than its own length
    assert np.array_equal(pixels(canonical(odd)), pixels(odd))
    assert pixels(odd).shape == (480, 640, 3)


def test_float32_nchw_is_scaled_and_normalised():
    image = encoded(Image.new("RGB", (3, 2), (255, 51, 0)))
    out = prepare(
        image,
        width=3,
        height=2,
        layout="NCHW",
        dtype="float32",
        scale=1 / 255,
        mean=(0.5, 0.2, 0),
        std=(0.5, 1, 2),
    )
    assert out.dtype == np.float32
    assert out.shape == (3, 2, 3)
    np.testing.assert_allclose(out[:, 0, 0], [1, 0, 0], atol=1e-6)


def test_collate_stacks():
    processor = preprocessor(card("image", ImagePreprocess(width=4, height=3), "pixels"), {})
    batch = [processor.prepare(png(seed=seed)) for seed in (0, 1)]
    assert processor.collate(batch)["pixels"].shape == (2, 3, 4, 3)
    assert processor.size(batch[0]) == 1


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 1), (3, 4, 3), (3, 4, 4)])
def test_encoded_png_decodes_to_the_same_pixels(shape):
    array = np.full(shape, 255, np.uint8)
    array[1, 2, ...] = 7 if len(shape) == 2 or shape[2] < 4 else (7, 7, 7, 255)
    data = encode_png(array)
    assert data == encode_png(array.copy())
    assert pixels(data)[1, 2].tolist() == [7, 7, 7]


@pytest.mark.parametrize(
    ("value", "code"),
    [(5, "bad_media"), *((text, "bad_base64") for text in NO_BASE64)],
)
def test_broken_transport_names_the_row(value, code):
    refused = error(value)
    assert isinstance(refused, InvalidInput)
    assert refused.code == code


def test_urls_are_not_fetched():
    assert error("https://example.org/a.png").code == "url_input"
