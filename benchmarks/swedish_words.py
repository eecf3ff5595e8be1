"""Photos of animals and groceries under Swedish names: words that the built-in model never saw.

Writes `train.tar` and `test.tar`, which share no photo, from the shards of ../shared/data/train:

    python benchmarks/swedish_words.py --out swedish
"""

import argparse
import hashlib
import io
import json
import tarfile
from pathlib import Path

from clipsearch.training.data.sources import Sample, open_source, with_labels

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "train"
ANIMALS = {
    "ape": "apa",
    "bear": "björn",
    "bison": "visent",
    "cat": "katt",
    "chicken": "höna",
    "cow": "ko",
    "deer": "hjort",
    "dog": "hund",
    "dolphin": "delfin",
    "duck": "anka",
    "eagle": "örn",
    "fish": "fisk",
    "horse": "häst",
    "lion": "lejon",
    "lobster": "hummer",
    "pig": "gris",
    "rabbit": "kanin",
    "shark": "haj",
    "snake": "orm",
    "spider": "spindel",
    "turkey": "kalkon",
    "wolf": "varg",
}
GROCERIES = {
    "asparagus": "sparris",
    "avocado": "avokado",
    "banana": "banan",
    "beef tomato": "bifftomat",
    "brown cap mushroom": "brun champinjon",
    "cabbage": "vitkål",
    "carrots": "morötter",
    "cucumber": "gurka",
    "garlic": "vitlök",
    "ginger": "ingefära",
    "green bell pepper": "grön paprika",
    "honeydew melon": "honungsmelon",
    "leek": "purjolök",
    "lemon": "citron",
    "nectarine": "nektarin",
    "orange": "apelsin",
    "passion fruit": "passionsfrukt",
    "peach": "persika",
    "pineapple": "ananas",
    "plum": "plommon",
    "pomegranate": "granatäpple",
    "potato": "potatis",
    "red beet": "rödbeta",
    "red bell pepper": "röd paprika",
    "red grapefruit": "röd grapefrukt",
    "sweet potato": "sötpotatis",
    "tomato": "tomat",
    "vine tomato": "kvisttomat",
    "watermelon": "vattenmelon",
    "yellow bell pepper": "gul paprika",
    "yellow onion": "gul lök",
}
WORDS = ANIMALS | GROCERIES
TEST_SHARE = 0.3


def is_for_testing(sample: Sample) -> bool:
    """Decide by the photo itself, so that it is the same in every run."""
    return hashlib.sha256(sample.image).digest()[0] < 256 * TEST_SHARE


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    facts = tarfile.TarInfo(name)
    facts.size = len(content)
    tar.addfile(facts, io.BytesIO(content))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=str(DATA))
    parser.add_argument("--out", required=True, type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    source = with_labels(open_source(options.data), list(WORDS))
    counts = {"train": 0, "test": 0}
    with (
        tarfile.open(options.out / "train.tar", "w") as train,
        tarfile.open(options.out / "test.tar", "w") as test,
    ):
        for number in range(len(source)):
            sample = source[number]
            part, tar = ("test", test) if is_for_testing(sample) else ("train", train)
            word = WORDS[sample.label or ""]
            facts = {"captions": [word], "label": word}
            add(tar, f"{number:06d}.jpg", sample.image)
            add(tar, f"{number:06d}.json", json.dumps(facts, ensure_ascii=False).encode())
            counts[part] += 1
    print(f"{counts['train']} photos to train on, {counts['test']} to test on, {len(WORDS)} names")


if __name__ == "__main__":
    main()
