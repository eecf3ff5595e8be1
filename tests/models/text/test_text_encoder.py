"""Text without torch: the tokenizers equal open_clip's, the exported tower equals the model's."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES, SIMPLE_IMAGENET_TEMPLATES
from tiny_models import CLIP, SIGLIP, save_tiny_model, save_tiny_tokenizer

from clipsearch.errors import ModelError
from clipsearch.models.encoder import Encoder, load_encoder
from clipsearch.models.names import resolve_model
from clipsearch.models.text.clip_tokenizer import ClipTokenizer
from clipsearch.models.text.encoder import TextEncoder
from clipsearch.models.text.settings import clean_text
from clipsearch.models.text.tokenizer import clip_tokenizer, folder_tokenizer, open_tokenizer
from clipsearch.unit_length import unit_length

ODD_TEXTS = [
    "",
    "   ",
    "a",
    "A Dog  on\ta\nBeach\r\n",
    "emoji 😀 party 🎉 👩‍👩‍👧",
    "&lt;b&gt; &amp;amp; caf&eacute; &amp;amp;amp;",
    "café naïve Ünïcödé cafe\u0301",
    "mÃ©lange of broken encodings â€” quoted",
    "日本語の写真 犬と猫",
    "схема ПРИВЕТ мир",
    "नमस्ते दुनिया",
    "a " * 300,
    "x" * 500,
    "<end_of_text>",
    "hi <start_of_text> there",
    "<<end_of_text>>",
    "it's they're I'VE don'T 's",
    "\x00\x01 control \x7f \x1b[31mred",
    "“l’été” … ½ Ⅷ ﬁne ſ İstanbul ß Σς ŉ",
    "1234567890 3.14 ٣٤٥",
    "!!!???... a_b_c --- #1",
    "\u200bzero\ufeffwidth\u00a0space",
    "𝒳𝓎𝓏",
    "\ud83d",
]
QUERIES = ["a dog on a beach", "red", "two people ride bicycles past an old stone church", ""]


def random_texts(count: int) -> list[str]:
    """Return short texts of letters from many scripts, the same at every run."""
    choose = random.Random(0)
    blocks = [(0x20, 0x7F), (0x20, 0x250), (0x370, 0x600), (0x3000, 0x3100), (0x1F300, 0x1F700)]
    return [
        "".join(chr(choose.randrange(*choose.choice(blocks))) for _ in range(12))
        for _ in range(count)
    ]


def load(folder: Path) -> Encoder:
    return load_encoder(resolve_model(str(folder)), device="cpu")


@pytest.fixture(scope="module")
def sentences(repository: Path) -> list[str]:
    """Captions of things, lines of our own prose, and words strung together from all of CLIP's."""
    choose = random.Random(1)
    templates = itertools.cycle(SIMPLE_IMAGENET_TEMPLATES)
    said = [template(name) for template, name in zip(templates, IMAGENET_CLASSNAMES, strict=False)]
    prose = [*repository.glob("*.md"), *repository.glob("*/*.md"), *repository.rglob("ATTRIB*.md")]
    said += [line for path in prose for line in path.read_text("utf-8").splitlines()]
    words = [word.replace("</w>", " ") for word in open_clip.SimpleTokenizer().encoder]
    words = choose.sample(words, len(words) // 2)
    return said + ["".join(words[start : start + 12]) for start in range(0, len(words), 12)]


@pytest.fixture(scope="module")
def encoder(tiny_model_folder: Path) -> Encoder:
    return load(tiny_model_folder)


@pytest.fixture(scope="module")
def exported(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("towers") / "tiny"
    encoder.export_text_encoder(folder)
    return folder


@pytest.fixture(scope="module")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_tiny_model(tmp_path_factory.mktemp("siglip") / "model", SIGLIP)
    save_tiny_tokenizer(folder, ["a dog runs on a beach", "people ride bicycles in the city"] * 9)
    return folder


# tokenizers


def test_clip_ids_of_sentences_are_those_of_open_clip(sentences):
    assert len(sentences) > 3000
    expected = open_clip.SimpleTokenizer()(sentences).numpy()
    assert len(np.unique(expected)) > 15_000  # of 49,408
    np.testing.assert_array_equal(clip_tokenizer(77, {})(sentences), expected)


@pytest.mark.parametrize("cleaning", ["lower", "whitespace", "canonicalize"])
def test_clip_ids_of_odd_texts_are_those_of_open_clip(cleaning):
    ours = clip_tokenizer(77, {"clean": cleaning})
    theirs = open_clip.SimpleTokenizer(clean=cleaning)
    for text in [*ODD_TEXTS, *random_texts(2000)]:
        assert ours([text]).tolist() == theirs([text]).tolist(), ascii(text)


def test_a_long_text_is_cut_but_keeps_its_end_token():
    ids = clip_tokenizer(8, {})(["one two three four five six seven eight nine ten"])
    expected = open_clip.SimpleTokenizer(context_length=8)(
        "one two three four five six seven eight"
    )
    np.testing.assert_array_equal(ids, expected.numpy())


@pytest.mark.parametrize("cleaning", ["lower", "whitespace", "canonicalize"])
def test_texts_are_cleaned_as_by_open_clip(cleaning):
    theirs = open_clip.tokenizer.get_clean_fn(cleaning)
    for text in [*ODD_TEXTS, *random_texts(500)]:
        assert clean_text(text, cleaning) == theirs(text), ascii(text)


def test_a_json_tokenizer_pads_and_cuts_to_the_context_length(siglip_folder):
    ids = folder_tokenizer(siglip_folder, 16, {"clean": "canonicalize"})(["A dog!", "dog " * 99])
    assert ids.shape == (2, 16)
    assert ids[0, -1] == 0 and 1 in ids[0]  # padding after the end token
    assert ids[1, -1] == 1 and 0 not in ids[1]  # cut, its end token kept
    np.testing.assert_array_equal(folder_tokenizer(siglip_folder, 16, {})(["a dog"])[0], ids[0])


def test_json_ids_are_those_of_open_clip_with_transformers(siglip_folder):
    pytest.importorskip("transformers", reason="open_clip's own tokenizer needs transformers")
    theirs = open_clip.get_tokenizer(f"local-dir:{siglip_folder}")
    ours = folder_tokenizer(siglip_folder, 16, {"clean": "canonicalize"})
    for text in [*ODD_TEXTS, *random_texts(200)]:
        assert ours([text]).tolist() == theirs([text]).tolist(), ascii(text)


def test_a_saved_tokenizer_gives_the_same_ids(siglip_folder, tmp_path):
    for tokenizer in (clip_tokenizer(77, {}), folder_tokenizer(siglip_folder, 16, {})):
        tokenizer.save(tmp_path)
        again = open_tokenizer(tmp_path, tokenizer.settings)
        np.testing.assert_array_equal(again(ODD_TEXTS), tokenizer(ODD_TEXTS))


def test_a_separator_that_the_model_does_not_want_becomes_zero(siglip_folder):
    settings = json.loads((siglip_folder / "tokenizer_config.json").read_text())
    settings["sep_token"] = "</s>"
    (siglip_folder / "tokenizer_config.json").write_text(json.dumps(settings))
    ids = folder_tokenizer(siglip_folder, 16, {"strip_sep_token": True})(["a dog"])
    assert 1 not in ids and ids.any()


def test_a_tokenizer_option_that_we_do_not_know_is_refused(siglip_folder):
    with pytest.raises(ModelError, match="language"):
        folder_tokenizer(siglip_folder, 16, {"language": "fra_Latn"})
    with pytest.raises(ModelError, match="reduction_mask"):
        clip_tokenizer(77, {"reduction_mask": "syntax"})
    with pytest.raises(ModelError, match="upside down"):
        clip_tokenizer(77, {"clean": "upside down"})


def test_merges_that_are_not_clips_are_refused():
    with pytest.raises(ModelError, match="merges"):
        ClipTokenizer(["a b"], clip_tokenizer(77, {}).settings)


# the exported tower


def test_the_exported_tower_gives_the_vectors_of_the_model(exported, tiny_model_folder):
    ours = TextEncoder.open(exported).encode_text([*QUERIES, *ODD_TEXTS])
    network = open_clip.create_model(f"local-dir:{tiny_model_folder}").eval()
    ids = open_clip.get_tokenizer(f"local-dir:{tiny_model_folder}")([*QUERIES, *ODD_TEXTS])
    with torch.inference_mode():
        expected = network.encode_text(ids, normalize=True).numpy()
    assert ours.dtype == np.float32 and ours.shape == expected.shape
    assert (ours * expected).sum(axis=1).min() >= 0.9999
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("at_once", [50, 4096])
def test_a_text_gets_the_same_vector_alone_and_among_others(exported, at_once, monkeypatch):
    monkeypatch.setattr("clipsearch.models.text.encoder.TEXTS_AT_ONCE", at_once)
    encoder = TextEncoder.open(exported)
    assert encoder.settings.shortens  # so that texts are sorted by length
    texts = [*QUERIES, *random_texts(150)]
    alone = np.concatenate([encoder.encode_text([text]) for text in texts])
    np.testing.assert_allclose(encoder.encode_text(texts), alone, atol=1e-5)


def test_no_texts_give_no_vectors(exported):
    assert TextEncoder.open(exported).encode_text([]).shape == (0, 24)


def test_the_export_names_the_model_it_was_made_from(encoder, exported):
    assert TextEncoder.open(exported).fingerprint == encoder.identity.fingerprint


def test_the_export_says_what_cosines_are_multiplied_by(encoder, exported, siglip_folder, tmp_path):
    tower = TextEncoder.open(exported)
    assert tower.logit_scale == encoder.logit_scale == pytest.approx(1 / 0.07, rel=1e-6)
    assert tower.logit_bias is encoder.logit_bias is None
    siglip = load(siglip_folder)
    siglip._network.logit_scale.data.fill_(np.log(117.5))
    siglip.export_text_encoder(tmp_path / "tower")
    tower = TextEncoder.open(tmp_path / "tower")
    assert tower.logit_scale == pytest.approx(117.5, rel=1e-6)
    assert tower.logit_bias == -10


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), 1e30, -1e30])
def test_a_model_whose_scale_is_no_number_is_exported_without_it(tmp_path, weight):
    encoder = load(save_tiny_model(tmp_path / "model"))
    encoder._network.logit_scale.data.fill_(weight)
    encoder.export_text_encoder(tmp_path / "tower")
    assert TextEncoder.open(tmp_path / "tower").logit_scale is None


