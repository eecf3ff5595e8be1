"""Claim: indexing runs near what the processor can do, well ahead of a plain pipeline.

python benchmarks/indexing_speed.py [--model NAME | --random ARCHITECTURE] [--photos N]

Photos a second by stage, for web-size photos (examples/photos, 800 pixels wide) and for pictures of
12 megapixels (mosaics of them), beside two limits measured in the same run (decoding and encoding
one after the other; what the model's operations take at the rate of a large float32 matrix product)
and a plain pipeline: the same weights exported to ONNX as they are, float32, ONNX Runtime's own
settings, and Pillow in threads that read ahead. Then what each step of indexing costs by itself.
--random takes an open_clip architecture with random weights: no download, the same speed. Rounds
alternate between the stages; the figures are medians. Processor time tells what a photo costs even
while other programs keep the processor busy.
"""

import argparse
import io
import json
import os
import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray

from clipsearch import Library
from clipsearch.index.changes import Embedded, ToOpen
from clipsearch.index.records import FileState
from clipsearch.index.store import Store
from clipsearch.indexing.run import read_file
from clipsearch.machine import cores
from clipsearch.models.encoder import CPU_BATCH, Encoder
from clipsearch.models.image.encoder import ImageEncoder
from clipsearch.models.loading import load_model
from clipsearch.models.names import resolve_model
from clipsearch.photos.decoder_pool import DecoderPool
from clipsearch.photos.opening import OpenedImage, open_image
from clipsearch.photos.preprocessing import Preprocessing
from clipsearch.privacy import onnx_runtime

