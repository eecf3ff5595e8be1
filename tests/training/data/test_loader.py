"""Batches of real photos: the same whoever makes them, whole, and as the settings say."""

import io
import threading
from itertools import pairwise

import numpy as np
import open_clip
import pytest
import torch
from captioned_files import facts, jpeg, write_shard
from example_photos import captioned_photos, shard_members
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from clipsearch.errors import InvalidInput
from clipsearch.models.text.tokenizer import clip_tokenizer
from clipsearch.photos.preprocessing import Preprocessing
from clipsearch.training.data.augmentation import Augmentation, normalized, plain_pixels
from clipsearch.training.data.loader import Loader, shuffled
from clipsearch.training.data.sources import Sample, open_source
from clipsearch.training.run_config import AugmentationConfig

SMALL = Preprocessing(32, 32)
PLAIN = AugmentationConfig(crop_scale=(1, 1), crop_ratio=(1, 1))
FIELDS = ("pixels", "tokens", "photos", "texts", "labels")


def letters(texts):
    """Tokenize to the first 12 letters."""
    return np.array([[ord(c) for c in text[:12].ljust(12)] for text in texts])


def loader(source, **options):
    settings = {
        "preprocessing": SMALL,
        "augmentation": AugmentationConfig(flip=0.5),
        "tokenize": letters,
        "batch_size": 80,
        "seed": 3,
        "workers": 0,
    }
    return Loader(source, **(settings | options))


def same(one, other):
    return len(one) == len(other) and all(
        torch.equal(getattr(a, name), getattr(b, name))
        for a, b in zip(one, other, strict=True)
        for name in FIELDS
    )


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """250 parts of real photos: a source of three shards."""
    folder = tmp_path_factory.mktemp("shards")
    samples = captioned_photos(250)
    for number, (first, last) in enumerate(((0, 100), (100, 150), (150, 250))):
        write_shard(folder / f"{number}.tar", shard_members(samples[first:last]))
    return open_source(folder)


def test_an_epoch_shows_each_photo_once_with_a_caption_of_its_own(photos):
    made = loader(photos, batch_size=50)
    batches = list(made.epoch(0))
    assert len(batches) == made.batches_an_epoch == 5
    numbers = torch.cat([batch.photos for batch in batches])
    assert sorted(numbers.tolist()) == list(range(250))
    assert numbers.tolist() != list(range(250))
    tokens = torch.cat([batch.tokens for batch in batches])
    for number, row in zip(numbers.tolist(), tokens.tolist(), strict=True):
        own = [text[:12].ljust(12) for text in photos[number].captions]
        assert "".join(map(chr, row)) in own
    (batch, *_) = batches
    assert (batch.pixels.dtype, batch.pixels.shape) == (torch.float32, (50, 3, 32, 32))
    assert {getattr(batch, name).dtype for name in FIELDS[1:]} == {torch.int64}
    assert made.skipped == {}


def test_batches_are_the_same_by_any_number_of_workers_and_from_any_start(photos):
    whole = list(loader(photos).epoch(1))
    assert len(whole) == 3
    assert same(whole, list(loader(photos, workers=1).epoch(1)))
    assert same(whole[1:], list(loader(photos, workers=2).epoch(1, first_batch=1)))
    assert list(loader(photos).epoch(1, first_batch=3)) == []


def test_seed_and_epoch_change_order_crop_and_caption(photos):
    first = next(loader(photos).epoch(0))
    for other in (next(loader(photos).epoch(1)), next(loader(photos, seed=4).epoch(0))):
        assert not torch.equal(first.photos, other.photos)
    two = {"batch_size": 250}  # all photos in each batch, so that looks can be compared
    a, b = (next(loader(photos, **two).epoch(epoch)) for epoch in (0, 1))
    a_rows, b_rows = a.photos.argsort(), b.photos.argsort()
    assert (a.pixels[a_rows] != b.pixels[b_rows]).flatten(1).any(dim=1).float().mean() > 0.99
    changed = (a.texts[a_rows] != b.texts[b_rows]).float().mean()
    assert 0.5 < changed < 0.9  # of three to five captions another, most often


