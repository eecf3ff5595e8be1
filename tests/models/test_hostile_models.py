"""Files from strangers: no code runs, nothing is fetched, nothing hangs; one clear line results.

What the fuzzer found is here too; its short form runs as a test. The long form:
`python -m benchmarks.fuzz --corpus ../shared/data/odd`.
"""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
import socket
import sqlite3
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_process import clipsearch as program
from tiny_models import PREPROCESSING, SIGLIP, save_tiny_model, save_tiny_tokenizer

from clipsearch import Library
from clipsearch.errors import LibraryError, ModelError, UnreadableImage
from clipsearch.index.changes import Embedded, UseModel
from clipsearch.index.records import FileState, ModelIdentity, PhotoMetadata
from clipsearch.index.store import Store
from clipsearch.models.config import check_config
from clipsearch.models.encoder import load_encoder
from clipsearch.models.names import resolve_model
from clipsearch.models.text.clip_tokenizer import shipped_merges
from clipsearch.models.text.encoder import TextEncoder
from clipsearch.models.text.tokenizer import clip_tokenizer, folder_tokenizer
from clipsearch.photos.opening import open_image

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert text.strip() and "\n" not in text and len(text) < 600
    return text


@pytest.mark.skipif(sys.platform != "linux", reason="its limits are those of Linux")
@pytest.mark.parametrize(
    ("target", "inputs"),
    [("image", 400), ("raw", 300), ("exif", 300), ("index", 200), ("catalog", 150)],
)
def test_damaged_files_are_opened_or_refused(repository, tmp_path, target, inputs):
    run = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.fuzz", "--target", target),
            *("--inputs", str(inputs), "--findings", str(tmp_path / "findings")),
        ],
        cwd=repository,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert f"{inputs:,} inputs in" in run.stdout


# Model folders


@pytest.fixture
def model(tmp_path, tiny_model_folder) -> Path:
    """Return a folder of the tiny model that may be changed."""
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


@pytest.fixture
def calls(monkeypatch) -> list[Any]:
    """Return a list of what anything tried to reach over the network, which is allowed."""
    from huggingface_hub import constants

    tried: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> None:
        tried.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tried


def load(folder: Path) -> Any:
    return load_encoder(resolve_model(str(folder)), device="cpu")


def change(folder: Path, part: str, **values: Any) -> None:
    """Change values of a model folder's configuration; `part` is "" for the model's own."""
    path = folder / "open_clip_config.json"
    content = json.loads(path.read_text())
    holder = content["preprocess_cfg"] if part == "preprocess_cfg" else content["model_cfg"]
    holder.get(part, holder).update(values)
    path.write_text(json.dumps(content))


