"""Model names: what they stand for, which are here, and what happens without a network."""

from __future__ import annotations

import http.server
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import open_clip
import pytest

from clipsearch import consent
from clipsearch.errors import UnknownModel, WeightsUnavailable
from clipsearch.models.encoder import load_encoder
from clipsearch.models.loading import pull
from clipsearch.models.names import (
    BUILTIN_FOLDER,
    default_model,
    files,
    named_models,
    resolve_model,
)

BASE = "laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K"
NAMED = [model for model in named_models() if model.repository]


def said_in_one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text and len(text) < 500
    return text


# names


def test_the_short_names_are_those_that_are_documented():
    names = [model.name for model in named_models()]
    assert names == ["builtin", "base", "quality", "best", "multilingual"]


@pytest.mark.parametrize("model", NAMED, ids=[model.name for model in NAMED])
def test_a_short_name_stands_for_what_open_clip_knows(model):
    source = resolve_model(model.name)
    known = open_clip.get_pretrained_cfg(source.open_clip_name, source.pretrained)
    assert known["hf_hub"].rstrip("/") == model.repository
    assert open_clip.get_model_config(source.open_clip_name)["embed_dim"] == model.width
    assert f"{source.open_clip_name}/{source.pretrained}" == model.open_clip_name


def test_the_documented_models_are_the_named_ones():
    sources = {name: resolve_model(name) for name in ("base", "quality", "best", "multilingual")}
    assert {name: (s.open_clip_name, s.pretrained) for name, s in sources.items()} == {
        "base": ("ViT-B-32-256", "datacomp_s34b_b86k"),
        "quality": ("ViT-B-16-SigLIP", "webli"),
        "best": ("ViT-H-14-quickgelu", "dfn5b"),
        "multilingual": ("ViT-B-16-SigLIP2", "webli"),
    }


def test_builtin_is_the_folder_in_the_package():
    source = resolve_model("builtin")
    assert (source.name, source.folder) == ("builtin", BUILTIN_FOLDER)


def test_a_folder_is_named_by_its_absolute_path(tiny_model_folder, monkeypatch):
    monkeypatch.chdir(tiny_model_folder.parent)
    name = f"local-dir:{tiny_model_folder}"
    for asked in (str(tiny_model_folder), name, "tiny", "./tiny", "local-dir:tiny"):
        source = resolve_model(asked)
        assert (source.name, source.open_clip_name, source.pretrained) == (name, name, None)
        assert resolve_model(source.name) == source


def test_an_architecture_and_a_tag_are_taken_apart():
    source = resolve_model("RN50/openai")
    assert (source.open_clip_name, source.pretrained) == ("RN50", "openai")


def test_a_repository_is_taken_as_it_is():
    source = resolve_model("hf-hub:laion/some-model")
    assert (source.open_clip_name, source.hub_repository) == (source.name, "laion/some-model")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bilt-in", "did you mean 'builtin'"),
        ("qualty", "did you mean 'quality'"),
        ("siglip", "did you mean 'quality'"),
        ("small", "did you mean 'builtin'"),
        ("", "base, quality, best"),
        ("no such thing", "base, quality, best"),
        ("./nowhere", "base, quality, best"),
        ("/nowhere/at/all", "base, quality, best"),
        ("local-dir:", "base, quality, best"),
        ("local-dir:/nowhere", "no model folder"),
        ("hf-hub:", "hf-hub:ORGANISATION/REPOSITORY"),
        ("hf-hub:alone", "hf-hub:ORGANISATION/REPOSITORY"),
    ],
)
def test_a_name_that_stands_for_nothing_lists_the_choices(name, said):
    with pytest.raises(UnknownModel) as error:
        resolve_model(name)
    assert said in said_in_one_line(error)


def test_a_folder_without_a_configuration_is_no_model(tmp_path):
    with pytest.raises(UnknownModel) as error:
        resolve_model(str(tmp_path))
    assert "open_clip_config.json" in said_in_one_line(error)


@pytest.mark.parametrize("form", ["{path}", "ViT-H-14/{path}"])
def test_bare_weights_are_refused_because_their_preprocessing_is_unknown(
    form, tiny_model_folder, monkeypatch
):
    name = form.format(path=tiny_model_folder / "open_clip_model.safetensors")
    with pytest.raises(UnknownModel) as error:
        resolve_model(name)
    assert "open_clip_config.json" in said_in_one_line(error)


