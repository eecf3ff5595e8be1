"""Make a library of the present version, which all later ones must open.

    cd tests && python make_library.py COMMIT      # the commit that is checked out

writes data/made-by-COMMIT.tar.xz. One is made for each version that writes other files or other
values than the last that has one; test_older_libraries.py asks all of them the same. None is ever
made anew or changed: they are what users have.

In the archive:

- `library/`: catalog, index files and text tower, just as the program wrote them
- `model/`: the tiny model, which has learned colours so that answers are clear-cut
- `camera/`: photos with EXIF, one that is cut short, raw photos, a sidecar, an ignore file and what
  it leaves out
- `answers.json`: what was asked, and what it said: see `answers`

All other photos are of two pixels, one above the other, whose colours are their names, so that
they need not be kept. The library was made in PLACE, a folder that no machine has later.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from made_raws import camera_jpeg, dng
from places import DATA
from sidecars import xmp
from tiny_models import PREPROCESSING, save_tiny_model

PLACE = Path("/tmp/clipsearch-made-this-library")

COLOURS = {
    "red": (205, 30, 35),
    "orange": (240, 140, 25),
    "yellow": (240, 225, 50),
    "green": (40, 160, 50),
    "blue": (35, 60, 200),
    "purple": (130, 40, 150),
    "white": (235, 235, 235),
    "gray": (125, 125, 125),
    "black": (20, 20, 20),
}
TEMPLATES = ("{} over {}", "a photo of {} above {}", "{} at the top {} at the bottom")
TINY: dict[str, Any] = {
    "embed_dim": 16,
    "custom_text": True,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "patch_size": 8, "head_width": 8},
    "text_cfg": {
        "context_length": 10,
        "vocab_size": 32,
        "hf_tokenizer_name": "in/this-folder",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 16,
        "heads": 2,
        "layers": 1,
        "no_causal_mask": True,
        "pool_type": "last",
    },
}
STEPS = 800
LEFT_OUT = {  # by what, and a photo that it leaves out
    "path": "photos/colours/cd1e23-28a032.ppm",
    "pattern": "photos/colours/drafts/cd1e23-233cc8.ppm",
    "ignore file": "photos/camera/red-draft.jpg",
}
QUERIES = ("red over blue", "a photo of green above white", "black at the top yellow at the bottom")
WORDS = ("harbour", "alone")  # in the sidecar, in the name of a file
YEARS = ("2021-02", "2022")
BY_PATH: dict[str, Any] = {"sort": "path", "k": 20, "include_away": True}


# Photos


def two_pixels(name: str) -> bytes:
    """Return the file of this name: `RRGGBB-RRGGBB.ppm`, the upper pixel first."""
    upper, lower = name.removesuffix(".ppm").split("-")
    return b"P6 1 2 255\n" + bytes.fromhex(upper) + bytes.fromhex(lower)


def photo_names(count: int, seed: int) -> list[str]:
    """Return names of photos of any two colours, each in a shade of its own."""
    random = np.random.default_rng(seed)
    table = np.array(list(COLOURS.values()))
    pairs = table[random.integers(0, len(table), (count, 2))]
    shades = np.clip(pairs + random.integers(-20, 21, pairs.shape), 0, 255).astype(np.uint8)
    return list(dict.fromkeys(f"{a.tobytes().hex()}-{b.tobytes().hex()}.ppm" for a, b in shades))


def write_photos(folder: Path, names: Sequence[str]) -> Path:
    """Write the photos of these names; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(two_pixels(name))
    return folder


def write_camera_photos(folder: Path) -> Path:
    """Write three small photos as a camera does, and one whose file is cut short."""
    from PIL import Image

    folder.mkdir(parents=True)
    for number, colour in enumerate(("red", "green", "white")):
        exif = Image.Exif()
        exif[0x0110], exif[0x0112] = "A Camera", 6
        exif[0x0132] = f"2021:0{number + 1}:02 03:04:05"
        exif.get_ifd(0x8825).update({1: "N", 2: (50.0, 30.0, 0.0), 3: "E", 4: (10.0, 15.0, 0.0)})
        picture = Image.new("RGB", (32, 32), COLOURS["black"])
        picture.paste(COLOURS[colour], (0, 0, 16, 32))  # the top, once it is turned
        picture.save(folder / f"{colour}.jpg", exif=exif, quality=90)
    whole = (folder / "red.jpg").read_bytes()
    (folder / "red.jpg.xmp").write_text(xmp("<dc:title>Harbour</dc:title>"))
    (folder / "broken.jpg").write_bytes(whole[: len(whole) - 60])
    write_raw_photos(folder)
    (folder / ".clipsearchignore").write_text("*-draft.jpg\n")
    (folder / "red-draft.jpg").write_bytes(whole)
    return folder


