"""Model names: what the user may say, what open_clip calls it, and what is on this machine.

Nothing here imports torch or open_clip, so listing models and answering text queries stay quick.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clipsearch.arguments import file_path
from clipsearch.errors import ModelError, UnknownModel, WeightsUnavailable
from clipsearch.models import files
from clipsearch.settings import expanded, from_here

LOCAL_PREFIX = "local-dir:"
HUB_PREFIX = "hf-hub:"
BUILTIN_FOLDER = Path(__file__).parent.parent / "builtin_model"


@dataclass(frozen=True)
class ModelSource:
    """A model that was asked for by name, in open_clip's terms."""

    name: str  # as the user named it; a folder becomes local-dir: with its absolute path
    open_clip_name: str  # an architecture, hf-hub:ORG/REPO or local-dir:PATH
    pretrained: str | None = None  # the weights' tag; only with an architecture

    @property
    def folder(self) -> Path | None:
        """Return the folder of a local model."""
        if self.open_clip_name.startswith(LOCAL_PREFIX):
            return Path(self.open_clip_name.removeprefix(LOCAL_PREFIX))
        return None

    @property
    def hub_repository(self) -> str | None:
        """Return ORG/REPO of a model named by its repository on the hub."""
        if self.open_clip_name.startswith(HUB_PREFIX):
            return self.open_clip_name.removeprefix(HUB_PREFIX)
        return None


@dataclass(frozen=True)
class NamedModel:
    """A model with a short name, as `clipsearch models` shows it."""

    name: str
    open_clip_name: str  # ARCHITECTURE/tag
    repository: str | None  # on the Hugging Face hub; None: ships with clipsearch
    megabytes: int  # of the weights file
    width: int  # length of an embedding
    licence: str  # of the weights
    published_recall: str  # text to image; "" when nothing is published
    note: str

    @property
    def on_machine(self) -> bool:
        """Say whether the weights can be loaded without a network."""
        if self.repository is None:
            return files.weights_in_folder(BUILTIN_FOLDER) is not None
        return files.cached_weights(self.repository) is not None


# Recall: MS-COCO, text to image, R@1. base, quality, best: open_clip's docs/
# openclip_retrieval_results.csv. multilingual: the SigLIP 2 paper (arXiv 2502.14786), table 1.
# Megabytes: float32 weights of the parameters counted there. Licences: the repositories' cards.
_NAMED = (
    NamedModel(
        "base",
        "ViT-B-32-256/datacomp_s34b_b86k",
        "laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K",
        605,
        512,
        "MIT",
        "COCO R@1 39.9",
        "good and quick",
    ),
    NamedModel(
        "quality",
        "ViT-B-16-SigLIP/webli",
        "timm/ViT-B-16-SigLIP",
        813,
        768,
        "Apache-2.0",
        "COCO R@1 47.8",
        "better, a quarter as quick",
    ),
    NamedModel(
        "best",
        "ViT-H-14-quickgelu/dfn5b",
        "apple/DFN5B-CLIP-ViT-H-14",
        3944,
        1024,
        "Apple AMLR (research use)",
        "COCO R@1 53.9",
        "for a GPU",
    ),
    NamedModel(
        "multilingual",
        "ViT-B-16-SigLIP2/webli",
        "timm/ViT-B-16-SigLIP2",
        1500,
        768,
        "Apache-2.0",
        "COCO R@1 52.1",
        "many languages",
    ),
)

# What others call the like of them.
_MEANT = {
    **dict.fromkeys(("default", "small", "tiny", "offline", "built-in"), "builtin"),
    **dict.fromkeys(("clip", "openai", "medium", "vit-b-32", "vit-b/32", "datacomp"), "base"),
    **dict.fromkeys(("siglip", "good", "vit-b-16"), "quality"),
    **dict.fromkeys(("large", "huge", "largest", "vit-h-14", "dfn"), "best"),
    **dict.fromkeys(("siglip2", "languages", "multi", "international"), "multilingual"),
}


def named_models() -> list[NamedModel]:
    """Return the models with short names, the built-in one first."""
    return [_builtin(), *_NAMED]


def _builtin() -> NamedModel:
    weights = files.weights_in_folder(BUILTIN_FOLDER)
    return NamedModel(
        "builtin",
        "local-dir:builtin_model",
        None,
        round(weights.stat().st_size / 1e6) if weights else 0,
        _width_in_folder(BUILTIN_FOLDER),
        "Apache-2.0",
        "",
        "comes along; English",
    )


def _width_in_folder(folder: Path) -> int:
    try:
        return int(files.read_config(folder)["model_cfg"]["embed_dim"])
    except (ModelError, KeyError, TypeError, ValueError):
        return 0