PHOTOS = Path(__file__).resolve().parents[1] / "examples" / "photos"
TILE, TILES = (800, 600), (5, 5)  # 4000 x 3000 pixels
PLAIN_BATCH = 8
STEPS = 64  # photos, to tell what a step costs
WARM = 32  # photos indexed before the clock starts: models loaded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="builtin", help="as clipsearch index --model takes it")
    parser.add_argument("--random", help="an open_clip architecture, with random weights")
    parser.add_argument("--photos", type=int, default=256, help="web-size; half as many large")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    jpegs = [path.read_bytes() for path in sorted(PHOTOS.rglob("*.jpg"))]
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        model = random_model(options.random, place / "model") if options.random else options.model
        plain = PlainPipeline(model, place / "plain.onnx")
        print(f"{options.random or model}, {cores()} cores, {processor_name()}\n")
        print(f"{plain.operations / 1e9:.1f} billion operations a photo; ", end="")
        print(f"float32 matrix product {product_rate() / 1e9:.0f} billion a second\n")
        photos = {"web-size": copies(jpegs, options.photos)}
        photos["12 megapixels"] = mosaics(jpegs, max(1, options.photos // 2))
        library = Library(place / "library", device="cpu")
        write(jpegs[:WARM], place / "warm")
        library.index([place / "warm"], model=model)
        row = library.info().model
        assert row is not None
        encoder = library._models.encoder_of(row, options.photos)
        for kind, contents in photos.items():
            write(contents, place / kind)
            run = Rounds(library, encoder, plain, place / kind, contents)
            print(f"| {kind} ({megabytes(contents)}) | photos/s | x plain | processor ms a photo |")
            print("| --- | ---: | ---: | ---: |")
            run.report(options.rounds)
        library.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if is_mac() else 1024)
    print(f"most memory, this benchmark's own networks included: {peak / 1e9:.2f} GB")


class Rounds:
    """All stages over one set of photos, in turn."""

    def __init__(
        self,
        library: Library,
        encoder: Encoder | ImageEncoder,
        plain: "PlainPipeline",
        folder: Path,
        contents: list[bytes],
    ) -> None:
        self.library, self.encoder, self.plain = library, encoder, plain
        self.folder, self.contents = folder, contents
        self.pixels = decoded(contents, encoder.preprocessing)[:128]
        self.plain_input = [plain.prepare(content) for content in contents[:64]]

    def report(self, rounds: int) -> None:
        stages: dict[str, Callable[[], Measured]] = {
            "plain: decode": lambda: measure(self.contents, self.plain.decode_all),
            "plain: encode": lambda: measure(self.plain_input, self.plain.encode_all),
            "plain: both": lambda: measure(self.contents, self.plain.run),
            "decode": lambda: measure(
                self.contents, lambda all_: decoded(all_, self.encoder.preprocessing)
            ),
            "encode": lambda: measure(self.pixels, self.encoder.encode_pixels),
            "index": lambda: measure(self.contents, self.index),
        }
        self.encoder.encode_pixels(self.pixels[:CPU_BATCH])  # warm
        found: dict[str, list[Measured]] = {name: [] for name in stages}
        for _ in range(rounds):
            if self.folder in [known.path for known in self.library.info().folders]:
                self.library.remove([self.folder])
            for name, stage in stages.items():
                found[name].append(stage())
        medians = {n: statistics.median(m.rate for m in found[n]) for n in stages}
        cost = {n: statistics.median(m.processor_ms for m in found[n]) for n in stages}
        medians["limit: decode, then encode"] = 1 / (1 / medians["decode"] + 1 / medians["encode"])
        medians["limit: encode in float32"] = product_rate() / self.plain.operations
        for name, value in medians.items():
            base = medians[f"plain: {name}" if f"plain: {name}" in medians else "plain: both"]
            spent = f"{cost[name]:.1f}" if name in cost else ""
            print(f"| {name} | {value:.1f} | {value / base:.2f} | {spent} |")
        for name, spent in self.steps(cost["decode"], cost["encode"]).items():
            print(f"| step of index: {name} | | | {spent:.1f} |")
        share = medians["index"] / medians["limit: decode, then encode"]
        multiple = cost["index"] / cost["encode"]
        print(
            f"\nindex reaches {100 * share:.0f} % of decode, then encode; it takes {multiple:.1f} "
            f"times the tower's own processor time ({type(self.encoder).__name__}, "
            f"{self.encoder.precision})\n",
            flush=True,
        )

    def steps(self, decode: float, encode: float) -> dict[str, float]:
        """Return the processor milliseconds a photo that each step of indexing takes alone."""
        contents, preprocessing = self.contents[:STEPS], self.encoder.preprocessing
        files = [FileState(path, 0, 0) for path in sorted(self.folder.iterdir())[:STEPS]]
        opened: list[OpenedImage] = []

        def read(files: Sequence[FileState]) -> None:
            for file in files:
                read_file(ToOpen(file, None))

        def open_all(contents: Sequence[bytes]) -> None:
            opened.extend(open_image(data, shrink_to=self.encoder.image_size) for data in contents)

        def resize(images: Sequence[OpenedImage]) -> None:
            for image in images:
                preprocessing.pixels(image.image)

        def written(files: Sequence[FileState]) -> None:
            vector = np.full(self.encoder.identity.width, 0.04, np.float32)
            seen = opened[0].metadata
            for start in range(0, len(files), CPU_BATCH):
                some = enumerate(files[start : start + CPU_BATCH], start)
                store.apply([Embedded(f, f"{n:064x}", seen, vector) for n, f in some], model)

        steps = {"read and hash": measure(files, read).processor_ms}
        steps["open"] = measure(contents, open_all).processor_ms
        steps["resize"] = measure(opened, resize).processor_ms
        steps["to and from decoders"] = decode - steps["open"] - steps["resize"]
        steps["encode"] = encode
        with (
            tempfile.TemporaryDirectory() as place,
            Store.open(Path(place), create=True) as store,
            store.writing(),
        ):
            model = store.catalog.add_model(self.encoder.identity)
            steps["write"] = measure(files, written).processor_ms
        return steps

    def index(self, contents: Sequence[bytes]) -> None:
        report = self.library.index([self.folder])
        if report.embedded != len(contents):
            raise SystemExit(f"{report.embedded} of {len(contents)} photos were embedded")


class PlainPipeline:
    """The straightforward way: an exported tower, Pillow, and threads that read ahead."""

    def __init__(self, model: str, path: Path) -> None:
        from open_clip.transform import PreprocessCfg, image_transform_v2
        from torch.utils.flop_counter import FlopCounterMode

        loaded = load_model(resolve_model(model))
        self._transform: Any = image_transform_v2(
            PreprocessCfg(**loaded.preprocessing), is_train=False
        )
        preprocessing = Preprocessing.from_json(loaded.identity.preprocessing)
        example = torch.zeros(2, 3, preprocessing.height, preprocessing.width)
        torch.backends.mha.set_fastpath_enabled(False)  # neither counted nor exported, if fused
        with torch.no_grad():
            with FlopCounterMode(display=False) as counter:
                loaded.network.encode_image(example)  # type: ignore[operator]
            export(loaded.network.visual, example, path)  # type: ignore[arg-type]
        torch.backends.mha.set_fastpath_enabled(True)
        self.operations = counter.get_total_flops() / len(example)
        onnxruntime = onnx_runtime()
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(str(path), settings, providers=providers)

    def prepare(self, content: bytes) -> NDArray[np.float32]:
        image = PIL.Image.open(io.BytesIO(content)).convert("RGB")
        prepared: NDArray[np.float32] = self._transform(image).numpy()
        return prepared

    def decode_all(self, contents: Sequence[bytes]) -> None:
        with ThreadPoolExecutor(cores()) as pool:
            for _ in pool.map(self.prepare, contents):
                pass

    def encode_all(self, prepared: Sequence[NDArray[np.float32]]) -> None:
        for start in range(0, len(prepared), PLAIN_BATCH):
            self._session.run(None, {"pixels": np.stack(prepared[start : start + PLAIN_BATCH])})

    def run(self, contents: Sequence[bytes]) -> None:
        batches = [contents[i : i + PLAIN_BATCH] for i in range(0, len(contents), PLAIN_BATCH)]
        with ThreadPoolExecutor(cores()) as pool:
            ahead = [pool.submit(self.prepare, content) for content in batches[0]]
            for following in [*batches[1:], ()]:
                prepared = [future.result() for future in ahead]
                ahead = [pool.submit(self.prepare, content) for content in following]
                self.encode_all(prepared)


def export(tower: torch.nn.Module, example: torch.Tensor, path: Path) -> None:
    torch.onnx.export(
        tower,
        (example,),
        str(path),
        input_names=["pixels"],
        output_names=["features"],
        dynamic_axes={"pixels": {0: "n"}, "features": {0: "n"}},
        opset_version=17,
        dynamo=False,
    )


def random_model(architecture: str, folder: Path) -> str:
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir()
    torch.manual_seed(0)
    network = open_clip.create_model(architecture, load_weights=False)
    config = {
        "model_cfg": open_clip.get_model_config(architecture),
        "preprocess_cfg": {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return str(folder)


def copies(jpegs: list[bytes], count: int) -> list[bytes]:
    """So many photos, each of its own content: what follows the end of a JPEG is not looked at."""
    return [jpegs[i % len(jpegs)] + b"%d" % i for i in range(count)]


def mosaics(jpegs: list[bytes], count: int) -> list[bytes]:
    """Pictures of 12 megapixels with the detail of real photos: many of them side by side."""
    photos = [PIL.Image.open(io.BytesIO(jpeg)).convert("RGB").resize(TILE) for jpeg in jpegs]
    pictures = []
    for number in range(count):
        picture = PIL.Image.new("RGB", (TILE[0] * TILES[0], TILE[1] * TILES[1]))
        for place in range(TILES[0] * TILES[1]):
            corner = (place % TILES[0] * TILE[0], place // TILES[0] * TILE[1])
            picture.paste(photos[(place + number) % len(photos)], corner)
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=85)
        pictures.append(file.getvalue() + b"%d" % number)
    return pictures


def decoded(contents: Sequence[bytes], preprocessing: Preprocessing) -> list[NDArray[np.uint8]]:
    with DecoderPool(preprocessing, max_megapixels=200) as pool:
        return [future.result().pixels for future in [pool.submit(data) for data in contents]]


def write(contents: list[bytes], folder: Path) -> None:
    folder.mkdir()
    for number, content in enumerate(contents):
        (folder / f"{number:05}.jpg").write_bytes(content)


@dataclass(frozen=True)
class Measured:
    """What one pass over some photos took."""

    rate: float  # photos a second
    processor_ms: float  # a photo, on all cores and in all processes together


def measure(things: Sequence[Any], action: Callable[[Sequence[Any]], object]) -> Measured:
    started, spent = time.perf_counter(), processor_seconds()
    action(things)
    seconds, spent = time.perf_counter() - started, processor_seconds() - spent
    return Measured(len(things) / seconds, 1000 * spent / len(things))


def processor_seconds() -> float:
    """Seconds that this process and those it has waited for have computed."""
    return sum(os.times()[:4])


def product_rate() -> float:
    """Operations a second of a large float32 matrix product, in the best of seven."""
    one, other = torch.randn(2048, 1024), torch.randn(1024, 2048)
    times = []
    for _ in range(7):
        started = time.perf_counter()
        one @ other
        times.append(time.perf_counter() - started)
    return 2 * 2048 * 1024 * 2048 / min(times)


def megabytes(contents: list[bytes]) -> str:
    return f"{len(contents)} of {statistics.mean(map(len, contents)) / 1e6:.2f} MB"


def processor_name() -> str:
    return str(torch.cpu.get_capabilities().get("cpu_name", "unknown processor"))


def is_mac() -> bool:
    return sys.platform == "darwin"


if __name__ == "__main__":
    main()