def test_ranks_share_the_batches_of_a_single_process(photos):
    whole = list(loader(photos).epoch(0))
    ranks = [list(loader(photos, rank=rank, world_size=2).epoch(0)) for rank in (0, 1)]
    for name in FIELDS:
        for batch, *parts in zip(whole, *ranks, strict=True):
            assert torch.equal(
                getattr(batch, name), torch.cat([getattr(part, name) for part in parts])
            )
    assert {len(batch.photos) for rank in ranks for batch in rank} == {40}


def test_the_model_s_own_chances_are_left_alone(photos):
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    augmented = AugmentationConfig(flip=0.5, color_jitter=0.4, grayscale=0.2, blur=0.5, erase=0.5)
    for workers in (1, 2):
        batches = loader(photos, workers=workers, augmentation=augmented).epoch(0)
        next(batches)
        batches.close()
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_loader_left_early_leaves_no_thread(photos):
    before = set(threading.enumerate())
    batches = loader(photos, workers=1).epoch(0)
    next(batches)
    batches.close()
    assert set(threading.enumerate()) == before


# what is in a batch


class Listed:
    """A source of given samples."""

    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, number):
        return self.samples[number]

    def key(self, number):
        return self.samples[number].key

    def neighbourhoods(self):
        return [range(len(self))]


def test_equal_texts_and_labels_have_equal_numbers_and_no_label_has_none():
    said = [("A dog ", "dog"), ("a dog", None), ("a cat", "cat"), ("the dog", "dog")]
    samples = [Sample(str(i), jpeg(), (text,), label) for i, (text, label) in enumerate(said)]
    (batch,) = loader(Listed(samples), batch_size=4).epoch(0)
    row = batch.photos.argsort()
    texts, labels = batch.texts[row], batch.labels[row]
    assert texts[0] == texts[1]
    assert len(set(texts.tolist())) == 3
    assert labels[1] == -1
    assert labels[0] == labels[3] != labels[2]
    assert min(texts.min(), labels[[0, 2, 3]].min()) >= 0
    again = next(loader(Listed(samples[::-1]), batch_size=4, seed=9).epoch(2))
    assert set(again.texts.tolist()) == set(texts.tolist())  # in any process, from any source


def test_open_clip_s_tokenizer_and_ours_fit(photos):
    ours = clip_tokenizer(77, {})
    theirs = open_clip.get_tokenizer("ViT-B-32")
    a, b = (next(loader(photos, tokenize=t).epoch(0)).tokens for t in (ours, theirs))
    assert a.shape == (80, 77)
    assert torch.equal(a, b)


def test_without_augmentation_pixels_are_open_clip_s_bit_for_bit(photos):
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
    for mode in ("shortest", "squash", "longest"):
        theirs = image_transform_v2(
            PreprocessCfg(size=(64, 64), resize_mode=mode, mean=mean, std=std), is_train=False
        )
        preprocessing = Preprocessing(64, 64, mean=mean, std=std, resize_mode=mode)
        made = loader(photos, preprocessing=preprocessing, augmentation=None, batch_size=20)
        batch = next(made.epoch(0))
        for number, pixels in zip(batch.photos.tolist(), batch.pixels, strict=True):
            image = Image.open(io.BytesIO(photos[number].image)).convert("RGB")
            assert torch.equal(pixels, theirs(image))


# bad samples


@pytest.fixture
def spoiled(photos, tmp_path):
    """60 photos, of which 10 have no captions and 10 can't be decoded."""
    members = {}
    for i in range(60):
        sample = photos[i]
        image = sample.image[:900] if i % 6 == 1 else sample.image
        captions = () if i % 6 == 2 else sample.captions
        members |= {f"{i}.jpg": image, f"{i}.json": facts(*captions)}
    return open_source(write_shard(tmp_path / "s.tar", members))