def resolve_model(name: str | Path) -> ModelSource:
    """Return what a model name stands for.

    Takes a short name, ARCHITECTURE/tag, hf-hub:ORG/REPO, local-dir:PATH or the path of a folder;
    a `Path` is never anything else. Raises UnknownModel, whose message lists the choices, and
    InvalidInput for what is no name at all.
    """
    path = file_path(name, "a model")
    name = name if isinstance(name, str) else f"{LOCAL_PREFIX}{path}"
    if name == "builtin":
        return ModelSource(name, f"{LOCAL_PREFIX}{BUILTIN_FOLDER}")
    for model in _NAMED:
        if name == model.name:
            architecture, tag = model.open_clip_name.split("/")
            return ModelSource(name, architecture, tag)
    if name.startswith(HUB_PREFIX):
        return _hub_source(name)
    try:
        if name.startswith(LOCAL_PREFIX):
            return _folder_source(name.removeprefix(LOCAL_PREFIX))
        return _path_source(name) or _tagged_source(name)
    except OSError as error:  # a folder above it that may not be entered, say
        raise ModelError(f"the model {name} can't be looked at: {error.strerror}") from error


def _hub_source(name: str) -> ModelSource:
    parts = name.removeprefix(HUB_PREFIX).split("/")
    if len(parts) != 2 or not all(parts):
        raise UnknownModel(f"{name!r} names no repository; write hf-hub:ORGANISATION/REPOSITORY")
    return ModelSource(name, name)


def _folder_source(path: str) -> ModelSource:
    folder = from_here(path)
    if not path or not folder.is_dir():
        raise UnknownModel(f"no model folder at {path or 'an empty path'}; {_choices()}")
    if not (folder / files.CONFIG_NAME).is_file():
        raise UnknownModel(f"{folder} is no model: it needs {files.CONFIG_NAME} beside the weights")
    return ModelSource(f"{LOCAL_PREFIX}{folder}", f"{LOCAL_PREFIX}{folder}")


def _path_source(name: str) -> ModelSource | None:
    """Return the source where the name is the path of a folder; refuse bare weights."""
    path = expanded(name)
    if path.is_dir():
        return _folder_source(name)
    if path.suffix in files.WEIGHTS_SUFFIXES or path.is_file():
        raise UnknownModel(
            f"{name} is a file: bare weights don't say how their pictures must be prepared; put "
            f"them into a folder beside their {files.CONFIG_NAME} and name the folder"
        )
    return None


def _tagged_source(name: str) -> ModelSource:
    architecture, _, tag = name.partition("/")
    if architecture and tag and "/" not in tag and not name.startswith((".", "~")):
        return ModelSource(name, architecture, tag)
    from clipsearch.near_names import near_name

    near = _MEANT.get(name.lower()) or near_name(name, [model.name for model in named_models()])
    hint = f" (did you mean {near!r}?)" if near else ""
    raise UnknownModel(f"no model is called {name!r}{hint}; {_choices()}")


def _choices() -> str:
    names = ", ".join(model.name for model in named_models())
    return (
        f"choose {names}, an open_clip ARCHITECTURE/tag, hf-hub:ORGANISATION/REPOSITORY "
        f"or the path of a model folder"
    )


def default_model(report: Callable[[str], None]) -> ModelSource:
    """Choose the model of a new library: base where its weights are on this machine, else builtin.

    Says which, and how to change it, in one line to `report`. Nothing is fetched, and nobody is
    asked: that is for who names a model.
    """
    base = _NAMED[0]
    if base.on_machine:
        report("Using the model 'base'; choose another with --model (see: clipsearch models)")
        return resolve_model("base")
    report(
        "Using the small model 'builtin'; a better one is fetched with --model base "
        f"({base.megabytes} MB; see: clipsearch models)"
    )
    return resolve_model("builtin")


def local_weights(source: ModelSource) -> Path:
    """Return the weights file of a local model, or raise WeightsUnavailable."""
    folder = source.folder
    weights = files.weights_in_folder(folder) if folder is not None else None
    if weights is None:
        raise WeightsUnavailable(
            f"{folder} holds no weights: it needs open_clip_model.safetensors "
            f"(or another {' or '.join(files.WEIGHTS_SUFFIXES)} file)"
        )
    return weights


def weights_here(name: str) -> Path | None:
    """Return the weights on this machine that a name stands for, as far as files tell."""
    try:
        source = resolve_model(name)
    except ModelError:
        return None
    if source.folder is not None:
        return files.weights_in_folder(source.folder)
    named = {model.name: model.repository for model in _NAMED}
    repository = source.hub_repository or named.get(name)
    return files.cached_weights(repository) if repository else None
