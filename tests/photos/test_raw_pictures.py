"""A raw camera file shows what the camera's own JPEG does, upright and never by its thumbnail."""

from __future__ import annotations

import io
import struct
import warnings
from random import Random

import numpy as np
import pytest
from made_raws import WHITE, Said, camera_jpeg, dng, preview_of
from odd_pictures import UPRIGHT
from PIL import Image

from benchmarks.fuzz_mutations import damage_picture
from clipsearch.errors import UnreadableImage
from clipsearch.photos.opening import OpenedImage, open_image
from clipsearch.photos.raw_facts import facts_in_header

SIDE = 64  # of a model; the raw pictures here are not larger than it needs

Pixels = np.ndarray


@pytest.fixture(scope="module")
def scene(repository_photo: Image.Image) -> Pixels:
    return np.asarray(repository_photo.resize((480, 320), Image.Resampling.LANCZOS))


@pytest.fixture(scope="module")
def repository_photo(repository: object) -> Image.Image:
    with Image.open(f"{repository}/examples/photos/animals/horses-on-hill.jpg") as image:
        return image.convert("RGB")


def alike(opened: OpenedImage, upright: Pixels) -> float:
    """Return how a picture correlates with another, both at 48 x 32: 1 for the same."""
    shown = opened.image.resize((48, 32), Image.Resampling.BOX)
    other = Image.fromarray(upright).resize((48, 32), Image.Resampling.BOX)
    pair = np.asarray(shown, float).ravel(), np.asarray(other, float).ravel()
    return float(np.corrcoef(*pair)[0, 1])


def why(data: bytes, side: int | None = SIDE, **options: float) -> str:
    with pytest.raises(UnreadableImage) as caught:
        open_image(data, shrink_to=side, **options)  # type: ignore[arg-type]
    return str(caught.value)


# Which picture


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_the_preview_is_turned_as_the_camera_was_held(
    scene: Pixels, orientation: int, order: str
) -> None:
    preview = preview_of(scene, orientation)
    data = dng(scene, orientation=orientation, preview=preview, order=order)
    opened = open_image(data, shrink_to=SIDE)
    assert opened.image.mode == "RGB"
    assert alike(opened, scene) > 0.99
    assert (opened.metadata.width, opened.metadata.height) == (480, 320)
    assert opened.metadata.orientation == orientation
    assert opened.metadata.format == "RAW"


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_what_the_sensor_saw_is_turned_too(scene: Pixels, orientation: int) -> None:
    opened = open_image(dng(scene, orientation=orientation), shrink_to=SIDE)
    assert opened.image.size == (240, 160)  # half of each side
    assert alike(opened, scene) > 0.97
    assert (opened.metadata.width, opened.metadata.height) == (480, 320)
    assert opened.metadata.orientation == orientation


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("stored_upright", [False, True])
def test_a_preview_that_says_how_it_lies_is_not_turned_twice(
    scene: Pixels, orientation: int, stored_upright: bool
) -> None:
    lies = 1 if stored_upright else orientation
    preview = preview_of(scene, lies, exif=lies)
    opened = open_image(dng(scene, orientation=orientation, preview=preview), shrink_to=SIDE)
    assert alike(opened, scene) > 0.99


@pytest.mark.parametrize("orientation", [6, 8])
def test_a_preview_that_is_upright_and_does_not_say_so_is_left_so(
    scene: Pixels, orientation: int
) -> None:
    data = dng(scene, orientation=orientation, preview=preview_of(scene))
    assert alike(open_image(data, shrink_to=SIDE), scene) > 0.99


def test_a_preview_is_taken_only_if_it_is_large_enough(scene: Pixels) -> None:
    """Marked by its colours, which are not those of what the sensor saw."""
    marked = 255 - scene
    small = np.asarray(Image.fromarray(marked).resize((240, 160)))

    def shown(preview: Pixels, side: int | None) -> float:
        return alike(open_image(dng(scene, preview=preview_of(preview)), shrink_to=side), marked)

    assert shown(marked, SIDE) > 0.99
    assert shown(marked, None) > 0.99
    smaller = np.asarray(Image.fromarray(marked).resize((232, 154)))
    assert shown(small, SIDE) > 0.99  # no smaller than half of the raw picture
    assert shown(smaller, 50) > 0.99  # 2.9 times the model's side
    assert shown(smaller, 60) < -0.9
    assert shown(smaller, None) < -0.9


def test_a_raw_picture_whose_half_is_too_small_is_taken_whole(scene: Pixels) -> None:
    assert open_image(dng(scene), shrink_to=200).image.size == (480, 320)


