"""Claim: what the built-in model names rightly among the 1,000 classes of ImageNet.

python benchmarks/builtin_zero_shot.py [FOLDER] [--model NAME] [--single]

FOLDER holds photos of ImageNet as .tar shards: `key.jpg` beside `key.json` with `class`, the
number of the class from 0 in the order of the WordNet ids. It defaults to ../shared/data/zeroshot,
one photo of each second class. The model works in float32; the names are those of CLIP's authors,
and the intervals of 95 % come from the bootstrap over photos, as in `clipsearch eval zeroshot`.
"""

import argparse
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

from clipsearch.training.data.samples import Sample
from clipsearch.training.data.sources import shard_paths
from clipsearch.training.evaluation import evaluate_zero_shot
from clipsearch.training.evaluation.classes import imagenet_classes
from clipsearch.training.evaluation.embedding import open_encoder
from clipsearch.training.evaluation.ranks import Figure

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "zeroshot"


def main(folder: Path, model: str, *, ensemble: bool) -> None:
    photos = [sample for shard in shard_paths(folder) for sample in samples(shard)]
    encoder = open_encoder(model, device="cpu")
    result = evaluate_zero_shot(encoder, photos, classes=imagenet_classes(), ensemble=ensemble)
    print(f"| {result.photos} photos, {len(result.measured.skipped)} left out | top-1 | top-5 |")
    print("| --- | --- | --- |")
    for way in result.ranks:
        cells = " | ".join(cell(result.figures[way, metric]) for metric in ("top-1", "top-5"))
        print(f"| {way} | {cells} |")


def samples(shard: Path) -> Iterator[Sample]:
    """The photos of a shard, labelled by the numbers of their classes."""
    with tarfile.open(shard) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}
    for name, content in members.items():
        key, _, extension = name.rpartition(".")
        if extension == "json":
            yield Sample(key, members[f"{key}.jpg"], (), str(json.loads(content)["class"]))


def cell(figure: Figure) -> str:
    value, low, high = (100 * number for number in figure)
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, help="of .tar shards")
    parser.add_argument("--model", default="builtin", help="named as for `clipsearch index`")
    parser.add_argument("--single", action="store_true", help="one prompt only: quick")
    options = parser.parse_args()
    main(options.folder, options.model, ensemble=not options.single)
