"""The picture test files of Pillow and pillow-heif: upright and whole, or a true reason."""

from __future__ import annotations

import io
import os
import tarfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageOps

from clipsearch.errors import UnreadableImage
from clipsearch.image_opening import OpenedImage, open_image

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("CLIPSEARCH_TEST_DATA", REPOSITORY.parent / "shared" / "data")) / "odd"
LARGE = "200MP.heic"  # takes half a minute on one core

pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no odd pictures in {DATA}"),
    pytest.mark.filterwarnings("ignore::UserWarning:PIL"),
]

# Looked at by hand: the picture, and how wide and high it is when it stands upright.
WHOLE = {
    "hopper_orientation_2.jpg": (128, 128),
    "hopper_orientation_6.jpg": (128, 128),
    "hopper_orientation_8.webp": (128, 128),
    "g4_orientation_6.tif": (590, 88),
    "exif_imagemagick_orientation.png": (512, 512),
    "xmp_tags_orientation.png": (326, 268),
    "orientation_rectangle.jpg": (1, 2),
    "avif/rot1mir0.avif": None,
    "avif/rot3mir1.avif": None,
    "pil_sample_cmyk.jpg": (100, 100),
    "hopper.Lab.tif": (128, 128),
    "hopper_16bit.pgm": (128, 128),
    "12in16bit.tif": None,
    "16bit.cropped.jp2": (64, 64),
    "hopper_1bit.pbm": (128, 128),
    "hopper_g4.tif": (128, 128),
    "hopper_256x256.ico": (256, 256),
    "transparent.webp": None,
    "tiff_16bit_RGBa.tiff": None,
    "sugarshack.mpo": (640, 480),
    "apng/dispose_op_none.png": None,
    "dispose_bgnd.gif": None,
    "bmp/g/rgb32.bmp": (127, 64),
    "bmp/g/pal8topdown.bmp": (127, 64),
    "arrow.heic": (3024, 4032),
    "RGBA_12__29x100.heif": (29, 100),
    "L_10__128x128.heif": (128, 128),
    "xiaomi.heic": (2592, 1944),
}

# What must fail, and how the reason begins.
FAILS = {
    "empty.heic": "the file is empty",
    "truncated_image.png": "truncated PNG",
    "truncated_end_chunk.png": "truncated PNG",
    "truncated.heic": "truncated HEIF",
    "corrupted.hif": "truncated HEIF",
    "corrupted.heic": "damaged HEIF: Invalid input",
    "bmp/b/shortfile.bmp": "truncated BMP",
    "not_enough_data.jp2": "truncated JPEG2000",
    "broken.png": "damaged PNG: broken PNG file",
    "broken_data_stream.png": "damaged PNG: unrecognized data stream",
    "png_decompression_dos.png": "damaged PNG: Decompressed data too large",
    "zero_width.gif": "damaged GIF: the header gives no size",
    "zero_height.j2k": "damaged JPEG2000: the header gives no size",
    "decompression_bomb.gif": "too large: 4,365 megapixels, limit",
    "decompression_bomb.ico": "too large: 4,295 megapixels, limit",
    "bmp/b/reallybig.bmp": "too large",
    "bmp/b/badwidth.bmp": "too large: 274,878 megapixels",
    "bmp/b/badbitcount.bmp": "unsupported kind of BMP: pixel depth (30000)",
    "bmp/q/pal2.bmp": "unsupported kind of BMP: pixel depth (2)",
    "hopper_webp.tif": "undecodable TIFF",
    "hopper_unknown_pixel_mode.tif": "unsupported kind of TIFF: unknown pixel mode",
    "crash-2020-10-test.tif": "undecodable TIFF",
    "seek_too_large.tif": "damaged TIFF",
}

# Where plain Pillow shows a picture and this program, on purpose, does not.
STRICTER = {"truncated.heic"}

