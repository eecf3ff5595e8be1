"""The recipe of the built-in model, version 2.

    python -m clipsearch.training.builtin --data ../shared/data --teachers DIR \\
        --out clipsearch/builtin_model

DIR holds the wheels of the two teachers. The stages, in order:

1. Features: the frozen classifier sees every photo once.
2. Sentences: the frozen sentence encoder reads captions, class names, tokens and WordNet.
3. Heads: contrast of photos with captions, and agreement with the classifier's opinions.
4. Text tower: a small transformer learns the sentence head's vectors, over all the texts.
5. Joint: image head and text tower contrast photos with captions once more, together.
6. Upper layers: the image tower's upper layers learn with them, from whole and cropped photos.

What the teachers said is cached in the folder `--cache`, so a second run takes less. A model that
is the outcome of stage 5 (version 1 of the built-in model is one) can be given as `--start`.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip import CustomTextCLIP
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from clipsearch.training.builtin.captioned_photos import CaptionedPhotos
from clipsearch.training.builtin.config import StageConfig
from clipsearch.training.builtin.features import (
    cached_image_features,
    cached_sentence_vectors,
    digest_of,
)
from clipsearch.training.builtin.graphs import write_graphs
from clipsearch.training.builtin.joint import JointMaterial, train_jointly
from clipsearch.training.builtin.teacher_heads import (
    PhotoHead,
    SentenceHead,
    TeacherClasses,
    train_heads,
)
from clipsearch.training.builtin.teachers import CLASSIFIER, SentenceEncoder, load_classifier
from clipsearch.training.builtin.text_student import (
    TokenizedTexts,
    distil_text_tower,
    start_tokens_from_teacher,
    token_strings,
)
from clipsearch.training.builtin.upper_layers import (
    UpperMaterial,
    cached_lower_maps,
    tune_upper_layers,
)
from clipsearch.training.builtin.wordnet import read_visible_nouns
from clipsearch.training.data.samples import Sample
from clipsearch.training.data.sources import read_lines, read_shard, read_shards, shard_paths
from clipsearch.training.evaluation import evaluate_retrieval, report_lines
from clipsearch.training.towers.model_folder import (
    WEIGHTS_NAME,
    ModelFolderConfig,
    new_model,
    save_model_folder,
)

WIDTH = 256
CONTEXT = 48  # tokens: the longest validation caption has 41, a long search some 20

MODEL = ModelFolderConfig(
    model={
        "embed_dim": WIDTH,
        "vision_cfg": {
            "timm_model_name": CLASSIFIER,
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "linear",
            "image_size": 224,
        },
        # The token embedding takes 25 of the 38 MB; a fourth layer would cost 1.6 MB more.
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": 49408,
            "width": 256,
            "heads": 4,
            "layers": 3,
        },
        "custom_text": True,
    },
    preprocess={
        "size": 224,
        "mode": "RGB",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "squash",  # as the training photos were
    },
)

HEADS = StageConfig(
    steps=300,
    batch_size=640,
    learning_rate=1e-3,
    weight_decay=0.2,
    label_smoothing=0.05,
    class_weight=0.5,
)
TEXT_TOWER = StageConfig(
    steps=1500,
    batch_size=4096,  # tokens
    learning_rate=2e-3,
    weight_decay=0.05,
    warmup_steps=100,
)
JOINT = StageConfig(
    steps=160,
    batch_size=512,
    learning_rate=3e-4,
    weight_decay=0.05,
    warmup_steps=20,
    label_smoothing=0.05,
    class_weight=0.7,  # more than for the heads: this stage loses the classifier's opinions
    report_every=20,
)
UPPER_LAYERS = replace(JOINT, steps=240, batch_size=256, learning_rate=2.5e-4)
PROMPTS = ("{}", "a photo of a {}", "a picture of a {} outside", "there is a {} in the photo")


@dataclass(frozen=True)
class Sources:
    """Where the recipe finds its material and keeps what the teachers said."""

    data: Path
    teachers: Path
    wordnet: Path
    cache: Path
    start: Path | None = None  # a model folder, in place of stages 2 to 5


@dataclass(frozen=True)
class Material:
    """What the teachers said about photos and texts."""

    photos: CaptionedPhotos
    classes: TeacherClasses
    captions: NDArray[np.float16]  # sentence vectors of the photos' captions
    tokens: NDArray[np.float16]  # ... of the single tokens of the vocabulary
    texts: list[str]  # all texts that the tower learns from, the captions first
    vectors: NDArray[np.float16]  # ... and their sentence vectors


def build(sources: Sources) -> CustomTextCLIP:
    """Run the recipe and return the model."""
    torch.manual_seed(0)
    sources.cache.mkdir(parents=True, exist_ok=True)
    classifier = load_classifier(sources.teachers)
    print("1. features of the photos", flush=True)
    samples = list(read_shards(shard_paths(sources.data / "train")))
    photos = _photos(samples, sources, classifier)
    model = new_model(MODEL)
    _take_trunk(model, classifier)
    if sources.start is None:
        _frozen_stages(model, _ask_the_teachers(photos, sources, classifier))
    else:
        weights = load_file(sources.start / WEIGHTS_NAME)
        model.load_state_dict(
            {name: w.float() if w.is_floating_point() else w for name, w in weights.items()}
        )

    print("6. the image tower's upper layers", flush=True)
    tokenizer = SimpleTokenizer(context_length=CONTEXT)
    name = digest_of(sample.image for sample in samples)
    material = UpperMaterial(
        photos=photos,
        maps=cached_lower_maps(samples, classifier, sources.cache, name),
        captions=TokenizedTexts(photos.texts, tokenizer),
        others=TokenizedTexts(_lines(sources), tokenizer),
        class_names=[TokenizedTexts(texts, tokenizer) for texts in _class_texts()],
        classes=_opinions_of(classifier),
    )
    tune_upper_layers(model, material, config=UPPER_LAYERS)
    return model.eval()


def _frozen_stages(model: CustomTextCLIP, material: Material) -> None:
    """Train the image tower's head and the text tower, over what the image tower sees already."""
    print("3. heads", flush=True)
    photo_head = PhotoHead(model.visual.head)
    sentence_head = SentenceHead(SentenceEncoder.width, WIDTH)
    train_heads(
        photo_head,
        sentence_head,
        material.photos,
        sentences=_float(material.captions),
        classes=material.classes,
        config=HEADS,
    )

    print("4. text tower", flush=True)
    start_tokens_from_teacher(model.text, material.tokens)
    texts = TokenizedTexts(material.texts, SimpleTokenizer(context_length=CONTEXT))
    targets = _through(sentence_head, material.vectors)
    distil_text_tower(model.text, texts, targets, config=TEXT_TOWER)

    print("5. both together", flush=True)
    names = _class_names(sentence_head, material.classes)
    joint = JointMaterial(material.photos, texts, targets, material.classes, names)
    train_jointly(model.text, photo_head, joint, config=JOINT)
    model.logit_scale.data.copy_(photo_head.log_scale.detach())