def test_a_damaged_preview_is_passed_by(scene: Pixels) -> None:
    whole = preview_of(255 - scene)
    for damaged in (whole[: len(whole) // 2], whole[:3] + bytes(len(whole) - 3)):
        data = dng(scene, preview=whole).replace(whole, damaged.ljust(len(whole), b"\0"))
        assert alike(open_image(data, shrink_to=SIDE), scene) > 0.97


def test_the_cameras_white_is_white(scene: Pixels) -> None:
    """What it took for white when it saw the scene, not what it is made for."""
    wall = np.clip(128 + np.random.default_rng(0).normal(0, 4, scene.shape), 0, 255)
    data = dng(wall.astype(np.uint8))
    red = struct.pack("<LL", 4300, 10_000)
    assert data.count(red) == 1
    warm = data.replace(red, struct.pack("<LL", 8600, 10_000))
    of_wall, of_warm = (
        np.asarray(open_image(one, shrink_to=SIDE).image).mean(axis=(0, 1)) for one in (data, warm)
    )
    assert np.ptp(of_wall) < 3
    assert of_warm[0] < of_warm[1] - 30


def test_a_jpeg_stays_one_whatever_its_name(scene: Pixels) -> None:
    assert open_image(camera_jpeg(scene)).metadata.format == "JPEG"  # bytes have no name


def test_what_libraw_can_not_unpack_is_shown_by_a_smaller_preview_but_no_thumbnail(
    scene: Pixels,
) -> None:
    """As DNGs in JPEG XL are; the preview must be as large as the model's side."""
    marked = 255 - scene
    plain = dng(scene, preview=preview_of(np.asarray(Image.fromarray(marked).resize((225, 150)))))
    assert alike(open_image(plain, shrink_to=SIDE), marked) < -0.9  # what the sensor saw
    strange = _packed_otherwise(plain)
    assert alike(open_image(strange, shrink_to=SIDE), marked) > 0.99
    assert why(strange, 151).startswith("unsupported kind of raw camera file (DNG)")


def _packed_otherwise(data: bytes) -> bytes:
    """Return a DNG that says its sensor's data is in JPEG XL."""
    before = struct.pack("<HHLLHHLHH", 257, 4, 1, 320, 258, 3, 1, 16, 0)
    plain, packed = (struct.pack("<HHLHH", 259, 3, 1, kind, 0) for kind in (1, 52546))
    assert data.count(before + plain) == 1
    return data.replace(before + plain, before + packed)


# What it says about itself


def test_what_the_file_says_is_read(scene: Pixels) -> None:
    said = Said("NIKON CORPORATION", "NIKON D850", "35.0 mm f/2.0", "2021:02:03 04:05:06")
    for preview in (None, preview_of(scene)):
        metadata = open_image(dng(scene, preview=preview, said=said), shrink_to=SIDE).metadata
        assert metadata.camera == "NIKON D850"
        assert metadata.lens == "35.0 mm f/2.0"
        assert metadata.taken_at == "2021-02-03T04:05:06"
        assert (metadata.latitude, metadata.longitude) == (59, 18)


def test_a_file_that_says_nothing_has_no_date(scene: Pixels) -> None:
    said = Said("", "", "", "", None)
    for preview in (None, preview_of(scene)):
        metadata = open_image(dng(scene, preview=preview, said=said), shrink_to=SIDE).metadata
        assert metadata.taken_at is None


def test_the_header_of_a_cr3_is_three_tiffs(scene: Pixels) -> None:
    tiff = dng(scene[:32, :32])
    assert tiff[:4] == b"II*\0"

    def box(name: bytes, directory: int) -> bytes:
        moved = tiff[:4] + struct.pack("<L", directory) + tiff[8:]
        return struct.pack(">L4s", 8 + len(moved), name) + moved

    def directory_of(tag: int) -> int:
        return int(struct.unpack("<L", tiff[(at := tiff.rindex(_pointer(tag)) + 8) : at + 4])[0])

    first = int.from_bytes(tiff[4:8], "little")
    parts = (
        box(b"CMT1", first),
        box(b"CMT2", directory_of(34665)),
        box(b"CMT4", directory_of(34853)),
    )
    facts = facts_in_header(b"\0\0\0\x18ftypcrx ".ljust(24, b"\0") + b"".join(parts))
    assert (facts.camera, facts.lens) == ("Clipsearch Test T1", "Test 35mm F2")
    assert facts.taken_at == "2023-07-14T18:22:05"
    assert (facts.latitude, facts.longitude) == (59, 18)
    assert facts_in_header(b"\0\0\0\x18ftypcrx ").camera is None


def _pointer(tag: int) -> bytes:
    return struct.pack("<HHL", tag, 4, 1)


@pytest.mark.parametrize("start", [b"IIU\0", b"IIRO", b"IIRS"])
def test_the_headers_of_other_makers_are_read_as_the_tiffs_that_they_are(
    scene: Pixels, start: bytes
) -> None:
    facts = facts_in_header(start + dng(scene[:32, :32])[4:])
    assert (facts.camera, facts.taken_at) == ("Clipsearch Test T1", "2023-07-14T18:22:05")


# What must not be shown


def test_a_file_that_ends_early_is_refused_although_its_preview_is_whole(scene: Pixels) -> None:
    """LibRaw would decode what is missing as noughts."""
    data = dng(scene, preview=preview_of(scene))
    beyond = _first_strip_at(data, len(data) - 1000)
    assert why(beyond) == "truncated raw camera file (DNG): the picture data ends early"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as the program does: Pillow only warns of some
        for length in (len(data) // 4, len(data) * 3 // 4, len(data) - 250, len(data) - 50):
            assert why(data[:length]).startswith("truncated")


def _first_strip_at(data: bytes, place: int) -> bytes:
    """Return a DNG whose sensor's data should begin at a place."""
    before = struct.pack("<HHLHH", 262, 3, 1, 32803, 0) + struct.pack("<HHL", 273, 4, 1)
    assert data.count(before) == 1
    at = data.index(before) + len(before)
    return data[:at] + struct.pack("<L", place) + data[at + 4 :]


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("with_preview", [False, True])
def test_a_file_filled_up_with_noughts_is_refused(
    scene: Pixels, part: float, with_preview: bool
) -> None:
    data = dng(scene, preview=preview_of(scene) if with_preview else None)
    size = 2 * scene.shape[0] * scene.shape[1]
    filled = data[: 8 + int(size * part)] + bytes(size - int(size * part)) + data[8 + size :]
    assert len(filled) == len(data)
    assert why(filled) == "truncated raw camera file (DNG): the picture data ends early"


def test_a_missing_part_in_the_middle_is_seen_in_what_the_sensor_saw(scene: Pixels) -> None:
    data = dng(scene)
    size = 2 * scene.shape[0] * scene.shape[1]
    holed = data[: 8 + size // 2] + bytes(size // 4) + data[8 + size * 3 // 4 :]
    assert why(holed) == "truncated raw camera file (DNG): the picture data ends early"


def test_what_is_as_bright_as_can_be_is_not_missing(scene: Pixels) -> None:
    data = dng(scene)
    size = scene.shape[0] * scene.shape[1]  # bytes of the upper half
    white = struct.pack("<H", WHITE) * (size // 2)
    opened = open_image(data[:8] + white + data[8 + size :], shrink_to=SIDE)
    assert np.asarray(opened.image)[:70].min() > 200


def test_the_limit_of_megapixels_holds_for_what_the_sensor_saw(scene: Pixels) -> None:
    data = dng(scene, preview=preview_of(scene))
    assert why(data, max_megapixels=0.1) == (
        "too large: 0.2 megapixels, limit 0.1 (see --max-megapixels)"
    )


def test_a_count_of_values_that_no_file_can_hold_is_not_followed(scene: Pixels) -> None:
    """The fuzzer found it: LibRaw reads four billion values of a tag, for minutes."""
    data = dng(scene[:64, :96])
    bits = struct.pack("<HHL", 258, 3, 3)
    assert data.count(bits) == 1
    endless = data.replace(bits, struct.pack("<HHL", 258, 3, 2**32 - 1))
    assert why(endless) == "damaged raw camera file (DNG): its parts don't fit together"


def test_a_dng_without_its_version_is_none_that_shows_its_thumbnail(scene: Pixels) -> None:
    """The fuzzer found it: what else a DNG says gives it away."""
    version, below = struct.pack("<HHL", 50706, 1, 4), struct.pack("<HHL", 330, 4, 1)
    data = dng(scene[:64, :96])
    assert data.count(version) == data.count(below) == 1
    data = data.replace(version, struct.pack("<HHL", 50705, 1, 4))
    data = data.replace(below, struct.pack("<HHL", 329, 4, 1))
    assert "raw camera file (DNG)" in why(data)


def test_a_bitmap_is_not_read_for_its_size_may_be_wrong(scene: Pixels) -> None:
    """The fuzzer found it: rawpy reads beyond what LibRaw has, which ended the process."""
    data = dng(scene[:136, :200])
    with Image.open(io.BytesIO(data)) as thumbnail:
        assert thumbnail.size == (160, 109)
    assert open_image(data, shrink_to=16).image.size == (100, 68)


def test_damaged_files_are_opened_or_refused_in_one_line(scene: Pixels) -> None:
    """Many more are tried by `python -m benchmarks.fuzz --target raw`."""
    tile = scene[:96, :128]
    seeds = [dng(tile, preview=preview_of(tile)), dng(tile, orientation=6)]
    dice = Random(0)
    for _ in range(300):
        data = damage_picture(dice.choice(seeds), seeds[0], dice)
        try:
            opened = open_image(data, shrink_to=SIDE, max_megapixels=10)
        except UnreadableImage as error:
            assert 0 < len(str(error)) < 400
            assert "\n" not in str(error)
        else:
            assert opened.image.mode == "RGB"