def write_raw_photos(folder: Path) -> None:
    """Write a raw photo with the picture that the camera made of it, and one that is alone."""
    from PIL import Image

    for name, upper, lower in (("pair", "green", "white"), ("alone", "red", "blue")):
        pixels = np.array([[COLOURS[upper]], [COLOURS[lower]]], np.uint8)
        picture = np.asarray(Image.fromarray(pixels).resize((96, 64), Image.Resampling.BICUBIC))
        (folder / f"{name}.dng").write_bytes(dng(picture, orientation=6))
        if name == "pair":
            (folder / f"{name}.jpg").write_bytes(camera_jpeg(picture))


# A model that knows colours


def make_model(folder: Path) -> Path:
    """Train a tiny model to tell two colours from their names; return its folder."""
    save_tiny_model(folder, TINY, preprocessing=PREPROCESSING)
    texts = [template.format(a, b) for template in TEMPLATES for a in COLOURS for b in COLOURS]
    save_word_tokenizer(folder, sorted({word for text in texts for word in text.split()}))
    _train(folder)
    return folder


def save_word_tokenizer(folder: Path, words: Sequence[str]) -> None:
    """Save a tokenizer that knows just these words, as Hugging Face lays one out."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    known = {word: number for number, word in enumerate(["<pad>", "</s>", "<unk>", *words])}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", known["</s>"])]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _train(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from torch.nn.functional import cross_entropy

    from clipsearch.models.loading import load_model
    from clipsearch.models.names import resolve_model

    loaded = load_model(resolve_model(str(folder)))
    network: Any = loaded.network.train()
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=STEPS)
    for pixels, texts in _batches(STEPS):
        ids = torch.from_numpy(loaded.tokenizer(texts))
        images = network.encode_image(pixels, normalize=True)
        scores = 30 * images @ network.encode_text(ids, normalize=True).T
        same = torch.arange(len(texts))
        loss = cross_entropy(scores, same) + cross_entropy(scores.T, same)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    assert loss < 0.1, "the model has not learned its colours"
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")


def _batches(steps: int) -> Iterator[tuple[Any, list[str]]]:
    """Yield pictures float32 [81, 3, 16, 16] of all pairs of colours, and texts about them."""
    import torch
    from PIL import Image

    random = np.random.default_rng(0)
    pairs = [(a, b) for a in COLOURS for b in COLOURS]
    table = np.array([[COLOURS[a], COLOURS[b]] for a, b in pairs])
    mean, std = (np.array(PREPROCESSING[name], np.float32) for name in ("mean", "std"))
    for step in range(steps):
        shades = np.clip(table + random.integers(-20, 21, table.shape), 0, 255).astype(np.uint8)
        pictures = [
            np.asarray(Image.fromarray(shade[:, None]).resize((16, 16), Image.Resampling.BICUBIC))
            for shade in shades
        ]
        pixels = (np.stack(pictures).astype(np.float32) / 255 - mean) / std
        template = TEMPLATES[step % len(TEMPLATES)]
        yield torch.from_numpy(pixels).permute(0, 3, 1, 2), [template.format(*p) for p in pairs]


# The library


def make_library(place: Path) -> Path:
    """Index in several runs, so that there are several index files; return the library's folder."""
    from clipsearch import Library
    from clipsearch.index.changes import SeenMount
    from clipsearch.index.vectors import segments
    from clipsearch.options import IndexOptions

    os.environ["CLIPSEARCH_PRECISION"] = "float32"  # the same on any processor
    segments.APPROXIMATE_FROM = segments.LISTS_FROM = 2_000
    segments.NEWEST = 50
    photos = place / "photos"
    names = photo_names(2300, seed=1)
    with Library(place / "library", device="cpu") as library:
        first = [write_photos(photos / "colours", names), write_camera_photos(photos / "camera")]
        for kind in ("path", "pattern"):
            left_out = place / LEFT_OUT[kind]
            write_photos(left_out.parent, [left_out.name])
        model, options = str(place / "model"), IndexOptions(exclude=["drafts"])
        report = library.index(first, model=model, options=options)
        assert report.failed == 1
        write_photos(photos / "usb", photo_names(40, seed=2))
        write_photos(photos / "disks" / "one", photo_names(30, seed=3))
        library.index([photos / "usb", photos / "disks"])
        for name in names[:3]:
            (photos / "colours" / name).unlink()
        write_photos(photos / "colours", photo_names(5, seed=4))
        report = library.index()
        assert (report.removed, report.added) == (3, 5)
        assert library.remove(place / LEFT_OUT["path"]) == 1
        with library._store.writing():  # as a scan does at a mount
            library._store.apply([SeenMount(photos / "disks" / "one")])
        shown, others = (
            [hit.path for hit in library.query(text, k=3, only="visual")] for text in QUERIES[:2]
        )
        library.teach("ours", shown, others=others)
        library.tag(["red", "green", "blue"])
    shutil.rmtree(photos / "usb")
    return place / "library"