class Trap:
    """An object whose unpickling makes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return open, (str(self.canary), "w")


@pytest.mark.parametrize("name", ["model.pt", "pytorch_model.bin", "open_clip_pytorch_model.pth"])
@pytest.mark.parametrize("form", ["pickle", "zip", "torchscript"])
def test_no_weights_run_code(model, tmp_path, name, form):
    (model / "open_clip_model.safetensors").unlink()
    bait = pickle.dumps(Trap(tmp_path / "canary"), protocol=2)
    if form == "pickle":
        (model / name).write_bytes(bait)
    else:
        with zipfile.ZipFile(model / name, "w") as file:
            file.writestr("archive/data.pkl", bait)
            file.writestr("archive/version", "3")
            if form == "torchscript":
                file.writestr("archive/constants.pkl", bait)
                file.writestr("archive/code/__torch__.py", "import os; os.abort()")
    with pytest.raises(ModelError) as error:
        load(model)
    assert name in one_line(error)
    assert not (tmp_path / "canary").exists()
    pickle.loads(bait).close()  # the trap does work
    assert (tmp_path / "canary").exists()


def test_python_files_in_a_model_folder_are_nothing_to_us(tmp_path):
    folder = save_tiny_model(tmp_path / "model", SIGLIP)
    save_tiny_tokenizer(folder, ["a dog runs on a beach", "people ride bicycles"] * 9)
    for name in ("modeling_own.py", "tokenization_own.py", "__init__.py", "conftest.py"):
        (folder / name).write_text(f"open({str(tmp_path / 'canary')!r}, 'w')")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["tokenizer_class"] = "OwnTokenizer"
    settings["auto_map"] = {"AutoTokenizer": ["tokenization_own.OwnTokenizer", None]}
    settings["trust_remote_code"] = True
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert load(folder).encode_text(["a dog"]).shape == (1, 32)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("vision_cfg", {"timm_model_name": "hf-hub:someone/something"}),
        ("vision_cfg", {"timm_model_name": "hf_hub:someone/something"}),
        ("vision_cfg", {"timm_model_name": "local-dir:/somewhere"}),
        ("vision_cfg", {"timm_model_name": "someone/something"}),
        ("vision_cfg", {"timm_model_name": "no_such_model", "timm_model_pretrained": True}),
        ("text_cfg", {"hf_model_name": "someone/something"}),
        ("text_cfg", {"hf_model_name": "../../somewhere"}),
        ("text_cfg", {"hf_tokenizer_name": "someone/something"}),
        ("text_cfg", {"trust_remote_code": True}),
        ("", {"auto_map": {"AutoModel": "modeling_own.OwnModel"}}),
    ],
)
def test_a_configuration_leads_nowhere_else(model, calls, part, values):
    change(model, part, **values)
    with pytest.raises(ModelError) as error:
        load(model)
    one_line(error)
    assert not calls


def test_pretrained_parts_are_not_fetched_for_a_local_folder(tmp_path, calls):
    from tiny_models import TIMM_TOWER

    folder = save_tiny_model(tmp_path / "model", TIMM_TOWER)
    change(folder, "vision_cfg", timm_model_pretrained=True)
    load(folder)
    assert not calls


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("vision_cfg", {"width": 160_000}),
        ("vision_cfg", {"layers": 10**9}),
        ("vision_cfg", {"layers": [3, 4, 10**9, 3]}),
        ("vision_cfg", {"image_size": 10**6}),
        ("vision_cfg", {"image_size": 2048, "patch_size": 1}),
        ("vision_cfg", {"mlp_ratio": 1e9}),
        ("vision_cfg", {"timm_model_name": "vit_giant_patch14_dinov2"}),
        ("text_cfg", {"vocab_size": 10**12}),
        ("text_cfg", {"vocab_size": 10**30}),
        ("text_cfg", {"context_length": 200_000}),
        ("text_cfg", {"width": 10**6, "heads": 1}),
        ("", {"embed_dim": 10**12}),
        ("preprocess_cfg", {"size": 10**6}),
    ],
)
def test_a_configuration_that_asks_for_all_memory_is_refused(model, part, values):
    change(model, part, **values)
    with pytest.raises(ModelError) as error:
        load(model)
    one_line(error)


FOUND = {  # by the fuzzer: each ended in a traceback
    "a context without end": ("text_cfg", {"context_length": float("inf")}),
    "a context in words": ("text_cfg", {"context_length": "local-dir:/"}),
    "text of another width": ("text_cfg", {"width": 64}),
    "no such activation": ("text_cfg", {"act_kwargs": {"approximate": 3}}),
    "odd options": ("text_cfg", {"tokenizer_kwargs": [1]}),
    "two colours": ("preprocess_cfg", {"mean": [0.5, 0.5]}),
    "a colour in words": ("preprocess_cfg", {"mean": ["", 0.5, 0.5]}),
    "no colour": ("preprocess_cfg", {"std": [None, 0.5, 0.5]}),
    "division by nothing": ("preprocess_cfg", {"std": [0, 0, 0]}),
    "no number": ("preprocess_cfg", {"mean": [float("nan")] * 3}),
    "no such interpolation": ("preprocess_cfg", {"interpolation": "none"}),
    "no such resizing": ("preprocess_cfg", {"resize_mode": ["squash"]}),
    "a fill beyond white": ("preprocess_cfg", {"fill_color": 1e308}),
    "a ratio without end": ("vision_cfg", {"mlp_ratio": float("inf")}),
    "no heads": ("vision_cfg", {"head_width": 1000}),
}


@pytest.mark.parametrize(("part", "values"), FOUND.values(), ids=FOUND)
def test_a_configuration_that_can_not_be_is_one_line(model, part, values):
    change(model, part, **values)
    with pytest.raises(ModelError) as error:
        load(model)
    one_line(error)


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"{" + b'"a":1,' * 3_000_000, b""],
    ids=["lists", "objects", "no text", "too large", "empty"],
)
def test_a_configuration_that_can_not_be_read_is_one_line(model, content):
    (model / "open_clip_config.json").write_bytes(content)
    with pytest.raises(ModelError) as error:
        load(model)
    assert "can't read" in one_line(error)


def test_every_architecture_that_open_clip_knows_is_allowed():
    import open_clip

    for name in open_clip.list_models():
        config = copy.deepcopy(open_clip.get_model_config(name))
        check_config(config, PREPROCESSING, Path(name), remote=True)


def safetensors(header: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(start: int, end: int, *shape: int, kind: str = "F32") -> dict[str, Any]:
    return {"dtype": kind, "shape": list(shape), "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2**40) + b"{}" + bytes(100),
        safetensors({}, b""),
        safetensors({"a": tensor(0, 8, 2), "b": tensor(4, 12, 2)}, bytes(12)),
        safetensors({"a": tensor(0, 8, 2**62, 4)}, bytes(8)),
        safetensors({"a": tensor(0, 2**50, 2**48)}, bytes(8)),
        safetensors({"logit_scale": tensor(0, 4, 1)}, bytes(4)),
        safetensors({"a": tensor(0, 8, 2, kind="PICKLE")}, bytes(8)),
        b"\x80\x04" + bytes(100),
    ],
)
def test_safetensors_that_lie_are_refused(model, content):
    (model / "open_clip_model.safetensors").write_bytes(content)
    with pytest.raises(ModelError) as error:
        load(model)
    assert "open_clip_model.safetensors" in one_line(error)


# Tokenizers


def write_tokenizer(folder: Path, **parts: Any) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**content, **parts}))


@pytest.fixture
def tokenizer_folder(tmp_path) -> Path:
    save_tiny_tokenizer(tmp_path, ["a dog runs on a beach", "people ride bicycles"] * 9)
    return tmp_path


@pytest.mark.parametrize("pattern", [r"(a+)+$", r"(a|aa)+$", r"(.*a){25}b", r"(a*)*\1c"])
@pytest.mark.parametrize("place", ["pre_tokenizer", "normalizer"])
def test_a_pattern_that_blows_up_ends(tokenizer_folder, place, pattern):
    step: dict[str, Any] = {"type": "Split", "behavior": "Isolated", "invert": False}
    if place == "normalizer":
        step = {"type": "Replace", "content": "b"}
    write_tokenizer(tokenizer_folder, **{place: {**step, "pattern": {"Regex": pattern}}})
    tokenizer = folder_tokenizer(tokenizer_folder, 16, {})
    for text in ("a" * 40 + "!", "a" * 100_000):
        try:
            assert tokenizer([text]).shape == (1, 16)
        except ModelError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    "parts",
    [
        {"model": {"type": "BPE", "vocab": {"a": 2**40}, "merges": []}},
        {"model": {"type": "BPE", "vocab": {}, "merges": [["a", "b"]] * 1000}},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "/////w=="}},
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"}},
        {"post_processor": {"type": "TemplateProcessing", "single": [], "pair": []}},
        {"added_tokens": [{"id": 2**31, "content": "x" * 100_000, "special": True}]},
        {"padding": {"strategy": {"Fixed": 10**15}, "direction": "Right", "pad_id": 0}},
    ],
)
def test_an_odd_tokenizer_gives_ids_or_one_line(tokenizer_folder, parts):
    write_tokenizer(tokenizer_folder, **parts)
    try:
        ids = folder_tokenizer(tokenizer_folder, 16, {})(["a dog on a beach"])
    except ModelError as error:
        assert "\n" not in str(error)
    else:
        assert ids.shape == (1, 16)


def test_a_query_without_end_is_cut():
    import random

    letters = random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=200_000)
    word = "".join(letters)
    ids = clip_tokenizer(32, {})([word, "日" * 1_000_000])
    assert ids.shape == (2, 32) and (ids > 0).all()
    assert ids[0].tolist() == clip_tokenizer(32, {})([word[:900]])[0].tolist()


# Exported text towers


def tower_graph(weights: str = "weights.bin", length: int = 16, **node: Any) -> bytes:
    """Return a graph that adds weights from another file to the ids."""
    from onnx import TensorProto, helper

    initializer = TensorProto(name="w", data_type=1, dims=[length])
    initializer.data_location = TensorProto.EXTERNAL
    for key, value in {"location": weights, "offset": "0", "length": str(4 * length)}.items():
        initializer.external_data.add(key=key, value=value)
    add = helper.make_node(node.pop("kind", "Add"), ["float", "w"], ["features"], **node)
    graph = helper.make_graph(
        [helper.make_node("Cast", ["ids"], ["float"], to=1), add],
        "tower",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["text", "token"])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["text", "width"])],
        [initializer],
    )
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("own.domain", 1)]
    return bytes(helper.make_model(graph, opset_imports=sets, ir_version=8).SerializeToString())


@pytest.fixture
def tower(tmp_path) -> Path:
    """Return a text tower that works: its vectors are the ids, and a one."""
    folder = tmp_path / "library" / "models" / "tower"
    folder.mkdir(parents=True)
    (folder / "merges.txt").write_text("\n".join(shipped_merges()), encoding="utf-8")
    (folder / "weights.bin").write_bytes(np.ones(16, "<f4").tobytes())
    (folder / "text.onnx").write_bytes(tower_graph())
    write_settings(folder)
    return folder


def write_settings(folder: Path, own: dict[str, Any] | None = None, **changes: Any) -> None:
    settings = {"kind": "clip", "cleaning": "lower", "context_length": 16, "dropped_id": None}
    content = {"format": 1, "fingerprint": "0" * 16, "width": 16, "shortens": False}
    whole = {**content, "tokenizer": {**settings, **(own or {})}, **changes}
    (folder / "text_encoder.json").write_text(json.dumps(whole))


def test_the_tower_of_these_tests_works(tower):
    assert TextEncoder.open(tower).encode_text(["a dog", ""]).shape == (2, 16)


def refused(folder: Path) -> str:
    with pytest.raises(ModelError) as error:
        TextEncoder.open(folder).encode_text(["a dog"])
    return one_line(error)


@pytest.mark.parametrize("place", ["../outside.bin", "../../../outside.bin", "absolute", "link"])
def test_a_tower_reads_no_weights_outside_its_folder(tower, tmp_path, place):
    for folder in (tmp_path, tower.parent):
        (folder / "outside.bin").write_bytes(np.ones(16, "<f4").tobytes())
    if place == "absolute":
        place = str(tmp_path / "outside.bin")
    elif place == "link":
        (tower / "link").symlink_to(tmp_path / "outside.bin")
    (tower / "text.onnx").write_bytes(tower_graph(place))
    refused(tower)


def test_a_tower_runs_no_operators_but_the_runtimes_own(tower):
    (tower / "text.onnx").write_bytes(tower_graph(kind="Run", domain="own.domain"))
    assert "can't be opened" in refused(tower)


def test_a_tower_that_asks_for_more_than_it_holds_is_refused(tower):
    (tower / "text.onnx").write_bytes(tower_graph(length=2**40))
    refused(tower)


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 10**9},
        {"width": "16"},
        {"shortens": []},
        {"fingerprint": None},
        {"tokenizer": "clip"},
        {"format": "x" * 10_000},
    ],
)
def test_a_tower_with_odd_settings_is_refused(tower, changes):
    write_settings(tower, **changes)
    refused(tower)


@pytest.mark.parametrize(
    "changes",
    [
        {"context_length": 0},
        {"context_length": 1},
        {"context_length": 2**31},
        {"context_length": {}},
        {"context_length": True},
        {"context_length": 20},  # the tower takes 16
        {"kind": "pickle"},
        {"kind": "json"},  # no such file
        {"dropped_id": "x"},
        {"cleaning": {}},
    ],
)
def test_a_tower_with_an_odd_tokenizer_is_refused(tower, changes):
    write_settings(tower, changes)
    refused(tower)


@pytest.mark.parametrize(
    "changes",
    [
        *({"logit_scale": value} for value in (100, True, "100.0", [100.0], float("nan"))),
        *({"logit_scale": value} for value in (float("inf"), 0.0, -100.0)),
        *({"logit_bias": value} for value in (-10, "-10.0", float("nan"), float("-inf"))),
        {"logit_shape": 1.0},
        {"format": 3},
    ],
)
def test_a_tower_with_an_odd_scale_is_refused(tower, changes):
    fitting: dict[str, Any] = {"format": 2, "logit_scale": 117.5, "logit_bias": -10.0}
    write_settings(tower, **fitting)
    assert TextEncoder.open(tower).logit_scale == 117.5
    write_settings(tower, **{**fitting, **changes})
    refused(tower)


@needs_pipes
@pytest.mark.parametrize("name", ["text.onnx", "weights.bin", "merges.txt", "text_encoder.json"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tower, name):
    (tower / name).unlink()
    os.mkfifo(tower / name)
    refused(tower)


# Libraries


@pytest.fixture
def library(tmp_path) -> Path:
    """Return a library of a few photos, made without a model."""
    folder = tmp_path / "a library"
    preprocessing = json.dumps({"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3})
    with Store.open(folder, create=True) as store, store.writing():
        model = store.catalog.add_model(ModelIdentity("tiny", "{}", "0" * 64, preprocessing, 4))
        for number, vector in enumerate(np.eye(4, dtype=np.float32)):
            file = FileState(Path(f"/photos/{number}.jpg"), 10, 10)
            metadata = PhotoMetadata(800, 600, "JPEG")
            store.apply([Embedded(file, f"{number:064}", metadata, vector)], model)
        store.apply([UseModel(model)])
        store.refresh_vectors(model)
    return folder


def searched(folder: Path) -> list[int]:
    with Store.open(folder, read_only=True) as store:
        return [int(id_) for id_ in store.search(1, np.eye(4, dtype=np.float32), 1)[1][:, 0]]


def run_sql(folder: Path, sql: str) -> None:
    with sqlite3.connect(folder / "catalog.sqlite") as connection:
        connection.executescript(sql)
    connection.close()


def test_a_library_whose_vectors_lie_among_the_users_files_deletes_none(library, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("holiday.jpg", "model-1.jpg", "letter.txt", "vectors.faiss"):
        (photos / name).write_text("precious")
    shutil.rmtree(library / "vectors")
    (library / "vectors").symlink_to(photos)
    with Store.open(library) as store, store.writing():
        store.refresh_vectors(1)
    left = {path.name for path in photos.iterdir() if path.read_bytes() == b"precious"}
    assert left == {"holiday.jpg", "model-1.jpg", "letter.txt", "vectors.faiss"}


@pytest.mark.parametrize("file", ["../../../../../../../etc/hostname", "/dev/zero", "\x00", ""])
def test_a_library_that_names_another_file_as_its_index_does_without(library, file):
    (path,) = (library / "vectors").iterdir()
    run_sql(library, f"UPDATE vector_indexes SET file = {file!r}".replace("'\\x00'", "x'00' || ''"))
    assert searched(library) == [1, 2, 3, 4]
    assert path.is_file()


def test_an_error_that_quotes_the_bytes_of_a_damaged_catalog_is_one_line(library):
    """The fuzzer found it: SQLite's message is then no text."""
    path = library / "catalog.sqlite"
    data = path.read_bytes()
    at = data.index(b"CREATE TABLE failures")
    path.write_bytes(data[:at] + b"CREATE \xff\xfe\xee" + data[at + 10 :])
    with pytest.raises(LibraryError) as error:
        Store.open(library, read_only=True).close()
    assert "damaged" in one_line(error)


