"""How many questions get the line that the model can't read them, by language.

python -m benchmarks.known_words PARALLEL.tsv.gz PHOTOS

PARALLEL has a language, an English caption and its translation on each line; PHOTOS is a folder of
NAME.json with a list of captions in English.
"""

import gzip
import json
import random
import sys
import time
from collections import defaultdict
from pathlib import Path

from clipsearch.searching.relevance import unread

SAMPLE = 200


def main() -> None:
    parallel, photos = map(Path, sys.argv[1:])
    texts: dict[str, list[str]] = defaultdict(list)
    with gzip.open(parallel, "rt", encoding="utf-8") as lines:
        for line in lines:
            language, _, translated = line.rstrip("\n").split("\t")
            texts[language].append(translated)
    chance = random.Random(16)
    for language, all_of_it in sorted(texts.items()):
        _show(language, chance.sample(all_of_it, SAMPLE))
    said = [json.loads(path.read_text()) for path in sorted(photos.glob("*.json"))]
    _show("English", [caption for one in said for caption in one["captions"]])


def _show(language: str, texts: list[str]) -> None:
    started = time.process_time()
    noted = sum(bool(unread(text, lambda: True)) for text in texts)
    each = (time.process_time() - started) / len(texts)
    print(f"{language}: {noted / len(texts):.1%} of {len(texts):,}, {each * 1e3:.2f} ms each")


if __name__ == "__main__":
    main()
