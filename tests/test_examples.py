"""The example programs do what they say."""

import asyncio
import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from clipsearch import Library


def run(name: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_captions_become_a_table_of_photos(small_library: Path, tmp_path: Path) -> None:
    captions = tmp_path / "captions.txt"
    captions.write_text("a dog, on a beach\n\nräksmörgås\n", encoding="utf-8")
    table = tmp_path / "table.csv"
    assert run("batch_retrieval.py", small_library / "library", captions, table).strip()
    with table.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    with Library(small_library / "library", read_only=True) as library:
        expected = [
            (caption, str(hit.rank), hit.source)
            for caption in ("a dog, on a beach", "räksmörgås")
            for hit in library.query(caption, k=5)
        ]
    assert [(row["caption"], row["rank"], row["photo"]) for row in rows] == expected


def test_a_model_of_ones_own_is_indexed_and_asked(small_library: Path, tmp_path: Path) -> None:
    said = run("own_model.py", tmp_path / "own", small_library / "photos")
    assert said.startswith("5 photos embedded with ")
    assert "<Hits: 3 photos>" in said


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_catalog_answers_in_datasette(
    small_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    from catalog_in_datasette import QUESTIONS, catalog_in_datasette

    datasette = catalog_in_datasette(small_library / "library")

    async def ask(name: str) -> list[dict]:
        answer = await datasette.client.get(f"/catalog/{name}.json?_shape=array")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ask_all() -> dict[str, list[dict]]:
        return {name: await ask(name) for name in QUESTIONS}

    rows = asyncio.run(ask_all())
    assert sum(row["photos"] for row in rows["cameras"]) == 5
    assert sum(row["photos"] for row in rows["photos_a_month"]) == 5
    assert rows["failures"] == []
    assert len(rows["largest"]) == 5
    with pytest.raises(FileNotFoundError, match="is no library"):
        catalog_in_datasette(small_library)