VARIANTS = {
    "custom text class": {**CLIP, "custom_text": True},
    "quick gelu": {**CLIP, "quick_gelu": True},
    "end token by id": {
        **CLIP,
        "custom_text": True,
        "text_cfg": {**CLIP["text_cfg"], "pool_type": "eos", "eos_id": 49407},
    },
    "not causal": {
        **CLIP,
        "custom_text": True,
        "text_cfg": {**CLIP["text_cfg"], "no_causal_mask": True, "proj_bias": True},
    },
    "layer scale, no projection": {
        **CLIP,
        "embed_dim": 32,
        "custom_text": True,
        "text_cfg": {**CLIP["text_cfg"], "ls_init_value": 0.3, "proj_type": "none"},
    },
    "other attention": {**CLIP, "text_cfg": {**CLIP["text_cfg"], "qk_norm": True}},
}


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_kind_of_text_tower_is_exported(tmp_path, config):
    encoder = load(save_tiny_model(tmp_path / "model", config))
    encoder.export_text_encoder(tmp_path / "tower")
    ours = TextEncoder.open(tmp_path / "tower").encode_text(QUERIES)
    assert (ours * encoder.encode_text(QUERIES)).sum(axis=1).min() >= 0.9999


def test_a_tower_with_a_json_tokenizer_is_exported(siglip_folder, tmp_path):
    encoder = load(siglip_folder)
    encoder.export_text_encoder(tmp_path / "tower")
    ours = TextEncoder.open(tmp_path / "tower").encode_text(QUERIES)
    assert (ours * encoder.encode_text(QUERIES)).sum(axis=1).min() >= 0.9999
    assert len({vector.tobytes() for vector in ours}) == len(QUERIES)