# Where it is the other way round, as in other viewers: one byte of the last marker is missing, and
# a colour profile is damaged.
MORE_TOLERANT = {"truncated_jpeg.jpg", "unknown_compression_method.png"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the content of every odd picture by its name."""
    contents = {}
    for archive in ("pillow.tar.xz", "heif.tar"):
        with tarfile.open(DATA / archive) as tar:
            for member in tar:
                if (stream := tar.extractfile(member)) is not None:
                    name = member.name.removeprefix("./")
                    name = name.rpartition("/")[2] if archive == "heif.tar" else name
                    contents[name] = stream.read()
    return contents


@pytest.fixture(scope="module")
def outcomes(files: dict[str, bytes]) -> dict[str, OpenedImage | str]:
    return {name: outcome(data) for name, data in files.items() if name != LARGE}


def outcome(data: bytes) -> OpenedImage | str:
    try:
        return open_image(data)
    except UnreadableImage as error:
        return str(error)


def plain(data: bytes) -> Image.Image | None:
    """Return what Pillow or pillow-heif alone make of the bytes."""
    try:
        if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1"):
            try:
                return pillow_heif.open_heif(data).to_pillow()
            except (ValueError, OSError, RuntimeError, SyntaxError):
                pass  # perhaps an AVIF
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def opened(outcomes: dict[str, OpenedImage | str]) -> Iterator[tuple[str, OpenedImage]]:
    for name, result in outcomes.items():
        if isinstance(result, OpenedImage):
            yield name, result


def test_every_odd_picture_opens_as_rgb_or_says_why_in_one_line(
    outcomes: dict[str, OpenedImage | str],
) -> None:
    assert len(outcomes) == 777 + 35 - 1
    for name, result in outcomes.items():
        if isinstance(result, str):
            assert result.strip() and "\n" not in result and len(result) < 300, name
        else:
            assert result.image.mode == "RGB", name
            assert result.image.size == (result.metadata.width, result.metadata.height), name
            assert min(result.image.size) > 0, name


@pytest.mark.parametrize("name", WHOLE)
def test_known_good_pictures_open(outcomes: dict[str, OpenedImage | str], name: str) -> None:
    result = outcomes[name]
    assert isinstance(result, OpenedImage), result
    assert WHOLE[name] in (None, result.image.size)


@pytest.mark.parametrize("name", FAILS)
def test_known_bad_pictures_fail_for_the_true_reason(
    outcomes: dict[str, OpenedImage | str], name: str
) -> None:
    result = outcomes[name]
    assert isinstance(result, str), "opened"
    assert result.startswith(FAILS[name])


def test_what_pillow_alone_shows_is_shown_and_nothing_else(
    files: dict[str, bytes], outcomes: dict[str, OpenedImage | str]
) -> None:
    warnings.simplefilter("ignore")
    ours = {name for name, _ in opened(outcomes)}
    theirs = {name for name in outcomes if plain(files[name]) is not None}
    assert theirs - ours == STRICTER
    assert ours - theirs == MORE_TOLERANT


def test_plain_rgb_pictures_keep_every_pixel(
    files: dict[str, bytes], outcomes: dict[str, OpenedImage | str]
) -> None:
    compared = 0
    for name, result in opened(outcomes):
        if name in MORE_TOLERANT:
            continue
        reference = plain(files[name])
        assert reference is not None
        info = reference.info
        if reference.mode != "RGB" or "transparency" in info or "icc_profile" in info:
            continue
        if result.metadata.format != "HEIF":
            reference = ImageOps.exif_transpose(reference)
        assert np.array_equal(np.asarray(result.image), np.asarray(reference)), name
        compared += 1
    assert compared > 300


@pytest.mark.parametrize("kind", ["jpg", "webp"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_the_same_face_in_every_orientation(
    outcomes: dict[str, OpenedImage | str], kind: str, orientation: int
) -> None:
    upright = outcomes["hopper.jpg"]
    turned = outcomes[f"hopper_orientation_{orientation}.{kind}"]
    assert isinstance(upright, OpenedImage) and isinstance(turned, OpenedImage)
    one, other = (np.asarray(o.image.convert("L"), float) for o in (upright, turned))
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.95


@pytest.mark.slow
def test_a_heic_of_200_megapixels_opens(files: dict[str, bytes]) -> None:
    result = open_image(files[LARGE], shrink_to=224, max_megapixels=256)
    assert (result.metadata.width, result.metadata.height) == (12240, 16320)


def test_a_heic_over_the_limit_is_refused_without_decoding(files: dict[str, bytes]) -> None:
    with pytest.raises(UnreadableImage, match=r"too large: 199\.8 megapixels, limit 100"):
        open_image(files[LARGE], max_megapixels=100)
