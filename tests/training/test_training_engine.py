"""What a run trains and how: models, objectives, optimizer, averages, and the whole of a run."""

import json
import math
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch
from open_clip.loss import SigLipLoss
from tiny_training import (
    CONVNEXT,
    RESNET,
    VIT,
    run,
    tiny_config,
    with_model,
    with_output,
    write_json,
    write_shard,
)
from torch.nn import functional

from clipsearch.errors import ClipsearchError, InvalidInput, ModelError, UnknownModel
from clipsearch.models.loading import load_model
from clipsearch.models.names import resolve_model
from clipsearch.models.text.towers import ShortTower
from clipsearch.photos.preprocessing import Preprocessing
from clipsearch.training.data.augmentation import normalized
from clipsearch.training.data.sources import open_source
from clipsearch.training.learning.divergence import StuckWatch, TrainingDiverged
from clipsearch.training.learning.losses import contrastive_loss, same_meaning, sigmoid_loss
from clipsearch.training.learning.objective import Objective, balanced_bias
from clipsearch.training.learning.optimization import make_optimizer, rate_shares
from clipsearch.training.output import write_model_folder
from clipsearch.training.progress import news
from clipsearch.training.run_config import ModelConfig, ObjectiveConfig, OptimizationConfig
from clipsearch.training.towers.averaging import RunningMean, choose_mix, mixed
from clipsearch.training.towers.low_rank import merged_state
from clipsearch.training.towers.models import (
    CONFIGS,
    build_model,
    is_text,
    read_design,
    set_training_mode,
)
from clipsearch.training.validation import Validation

SOFTMAX, SIGMOID = ObjectiveConfig(), ObjectiveConfig(loss="sigmoid")


def scratch(tmp_path, model=VIT, *, objective=SOFTMAX, **settings):
    torch.manual_seed(0)
    name = write_json(tmp_path / "model.json", model)
    return build_model(ModelConfig(name=name, scratch=True, **settings), objective)


def pictures(size: int, n: int = 2) -> torch.Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(5))


# --- objectives


def unit(n, seed):
    values = torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))
    return functional.normalize(values, dim=1)


def test_the_sigmoid_loss_is_that_of_open_clip():
    images, texts = unit(6, 1), unit(6, 2)
    scale, bias = torch.tensor(9.0), torch.tensor(-3.0)
    expected = SigLipLoss()(images, texts, scale, bias)
    assert torch.allclose(sigmoid_loss(images, texts, scale, bias), expected)


def test_pairs_of_the_same_meaning_are_left_out_of_the_sigmoid_loss():
    images, texts = unit(4, 1), unit(4, 2)
    scale, bias = torch.tensor(9.0), torch.tensor(-3.0)
    same = same_meaning(torch.tensor([0, 1, 0, 2]))
    logits = (scale * images @ texts.T + bias).double()
    total = 0.0
    for i in range(4):
        for j in range(4):
            if {i, j} != {0, 2}:
                sign = 1 if i == j else -1
                total += math.log1p(math.exp(-sign * float(logits[i, j])))
    given = sigmoid_loss(images, texts, scale, bias, same=same)
    assert given.item() == pytest.approx(total / 4, rel=1e-5)


def test_the_parts_of_the_rows_add_up_to_the_whole_loss():
    images, texts = unit(6, 1), unit(6, 2)
    scale, bias = torch.tensor(9.0), torch.tensor(-3.0)
    same = same_meaning(torch.tensor([0, 1, 0, 2, 3, 1]))

    def softmax(rows=None):
        return contrastive_loss(images, texts, scale, same=same, label_smoothing=0.1, rows=rows)

    def sigmoid(rows=None):
        return sigmoid_loss(images, texts, scale, bias, same=same, rows=rows)

    for loss in (softmax, sigmoid):
        parts = loss(range(0, 2)) + loss(range(2, 6))
        assert torch.allclose(parts, loss(), atol=1e-6)


def test_labels_count_as_meaning_only_where_wanted(tmp_path):
    network = scratch(tmp_path).network
    images, texts = unit(4, 1), unit(4, 2)
    keys = torch.tensor([[0, 0, 7], [1, 1, 7], [2, 2, -1], [3, 3, -1]])
    strict = Objective(replace(SOFTMAX, same_label_is_no_negative=False))
    apart = keys.clone()
    apart[:, 2] = -1
    values = [
        o(network, images, texts, k).item()
        for o, k in ((Objective(SOFTMAX), keys), (strict, keys), (Objective(SOFTMAX), apart))
    ]
    assert values[0] < values[1] == values[2]


