"""Zero-shot classification, probes, shots and fine-tuning, against independent computations."""

from __future__ import annotations

import io
import json
import runpy
import tarfile
from pathlib import Path

import numpy as np
import pytest
from captioned_files import write_shard
from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES
from PIL import Image
from scipy.optimize import minimize
from scipy.special import log_softmax
from typer.testing import CliRunner

from clipsearch.cli.app import app
from clipsearch.errors import InvalidInput
from clipsearch.models.encoder import load_encoder
from clipsearch.models.names import resolve_model
from clipsearch.training.data.samples import Sample
from clipsearch.training.evaluation import (
    compare,
    evaluate_few_shot,
    evaluate_linear_probe,
    evaluate_zero_shot,
    labelled_features,
)
from clipsearch.training.evaluation.classes import (
    by_wordnet_folders,
    classes_of,
    imagenet_classes,
    open_classes,
)
from clipsearch.training.evaluation.embedding import PLAIN, embed_photos
from clipsearch.training.evaluation.fine_tune import FineTuning, evaluate_fine_tune
from clipsearch.training.evaluation.labelled import (
    ClassFolders,
    LabelledData,
    open_labelled,
    split,
)
from clipsearch.training.evaluation.probe import STRENGTHS, Logistic, search_peak
from clipsearch.training.evaluation.zero_shot import ENSEMBLE, SINGLE