@pytest.fixture
def reduced(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr("clipsearch.models.text.export.INT8_LEAST_VALUES", 1)
    encoder.export_text_encoder(tmp_path / "reduced")
    return tmp_path / "reduced"


def test_a_large_tower_is_reduced_to_int8(exported, reduced):
    assert not TextEncoder.open(exported).settings.int8
    tower = TextEncoder.open(reduced)
    assert tower.settings.int8
    assert tower.logit_scale == pytest.approx(1 / 0.07, rel=1e-6)
    texts = [text for text in ODD_TEXTS if text.strip()] + ["a dog on a beach"]
    exact = TextEncoder.open(exported).encode_text(texts)
    cosines = (tower.encode_text(texts) * exact).sum(axis=1)
    assert 0.995 < cosines.min() < 1 - 1e-6
    sizes = [(place / "text.onnx.data").stat().st_size for place in (exported, reduced)]
    assert sizes[1] < sizes[0]
    assert {file.name for file in reduced.iterdir()} == {file.name for file in exported.iterdir()}


def test_in_int8_too_a_text_gets_the_same_vector_alone_and_among_others(reduced):
    tower = TextEncoder.open(reduced)
    texts = ["a dog", "two people ride bicycles past an old stone church", "!" * 60]
    alone = np.concatenate([tower.encode_text([text]) for text in texts])
    np.testing.assert_array_equal(tower.encode_text(texts), alone)


def test_a_tower_that_int8_would_change_stays_as_it_is(encoder, exported, tmp_path, monkeypatch):
    monkeypatch.setattr("clipsearch.models.text.export.INT8_LEAST_VALUES", 1)
    monkeypatch.setattr("clipsearch.models.text.int8.LARGEST", 2)
    encoder.export_text_encoder(tmp_path / "tower")
    texts = ["a dog on a beach"]
    found = TextEncoder.open(tmp_path / "tower").encode_text(texts)
    np.testing.assert_array_equal(found, TextEncoder.open(exported).encode_text(texts))


def test_an_export_replaces_an_older_one_and_leaves_nothing_beside_it(encoder, tmp_path):
    tower = tmp_path / "tower"
    tower.mkdir()
    (tower / "text.onnx").write_text("broken")
    encoder.export_text_encoder(tower)
    assert TextEncoder.open(tower).encode_text(["a"]).shape == (1, 24)
    assert [path.name for path in tmp_path.iterdir()] == ["tower"]


def test_a_tower_that_does_not_equal_its_model_is_refused_and_not_kept(tmp_path, monkeypatch):
    from clipsearch.models.text import towers

    encoder = load(save_tiny_model(tmp_path / "model"))
    network = encoder._network
    right = network.encode_text
    monkeypatch.setattr(
        towers.WholeTower, "forward", lambda _, ids: right(ids).flip(-1).contiguous()
    )
    monkeypatch.setattr(towers.ShortTower, "fits", staticmethod(lambda _: False))
    with pytest.raises(ModelError, match="differs"):
        encoder.export_text_encoder(tmp_path / "tower")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("name", ["text.onnx", "text.onnx.data", "text_encoder.json", "merges.txt"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_export_is_a_clear_error(encoder, exported, tmp_path, name, damage):
    for path in exported.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if damage == "missing":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:40])
    with pytest.raises(ModelError) as error:
        TextEncoder.open(tmp_path)
    assert "\n" not in str(error.value)


def test_an_export_of_another_format_is_refused(exported, tmp_path):
    for path in exported.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    settings = json.loads((tmp_path / "text_encoder.json").read_text())
    (tmp_path / "text_encoder.json").write_text(json.dumps({**settings, "format": 99}))
    with pytest.raises(ModelError, match="99"):
        TextEncoder.open(tmp_path)


def test_a_text_query_imports_neither_torch_nor_open_clip(exported):
    program = (
        "import sys; from pathlib import Path; "
        "from clipsearch.models.text.encoder import TextEncoder; "
        f"TextEncoder.open(Path({str(exported)!r})).encode_text(['a dog on a beach']); "
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(run.stdout.split())
    heavy = {"torch", "torchvision", "open_clip", "timm", "faiss", "onnx", "PIL", "ftfy", "regex"}
    assert "onnxruntime" in loaded and not loaded & heavy


# unit length


def test_unit_length_keeps_directions():
    np.testing.assert_allclose(unit_length([[3.0, 4.0], [0, -2]]), [[0.6, 0.8], [0, -1]], atol=1e-7)
    assert unit_length(torch.ones(2, 2).numpy()).dtype == np.float32


def test_unit_length_leaves_zero_vectors_and_stands_extremes():
    np.testing.assert_array_equal(unit_length([0.0, 0.0]), [0, 0])
    np.testing.assert_allclose(unit_length([1e30, 1e30]), [0.5**0.5] * 2, rtol=1e-6)
    np.testing.assert_allclose(unit_length([1e-30, 0]), [1, 0], rtol=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_unit_length_refuses_what_has_no_direction(bad):
    with pytest.raises(ValueError, match="NaN"):
        unit_length([1.0, bad])
