"""Thirty questions to an album of photos, as a person would ask them, and what comes of each.

python -m benchmarks.thirty_questions PHOTOS [QUESTION]

PHOTOS is a folder of NAME.jpg with NAME.json, which has a list of captions. They become an album
(benchmarks/described_photos.py), which is indexed with the built-in model into a new library. Of
each question: how many photos are shown; how many of them pass its filter by what was made up for
them, and how many there are that do; and of how many two captions or more name the subject. With
the number of a question, what the program writes is shown as it is.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from benchmarks.described_photos import Described, make

Test = Callable[[Described], bool]


@dataclass(frozen=True)
class Question:
    """What is typed after `clipsearch`, and what the photos shown must be like."""

    line: tuple[str, ...]
    passes: Test = lambda photo: True
    subject: tuple[str, ...] = ()  # words that captions have for it
    finds: bool = True
    only_words: bool = False  # every photo shown has the words that were asked for


def _between(first: str, behind: str) -> Test:
    span = datetime.fromisoformat(first), datetime.fromisoformat(behind)
    return lambda photo: photo.moment is not None and span[0] <= photo.moment < span[1]


def _all(*tests: Test) -> Test:
    return lambda photo: all(test(photo) for test in tests)


def _no(test: Test) -> Test:
    return lambda photo: not test(photo)


def _camera(name: str) -> Test:
    return lambda photo: photo.camera is not None and name in photo.camera


def _in(folder: str) -> Test:
    return lambda photo: f"/{folder}/" in f"{photo.path.parent}/"


def _town(name: str) -> Test:
    return lambda photo: photo.town == name


def questions(album: Path, photos: list[Described]) -> list[Question]:
    dog = ("dog", "dogs", "puppy", "puppies")
    people = ("girl", "girls", "boy", "boys", "child", "children", "kids", "toddler")
    copied = next(photo.copy_of for photo in photos if photo.copy_of)
    first, second = str(photos[4].path), str(photos[11].path)
    return [
        Question(("query", "a dog on a beach"), subject=dog),
        Question(("query", "children playing"), subject=people),
        Question(("query", "a dog", "--camera", "Pixel"), _camera("Pixel"), dog),
        Question(
            ("query", "a dog in:holidays after:2021 camera:Pixel -people"),
            _all(_in("holidays"), _between("2021-01-01", "9999-01-01"), _camera("Pixel")),
            dog,
        ),
        Question(("query", "snow", "--in", str(album / "work")), _in("work"), ("snow", "snowy")),
        Question(("query", "dog -in:sport"), _no(_in("sport")), dog),
        Question(
            ("query", "children", "--after", "2020-06", "--before", "2020-09"),
            _between("2020-06-01", "2020-09-01"),
            people,
        ),
        Question(
            ("query", "a man", "--after", "2021..2022"),
            _between("2021-01-01", "2023-01-01"),
            ("man", "men"),
        ),
        Question(
            ("query", "people", "--after", "July 2021", "--before", "2021-08"),
            _between("2021-07-01", "2021-08-01"),
        ),
        Question(("query", "water missing:camera"), lambda photo: photo.camera is None, ("water",)),
        Question(("query", "a dog", "--near", "50.08,14.42,30"), _town("Prague"), dog),
        Question(("query", "a street", "--near", "38.7N 9.1W"), _town("Lisbon"), ("street",)),
        Question(("query", "a bicycle type:jpeg min-width:100"), subject=("bike", "bicycle")),
        Question(
            ("query", "Anna Novak", "--only", "words"), _person("Anna Novak"), only_words=True
        ),
        Question(
            ("query", "jorg muller", "--only", "words"), _person("Jörg Müller"), only_words=True
        ),
        Question(
            ("query", "regatta", "--only", "words"),
            lambda photo: bool(photo.title),
            only_words=True,
        ),
        Question(("query", "a beach", "--minus", "people"), subject=("beach", "sand", "ocean")),
        Question(("query", "a dog", "--plus", "2:water"), subject=dog),
        Question(("query", "a beach without people"), subject=("beach", "sand", "ocean")),
        Question(("query", "a giraffe"), finds=False),
        Question(("query", "a helicopter"), finds=False),
        Question(("query", "a grand piano"), finds=False),
        Question(("query", "Ein Hund läuft über die Wiese")),
        Question(("query", "football players", "--sort", "date"), subject=("football", "soccer")),
        Question(
            ("query", "skateboard", "--top", "5", "--offset", "5"),
            subject=("skateboard", "skateboarder", "skateboarding"),
        ),
        Question(("similar", first), lambda photo: str(photo.path) != first),
        Question(("similar", first, second), lambda photo: str(photo.path) not in (first, second)),
        Question(("similar", str(copied), "--all"), lambda photo: photo.path != copied),
        Question(
            ("list", "--camera", "iPhone", "--after", "2024", "--sort", "date"),
            _all(_camera("iPhone"), _between("2024-01-01", "9999-01-01")),
        ),
        Question(
            ("query", "a dog", "--where", "camera IS NULL AND width >= 200"),
            lambda photo: photo.camera is None,
            dog,
        ),
    ]


def _person(name: str) -> Test:
    return lambda photo: photo.person == name


def main() -> None:
    source, *number = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="clipsearch-album-") as name:
        album, library = Path(name) / "album", Path(name) / "library"
        photos = make(Path(source), album)
        run(library, "index", str(album), "--model", "builtin")
        asked = questions(album, photos)
        if number:
            done = run(library, *asked[int(number[0]) - 1].line)
            print(done.stdout + done.stderr)
            return
        print(f"{'':>2}  {'shown':>5}  {'pass':>5}  {'of':>5}  {'named':>5}  {'exit':>4}  question")
        wrong = [
            place for place, one in enumerate(asked, 1) if not _report(place, one, library, photos)
        ]
    print(
        f"as they should be: {len(asked) - len(wrong)} of {len(asked)}{' not: ' * bool(wrong)}",
        *wrong,
    )


def _report(place: int, question: Question, library: Path, photos: list[Described]) -> bool:
    """Print what comes of a question; tell whether it is what must be true of the answer."""
    by_path = {str(photo.path): photo for photo in photos}
    done = run(library, *question.line, "--json")
    shown = [by_path[json.loads(line)["path"]] for line in done.stdout.splitlines()]
    passing = sum(map(question.passes, photos))
    named = sum(photo.shows(*question.subject) for photo in shown) if question.subject else None
    passed = sum(map(question.passes, shown))
    says = done.stderr.strip().replace(str(library.parent), "")
    typed = " ".join(question.line).replace(str(library.parent), "")
    print(
        f"{place:>2}  {len(shown):>5}  {passed:>5}  {passing:>5}  "
        f"{'' if named is None else named:>5}  {done.returncode:>4}  {typed}"
    )
    for line in says.splitlines():
        print(f"{'':35}| {line}")
    return (
        passed == len(shown)
        and bool(shown) == question.finds
        and (not question.only_words or len(shown) == min(10, passing))
    )


def run(library: Path, *line: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clipsearch", *line, "--library", str(library)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    main()
