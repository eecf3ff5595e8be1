"""Claim: a raw photo of 24 megapixels costs little more than a JPEG, and is found as it would be.

python -m benchmarks.raw_speed [--rounds N] [--scenes N]

Makes raw files as cameras do (12 bits in lossless JPEG, with and without previews) and the JPEG
beside them. Prints the processor time from the file to the model's pixels, the memory that it takes
beyond what a decoding process has at its start, and the cosine of the vectors to that of the JPEG;
the exit code is 1 where a bar is not met.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.decoder_isolation import photos_in

REPOSITORY = Path(__file__).resolve().parents[1]
LARGE, SMALL = (6000, 4000), (2400, 1600)  # pixels: what is timed, what is compared
MODEL = "builtin"
_BY_PREVIEW, _BY_HALF = (100, 40, 0.995), (None, None, 0.98)  # ms, MB more, cosine
BARS = {"preview": _BY_PREVIEW, "smaller preview": _BY_PREVIEW, "half size": _BY_HALF}


# Made files


def scene(photo: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a photo as a camera would see it, (height, width, 3): large, and with grain."""
    with Image.open(io.BytesIO(photo)) as image:
        large = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC))
    grain = np.random.default_rng(0).normal(0, 1, large.shape[:2]).astype(np.float32)
    return np.clip(large + grain[..., None], 0, 255).astype(np.uint8)