def test_the_logit_scale_is_clamped(tmp_path):
    network = scratch(tmp_path).network
    objective = Objective(replace(SOFTMAX, max_logit_scale=50))
    for value, expected in ((9.0, math.log(50)), (-1.0, 0.0), (2.0, 2.0)):
        network.logit_scale.data.fill_(value)
        objective.clamp(network)
        assert network.logit_scale.item() == pytest.approx(expected)


def test_a_balanced_bias_expects_as_many_right_pairs_as_there_are():
    logits = 100 * unit(8, 1) @ unit(8, 2).T
    assert float(torch.sigmoid(logits + balanced_bias(logits)).sum()) == pytest.approx(8, rel=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_logit_scale": 1.0},
        {"label_smoothing": 1.0},
        {"loss": "sigmoid", "label_smoothing": 0.1},
    ],
)
def test_objectives_that_make_no_sense_are_refused(settings):
    with pytest.raises(InvalidInput, match="objective"):
        Objective(ObjectiveConfig(**settings))


# --- models


@pytest.mark.parametrize("model", [VIT, RESNET, CONVNEXT], ids=["vit", "resnet", "convnext"])
def test_every_kind_of_image_tower_is_built_from_scratch(tmp_path, model):
    built = scratch(tmp_path, model)
    size = built.design.image_size
    assert built.design.preprocessing["size"] == size
    assert built.network.encode_image(pictures(size)).shape == (2, 16)
    assert built.network.logit_scale.exp().item() == pytest.approx(1 / 0.07)


def test_the_small_configurations_are_known_by_name():
    names = [path.stem for path in CONFIGS.glob("*.json")]
    assert {"small-vit", "small-resnet"} <= set(names)
    for name in names:
        read_design(name).network()


def test_architectures_of_open_clip_are_known_by_name():
    design = read_design("RN50")
    assert design.config["vision_cfg"]["layers"] == [3, 4, 6, 3]
    assert design.preprocessing["size"] == 224
    with pytest.raises(UnknownModel, match="no architecture is called 'ViT-B-99'"):
        read_design("ViT-B-99")


def test_a_bag_of_words_is_the_projected_mean_of_the_words(tmp_path):
    model = scratch(tmp_path, text_tower="cbow")
    network, tokenizer = model.network, model.design.tokenizer()
    texts = ["a dog in the snow", "snow"]
    ids = torch.from_numpy(tokenizer(texts))
    words = network.token_embedding.weight
    expected = []
    for row in ids:
        # Its first and last token start at 0, so they count as places of the mean alone.
        real = row[row != 0]
        mean = words[real].mean(dim=0)
        expected.append((mean - mean.mean()) @ network.text_projection)
    given = network.encode_text(ids)
    assert torch.allclose(given, torch.stack(expected), rtol=1e-4, atol=1e-7)
    shuffled = torch.from_numpy(tokenizer(["the snow in a dog"]))
    assert torch.allclose(network.encode_text(shuffled)[0], given[0], rtol=1e-4, atol=1e-7)
    assert ShortTower.fits(network)
    trained = {n for n, p in network.named_parameters() if p.requires_grad and is_text(n)}
    assert trained == {"token_embedding.weight", "text_projection"}


@pytest.mark.parametrize("model", [VIT, RESNET], ids=["vit", "resnet"])
def test_position_embeddings_are_interpolated_for_another_size(tmp_path, model):
    first = scratch(tmp_path, model)
    write_model_folder(first.design, first.network.state_dict(), tmp_path)
    same = build_model(ModelConfig(name=str(tmp_path)), SOFTMAX)
    size = same.design.image_size
    larger = build_model(ModelConfig(name=str(tmp_path), image_size=2 * size), SOFTMAX)
    assert larger.design.preprocessing["size"] == 2 * size
    name = "visual.positional_embedding"
    if model is RESNET:
        name = "visual.attnpool.positional_embedding"
    before, after = (m.network.state_dict()[name] for m in (same, larger))
    assert len(after) - 1 == 4 * (len(before) - 1)
    assert torch.equal(after[0], before[0])  # the class token's
    assert torch.allclose(after[1:].mean(dim=0), before[1:].mean(dim=0), atol=0.05)
    assert larger.network.encode_image(pictures(2 * size)).shape == (2, 16)


