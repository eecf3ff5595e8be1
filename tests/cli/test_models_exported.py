"""`clipsearch models exported`: the user's cache of towers, shown and emptied."""

from __future__ import annotations

import json
from pathlib import Path

from cli_process import Ended
from forked_program import forked_program


def test_it_shows_and_empties_the_cache(tiny_model_folder, sample_photos, tmp_path):
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}

    def clipsearch(*words: str | Path) -> Ended:
        return forked_program().run(*words, environment=cache)

    ended = clipsearch("models", "exported")
    assert (ended.text, ended.err.count("\n")) == (
        "",
        1,
    ) and "nothing has been exported" in ended.err
    library = ("--library", tmp_path / "library")
    clipsearch("index", sample_photos[0], "--model", tiny_model_folder, *library)
    name, size, path = clipsearch("models", "exported").text.rstrip("\n").split("\t")
    assert name == f"local-dir:{tiny_model_folder}"
    assert size.endswith("MB") and (Path(path) / "image" / "image.onnx").is_file()
    said = json.loads(clipsearch("models", "exported", "--json").text)
    assert said == {"model": name, "bytes": said["bytes"], "path": path}
    assert clipsearch("models", "exported", "--remove").text == f"{size} freed\n"
    assert not Path(path).exists()
    assert clipsearch("models", "exported").text == ""
    assert (
        clipsearch("similar", sample_photos[1], "--paths", *library).text == f"{sample_photos[0]}\n"
    )
