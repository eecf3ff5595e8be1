"""Claim: a query takes 0.35 s from nothing with words and 0.7 s of processor time with a picture.

python -m benchmarks.cold_query

A process is started for each, over a library of 1,000 photos (made-up embeddings; the towers are
real: the built-in ones, and those of ViT-B-32-256's size with random weights). Wall and processor
time, with that of decoding processes, beside what Python alone and the imports alone take in the
same minute. A picture is none of the library. "Adding a photo" is `index` over a known folder of
six photos, of which one is new; "five photos" is a first `index`, into a new library. Limits are of
wall seconds for words, of processor seconds for pictures.

Then a server's first picture, timed from the start of a client; and what torch takes to start,
and for a photo, beside an exported tower: from how many photos on it pays (`TORCH_PAYS_FROM`).
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.clustered_library import vectors
from clipsearch import Library
from clipsearch.index.changes import Embedded, KeepFolder, UseModel
from clipsearch.index.records import FACTS, FileState, PhotoMetadata

PHOTOS = 1_000
ROUNDS = 11
EXAMPLES = Path(__file__).parents[1] / "examples" / "photos"
PROGRAM = [sys.executable, "-m", "clipsearch"]
WORDS = "a dog on a beach"
VIT_B_32_256: dict[str, Any] = {
    "embed_dim": 512,
    "vision_cfg": {"image_size": 256, "layers": 12, "width": 768, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
}
Command = list[str]


class Case(NamedTuple):
    """A command, what it may take, and what is done before each time that it runs."""

    command: Command
    wall: float | None = None  # seconds
    processor: float | None = None
    prepare: Callable[[], None] = lambda: None


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="clipsearch-cold-") as name:
        place = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(place / "cache")
        vit = make_vit_b_32(place / "vit-b-32")
        cases = {**words(place, vit), **pictures(place)}
        times = measure(cases)
        print(f"| median of {ROUNDS} | seconds | processor seconds | limit | of the limit |")
        print("| --- | ---: | ---: | ---: | ---: |")
        for what, case in cases.items():
            wall, processor = map(statistics.median, zip(*times[what], strict=True))
            limit = case.wall or case.processor
            taken = wall if case.wall else processor
            share = f"{limit:.2f} | {taken / limit:.2f}" if limit else " | "
            print(f"| {what} | {wall:.2f} | {processor:.2f} | {share} |", flush=True)
        print_server(place / "builtin")
        print_towers({"builtin": "builtin", "ViT-B-32-256": str(vit)})


def words(place: Path, vit: Path) -> dict[str, Case]:
    """Return the commands that need no picture, over libraries that are made for them."""
    builtin = make_library(place / "builtin", "builtin")
    large = make_library(place / "large", str(vit))
    imports = [sys.executable, "-c", "import numpy, onnxruntime"]
    return {
        "python -c pass": Case([sys.executable, "-c", "pass"]),
        "import numpy, onnxruntime": Case(imports),
        "clipsearch --help": Case([*PROGRAM, "--help"], wall=0.15),
        "clipsearch info": Case([*PROGRAM, "info", "--library", str(builtin)], wall=0.25),
        "query, builtin": Case([*PROGRAM, "query", WORDS, "--library", str(builtin)], wall=0.35),
        "query, ViT-B-32-256": Case([*PROGRAM, "query", WORDS, "--library", str(large)], wall=0.70),
    }


def pictures(place: Path) -> dict[str, Case]:
    """Return the commands that open pictures; the libraries of `words` are there."""
    *known, new = sorted(EXAMPLES.rglob("*.jpg"))[:6]
    folder, library, empty = place / "six", place / "grown", place / "new"
    folder.mkdir()
    for path in known:
        shutil.copy(path, folder)
    index = [*PROGRAM, "index", str(folder), "--model", "builtin", "--library"]
    subprocess.run([*index, str(library)], check=True, capture_output=True)
    before = shutil.copytree(library, place / "five")

    def one_more() -> None:
        shutil.rmtree(library)
        shutil.copytree(before, library)
        shutil.copy(new, folder)

    def none_yet() -> None:
        shutil.rmtree(empty, ignore_errors=True)
        (folder / new.name).unlink(missing_ok=True)

    similar = [*PROGRAM, "similar", str(new), "--library"]
    return {
        "similar NEW, builtin": Case([*similar, str(place / "builtin")], processor=0.7),
        "similar NEW, ViT-B-32-256": Case([*similar, str(place / "large")], processor=1.2),
        "adding a photo": Case(
            [*PROGRAM, "index", "--library", str(library)], processor=0.8, prepare=one_more
        ),
        "five photos": Case([*index, str(empty)], processor=1.5, prepare=none_yet),
    }


def print_server(library: Path) -> None:
    """Print what a server's first pictures take, once it says that it serves."""
    *_, new = sorted(EXAMPLES.rglob("*.jpg"))[:6]
    command = [*PROGRAM, "similar", str(new), "--library", str(library)]
    first, second = [], []
    for _ in range(3):
        serve = [*PROGRAM, "serve", "--library", str(library)]
        with subprocess.Popen(serve, stderr=subprocess.PIPE) as server:
            assert server.stderr is not None
            server.stderr.readline()
            first.append(timed(command, None)[0])
            second.append(timed(command, None)[0])
            server.terminate()
    middle = statistics.median(first), statistics.median(second)
    print(f"serve: the first picture after {middle[0]:.2f} s, the second after {middle[1]:.2f} s")