def test_a_value_that_the_schema_forbids_is_one_line(library):
    """The fuzzer found it: flipped bytes make NULL of a text that can't be NULL."""
    run_sql(
        library,
        "PRAGMA writable_schema = ON;"
        "UPDATE sqlite_master SET sql = replace(sql, 'name TEXT NOT NULL', 'name TEXT');",
    )
    run_sql(library, "UPDATE models SET name = NULL")
    with Store.open(library, read_only=True) as store, pytest.raises(LibraryError) as error:
        store.catalog.models()
    assert "damaged" in one_line(error)


def test_a_library_loads_no_extension(library):
    call = "load_extension('/nowhere/own.so')"
    run_sql(
        library,
        f"CREATE VIEW own AS SELECT {call};"
        f"CREATE TRIGGER own_trigger AFTER UPDATE ON library BEGIN SELECT {call}; END;",
    )
    assert searched(library) == [1, 2, 3, 4]
    with pytest.raises(LibraryError) as error, Store.open(library) as store, store.writing():
        store.apply([UseModel(1)])
    one_line(error)


# Pictures, through the program


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


BOMB = b"x\0\0" + zlib.compress(bytes(200_000_000), 9)
BOMBS = {
    "size": png(60_000, 60_000),
    "text": png(10, 10, (b"zTXt", BOMB)),
    "texts": png(10, 10, *[(b"zTXt", b"x\0\0" + zlib.compress(bytes(900_000)))] * 200),
    "profile": png(10, 10, (b"iCCP", BOMB)),
    "gif": b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\0;",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_picture_that_would_fill_the_memory_is_refused(bomb):
    with pytest.raises(UnreadableImage) as error:
        open_image(BOMBS[bomb])
    one_line(error)


def test_a_query_picture_that_would_fill_the_memory_is_one_line(library, tmp_path):
    (tmp_path / "bomb.png").write_bytes(BOMBS["size"])
    ended = program("query", "--image", tmp_path / "bomb.png", "--library", library)
    assert ended.code == 2 and not ended.out
    assert len(ended.err.splitlines()) == 1 and "too large: 3,600 megapixels" in ended.err


def test_a_model_that_would_fill_the_memory_is_one_line(model, tmp_path, sample_photos):
    change(model, "vision_cfg", width=160_000)
    library = tmp_path / "a library"
    with Library(library, device="cpu") as opened, pytest.raises(ModelError) as error:
        opened.index([sample_photos[0]], model=str(model))
    assert "asks for" in one_line(error)