def answers(place: Path) -> dict[str, Any]:
    """Ask the library; return what it said, paths from the folder it was made in."""
    from clipsearch import Library

    def hits(found: Sequence[Any]) -> list[Any]:
        return [[str(hit.path.relative_to(place)), round(hit.score, 5)] for hit in found]

    def paths(found: Sequence[Any]) -> list[str]:
        return [str(hit.path.relative_to(place)) for hit in found]

    with Library(place / "library", read_only=True, device="cpu") as library:
        about = library.info()
        assert about.index is not None
        assert about.index.recall is not None
        assert about.index.delta == 5
        assert about.index.files == 2
        raws = ["photos/camera/pair.dng", "photos/camera/alone.dng"]
        like_the_pair = "photos/colours/159d25-e8ebef.ppm"
        pictures = [
            *raws,
            like_the_pair,
            "photos/camera/red.jpg",
            f"photos/colours/{photo_names(2300, 1)[500]}",
        ]
        return {
            "place": str(place),
            "texts": {text: hits(library.query(text, k=20)) for text in QUERIES},
            "everywhere": hits(library.query(QUERIES[0], k=20, include_away=True)),
            "similar": {path: hits(library.similar(place / path, k=20)) for path in pictures},
            "photos": about.photos,
            "failures": {str(f.file.path.relative_to(place)): f.reason for f in about.failures},
            "away": {str(a.path.relative_to(place)): [a.reason, a.photos] for a in about.away},
            "exclusions": [
                [kind, what.replace(f"{place}/", "")] for kind, what in about.exclusions
            ],
            "index": [about.index.kind, about.index.vectors, about.index.delta],
            "words": {word: paths(library.query(word, k=20, only="words")) for word in WORDS},
            "tags": {
                tag.name: [tag.kind, tag.photos, paths(library.list(tag=tag.name, **BY_PATH))]
                for tag in library.tags()
            },
            "dated": {year: paths(library.list(after=year, **BY_PATH)) for year in YEARS},
        }


def pack(place: Path, said: dict[str, Any], archive: Path) -> None:
    """Put the library, its model and the photos of the camera into an archive."""
    files = [*(place / "library").rglob("*"), *(place / "model").iterdir()]
    files += (place / "photos" / "camera").iterdir()
    passing = ("lock", "catalog.sqlite-wal", "catalog.sqlite-shm")
    log = place / "library" / "catalog.sqlite-wal"
    assert not log.exists() or not log.stat().st_size, "the catalog is not whole"
    content = {
        str(path.relative_to(place)).removeprefix("photos/"): path.read_bytes()
        for path in sorted(files)
        if path.is_file() and path.name not in passing
    }
    content["answers.json"] = json.dumps(said, indent=1).encode()
    archive.parent.mkdir(exist_ok=True)
    with tarfile.open(archive, "w:xz", preset=9) as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def main(name: str) -> None:
    """Make the library in PLACE, pack it, and leave nothing there."""
    archive = DATA / f"made-by-{name}.tar.xz"
    if archive.exists() or PLACE.exists():
        sys.exit(f"{archive if archive.exists() else PLACE} is there already")
    PLACE.mkdir()
    try:
        make_model(PLACE / "model")
        make_library(PLACE)
        pack(PLACE, answers(PLACE), archive)
    finally:
        shutil.rmtree(PLACE)
    sys.stdout.write(f"{archive}: {archive.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