def _ask_the_teachers(photos: CaptionedPhotos, sources: Sources, classifier: nn.Module) -> Material:
    print("2. sentence vectors of the texts", flush=True)
    encoder = SentenceEncoder(sources.teachers)

    def sentences(texts: Sequence[str]) -> NDArray[np.float16]:
        return cached_sentence_vectors(texts, encoder, sources.cache)

    captions = sentences(photos.texts)
    class_texts = _class_texts()
    class_vectors = [sentences(texts) for texts in class_texts]
    tokens = token_strings(SimpleTokenizer())
    others = [_lines(sources), tokens, read_visible_nouns(sources.wordnet)]
    return Material(
        photos=photos,
        classes=_opinions_of(classifier, _float(np.stack(class_vectors))),
        captions=captions,
        tokens=sentences(tokens),
        texts=[*photos.texts, *chain(*class_texts), *chain(*others)],
        vectors=np.concatenate([captions, *class_vectors, *map(sentences, others)]),
    )


def _opinions_of(classifier: nn.Module, sentences: Tensor | None = None) -> TeacherClasses:
    """Return what the classifier knows; without sentence vectors where nobody asks for them."""
    empty = torch.empty(0, 0, 0)
    return TeacherClasses(
        classifier.get_submodule("classifier"), empty if sentences is None else sentences
    )


def _class_texts() -> list[list[str]]:
    """Return the names of the classes in each prompt."""
    return [[prompt.format(name) for name in IMAGENET_CLASSNAMES] for prompt in PROMPTS]


def _lines(sources: Sources) -> list[str]:
    return read_lines(sources.data / "text" / "captions.txt.gz")


@torch.no_grad()
def _class_names(head: SentenceHead, classes: TeacherClasses) -> Tensor:
    """Return one unit vector a class, float32 (classes, width): the mean over the prompts."""
    return functional.normalize(head(classes.sentences).mean(dim=0), dim=-1)


@torch.no_grad()
def _through(head: SentenceHead, vectors: NDArray[np.float16]) -> NDArray[np.float16]:
    """Return the head's vectors, float16 (n, width)."""
    parts = [
        head(_float(vectors[i : i + 4096])).half().numpy() for i in range(0, len(vectors), 4096)
    ]
    return np.concatenate(parts)


def _photos(samples: Sequence[Sample], sources: Sources, classifier: nn.Module) -> CaptionedPhotos:
    preprocess = image_transform_v2(PreprocessCfg(**MODEL.preprocess), is_train=False)
    features = cached_image_features(samples, classifier, preprocess, cache=sources.cache)
    return CaptionedPhotos.collect(samples, features)


def _take_trunk(model: CustomTextCLIP, classifier: nn.Module) -> None:
    """Copy the classifier's layers below its last one into the image tower."""
    weights = classifier.state_dict()
    trunk = {name: w for name, w in weights.items() if not name.startswith("classifier")}
    model.visual.trunk.load_state_dict(trunk)
    model.visual.trunk.requires_grad_(False)


def _float(vectors: NDArray[np.float16]) -> Tensor:
    return torch.from_numpy(vectors.astype(np.float32))


def main() -> None:
    """Train the built-in model from its teachers, write its folder, print its figures."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", required=True, type=Path, help="folder with train, val and text")
    parser.add_argument("--teachers", required=True, type=Path, help="folder with the two wheels")
    parser.add_argument("--out", required=True, type=Path, help="folder to write the model to")
    parser.add_argument(
        "--wordnet",
        type=Path,
        default=Path("/usr/share/wordnet"),
        help="folder with data.noun, from Debian's wordnet-base (default: %(default)s)",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path.home() / ".cache" / "clipsearch-training",
        help="folder for what the teachers said (default: %(default)s)",
    )
    parser.add_argument("--start", type=Path, help="a model folder, in place of stages 2 to 5")
    options = parser.parse_args()
    needed = [options.data, options.teachers, options.start or options.wordnet]
    for folder in needed:  # before the work starts
        if not folder.is_dir():
            parser.error(f"there is no folder {folder}")
    sources = Sources(options.data, options.teachers, options.wordnet, options.cache, options.start)
    save_model_folder(build(sources), options.out, MODEL)
    write_graphs(options.out)
    samples = list(read_shard(options.data / "val" / "val.tar"))
    print("\n".join(report_lines(evaluate_retrieval(f"local-dir:{options.out}", samples))))