def test_names_are_resolved_without_torch_and_open_clip():
    program = (
        "import sys; from clipsearch.models.names import *; resolve_model('base'); "
        "[model.on_machine for model in named_models()]; default_model(print); "
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    heavy = {"torch", "open_clip", "timm", "onnxruntime", "numpy", "tokenizers", "httpx"}
    assert not set(run.stdout.splitlines()[-1].split()) & heavy


# what is on this machine


def cache_weights(snapshot: Path) -> Path:
    """Put a file where the weights of a repository would be; no test loads it."""
    weights = snapshot / "open_clip_model.safetensors"
    weights.write_bytes(b"weights")
    return weights


def test_a_model_is_on_the_machine_when_its_weights_are_cached(hub_cache):
    assert not any(model.on_machine for model in NAMED)
    cache_weights(hub_cache(BASE))
    assert [model.name for model in NAMED if model.on_machine] == ["base"]


def test_builtin_is_on_the_machine_when_the_package_holds_it():
    builtin = named_models()[0]
    assert builtin.on_machine == bool(list(BUILTIN_FOLDER.glob("*.safetensors")))
    if builtin.on_machine:
        assert 0 < builtin.megabytes <= 40 and builtin.width > 0


def test_safetensors_are_preferred_and_open_clips_names_before_others(tmp_path):
    for name in ("zzz.pt", "model.safetensors", "open_clip_pytorch_model.bin", "a.safetensors"):
        (tmp_path / name).touch()
    assert files.weights_in_folder(tmp_path).name == "open_clip_pytorch_model.bin"
    (tmp_path / "open_clip_model.safetensors").touch()
    assert files.weights_in_folder(tmp_path).name == "open_clip_model.safetensors"
    assert files.weights_in_folder(tmp_path / "nowhere") is None


def test_the_hash_of_weights_follows_their_content(tmp_path):
    import hashlib

    path = tmp_path / "weights"
    for content in (b"one", b"other", b""):
        path.write_bytes(content)
        assert files.file_sha256(path) == hashlib.sha256(content).hexdigest()
        assert files.file_sha256(path) == hashlib.sha256(content).hexdigest()


def test_an_unreadable_memory_of_hashes_does_no_harm(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    expected = files.file_sha256(path)
    assert files._hash_file().is_file()
    for broken in ("{", "[]", '{"a": 1}'):
        files._hash_file().write_text(broken)
        assert files.file_sha256(path) == expected


# without a network


@pytest.fixture
def deaf_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow the network, and let the hub's address be one where nobody answers."""
    from huggingface_hub import constants

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_absent_weights_offline_are_one_line(hub_cache):
    for name in ("base", "hf-hub:someone/something"):
        with pytest.raises(WeightsUnavailable) as error:
            load_encoder(resolve_model(name), device="cpu")
        text = said_in_one_line(error)
        assert text.endswith("is not on this machine and HF_HUB_OFFLINE is set")  # only the cause


def test_absent_weights_without_a_network_are_one_line(hub_cache, deaf_hub):
    with pytest.raises(WeightsUnavailable) as error:
        pull(resolve_model("base"))
    assert "network is out of reach" in said_in_one_line(error)


def test_a_name_server_that_never_answers_does_not_hold_us_up(monkeypatch, deaf_hub):
    asked, released, gave_up = threading.Event(), threading.Event(), threading.Event()

    def slow_look_up(*_: object, **__: object) -> None:
        asked.set()
        released.wait(60)
        gave_up.set()
        raise OSError("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", slow_look_up)
    monkeypatch.setattr(files, "REACH_SECONDS", 0.1)
    assert not files.hub_is_reachable()
    assert asked.is_set() and not gave_up.is_set()  # we did not wait for the answer
    released.set()
    assert gave_up.wait(60)


def test_a_hub_that_answers_is_reachable_unless_we_are_offline(monkeypatch, deaf_hub):
    from huggingface_hub import constants

    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert files.hub_is_reachable()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert not files.hub_is_reachable()


def test_a_hub_behind_a_proxy_is_reached_through_it(monkeypatch, deaf_hub):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert files.hub_is_reachable()


def test_a_new_library_takes_base_when_its_weights_are_here(hub_cache):
    cache_weights(hub_cache(BASE))
    said: list[str] = []
    assert default_model(said.append).name == "base"
    assert len(said) == 1 and "--model" in said[0]


def test_a_new_library_takes_builtin_otherwise_and_asks_nobody(hub_cache, monkeypatch):
    from huggingface_hub import constants

    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        said: list[str] = []
        assert default_model(said.append).name == "builtin"
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()
    assert len(said) == 1 and "builtin" in said[0] and "--model base (605 MB" in said[0]


# fetching ahead


def test_pulling_a_local_model_finds_its_weights(tiny_model_folder, tmp_path):
    weights = tiny_model_folder / "open_clip_model.safetensors"
    assert pull(resolve_model(str(tiny_model_folder))) == weights
    shutil.copy(tiny_model_folder / "open_clip_config.json", tmp_path)
    with pytest.raises(WeightsUnavailable) as error:
        pull(resolve_model(str(tmp_path)))
    assert "holds no weights" in said_in_one_line(error)


def test_pulling_a_cached_model_needs_no_network(hub_cache):
    weights = cache_weights(hub_cache(BASE))
    assert pull(resolve_model("base")) == weights


def test_pulling_needs_the_tokenizer_too(hub_cache):
    snapshot = hub_cache("timm/ViT-B-16-SigLIP")
    weights = cache_weights(snapshot)
    with pytest.raises(WeightsUnavailable):
        pull(resolve_model("quality"))
    (snapshot / "tokenizer.json").write_text("{}")
    assert pull(resolve_model("quality")) == weights


def test_pulling_what_open_clip_does_not_know_is_an_unknown_model():
    with pytest.raises(UnknownModel) as error:
        pull(resolve_model("ViT-B-32-256/laion"))
    assert "datacomp_s34b_b86k" in said_in_one_line(error)


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers as the hub does for the files of one repository."""

    files: ClassVar[dict[str, bytes]] = {}
    status: ClassVar[int] = 200

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.wfile.write(self.answer())

    def answer(self) -> bytes:
        content = self.files.get(self.path.removeprefix("/someone/tiny/resolve/main/"))
        known = self.path.startswith("/someone/tiny/")
        status = self.status if content is not None else 404
        self.send_response(status)
        if content is None:
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{hash(content) & 0xFFFFFFFF:040x}"')
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        return content or b""

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def hub(monkeypatch, hub_cache, tiny_model_folder) -> Iterator[type[Hub]]:
    """Run a hub on this machine that holds the tiny model as someone/tiny."""
    from huggingface_hub import constants, file_download

    Hub.files = {path.name: path.read_bytes() for path in tiny_model_folder.iterdir()}
    Hub.status = 200
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        for place in (constants, file_download):  # the client before 1.0 has it in both
            monkeypatch.setattr(place, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield Hub
        server.shutdown()


def test_a_model_is_fetched_once_and_then_needs_no_network(hub, tiny_model_folder, monkeypatch):
    from huggingface_hub import constants

    source = resolve_model("hf-hub:someone/tiny")
    weights = pull(source)
    assert weights.read_bytes() == (tiny_model_folder / "open_clip_model.safetensors").read_bytes()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_encoder(source, device="cpu").identity.name == "hf-hub:someone/tiny"


def test_somebody_is_asked_before_much_is_fetched_and_may_say_no(hub, monkeypatch):
    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(consent, "ask", lambda what, size: asked.append((what, size)))
    assert pull(resolve_model("hf-hub:someone/tiny")).is_file()  # it is small
    assert asked == []


def test_what_nobody_agrees_to_is_not_fetched(hub, monkeypatch):
    size = len(hub.files["open_clip_model.safetensors"])
    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(consent, "ask", lambda what, size: asked.append((what, size)))
    monkeypatch.setattr(consent, "MUCH", size)
    with pytest.raises(WeightsUnavailable) as error:
        pull(resolve_model("hf-hub:someone/tiny"))
    assert "was not fetched" in said_in_one_line(error)
    assert asked == [("someone/tiny", size)]
    monkeypatch.setattr(consent, "ask", lambda what, size: True)
    assert pull(resolve_model("hf-hub:someone/tiny")).stat().st_size == size


def test_a_repository_without_safetensors_gives_its_other_weights(hub):
    content = hub.files.pop("open_clip_model.safetensors")
    hub.files["open_clip_pytorch_model.bin"] = content
    assert pull(resolve_model("hf-hub:someone/tiny")).name == "open_clip_pytorch_model.bin"


def test_a_repository_that_is_not_there_is_one_line(hub):
    with pytest.raises(WeightsUnavailable) as error:
        pull(resolve_model("hf-hub:nobody/nothing"))
    assert "nobody/nothing" in said_in_one_line(error)


def test_a_repository_without_weights_is_one_line(hub):
    del hub.files["open_clip_model.safetensors"]
    with pytest.raises(WeightsUnavailable) as error:
        pull(resolve_model("hf-hub:someone/tiny"))
    assert "open_clip_model.safetensors" in said_in_one_line(error)


def test_a_hub_that_refuses_is_one_line(hub):
    hub.status = 403
    with pytest.raises(WeightsUnavailable) as error:
        pull(resolve_model("hf-hub:someone/tiny"))
    assert "someone/tiny" in said_in_one_line(error)