def test_bad_samples_are_counted_by_reason_and_replaced_in_full_batches(spoiled):
    made = loader(spoiled, batch_size=30)
    batches = list(made.epoch(0))
    assert [len(batch.photos) for batch in batches] == [30, 30]
    assert made.skipped == {
        "no caption": 10,
        "truncated JPEG: the picture data ends early": 10,
    }
    shown = torch.cat([batch.photos for batch in batches]).tolist()
    assert set(shown) == {i for i in range(60) if i % 6 not in (1, 2)}
    list(made.epoch(1))
    assert made.skipped.total() == 20  # each once
    assert same(batches[1:], list(loader(spoiled, batch_size=30).epoch(0, first_batch=1)))
    assert same(batches, list(loader(spoiled, batch_size=30, workers=2).epoch(0)))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_data_without_one_good_photo_ends_the_run_in_a_line(workers):
    broken = Listed([Sample(str(i), b"\xff\xd8\xff", ("x",)) for i in range(40)])
    with pytest.raises(InvalidInput, match=r"^50 of 50 photos .* can't be learned from") as raised:
        list(loader(broken, batch_size=10, workers=workers).epoch(0))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"batch_size": 251}, "holds 250 photos, fewer than one batch of 251"),
        ({"batch_size": 1}, "nothing to tell a photo from"),
        ({"batch_size": 10, "world_size": 3}, "can't be shared out among 3"),
    ],
)
def test_a_batch_that_cannot_be_is_refused(photos, options, complaint):
    with pytest.raises(InvalidInput, match=complaint):
        loader(photos, **options)


# order


def blocks_of(*lengths):
    ends = np.cumsum([0, *lengths]).tolist()
    return [range(a, b) for a, b in pairwise(ends)]


def test_what_fits_is_shuffled_all_together():
    counts = np.zeros((6, 6))
    for seed in range(3000):
        order = shuffled(blocks_of(2, 3, 1), np.random.default_rng(seed), 100)
        counts[np.arange(6), order] += 1
    assert np.abs(counts / 3000 - 1 / 6).max() < 0.035  # five standard deviations