def test_frozen_towers_stay_as_they_are_batch_norms_too(tmp_path):
    config = with_model(tiny_config(tmp_path, RESNET, steps=1), freeze_image=True)
    model = build_model(config.model, SOFTMAX)
    set_training_mode(model.network)
    x = pictures(32, 8)
    before = model.network.encode_image(x)
    optimizer = make_optimizer(model.network, config.optimization)
    model.network.encode_text(torch.from_numpy(model.design.tokenizer()(["a"]))).sum().backward()
    optimizer.step()
    assert torch.equal(model.network.encode_image(x), before)
    with pytest.raises(InvalidInput, match="can't unlock groups of this image tower"):
        build_model(replace(config.model, unlocked_image_groups=1), SOFTMAX)


def test_the_last_groups_of_a_locked_tower_can_be_trained(tmp_path):
    network = scratch(tmp_path, freeze_image=True, unlocked_image_groups=2).network
    trained = [n for n, p in network.named_parameters() if p.requires_grad and not is_text(n)]
    assert "visual.proj" in trained and "visual.conv1.weight" not in trained
    assert any("resblocks.1" in n for n in trained) and not any("blocks.0" in n for n in trained)


def test_the_last_groups_of_timms_towers_too(tmp_path):
    network = scratch(tmp_path, CONVNEXT, freeze_image=True, unlocked_image_groups=1).network
    trained = [n for n, p in network.named_parameters() if p.requires_grad and not is_text(n)]
    assert "visual.head.proj.weight" in trained
    assert not any(".stem." in name or ".stages.0." in name for name in trained)


def test_low_rank_changes_are_merged_into_plain_weights(tmp_path):
    plain = scratch(tmp_path).network
    model = scratch(tmp_path, lora_rank=2, lora_layers="attn|c_fc")
    network, x = model.network, pictures(16)
    assert torch.allclose(network.encode_image(x), plain.encode_image(x))  # nothing at first
    trained = [n for n, p in network.named_parameters() if p.requires_grad]
    assert trained and all(n in ("logit_scale",) or ".0.up" in n or ".0.down" in n for n in trained)
    # 2 towers of 2 blocks, in each: in_proj, out_proj, c_fc.
    assert sum(name.endswith(".0.up") for name in trained) == 12
    for name, parameter in network.named_parameters():
        if name.endswith(".0.up"):
            parameter.data.normal_()
    state = merged_state(network)
    assert state.keys() == plain.state_dict().keys()
    plain.load_state_dict(state)
    assert torch.allclose(network.encode_image(x), plain.encode_image(x), atol=1e-6)
    assert torch.equal(state["visual.proj"], network.visual.proj)


def test_low_rank_changes_that_fit_nothing_are_refused(tmp_path):
    with pytest.raises(InvalidInput, match="fits no trainable linear layer"):
        scratch(tmp_path, lora_rank=2, lora_layers="nosuchlayer")


def test_gradient_checkpointing_gives_the_same_gradient(tmp_path):
    found = []
    for checkpointing in (False, True):
        network = scratch(tmp_path, gradient_checkpointing=checkpointing).network
        set_training_mode(network)
        assert network.visual.transformer.grad_checkpointing is checkpointing
        network.encode_image(pictures(16)).square().sum().backward()
        found.append(network.visual.conv1.weight.grad)
    assert torch.allclose(*found)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"freeze_image": True, "freeze_text": True}, "nothing is left to be trained"),
        ({"initial_logit_scale": 200.0}, "initial_logit_scale must be from 1"),
        ({"image_size": 5}, "does not work with pictures of 5 x 5"),
    ],
)
def test_models_that_make_no_sense_are_refused(tmp_path, settings, message):
    with pytest.raises(ClipsearchError, match=message):
        scratch(tmp_path, **settings)


def test_a_text_tower_of_another_repository_is_refused(tmp_path):
    model = {**VIT, "text_cfg": {"hf_model_name": "some/where", "hf_tokenizer_name": "some/where"}}
    with pytest.raises(ModelError, match="hf_model_name"):
        scratch(tmp_path, model)