COLOURS = {"Blue_sky": (60, 90, 200), "grass": (60, 170, 60), "tomato": (200, 60, 50)}
A_CLASS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder for each class with pictures of its colour, more or less."""
    root = tmp_path_factory.mktemp("classes")
    chance = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir()
        for number in range(A_CLASS):
            pixels = np.array(colour) + chance.normal(scale=45, size=(40, 44, 3))
            pixels = pixels + chance.normal(scale=40, size=3)
            picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            picture.save(root / name / f"{number:02}.png")
    return root


@pytest.fixture(scope="module")
def tiny(tiny_model_folder: Path):
    return load_encoder(resolve_model(str(tiny_model_folder)), device="cpu")


@pytest.fixture(scope="module")
def zero_shot(tiny, folder):
    return evaluate_zero_shot(tiny, ClassFolders(folder), shifts=["grey"])


@pytest.fixture(scope="module")
def features(tiny, folder):
    return labelled_features(tiny, open_labelled([str(folder)]))


# zero-shot


def test_zero_shot_is_what_open_clip_computes(zero_shot, folder, tiny_model_folder):
    import open_clip
    import torch

    name = f"local-dir:{tiny_model_folder}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    model.eval()
    photos = ClassFolders(folder)
    pictures = [Image.open(io.BytesIO(photos[row].image)) for row in range(len(photos))]
    right = np.repeat(np.arange(3), A_CLASS)
    for way, templates in (
        (SINGLE, ["a photo of a {}."]),
        (ENSEMBLE, open_clip.OPENAI_IMAGENET_TEMPLATES),
    ):
        with torch.inference_mode():
            weights = open_clip.build_zero_shot_classifier(
                model, open_clip.get_tokenizer(name), ["Blue sky", "grass", "tomato"], templates
            )
            images = model.encode_image(torch.stack(list(map(preprocess, pictures))), True)
            scores = (images @ weights).numpy()
        ranks = [
            1 + int((row > row[number]).sum()) for row, number in zip(scores, right, strict=True)
        ]
        assert zero_shot.ranks[way].rank.tolist() == ranks
        assert zero_shot.figures[way, "top-1"].value == pytest.approx(np.mean(np.array(ranks) == 1))
        assert zero_shot.figures[way, "top-5"].value == 1.0
        if way == ENSEMBLE:
            taken_for = scores.argmax(axis=1)
    for pair in zero_shot.details["confusions"]:
        names = ["Blue sky", "grass", "tomato"]
        of, wrong = names.index(pair["class"]), names.index(pair["taken_for"])
        assert pair["photos"] == ((right == of) & (taken_for == wrong)).sum()
    counted = sum(pair["photos"] for pair in zero_shot.details["confusions"])
    assert counted == (right != taken_for).sum() > 0


def test_each_class_counts_the_same_in_their_mean(zero_shot):
    for way in (SINGLE, ENSEMBLE):
        hits = (zero_shot.ranks[way].rank == 1).reshape(3, A_CLASS).mean(axis=1)
        assert [row[way] for row in zero_shot.details["per_class"]] == pytest.approx(hits.tolist())
        assert zero_shot.mean_per_class[way] == pytest.approx(hits.mean())


def test_shifts_of_zero_shot_lose_colour(zero_shot):
    drop = zero_shot.drops["grey"][ENSEMBLE, "top-1"]
    assert drop.a == zero_shot.figures[ENSEMBLE, "top-1"].value
    assert drop.b == np.mean(zero_shot.shifted["grey"][ENSEMBLE].rank == 1)


def test_zero_shot_results_can_be_compared(zero_shot, other_model_folder, folder):
    other = evaluate_zero_shot(str(other_model_folder), ClassFolders(folder))
    found = compare(zero_shot, other)
    assert found.decisive == (ENSEMBLE, "top-1")
    change = found.differences[found.decisive].change
    assert change.value == other.figures[found.decisive].value - (
        zero_shot.figures[found.decisive].value
    )
    quick = evaluate_zero_shot(str(other_model_folder), ClassFolders(folder), ensemble=False)
    assert quick.figures[SINGLE, "top-1"] == other.figures[SINGLE, "top-1"]
    with pytest.raises(InvalidInput, match="A was asked single prompt, 80 templates; B single"):
        compare(zero_shot, quick)


def labelled(folder: Path, labels: list[str | None]) -> list[Sample]:
    photos = ClassFolders(folder)
    return [Sample(str(row), photos[row].image, (), label) for row, label in enumerate(labels)]


def test_labels_find_their_class_among_imagenets(tiny, folder):
    classes = imagenet_classes()
    assert len(classes.names) == 998  # of 1,000, two pairs have one name
    assert classes.numbers(["tench", " Golden Retriever ", "nothing"]).tolist()[2] == -1
    assert classes.names[classes.number_of["golden retriever"]] == "Golden Retriever"
    assert classes.number_of["207"] == classes.number_of["golden retriever"]
    assert classes.number_of["657"] == classes.number_of["744"] == classes.number_of["missile"]
    folders = [f"n{10_000_000 + number}" for number in range(1000)]
    by_folder = by_wordnet_folders(classes, folders)
    assert by_folder.number_of[folders[207]] == classes.number_of["207"]
    assert by_wordnet_folders(classes, folders[:-1]) is classes
    samples = labelled(folder, ["207", "Golden Retriever", "grass", None])
    with pytest.raises(InvalidInput, match="not on the list of classes: 'grass' "):
        evaluate_zero_shot(tiny, samples, classes="imagenet", ensemble=False)
    result = evaluate_zero_shot(
        tiny, samples, classes="imagenet", skip_unknown=True, ensemble=False
    )
    assert result.photos == 2
    assert len(result.measured.skipped) == 2
    assert result.measured.choices["classes"] == 998


def test_a_file_of_classes_may_give_labels_other_names(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("\ufeffn01\ta big dog\n\nold_cat\n", encoding="utf-8")
    classes = open_classes(str(path))
    assert classes.names == ("a big dog", "old cat")
    assert classes.numbers(["N01", "old_cat", "a big dog"]).tolist() == [0, 1, -1]
    path.write_text("one\n")
    with pytest.raises(InvalidInput, match="fewer than two"):
        open_classes(str(path))
    with pytest.raises(InvalidInput, match="can't read the classes"):
        open_classes(str(tmp_path / "none"))


def test_one_class_or_no_label_is_refused(tiny, folder):
    with pytest.raises(InvalidInput, match="all photos have one label, 'grass'"):
        evaluate_zero_shot(tiny, labelled(folder, ["grass"] * 3))
    with pytest.raises(InvalidInput, match="no photo has a label"):
        evaluate_zero_shot(tiny, labelled(folder, [None, None]))
    with pytest.raises(InvalidInput, match="one label"):
        classes_of(["a", "a"])


def test_too_few_photos_to_learn_from_are_refused(tiny, folder):
    test = labelled(folder, ["grass", "tomato"])
    for train, reason in (
        (labelled(folder, ["grass", "tomato"]), "no class has two photos to learn from"),
        (labelled(folder, ["grass", "grass"]), "one label"),
        (labelled(folder, ["grass", "grass", "sky"]), "not on the list of classes: 'tomato'"),
    ):
        with pytest.raises(InvalidInput, match=reason):
            labelled_features(tiny, LabelledData(train, test))
    with pytest.raises(InvalidInput, match="to learn from"):
        labelled_features(tiny, LabelledData(None, test))


def test_the_benchmark_measures_what_its_photos_are_among_all_classes(
    tiny, tiny_model_folder, folder, tmp_path, repository, capsys
):
    photos = [path.read_bytes() for path in sorted(folder.rglob("*.png"))[:: A_CLASS // 2]]
    names = list(dict.fromkeys(IMAGENET_CLASSNAMES))
    texts = tiny.encode_text([f"a photo of a {name}." for name in names])
    samples = [Sample(str(row), photo, (), "x") for row, photo in enumerate(photos)]
    scores = embed_photos(tiny, samples).vectors[PLAIN] @ texts.T
    members = {}
    for row, photo in enumerate(photos):  # each is of the class that comes first, third or sixth
        name = names[np.argsort(-scores[row])[(0, 2, 5)[row % 3]]]
        number = IMAGENET_CLASSNAMES.index(name)
        members[f"{row}.json"] = json.dumps({"class": number, "label": "x"}).encode()
        members[f"{row}.jpg"] = photo
    write_shard(tmp_path / "a.tar", members)
    script = runpy.run_path(str(repository / "benchmarks" / "builtin_zero_shot.py"))
    script["main"](tmp_path, str(tiny_model_folder), ensemble=False)
    header, _, line = capsys.readouterr().out.splitlines()
    assert header == "| 6 photos, 0 left out | top-1 | top-5 |"
    assert line.startswith("| single prompt | 33.3 (0.0 to ")
    assert line.split("|")[3].startswith(" 66.7 (")


# what is learned from, what is measured


def test_a_split_holds_out_a_part_of_each_class_by_the_keys_alone():
    keys = [f"{number}.jpg" for number in range(60)]
    numbers = np.array([0] * 40 + [1] * 19 + [2])
    rows, held = split(keys, numbers)
    assert sorted([*rows, *held]) == list(range(60))
    assert np.bincount(numbers[held], minlength=3).tolist() == [8, 4, 0]
    order = np.random.default_rng(1).permutation(60)
    _, again = split([keys[n] for n in order], numbers[order])
    assert {keys[order[row]] for row in again} == {keys[row] for row in held}


def test_train_and_val_folders_are_taken_for_what_they_are(folder, tmp_path):
    for part in ("train", "val"):
        for name in ("grass", "tomato"):
            (tmp_path / part).mkdir(exist_ok=True)
            (tmp_path / part / name).symlink_to(folder / name)
    data = open_labelled([str(tmp_path)])
    assert data.train is not None
    assert len(data.train) == len(data.test) == 2 * A_CLASS
    assert data.test[0].label == "grass"
    assert open_labelled([str(folder)]).train is None


def test_shards_need_no_captions_and_sources_are_joined(folder, tmp_path):
    shard = tmp_path / "val.tar"
    with tarfile.open(shard, "w") as tar:
        for number, path in enumerate(sorted(folder.rglob("*.png"))[:4]):
            for suffix, content in (("png", path.read_bytes()), ("cls", str(number % 2).encode())):
                member = tarfile.TarInfo(f"{number}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    photos = open_labelled([str(shard)]).test
    assert [photos[row].label for row in range(len(photos))] == ["0", "1", "0", "1"]
    joined = open_labelled([str(shard), str(folder)]).test
    assert len(joined) == 4 + 3 * A_CLASS
    assert joined[len(joined) - 1].label == "tomato"


# probes


def test_the_probe_minimises_the_penalised_loss(features):
    x, y, strength = features.train.astype(np.float64), features.train_numbers, 3.0
    width = x.shape[1]

    def loss(flat: np.ndarray) -> float:
        weights, bias = flat[: 3 * width].reshape(3, width), flat[3 * width :]
        likelihood = log_softmax(x @ weights.T + bias, axis=1)[np.arange(len(y)), y].sum()
        return -strength * likelihood + 0.5 * (weights**2).sum()

    best = minimize(loss, np.zeros(3 * width + 3), method="BFGS", options={"gtol": 1e-4})
    fitted = Logistic.fit(features.train, y, strength)
    ours = np.concatenate([fitted.estimator.coef_.ravel(), fitted.estimator.intercept_])
    assert fitted.converged
    assert loss(ours) == pytest.approx(best.fun, rel=1e-4)


def test_the_search_for_the_strength_is_the_papers():
    assert (len(STRENGTHS), STRENGTHS[0], STRENGTHS[-1]) == (97, 1e-6, 1e6)
    assert STRENGTHS[::16] == pytest.approx(10.0 ** np.arange(-6, 7, 2))
    for peak in (0, 1, 37, 50, 96):
        found = search_peak(lambda number: -abs(number - peak), 97, 16)  # noqa: B023
        assert max(found, key=found.__getitem__) == peak
        assert len(found) <= 15


def test_a_probe_learns_what_the_vectors_hold(features):
    result = evaluate_linear_probe(features)
    assert result.photos == 3 * round(A_CLASS / 5)
    assert result.measured.choices["learned_from"] == 3 * A_CLASS - result.photos
    assert result.figures["linear probe", "top-1"].value >= 0.8
    assert result.details["chosen_c"] in STRENGTHS
    again = Logistic.fit(features.train, features.train_numbers, result.details["chosen_c"])
    right = again.estimator.predict(features.test.vectors[PLAIN]) == features.test_numbers
    assert result.figures["linear probe", "top-1"].value == right.mean()


def test_more_shots_learn_more_and_the_same_seed_draws_the_same(features):
    result = evaluate_few_shot(features, shots=(1, 4))
    again = evaluate_few_shot(features, shots=(1, 4))
    assert result.details == again.details
    assert list(result.ranks) == ["zero-shot, 80 templates", "1 shot", "4 shots"]
    assert [len(point["draws"]) for point in result.details["curve"]] == [3, 3]
    one, four = (point["top1"] for point in result.details["curve"])
    assert four >= one
    assert result.details["zero_shot_top1"] == np.mean(
        result.ranks["zero-shot, 80 templates"].rank == 1
    )


def test_a_class_that_was_never_learned_is_ranked_last(features):
    rows = features.train_numbers < 2
    probe = Logistic.fit(features.train[rows], features.train_numbers[rows], 1.0)
    ranks = probe.ranks(features.test.vectors[PLAIN], features.test_numbers)
    assert set(ranks.rank[features.test_numbers == 2].tolist()) == {3}
    assert ranks.rank[features.test_numbers < 2].max() <= 2


def test_fine_tuning_starts_at_zero_shot_and_learns(features, folder, tiny_model_folder):
    data, name = open_labelled([str(folder)]), str(tiny_model_folder)
    still = evaluate_fine_tune(name, data, features, tuning=FineTuning(1, 0.0, 0.0))
    ways = list(still.ranks)
    assert ways == ["zero-shot, 80 templates", "linear probe", "fine-tuned"]
    assert still.ranks[ways[2]].rank.tolist() == still.ranks[ways[0]].rank.tolist()
    taught = evaluate_fine_tune(name, data, features, tuning=FineTuning(4, 2e-3, 2e-2))
    assert taught.details["losses"][-1] < 0.5 * taught.details["losses"][0]
    assert taught.figures[ways[2], "top-1"].value > still.figures[ways[2], "top-1"].value


# the program


def run(*arguments: object):
    return CliRunner().invoke(app, ["eval", *map(str, arguments)])


@pytest.mark.parametrize(
    "task", ["retrieval", "zeroshot", "linear-probe", "few-shot", "fine-tune", "compare"]
)
def test_each_task_has_help_and_an_example(task):
    ended = run(task, "--help")
    assert ended.exit_code == 0
    assert f" eval {task} " in ended.stdout.partition("Examples:\n")[2]
    options = ended.stdout.partition("Options:\n")[2]
    for option in ("--data", "--seed", "--json", "--plot", "--device"):
        assert f"  {option} " in options


def test_the_program_writes_each_task(folder, tiny_model_folder, zero_shot, tmp_path):
    options = ["--data", folder, "--model", tiny_model_folder, "--resamples", 100]
    ended = run("zeroshot", *options, "--json", tmp_path / "z.json", "--plot", tmp_path / "z.png")
    assert ended.exit_code == 0, ended.exception
    content = json.loads((tmp_path / "z.json").read_text())
    value = zero_shot.figures[ENSEMBLE, "top-1"].value
    assert content["metrics"][ENSEMBLE]["top-1"]["value"] == pytest.approx(value)
    assert f"none\t{ENSEMBLE}\ttop-1\t{value:.4f}" in ended.stdout
    for task in ("linear-probe", "few-shot"):
        ended = run(task, *options, "--json", "-", "--plot", tmp_path / f"{task}.png")
        assert ended.exit_code == 0, ended.exception
        assert json.loads(ended.stdout)["task"] == task
        with Image.open(tmp_path / f"{task}.png") as plot:
            assert plot.format == "PNG"
    ended = run("fine-tune", *options, "--epochs", 1)
    assert ended.exit_code == 0, ended.exception
    assert "none\tfine-tuned\ttop-1\t" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["zeroshot", "--data", "{folder}/grass"], "holds pictures"),
        (["zeroshot", "--data", "{folder}", "--classes", "imagenet", "--single"], "--skip-unknown"),
        (["zeroshot", "--data", "{folder}", "--classes", "no-file"], "can't read the classes"),
        (["linear-probe", "--data", "{folder}", "--train", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments, reason, folder, tiny_model_folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    given = [argument.replace("{folder}", str(folder)) for argument in arguments]
    error = run(*given, "--model", tiny_model_folder).exception
    assert getattr(error, "exit_code", None) == 2, error
    assert reason in str(error)
    assert "\n" not in str(error)