def test_what_does_not_fit_is_shuffled_in_blocks_and_windows():
    blocks = blocks_of(*[100] * 40)
    order = shuffled(blocks, np.random.default_rng(0), 500)
    assert sorted(order.tolist()) == list(range(4000))
    for window in order.reshape(8, 500):
        assert len({number // 100 for number in window.tolist()}) == 5  # whole blocks, mixed
        assert (np.diff(window) < 0).mean() > 0.4
    assert len({number // 100 for number in order[:500].tolist()} & set(range(5))) < 5


# augmentation


@pytest.fixture(scope="module")
def wide():
    """A picture whose red says how far to the right, and green how far down, a pixel is."""
    across, down = np.meshgrid(np.linspace(0, 240, 300), np.linspace(0, 240, 100))
    values = np.stack([across, down, np.full_like(across, 60)], axis=-1).round().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


def looks(config, photo, count=60, preprocessing=SMALL):
    augmentation = Augmentation(config, preprocessing)
    return np.stack([augmentation(photo, np.random.default_rng(i)) for i in range(count)])


def test_the_papers_crop_is_a_square_as_high_as_the_photo_at_any_place(wide):
    pixels = looks(PLAIN, wide).astype(float)
    assert pixels.shape == (60, 3, 32, 32)
    red, green = pixels[:, 0, 16], pixels[:, 1, :, 16]
    assert np.ptp(red, axis=1) == pytest.approx(80 * 31 / 32, abs=3)  # a third of the width
    assert np.ptp(green, axis=1) == pytest.approx(240 * 31 / 32, abs=3)  # the whole height
    left = red[:, 0]
    assert left.min() < 20
    assert left.max() > 140
    assert left.max() < 164


def test_crops_keep_the_share_and_the_shape_that_they_are_told(wide):
    config = AugmentationConfig(crop_scale=(0.25, 0.25), crop_ratio=(0.5, 2))
    pixels = looks(config, wide, 200).astype(float)
    width = np.ptp(pixels[:, 0, 16], axis=1) * 32 / 31 * 300 / 240
    height = np.ptp(pixels[:, 1, :, 16], axis=1) * 32 / 31 * 100 / 240
    ratio = width / height
    assert 0.47 < ratio.min() < 0.56
    assert 1.8 < ratio.max() < 2.15
    largest = np.where(ratio < 1, 100 * 100 * ratio, 100 * 100 * ratio)  # as high as the photo
    assert width * height / largest == pytest.approx(0.25, abs=0.04)


@pytest.mark.parametrize("mode", ["squash", "longest"])
def test_a_model_that_sees_whole_photos_gets_crops_of_their_shape(wide, mode):
    preprocessing = Preprocessing(32, 32, resize_mode=mode)
    pixels = looks(PLAIN, wide, 3, preprocessing)
    assert np.abs(pixels.astype(int) - plain_pixels(wide, preprocessing).astype(int)).max() <= 4


def test_a_flip_mirrors_and_changes_nothing_else(wide):
    config = AugmentationConfig(crop_scale=(0.5, 1))
    never = looks(config, wide)
    always = looks(AugmentationConfig(crop_scale=(0.5, 1), flip=1), wide)
    sometimes = looks(AugmentationConfig(crop_scale=(0.5, 1), flip=0.5), wide)
    assert np.array_equal(always, never[..., ::-1])
    flipped = [np.array_equal(a, b) for a, b in zip(sometimes, always, strict=True)]
    assert 15 < sum(flipped) < 45


def test_colours_change_as_much_as_they_are_told(photos):
    photo = photos[3].image
    plain = looks(PLAIN, photo, 20).astype(float)
    weak, strong = (
        looks(AugmentationConfig(PLAIN.crop_scale, PLAIN.crop_ratio, color_jitter=s), photo, 20)
        for s in (0.1, 0.6)
    )
    differences = [np.abs(pixels - plain).mean(axis=(1, 2, 3)) for pixels in (weak, strong)]
    assert 0 < differences[0].mean() < differences[1].mean() / 2
    gray = looks(AugmentationConfig(PLAIN.crop_scale, PLAIN.crop_ratio, grayscale=1), photo, 2)
    assert np.array_equal(gray[:, 0], gray[:, 1])
    luma = np.einsum("c,nchw->nhw", [0.299, 0.587, 0.114], plain[:2])
    assert np.abs(gray[:, 0] - luma).max() < 1.5


def test_blur_smooths_and_erasing_paints_one_rectangle_in_the_mean_colour(photos):
    photo = photos[3].image
    large = Preprocessing(128, 128)
    plain, blurred = (
        looks(AugmentationConfig(PLAIN.crop_scale, PLAIN.crop_ratio, blur=b), photo, 20, large)
        for b in (0, 1)
    )
    rough = [np.abs(np.diff(p.astype(float), axis=-1)).mean() for p in (plain, blurred)]
    assert rough[1] < 0.9 * rough[0]
    assert blurred.mean() == pytest.approx(plain.mean(), rel=0.01)
    plain = looks(PLAIN, photo)
    erased = looks(AugmentationConfig(PLAIN.crop_scale, PLAIN.crop_ratio, erase=1), photo)
    for before, after in zip(plain, erased, strict=True):
        changed = (before != after).any(axis=0)
        rows, columns = np.nonzero(changed.any(axis=1))[0], np.nonzero(changed.any(axis=0))[0]
        box = after[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert np.abs(normalized(box[None], SMALL)).max() < 0.01  # 0 is the mean
        assert 0.015 < box[0].size / 32**2 < 0.4


def test_a_large_photo_is_decoded_small_and_looks_the_same(photos):
    image = Image.open(io.BytesIO(photos[5].image)).resize((1280, 960), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    png = io.BytesIO()
    image.save(png, "PNG")
    augmentation = Augmentation(AugmentationConfig(crop_scale=(0.05, 0.1)), SMALL)
    for seed in range(3):
        small, whole = (
            augmentation(data.getvalue(), np.random.default_rng(seed)).astype(float)
            for data in (file, png)
        )
        assert np.abs(small - whole).mean() < 5