# --- optimizer and averages


def test_gains_biases_embeddings_and_the_scale_do_not_decay(tmp_path):
    network = scratch(tmp_path).network
    optimizer = make_optimizer(network, OptimizationConfig(weight_decay=0.3))
    names = {id(p): name for name, p in network.named_parameters()}
    decay = {
        names[id(p)]: group["weight_decay"]
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert decay.keys() == set(names.values())
    for name, value in decay.items():
        plain = name.endswith(("bias", "embedding", "token_embedding.weight", "logit_scale"))
        assert value == (0.0 if plain or ".ln_" in name or name.startswith("ln_") else 0.3), name


def test_each_tower_and_each_layer_has_its_rate(tmp_path):
    network = scratch(tmp_path).network
    wanted = OptimizationConfig(learning_rate=1e-3, text_learning_rate=5e-4, layer_decay=0.5)
    shares = rate_shares(network, wanted)
    assert shares["logit_scale"] == shares["visual.proj"] == 1
    assert shares["visual.transformer.resblocks.1.mlp.c_fc.weight"] == 0.5
    assert shares["visual.transformer.resblocks.0.mlp.c_fc.weight"] == 0.25
    assert shares["visual.conv1.weight"] == shares["visual.class_embedding"] == 0.125
    assert shares["text_projection"] == shares["ln_final.weight"] == 0.5
    assert shares["token_embedding.weight"] == 0.5 * 0.125
    optimizer = make_optimizer(network, wanted)
    assert {g["lr"] for g in optimizer.param_groups} == {1e-3 * s for s in shares.values()}


def test_the_layers_of_resnets_and_of_timms_towers_are_known(tmp_path):
    wanted = OptimizationConfig(layer_decay=0.5)
    shares = rate_shares(scratch(tmp_path, RESNET).network, wanted)
    assert shares["visual.attnpool.c_proj.weight"] == 1
    assert shares["visual.layer4.0.conv1.weight"] == 0.5
    assert shares["visual.conv1.weight"] == 0.5**5
    shares = rate_shares(scratch(tmp_path, CONVNEXT).network, wanted)
    assert shares["visual.head.proj.weight"] == 1
    stem = [share for name, share in shares.items() if ".stem." in name]
    assert stem and max(stem) == min(shares.values()) < 0.25


def test_the_running_mean_follows_the_weights():
    network = torch.nn.Linear(1, 1)
    network.weight.data.fill_(0)
    mean = RunningMean(network, 0.5)
    expected = 0.0
    for step, value in enumerate((1.0, 2.0, 3.0), 1):
        network.weight.data.fill_(value)
        mean.update(network, step)
        decay = min(0.5, step / (step + 10))
        expected = decay * expected + (1 - decay) * value
    with mean.in_place_of_weights(network):
        assert network.weight.item() == pytest.approx(expected)
    assert network.weight.item() == 3


def test_a_mixture_is_chosen_by_validation_and_by_what_must_be_kept():
    start, tuned = {"w": torch.tensor([0.0])}, {"w": torch.tensor([1.0])}

    def task(state):  # best at 0.8
        return -abs(float(state["w"]) - 0.8)

    def other(state):
        return (1.0, 1.0 - 0.05 * float(state["w"]))

    assert choose_mix(start, tuned, task).share == 0.8
    kept = choose_mix(start, tuned, task, keeps=other, most_loss=0.0201)
    assert kept.share == 0.4 and kept.state["w"].item() == pytest.approx(0.4)
    assert kept.kept[0.8] == pytest.approx((1.0, 0.96))
    nothing = choose_mix(start, tuned, task, keeps=lambda s: (-float(s["w"]),), most_loss=0.01)
    assert nothing.share == 0 and nothing.state["w"].item() == 0
    count = {"n": torch.tensor(3)}
    assert mixed(count, {"n": torch.tensor(7)}, 0.5)["n"] == 7  # counters are not mixed


def test_a_loss_that_stands_at_guessing_is_noticed_once():
    watch = StuckWatch(5.0, patience=3, formula="ln(batch)")
    assert [watch.warning(loss) for loss in (4.99, 4.0, 5.0, 4.98)] == [None] * 4
    assert "ln(batch) = 5.00" in watch.warning(5.01)
    assert watch.warning(5.0) is None


# --- the whole of a run


def test_a_run_learns_and_its_folder_is_a_model(tmp_path):
    config = with_output(tiny_config(tmp_path, steps=40), evaluate_every=20, log_every=10)
    result, steps = run(config, tmp_path / "run")
    assert result.finished and result.step == len(steps) == 40
    assert steps[-1].loss < 0.6 * steps[0].loss
    written = (tmp_path / "run" / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in written.splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30, 40]
    assert lines[0]["loss"] == pytest.approx(np.mean([s.loss for s in steps[:10]]))
    measured = {line["step"]: line["val/mean_recall"] for line in lines if "val/loss" in line}
    assert measured.keys() == {20, 40} and result.best_step == max(measured, key=measured.get)
    assert measured[40] > 0.5  # of ten photos

    loaded = load_model(resolve_model(str(result.folder)))
    theirs = open_clip.create_model(f"local-dir:{result.folder}").eval()
    x = pictures(16)
    assert torch.allclose(loaded.network.encode_image(x), theirs.encode_image(x), atol=1e-6)
    # And what is found with it is what was measured.
    again = build_model(ModelConfig(name=str(result.folder)), SOFTMAX)
    assert torch.allclose(again.network.eval().encode_image(x), theirs.encode_image(x), atol=1e-6)
    assert result.validation["mean_recall"] == pytest.approx(measured[result.best_step], abs=0.05)


def test_a_bag_of_words_is_trained_with_the_sigmoid_loss_saved_and_loaded(tmp_path):
    config = with_model(tiny_config(tmp_path, steps=3), text_tower="cbow")
    result, _ = run(replace(config, objective=SIGMOID), tmp_path / "run")
    loaded = load_model(resolve_model(str(result.folder)))
    ids = [torch.from_numpy(loaded.tokenizer([t])) for t in ("red over blue", "blue over red")]
    one, two = (loaded.network.encode_text(i) for i in ids)
    assert torch.allclose(one, two, rtol=1e-3, atol=1e-6)
    model = build_model(ModelConfig(name=str(result.folder)), SOFTMAX)  # and trained further
    assert not model.network.transformer.resblocks[0].attn.in_proj_weight.requires_grad
    assert loaded.network.logit_bias.item() == pytest.approx(-10, abs=0.1)


def test_fine_tuning_begins_where_the_model_is_and_may_keep_what_it_knew(tmp_path):
    first, _ = run(tiny_config(tmp_path, steps=20), tmp_path / "first")
    config = with_model(tiny_config(tmp_path, steps=2), name=str(first.folder), scratch=False)
    keep = write_shard(tmp_path / "keep.tar", photos=10, seed=2)
    config = with_output(config, wise_ft=True, wise_ft_keep=(keep,), wise_ft_loss=0.0)
    result, steps = run(config, tmp_path / "second")
    assert steps[0].loss < 0.9 * math.log(16)
    assert result.mix is not None and len(result.mix.scores) == 11
    kept = result.mix.kept
    assert min(np.subtract(kept[result.mix.share], kept[0.0])) >= 0


def test_low_rank_tuning_with_a_running_mean_ends_in_plain_weights(tmp_path):
    first, _ = run(tiny_config(tmp_path, steps=2), tmp_path / "first")
    config = tiny_config(tmp_path, steps=3, ema=0.9, layer_decay=0.8)
    config = with_model(config, name=str(first.folder), scratch=False, lora_rank=2)
    result, steps = run(config, tmp_path / "second")
    assert "low-rank changes of" in news(steps[0])[0]
    before, after = (
        load_model(resolve_model(str(r.folder))).network.state_dict() for r in (first, result)
    )
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all("attn" in n or "mlp" in n or n == "logit_scale" for n in moved)


def test_a_run_says_first_what_is_wrong_with_its_tables(tmp_path, sample_photos):
    rows = [f"{path.resolve()},a photo of {path.stem}" for path in sample_photos[:6]]
    (tmp_path / "a.csv").write_text("\n".join(["image,caption", *rows, '0.jpg,"open']))
    (tmp_path / "b.csv").write_text("\n".join(["image,caption", *rows, ",nobody's"]))
    config = tiny_config(tmp_path, steps=2, batch_size=4)
    tables = tuple(str(tmp_path / name) for name in ("a.csv", "b.csv"))
    data = replace(config.data, train=tables[:1], validation=tables)
    _, steps = run(replace(config, data=data), tmp_path / "run")
    *tables, photos = news(steps[0])
    assert [line.rpartition("/")[2][:13] for line in tables] == ["a.csv, line 8", "b.csv, line 8"]
    assert photos.startswith("1 photo of the validation data can't be used, the first: 0.jpg: ")
    assert not steps[1].warning


def test_the_last_part_may_have_a_higher_resolution(tmp_path):
    config = tiny_config(tmp_path, steps=2, final_image_size=32, final_epochs=0.7, ema=0.5)
    result, steps = run(config, tmp_path / "run")
    assert [step.step for step in steps] == [1, 2, 3, 4] and result.steps == 4
    loaded = load_model(resolve_model(str(result.folder)))
    assert loaded.identity.image_size == 32 and result.best_step == 4


def test_half_precision_on_the_processor_learns_as_well(tmp_path):
    for precision in ("bf16", "fp16"):
        config = tiny_config(tmp_path, steps=4, precision=precision, micro_batch=8)
        _, steps = run(config, tmp_path / precision)
        assert all(math.isfinite(step.loss) for step in steps)


def test_a_run_that_diverges_stops_and_says_what_helps(tmp_path):
    config = tiny_config(tmp_path, steps=10, learning_rate=9.0, max_gradient_norm=0.0)
    config = with_model(config, initial_logit_scale=100.0)
    shard = config.data.train[0]
    assert shard
    with pytest.raises(TrainingDiverged, match=r"at step \d+; usual cures: a lower learning_rate"):
        run(
            replace(config, optimization=replace(config.optimization, learning_rate=1e30)),
            tmp_path / "run",
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: with_output(c, metric="accuracy"), "output.metric must be one of mean_recall"),
        (lambda c: with_output(c, wise_ft=True), "wise_ft needs weights to start from"),
        (lambda c: replace(c, optimization=replace(c.optimization, batch_size=100)), "fewer than"),
        (lambda c: replace(c, data=replace(c.data, train=("nowhere.tar",))), "nowhere.tar"),
        (lambda c: with_model(c, name="nothing"), "no architecture is called 'nothing'"),
    ],
)
def test_what_can_not_work_is_refused_before_the_first_step(tmp_path, change, message):
    config = change(tiny_config(tmp_path))
    with pytest.raises(ClipsearchError, match=message) as caught:
        run(config, tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_photos_with_the_same_caption_are_as_right_as_the_captions_own(tmp_path):
    # 50 photos of 25 pairs of colours: numbers i and i + 25 look alike and share their captions.
    source = open_source(write_shard(tmp_path / "val.tar", photos=50))
    model = scratch(tmp_path)
    preprocessing = Preprocessing.from_json(json.dumps(model.design.preprocessing))
    validation = Validation(source, preprocessing, model.design.tokenizer())
    assert len(validation) == 50 and len(validation.captions) == 100

    class ByColour(torch.nn.Module):
        """Knows both colours of a photo, and the number of a caption."""

        logit_scale, logit_bias = torch.tensor(2.0), None

        def encode_image(self, pixels):
            means = torch.stack([pixels[:, :, :6].mean(dim=(2, 3)), pixels[:, :, 10:].mean((2, 3))])
            return means.permute(1, 0, 2).reshape(len(pixels), -1)

        def encode_text(self, tokens):
            rows = torch.arange(len(tokens)) // 2
            return self.encode_image(torch.from_numpy(pictures_of_texts[rows.numpy()]))

    pictures_of_texts = normalized(validation.pixels, preprocessing)
    found = validation.measure(
        ByColour(),
        Objective(SOFTMAX),
        batch_size=10,
        device=torch.device("cpu"),
        sheet=tmp_path / "sheet.png",
    )
    # Noise makes every other photo the best of the two alike; both count.
    assert found["text_to_image_R@1"] == found["image_to_text_R@1"] == found["mean_recall"] == 1
    assert 0 < found["loss"] < math.log(10)
    assert (tmp_path / "sheet.png").stat().st_size > 1000
