"""Retrieval figures, their intervals and comparisons, against plain recounts."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from typer.testing import CliRunner

from clipsearch.cli.app import app
from clipsearch.cli.eval_output import show_comparison, show_evaluation
from clipsearch.errors import InvalidInput
from clipsearch.models.encoder import load_encoder
from clipsearch.models.names import resolve_model
from clipsearch.training.data.samples import Sample
from clipsearch.training.evaluation import (
    EvaluationSettings,
    compare,
    evaluate_retrieval,
    read_evaluation,
)
from clipsearch.training.evaluation.ranks import Ranks, differences, scores_of, with_intervals
from clipsearch.training.evaluation.shifts import SHIFTS

WAY = "text to image"
CAPTIONS = ("a dog runs", "two men talk", "the sea at night", "a red car", "snow on a hill")


def small_png(path: Path) -> bytes:
    buffer = io.BytesIO()
    Image.open(path).convert("RGB").resize((90, 80)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def samples(sample_photos: list[Path]) -> list[Sample]:
    """Return captioned photos, with one to three captions each.

    They are small: of a large JPEG the search decodes no more than it needs, open_clip all.
    """
    return [
        Sample(
            path.stem,
            small_png(path),
            tuple(f"{CAPTIONS[(row + n) % 5]} number {row}" for n in range(1 + row % 3)),
        )
        for row, path in enumerate(sample_photos[:16])
    ]


@pytest.fixture(scope="module")
def tiny(tiny_model_folder: Path):
    return load_encoder(resolve_model(str(tiny_model_folder)), device="cpu", exact=True)


@pytest.fixture(scope="module")
def other(other_model_folder: Path):
    return load_encoder(resolve_model(str(other_model_folder)), device="cpu", exact=True)


@pytest.fixture(scope="module")
def result(tiny, samples):
    return evaluate_retrieval(
        tiny, samples, settings=EvaluationSettings(("photos",), 200), shifts=list(SHIFTS)
    )


@pytest.fixture(scope="module")
def other_result(other, samples):
    return evaluate_retrieval(other, samples, settings=EvaluationSettings(("photos",), 200))


def open_clip_scores(folder: Path, samples: list[Sample]) -> np.ndarray:
    """The cosines of all photos and captions by open_clip alone, [photos, captions]."""
    import open_clip
    import torch

    name = f"local-dir:{folder}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    model.eval()
    texts = [caption for sample in samples for caption in sample.captions]
    with torch.inference_mode():
        pictures = [Image.open(io.BytesIO(s.image)).convert("RGB") for s in samples]
        images = model.encode_image(torch.stack(list(map(preprocess, pictures))), normalize=True)
        vectors = model.encode_text(open_clip.get_tokenizer(name)(texts), normalize=True)
    return (images @ vectors.T).numpy()


def possible_ranks(scores: np.ndarray, right: np.ndarray) -> tuple[int, int]:
    """The least and the greatest rank of the best right answer for scores a little off."""
    best, wrong, off = scores[right].max(), scores[~right], 2e-6
    return 1 + int((wrong > best + off).sum()), 1 + int((wrong > best - off).sum())


def test_ranks_are_those_of_open_clip_and_plain_counting(result, samples, tiny_model_folder):
    scores = open_clip_scores(tiny_model_folder, samples)
    owner = np.array([row for row, sample in enumerate(samples) for _ in sample.captions])
    photos = np.arange(len(samples))
    of_texts = [possible_ranks(scores[:, t], photos == photo) for t, photo in enumerate(owner)]
    of_photos = [possible_ranks(scores[photo], owner == photo) for photo in photos]
    for way, possible in ((WAY, of_texts), ("image to text", of_photos)):
        ranks = result.ranks[way].rank.tolist()
        assert all(low <= rank <= high for rank, (low, high) in zip(ranks, possible, strict=True))
        assert np.mean([low == high for low, high in possible]) > 0.8
    within_five = np.mean(result.ranks[WAY].rank <= 5)
    assert result.figures[WAY, "recall@5"].value == pytest.approx(within_five)
    assert result.text_to_image.recall_at[5] == pytest.approx(within_five)
    assert result.figures[WAY, "median rank"].value == np.median(result.ranks[WAY].rank)
    recalls = [f.value for n, f in result.figures.items() if n[1].startswith("recall")]
    assert result.figures["both ways", "mean recall"].value == pytest.approx(np.mean(recalls))


def test_the_interval_of_one_question_a_photo_is_the_binomial_one():
    ranks = Ranks.one_a_photo(np.array([1] * 60 + [9] * 140))
    scores = scores_of({"only": ranks}, "zeroshot")
    top1 = with_intervals(scores, 200, number=4000, seed=1)[0]
    low, high = stats.binom.ppf([0.025, 0.975], 200, 0.3) / 200
    assert top1.value == 0.3
    assert (top1.low, top1.high) == pytest.approx((low, high), abs=0.006)


def test_intervals_over_photos_with_several_captions_are_those_of_scipy():
    chance = np.random.default_rng(0)
    by_photo = [chance.integers(1, 30, size=chance.integers(1, 6)).tolist() for _ in range(80)]
    ranks = Ranks.from_photos(by_photo)
    assert ranks.by_photo() == by_photo
    ours = with_intervals(scores_of({"a": ranks}, "zeroshot"), 80, number=4000, seed=0)[1]
    found = np.array([sum(rank <= 5 for rank in row) for row in by_photo])
    asked = np.array([len(row) for row in by_photo])
    theirs = stats.bootstrap(
        (found, asked),
        lambda f, a, axis=-1: f.sum(axis=axis) / a.sum(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=4000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_a_weighted_median_is_the_median_of_what_was_drawn():
    chance = np.random.default_rng(3)
    by_photo = [chance.integers(1, 9, size=2).tolist() for _ in range(7)]
    scores = scores_of({"a": Ranks.from_photos(by_photo)}, "retrieval")
    for _ in range(50):
        drawn = chance.integers(7, size=7)
        ranks = [rank for photo in drawn for rank in by_photo[photo]]
        found = scores(np.bincount(drawn, minlength=7))
        assert found[3] == np.median(ranks)
        assert found[0] == pytest.approx(np.mean(np.array(ranks) <= 1))


def test_the_paired_interval_is_that_of_drawing_photos_one_by_one():
    chance = np.random.default_rng(4)
    a = [chance.integers(1, 12, size=3).tolist() for _ in range(40)]
    b = [[max(1, rank - int(chance.integers(3))) for rank in row] for row in a]
    ranks = [{"w": Ranks.from_photos(rows)} for rows in (a, b)]
    found = differences(*ranks, "zeroshot", number=200, seed=9)["w", "top-5"]
    again, expected = np.random.default_rng(9), []
    for _ in range(200):
        drawn = again.integers(40, size=40)
        share = [np.mean([r <= 5 for p in drawn for r in rows[p]]) for rows in (a, b)]
        expected.append(share[1] - share[0])
    assert found.change[1:] == pytest.approx(tuple(np.quantile(expected, [0.025, 0.975])))
    assert found.better == "B"
    back = differences(*reversed(ranks), "zeroshot", number=200, seed=9)["w", "top-5"]
    assert back.better == "A"


def test_lower_median_ranks_are_better():
    a, b = ({"w": Ranks.from_photos([[rank]] * 20)} for rank in (7, 3))
    found = differences(a, b, "retrieval", number=100, seed=0)
    assert found["w", "median rank"].change.value == -4
    assert found["w", "median rank"].better == "B"


def test_a_model_is_not_better_than_itself_and_order_does_not_matter(tiny, samples, result):
    shuffled = evaluate_retrieval(tiny, samples[::-1])
    comparison = compare(result, shuffled)
    assert comparison.better is None
    assert all(found.change == (0, 0, 0) for found in comparison.differences.values())
    assert comparison.verdict.startswith("No clear difference")


def test_results_survive_being_written_and_read(result, other_result, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(result.to_json()))
    again = read_evaluation(tmp_path / "a.json")
    assert again.figures == result.figures
    direct, read = (compare(some, other_result) for some in (result, again))
    assert direct.to_json() == read.to_json()


def test_other_photos_and_other_captions_are_refused(result, other, samples):
    fewer = evaluate_retrieval(other, samples[1:])
    with pytest.raises(InvalidInput, match=r"other photos: A on 16, B on 15, 15 of them the same"):
        compare(result, fewer)
    changed = [replace(samples[0], captions=("something else",)), *samples[1:]]
    with pytest.raises(InvalidInput, match="other photos"):
        compare(result, evaluate_retrieval(other, changed))
    lenient = evaluate_retrieval(other, samples, equal_captions=True)
    with pytest.raises(InvalidInput, match="equal_captions False and B with True"):
        compare(result, lenient)


def test_shifts_are_measured_on_the_same_photos(result):
    assert list(result.drops) == ["blur", "noise", "jpeg", "grey", "sketch"]
    for shift, ranks in result.shifted.items():
        drop = result.drops[shift][WAY, "recall@5"]
        assert drop.a == result.figures[WAY, "recall@5"].value
        assert drop.b == pytest.approx(np.mean(ranks[WAY].rank <= 5))
    assert any(d[WAY, "median rank"].a != d[WAY, "median rank"].b for d in result.drops.values())


def test_shifts_do_what_they_are_called(sample_photos):
    pixels = np.asarray(Image.open(sample_photos[0]).convert("RGB").resize((96, 96)))
    shifted = {name: shift(pixels, 5) for name, shift in SHIFTS.items()}
    for name, changed in shifted.items():
        assert (changed.shape, changed.dtype) == (pixels.shape, np.uint8), name
        assert np.array_equal(changed, SHIFTS[name](pixels, 5))  # the same every time
    steps = {name: np.abs(np.diff(p.astype(int), axis=1)).mean() for name, p in shifted.items()}
    plain = np.abs(np.diff(pixels.astype(int), axis=1)).mean()
    assert steps["blur"] < plain < steps["noise"]
    assert np.ptp(shifted["grey"].astype(int), axis=2).max() == 0
    assert shifted["sketch"].mean() > 160  # paper
    assert not np.array_equal(SHIFTS["noise"](pixels, 6), shifted["noise"])


def test_equal_captions_count_for_every_photo_that_has_them(tiny, samples):
    same = [replace(sample, captions=(CAPTIONS[row % 2],)) for row, sample in enumerate(samples)]
    strict = evaluate_retrieval(tiny, same)
    shared = evaluate_retrieval(tiny, same, equal_captions=True)
    # Eight photos share each caption: the best of them answers it, so all eight ask with success.
    assert len(set(shared.ranks[WAY].rank[::2])) == 1
    assert sorted(strict.ranks[WAY].rank[::2])[0] >= shared.ranks[WAY].rank[0]
    assert (strict.ranks["image to text"].rank >= 8).all()  # the seven others tie with its own


def test_photos_that_cannot_be_read_or_have_no_caption_are_left_out_and_said(tiny, samples):
    broken = replace(samples[0], image=b"no picture")
    silent = replace(samples[1], captions=())
    result = evaluate_retrieval(tiny, [broken, silent, *samples[2:]])
    assert result.photos == 14
    assert len(result.measured.skipped) == 2
    assert result.measured.skipped[0].startswith(f"{broken.key}: ")
    assert result.measured.skipped[1] == f"{silent.key}: no caption"
    with pytest.raises(InvalidInput, match="none of 1 photos has a caption"):
        evaluate_retrieval(tiny, [silent])
    with pytest.raises(InvalidInput, match="none of 1 photos can be read"):
        evaluate_retrieval(tiny, [broken])


# the program


@pytest.fixture(scope="module")
def shard(samples, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("shard") / "val.tar"
    with tarfile.open(path, "w") as tar:
        for sample in samples:
            facts = json.dumps({"captions": sample.captions}).encode()
            for suffix, content in (("png", sample.image), ("json", facts)):
                member = tarfile.TarInfo(f"{sample.key}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


def run(*arguments: object):
    return CliRunner().invoke(app, ["eval", *map(str, arguments)])


def test_the_program_writes_a_table_json_and_a_plot(shard, tiny_model_folder, result, tmp_path):
    named, drawn = tmp_path / "r.json", tmp_path / "r.png"
    model = ["--model", tiny_model_folder, "--data", shard, "--resamples", 100]
    ended = run("retrieval", *model, "--json", named, "--plot", drawn, "--shifts")
    assert ended.exit_code == 0, ended.exception
    rows = [line.split("\t") for line in ended.stdout.splitlines()]
    assert rows[0][:4] == ["shift", "asked", "metric", "value"]
    value = result.figures[WAY, "recall@5"].value
    assert rows[2][:4] == ["none", WAY, "recall@5", f"{value:.4f}"]
    content = json.loads(named.read_text())
    assert content["metrics"][WAY]["recall@5"]["value"] == pytest.approx(value)
    assert content["data"] == {
        "named": [str(shard)],
        "photos": 16,
        "questions": {WAY: len(result.ranks[WAY].rank), "image to text": 16},
        "skipped": [],
    }
    assert content["settings"]["seed"] == 0
    with Image.open(drawn) as plot:
        assert plot.format == "PNG"


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_tables_fit_the_terminal_and_break_no_interval(
    result, other_result, columns, monkeypatch, capsys
):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    show_evaluation(result)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(map(len, shown.splitlines())) <= columns
    assert len(re.findall(r"[\d.]+ \([+-][\d.]+\)", shown)) == 3 * len(result.drops)
    figures, _, _ = shown.partition("under shifts")
    rows = re.findall(r"^.*[\d.]+(?: +[\d.]+){2} *$", figures, re.MULTILINE)
    assert len(rows) == len(result.figures)
    high = re.search("value +low +high", figures)
    assert {len(row.rstrip()) for row in rows} == {
        high.end() - figures.rfind("\n", 0, high.end()) - 1
    }
    assert figures.count(WAY) == 1
    assert str(result.measured.model) not in shown  # it was named before
    show_comparison(compare(result, other_result))
    rows = [line for line in capsys.readouterr().out.splitlines() if re.search(r" [+-]\d", line)]
    assert len(rows) == len(result.figures)
    assert max(map(len, rows)) <= 80


def test_bad_captions_cost_those_captions_and_are_said(samples, tiny_model_folder, tmp_path):
    names = [f"{n}.png" for n in range(4)] + [os.fsdecode(b"\xff.png")]
    for name, sample in zip(names, samples, strict=False):
        (tmp_path / name).write_bytes(sample.image)
    rows = [{"image": name, "caption": f"a dog {name} \ud83d"} for name in names]
    rows[2]["caption"] = [None, "\u200b"]
    lines = [*map(json.dumps, rows), '{"image": "0.png", "capt']
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    (tmp_path / "t.csv").write_text('image,caption\n0.png,"open\n1.png,two\n')
    data = ["--data", tmp_path / "t.jsonl", "--data", tmp_path / "t.csv"]
    named = tmp_path / "r.json"
    model = ["--model", tiny_model_folder, "--resamples", 100]
    ended = run("retrieval", *model, *data, "--json", named)
    assert ended.exit_code == 0, ended.exception
    said = ended.stderr.splitlines()
    assert said[0] == f"{tmp_path}/t.jsonl, line 6: not a JSON object; it is left out"
    assert said[1].startswith(f"{tmp_path}/t.csv, line 2: a quotation mark that is not closed")
    assert said[-1] == "1 photo left out, the first: 2.png: no caption"
    content = json.loads(named.read_bytes())
    assert (content["data"]["photos"], content["data"]["questions"][WAY]) == (6, 6)
    assert content["per_photo"]["keys"][3] == names[4]
    again = run("compare", named, named)
    assert again.exit_code == 0, again.exception


def test_the_program_compares_models_and_earlier_results(
    shard, tiny_model_folder, other_model_folder, result, other_result, tmp_path
):
    earlier = tmp_path / "a.json"
    earlier.write_text(json.dumps(result.to_json()))
    drawn = tmp_path / "c.png"
    model = [other_model_folder, "--data", shard]
    ended = run("compare", earlier, *model, "--json", "-", "--plot", drawn)
    assert ended.exit_code == 0, ended.exception
    found = json.loads(ended.stdout)
    expected = compare(result, other_result)
    assert found["metrics"] == json.loads(json.dumps(expected.to_json()["metrics"]))
    assert found["better"] == expected.better
    with Image.open(drawn) as plot:
        assert plot.format == "PNG"
    table = run("compare", earlier, earlier)
    assert table.stdout.splitlines()[1].split("\t")[-1] == "neither"


def test_a_wrong_name_is_found_before_the_other_model_is_measured(
    shard, tiny_model_folder, monkeypatch
):
    loaded = []
    monkeypatch.setattr("clipsearch.models.encoder.load_encoder", lambda *a, **k: loaded.append(a))
    ended = run("compare", tiny_model_folder, "no-such", "--data", shard)
    assert "no model is called 'no-such'" in str(ended.exception)
    assert not loaded


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["retrieval", "--data", "nowhere.tar"], "nowhere.tar"),
        (["retrieval", "--data", "{shard}", "--model", "no-such"], "no model is called 'no-such'"),
        (["retrieval", "--data", "{shard}", "--json", "no/folder/r.json"], "there is no folder"),
        (["retrieval", "--data", "{shard}", "--plot", "r.jpg"], "r.png"),
        (["compare", "builtin", "base"], "--data"),
        (["compare", "none.json", "none.json"], "can't read none.json"),
        (["compare", "{shard}.json", "{shard}.json"], "is no result with ranks"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(shard, arguments, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(f"{shard}.json").write_text('{"task": "retrieval"}')
    ended = run(*(argument.replace("{shard}", str(shard)) for argument in arguments))
    error = ended.exception
    assert getattr(error, "exit_code", None) == 2, error
    assert reason in str(error)
    assert "\n" not in str(error)