def print_towers(models: dict[str, str]) -> None:
    """Print what torch and an exported tower take to start and for a photo, and what that means."""
    print("| processor seconds | start | a photo | torch pays from |")
    print("| --- | ---: | ---: | ---: |")
    for what, model in models.items():
        command = [sys.executable, "-m", "benchmarks.towers", model]
        rows = [
            [float(value) for value in subprocess.check_output([*command, way]).split()]
            for way in ("torch", "exported")
        ]
        (start, photo), (exported_start, exported_photo) = rows
        gain = exported_photo - photo
        pays = f"{(start - exported_start) / gain:,.0f}" if gain > 0 else "never"
        print(f"| {what}, exported | {exported_start:.2f} | {exported_photo:.4f} | |")
        print(f"| {what}, torch | {start:.2f} | {photo:.4f} | {pays} |")


def make_vit_b_32(folder: Path) -> Path:
    """Save a model of ViT-B-32-256's shape with random weights, as open_clip lays one out."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    pixels = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic"}
    content = {"model_cfg": VIT_B_32_256, "preprocess_cfg": {**pixels, "resize_mode": "shortest"}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    torch.manual_seed(0)
    network = open_clip.model.CLIP(**VIT_B_32_256)
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


def make_library(folder: Path, model: str, photos: int = PHOTOS) -> Path:
    """Make a library of photos that are nowhere, with made-up embeddings, a real text tower."""
    from clipsearch.models.names import resolve_model

    seen = PhotoMetadata(800, 600, "JPEG", taken_at="2020-01-01T12:00:00", facts=FACTS)
    (folder.parent / "photos").mkdir(exist_ok=True)
    (folder.parent / "photos" / "readme.txt").write_text("not away")
    with Library(folder, device="cpu") as library:
        encoder = library._models.load(resolve_model(model))
        library._for_writing(create=True)
        store, width = library._store, encoder.identity.width
        with store.writing():
            store.apply([KeepFolder(folder.parent / "photos", "folder")])
            library._models.keep_text_encoder(encoder)
            model_id = store.catalog.add_model(encoder.identity)
            store.apply([UseModel(model_id)])
            done = 0
            for some in vectors(photos, 0, library=photos, width=width):
                changes = []
                for number, vector in enumerate(some, done):
                    path = folder.parent / "photos" / f"IMG_{number:07}.jpg"
                    file = FileState(path, 1000, number)
                    changes.append(Embedded(file, f"{number:064x}", seen, vector))
                store.apply(changes, model_id)
                done += len(some)
            store.refresh_vectors(model_id)
            (row,) = store.models(count_to=0)
            library._models.keep_competing_words(row)
    return folder


def measure(cases: dict[str, Case]) -> dict[str, list[tuple[float, float]]]:
    """Return seconds and processor seconds of each, in turns, after one round that warms up."""
    times: dict[str, list[tuple[float, float]]] = {what: [] for what in cases}
    environment = {**os.environ, "CLIPSEARCH_NO_SERVER": "1"}
    for number in range(ROUNDS + 1):
        for what, case in cases.items():
            case.prepare()
            taken = timed(case.command, environment)
            if number:
                times[what].append(taken)
    return times


def timed(command: Command, environment: dict[str, str] | None) -> tuple[float, float]:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    quiet = subprocess.DEVNULL
    ended = subprocess.run(command, stdout=quiet, stderr=quiet, env=environment, check=False)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode not in (0, 1):  # 1: of made-up photos, none may match
        sys.exit(f"{command} ended with {ended.returncode}")
    return seconds, sum(after[:2]) - sum(before[:2])


if __name__ == "__main__":
    main()