def files_of(upright: NDArray[np.uint8]) -> Iterator[tuple[str, bytes]]:
    """Yield the camera's JPEG and its raw files, by what is shown of each."""
    from made_raws import camera_jpeg, dng, preview_of

    share = 27 if max(upright.shape) > 4000 else 62  # percent: 1620 x 1080 of 24 megapixels
    small = Image.fromarray(upright).resize([side * share // 100 for side in upright.shape[1::-1]])
    yield "JPEG", camera_jpeg(upright)
    preview = preview_of(upright, quality=90)
    yield "preview", dng(upright, preview=preview, packed=lossless_jpeg)
    preview = preview_of(np.asarray(small), quality=90)
    yield "smaller preview", dng(upright, preview=preview, packed=lossless_jpeg)
    yield "half size", dng(upright, packed=lossless_jpeg)
    yield "half size, not packed", dng(upright)


# Bits of the codes for how many bits a difference has: most have 4 to 9.
_CODE_BITS = np.array([6, 6, 5, 4, 3, 3, 2, 3, 3, 4, 5, 6, 8, 9, 10, 10])


def lossless_jpeg(values: NDArray[np.uint16]) -> bytes:
    """Return the sensor's values (height, width) of 12 bits, two columns as one of two channels."""
    height, width = values.shape
    order = np.argsort(_CODE_BITS, kind="stable")
    counts = np.bincount(_CODE_BITS, minlength=17)[1:17]
    table = b"\0" + counts.astype(np.uint8).tobytes() + order.astype(np.uint8).tobytes()
    parts = [(0xC4, table)]
    parts += [(0xC3, struct.pack(">BHHB6B", 12, height, width // 2, 2, 0, 0x11, 0, 1, 0x11, 0))]
    parts += [(0xDA, bytes([2, 0, 0, 1, 0, 1, 0, 0]))]
    head = b"".join(struct.pack(">BBH", 0xFF, kind, 2 + len(p)) + p for kind, p in parts)
    bits = [_bits_of_rows(values, top, order) for top in range(0, height, 250)]
    data = np.packbits(np.concatenate(bits)).tobytes().replace(b"\xff", b"\xff\0")
    return b"\xff\xd8" + head + data + b"\xff\xd9"


def _bits_of_rows(
    values: NDArray[np.uint16], top: int, order: NDArray[np.intp]
) -> NDArray[np.uint8]:
    """Return the bits of 250 rows: of each difference its size's code, and the difference."""
    rows = values[top : top + 250].astype(np.int32)
    before = np.empty_like(rows)
    before[:, 2:] = rows[:, :-2]
    before[1:, :2] = rows[:-1, :2]
    before[0, :2] = values[top - 1, :2] if top else 1 << 11
    differences = (rows - before).ravel()
    sizes = np.ceil(np.log2(np.abs(differences) + 1)).astype(int)
    codes, code = np.zeros(16, np.int64), 0
    for place, size in enumerate(order):
        codes[size] = code
        if place + 1 < len(order):
            code = (code + 1) << int(_CODE_BITS[order[place + 1]] - _CODE_BITS[size])
    plain = np.where(differences < 0, differences + (1 << sizes) - 1, differences)
    words, lengths = (codes[sizes] << sizes) | plain, _CODE_BITS[sizes] + sizes
    shifts = np.arange(lengths.max())[::-1]
    return ((words[:, None] >> shifts) & 1).astype(np.uint8)[shifts < lengths[:, None]]


# What they cost


def measure(path: Path, rounds: int) -> None:
    """Print as JSON what preparing a file took, in a process that has loaded what a decoder has."""
    from clipsearch.models.names import resolve_model
    from clipsearch.photos.preparing import Prepared, prepare
    from clipsearch.photos.preprocessing import Preprocessing

    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as they do
    config = json.loads((resolve_model(MODEL).folder / "open_clip_config.json").read_text())
    side = config["model_cfg"]["vision_cfg"]["image_size"]
    preprocessing = Preprocessing(side, side)
    prepare(b"", preprocessing)  # loads all decoders
    before = _most_memory()
    seconds = []
    for _ in range(rounds + 1):
        data = path.read_bytes()
        start = time.process_time()
        assert isinstance(prepare(data, preprocessing), Prepared)
        seconds.append(time.process_time() - start)
        del data
    ms, grown = statistics.median(seconds[1:]) * 1000, _most_memory() - before
    print(json.dumps({"ms": ms, "MB": grown / 1000}))


def _most_memory() -> int:
    """Return the most memory that this process ever held, in kB; getrusage has its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def costs(folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Return what each kind of file takes."""
    photo = photos_in(REPOSITORY / "examples" / "photos", 1)[0]
    found = {}
    for kind, data in files_of(scene(photo, LARGE)):
        path = folder / kind
        path.write_bytes(data)
        child = [sys.executable, "-m", "benchmarks.raw_speed", "--child", str(path)]
        said = subprocess.run([*child, str(rounds)], capture_output=True, check=True, text=True)
        found[kind] = {**json.loads(said.stdout), "file": len(data) / 1e6}
    return found


def cosines(scenes: int) -> dict[str, list[float]]:
    """Return how near the vectors of raw files are to those of the JPEGs beside them."""
    from clipsearch.models.encoder import load_encoder
    from clipsearch.models.names import resolve_model
    from clipsearch.photos.opening import open_image

    encoder = load_encoder(resolve_model(MODEL), device="cpu")
    found: dict[str, list[float]] = {}
    for photo in photos_in(REPOSITORY / "examples" / "photos", scenes):
        files = dict(files_of(scene(photo, SMALL)))
        opened = [open_image(data, shrink_to=encoder.image_size) for data in files.values()]
        first, *others = encoder.encode_images([one.image for one in opened])
        for kind, vector in zip(list(files)[1:], others, strict=True):
            found.setdefault(kind, []).append(float(first @ vector))
    return found


def main() -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scenes", type=int, default=12)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        costing = costs(Path(folder), given.rounds)
    alike = cosines(given.scenes)
    print("| shown of 24 megapixels | file, MB | ms | memory, MB | cosine, least and median |")
    print("| --- | ---: | ---: | ---: | ---: |")
    missed = []
    for kind, cost in costing.items():
        near = alike.get(kind, [1.0])
        print(
            f"| {kind} | {cost['file']:.0f} | {cost['ms']:.0f} | {cost['MB']:.0f} "
            f"| {min(near):.4f}, {statistics.median(near):.4f} |"
        )
        most_ms, most_more, least = BARS.get(kind, (None, None, 0))
        more = cost["MB"] - costing["JPEG"]["MB"]
        if cost["ms"] > (most_ms or np.inf) or more > (most_more or np.inf) or min(near) < least:
            missed.append(kind)
    print("\n".join(f"missed: {kind}" for kind in missed) or "all bars are met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY / "tests"))
    if sys.argv[1:2] == ["--child"]:
        measure(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        sys.exit(main())
