"""Image towers made over for speed or in lower precisions, and those they were made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from test_encoder import load, lowest_cosine, one_line, open_clips_own
from tiny_models import CLIP, TIMM_TOWER, save_tiny_model

from clipsearch.errors import InvalidInput
from clipsearch.models.devices import PRECISIONS
from clipsearch.models.encoder import Encoder, load_encoder
from clipsearch.models.loading import LoadedModel
from clipsearch.models.names import resolve_model


@pytest.fixture(scope="module")
def images(sample_photos: list[Path]) -> list[PIL.Image.Image]:
    images = [PIL.Image.open(path).convert("RGB") for path in sample_photos[:4]]
    return [images[0].resize((300, 120)), *images[1:]]


# precisions


def test_the_first_layers_of_the_builtin_tower_stay_in_float32(monkeypatch, images):
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("torch can't even emulate convolutions in bf16 on this processor")
    monkeypatch.setenv("CLIPSEARCH_PRECISION", "bf16")
    encoder, exact = load("builtin"), load("builtin", exact=True)
    assert (encoder.precision, exact.precision) == ("bf16", "float32")
    assert encoder.spared > 0
    trunk = encoder._network.visual.trunk
    kinds = [{w.dtype for w in part.parameters()} for part in (trunk.conv_stem, *trunk.blocks[3:])]
    assert kinds == [{torch.float32}, *[{torch.bfloat16}] * 4]
    found, expected = (e.encode_images(images) for e in (encoder, exact))
    assert not np.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_precision_that_turns_vectors_is_not_taken(tmp_path, monkeypatch, images, precision):
    from clipsearch.models.loading import load_model

    def spoiled() -> LoadedModel:
        loaded = load_model(resolve_model(str(tmp_path / "model")))
        tower = loaded.network.visual
        with torch.no_grad():  # what all values have in common is large, and projected away
            tower.ln_post.bias += 1e4
            tower.proj -= tower.proj.mean(dim=0)
        return loaded

    save_tiny_model(tmp_path / "model")
    encoder = Encoder(spoiled(), torch.device("cpu"), [precision])
    assert (encoder.precision, encoder.spared) == ("float32", 0)
    expected = Encoder(spoiled(), torch.device("cpu")).encode_images(images)
    np.testing.assert_array_equal(encoder.encode_images(images), expected)


def test_the_next_precision_is_taken_where_one_does_not_fit(tmp_path):
    from clipsearch.models.loading import load_model

    loaded = load_model(resolve_model(str(save_tiny_model(tmp_path / "model"))))
    assert Encoder(loaded, torch.device("cpu"), ["int8", "bf16"]).precision == "bf16"


def test_exact_is_float32_whatever_is_asked_for(tmp_path, images, monkeypatch):
    folder = save_tiny_model(tmp_path / "model")
    found = []
    for precision in PRECISIONS:
        monkeypatch.setenv("CLIPSEARCH_PRECISION", precision)
        encoder = load(folder, exact=True)
        assert encoder.precision == "float32"
        found.append(encoder.encode_images(images))
    for vectors in found[1:]:
        np.testing.assert_array_equal(vectors, found[0])


def test_a_precision_that_is_none_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPSEARCH_PRECISION", "fp8")
    with pytest.raises(InvalidInput) as error:
        load(save_tiny_model(tmp_path / "model"))
    assert "CLIPSEARCH_PRECISION" in one_line(error) and "bf16" in one_line(error)


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize(("groups", "channels"), [(1, 3), (8, 8)])
@pytest.mark.parametrize("activation", [torch.nn.ReLU6, torch.nn.ReLU, torch.nn.SiLU])
def test_lean_convolutions_give_what_the_plain_ones_give(size, groups, channels, activation):
    from timm.layers.conv2d_same import Conv2dSame

    from clipsearch.models.faster_layers import ActivatedConvolution, lean_convolutions

    torch.manual_seed(0)
    tower = torch.nn.Sequential(
        Conv2dSame(channels, 8, size, stride=2, groups=groups),
        torch.nn.Sequential(torch.nn.Identity(), activation()),
        torch.nn.Conv2d(8, 4, 1, bias=False),
        torch.nn.Sequential(torch.nn.Identity(), torch.nn.Identity()),
    ).to(memory_format=torch.channels_last)
    pictures = 4 * torch.randn(2, channels, 30, 44)
    with torch.inference_mode():
        expected = tower(pictures)
        lean_convolutions(tower).make()
        torch.testing.assert_close(tower(pictures), expected)
    kinds = [type(layer) for layer in tower.modules()]
    assert Conv2dSame not in kinds
    assert (ActivatedConvolution in kinds) == (activation is not torch.nn.SiLU)


@pytest.mark.parametrize("failure", ["raises", "turns"])
def test_lean_convolutions_that_do_not_work_are_left_out(tmp_path, monkeypatch, images, failure):
    from clipsearch.models.faster_layers import ActivatedConvolution

    source = resolve_model("builtin")
    expected = load_encoder(source, device="cpu", exact=True).encode_images(images)
    used = []

    def broken(self, x):
        used.append(len(x))
        if failure == "raises":
            raise RuntimeError("no such operator")
        return self.convolution(x).abs()

    monkeypatch.setattr(ActivatedConvolution, "forward", broken)
    encoder = load_encoder(source, device="cpu", exact=True)
    assert used == [1] if failure == "raises" else used  # it was tried
    used.clear()
    assert lowest_cosine(encoder.encode_images(images), expected) > 0.99999
    assert not used


class Without:
    """A namespace of torch's operators where one is missing, or is another."""

    def __init__(self, namespace: Any, name: str, other: Any = None) -> None:
        self._namespace, self._name, self._other = namespace, name, other

    def __getattr__(self, name: str) -> Any:
        if name == self._name and self._other is None:
            raise AttributeError(f"no operator {name}")
        return self._other if name == self._name else getattr(self._namespace, name)


def take_away(monkeypatch: pytest.MonkeyPatch, operator: str, *, wants_others: bool) -> None:
    """Take an operator from torch, or put one in its place that wants other arguments."""
    space, _, name = operator.partition(".")
    namespace = getattr(torch.ops, space)
    other = torch.ops.aten.relu if wants_others else None
    monkeypatch.setattr(torch.ops, space, Without(namespace, name, other))


@pytest.mark.parametrize("wants_others", [False, True], ids=["missing", "of another version"])
def test_without_the_fused_convolution_the_rest_is_lean(monkeypatch, images, wants_others):
    from timm.layers.conv2d_same import Conv2dSame

    from clipsearch.models.faster_layers import ActivatedConvolution

    def kinds(encoder: Encoder) -> set[type]:
        return {type(layer) for layer in encoder._network.visual.modules()}

    before = load("builtin", exact=True)
    assert ActivatedConvolution in kinds(before)
    take_away(monkeypatch, "mkldnn._convolution_pointwise", wants_others=wants_others)
    encoder = load("builtin", exact=True)
    assert not {ActivatedConvolution, Conv2dSame} & kinds(encoder)
    found = encoder.encode_images(images)
    monkeypatch.undo()
    assert lowest_cosine(found, before.encode_images(images)) > 0.99999


@pytest.fixture
def exact_products():
    """Skip where sums of products of int8 overflow: int8 is not used on such a processor."""
    from clipsearch.models.faster_layers import Int8Linear

    rising = torch.linspace(0, 1, 256)[None]  # and so 0 to 255
    if (Int8Linear(torch.ones(256, 256), None)(rising) - rising.sum()).abs().max() > 1:
        pytest.skip("without VNNI instructions, products of int8 overflow")


@pytest.fixture
def counted_calls(monkeypatch):
    """Ask for int8, emulated if need be; count what the int8 layers do."""
    from clipsearch.models.faster_layers import Int8Linear

    calls = []
    forward = Int8Linear.forward

    def counting(self, x):
        calls.append(len(x))
        return forward(self, x)

    monkeypatch.setenv("CLIPSEARCH_PRECISION", "int8")
    monkeypatch.setattr(Int8Linear, "forward", counting)
    return calls


WIDE = {**CLIP, "vision_cfg": {**CLIP["vision_cfg"], "width": 256, "head_width": 64}}


@pytest.fixture
def wide_encoder(tmp_path):
    from clipsearch.models.loading import load_model

    def make(config=WIDE, spoil=lambda network: None, exact=False):
        loaded = load_model(resolve_model(str(save_tiny_model(tmp_path / "wide", config))))
        with torch.no_grad():
            spoil(loaded.network)
        return Encoder(loaded, torch.device("cpu"), () if exact else ["int8"])

    return make


@pytest.mark.parametrize(("quick_gelu", "patch_size"), [(False, 8), (True, 8), (False, 16)])
def test_a_transformer_works_in_int8_where_that_changes_no_vector(
    exact_products, wide_encoder, counted_calls, images, quick_gelu, patch_size
):
    vision = {**WIDE["vision_cfg"], "patch_size": patch_size}
    config = {**WIDE, "quick_gelu": quick_gelu, "vision_cfg": vision}
    exact = wide_encoder(config, exact=True).encode_images(images)
    assert not counted_calls
    encoder = wide_encoder(config)
    counted_calls.clear()
    quick = encoder.encode_images(images)
    # In each block two of the attention, two of the rest; and patches of 3 * 16 * 16 values.
    assert len(counted_calls) == 2 * 4 + (patch_size == 16)
    assert not np.allclose(quick, exact, atol=1e-5)
    assert lowest_cosine(quick, exact) >= 0.999
    alone = np.concatenate([encoder.encode_images([image]) for image in images])
    np.testing.assert_allclose(quick, alone, atol=1e-5)


def test_whether_int8_is_used_does_not_depend_on_the_photos(wide_encoder, counted_calls, images):
    first, second = wide_encoder(), wide_encoder()
    first.encode_images(images[1:])
    np.testing.assert_array_equal(first.encode_images(images), second.encode_images(images))
    assert counted_calls


def test_measuring_a_model_is_exact(tmp_path, counted_calls):
    from clipsearch.training.evaluation.embedding import open_encoder

    folder = save_tiny_model(tmp_path / "wide", WIDE)
    load(folder)
    assert counted_calls  # int8 where nothing is said
    counted_calls.clear()
    open_encoder(str(folder), "cpu")
    assert not counted_calls


def test_a_transformer_that_int8_would_change_stays_as_it_is(wide_encoder, counted_calls, images):
    def spoil(network):
        """Give each row of activations one value that leaves int8 no room for the others."""
        for block in network.visual.transformer.resblocks:
            block.ln_1.bias[0] = block.ln_2.bias[0] = 3000
            block.attn.in_proj_weight[:, 0] = block.mlp.c_fc.weight[:, 0] = 0

    encoder = wide_encoder(spoil=spoil)
    assert counted_calls  # tried on pictures of its own
    counted_calls.clear()
    found = encoder.encode_images(images)
    assert not counted_calls
    np.testing.assert_array_equal(
        found, wide_encoder(spoil=spoil, exact=True).encode_images(images)
    )


def test_a_convolutional_tower_stays_exact(tmp_path, counted_calls):
    projection = {**TIMM_TOWER, "embed_dim": 256}
    load(save_tiny_model(tmp_path / "model", projection))
    assert not counted_calls


def test_a_torch_that_can_not_pack_int8_weights_changes_nothing(
    wide_encoder, images, counted_calls, monkeypatch
):
    from clipsearch.models.faster_layers import Int8Linear

    def broken(self, weight, bias):
        raise RuntimeError("no such operator")

    monkeypatch.setattr(Int8Linear, "__init__", broken)
    found = wide_encoder().encode_images(images)
    assert not counted_calls
    np.testing.assert_array_equal(found, wide_encoder(exact=True).encode_images(images))


@pytest.mark.parametrize("wants_others", [False, True], ids=["missing", "of another version"])
@pytest.mark.parametrize(
    "operator",
    ["onednn.qlinear_prepack", "onednn.qlinear_pointwise", "quantized.embedding_bag_byte_prepack"],
)
def test_without_an_operator_for_int8_layers_stay_in_float32(
    wide_encoder, images, monkeypatch, operator, wants_others
):
    from clipsearch.models.faster_layers import int8_layers

    large = torch.nn.Sequential(torch.nn.Linear(256, 256))
    assert int8_layers(large)
    take_away(monkeypatch, operator, wants_others=wants_others)
    assert not int8_layers(large)
    encoder = wide_encoder()
    assert encoder.precision == "float32"
    found = encoder.encode_images(images)
    np.testing.assert_array_equal(found, wide_encoder(exact=True).encode_images(images))


def test_convolutions_of_single_pixels_are_no_patches():
    from clipsearch.models.faster_layers import int8_layers

    assert int8_layers(torch.nn.Sequential(torch.nn.Conv2d(3, 256, 16, 16)))
    assert not int8_layers(torch.nn.Sequential(torch.nn.Conv2d(256, 256, 1)))


def test_an_int8_layer_shows_its_weights_to_who_asks(exact_products):
    from clipsearch.models.faster_layers import Int8Linear

    weight = torch.randn(300, 256, generator=torch.Generator().manual_seed(1))
    layer = Int8Linear(weight, None)
    assert (layer.weight - weight).abs().max() <= weight.abs().max() / 254 + 1e-6
    x = torch.cat([torch.zeros(1, 256), torch.randn(3, 256)])
    expected = x @ weight.t()
    assert (layer(x) - expected).norm() <= 0.02 * expected.norm()
    assert layer(x)[0].abs().max() == 0
    assert layer(torch.full((1, 256), float("nan"))).isnan().all()


@pytest.mark.parametrize("kernel", [(16, 16), (8, 32)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_patches_in_int8_are_those_of_the_convolution(exact_products, kernel, layout):
    from clipsearch.models.faster_layers import Int8Patches

    random = torch.Generator().manual_seed(1)
    convolution = torch.nn.Conv2d(3, 256, kernel, kernel)
    with torch.no_grad():
        convolution.weight.copy_(torch.randn(convolution.weight.shape, generator=random))
    x = torch.randn(2, 3, 70, 64, generator=random).contiguous(memory_format=layout)
    with torch.inference_mode():
        expected, found = convolution(x), Int8Patches(convolution)(x)
    assert found.shape == expected.shape
    assert (found - expected).norm() <= 0.02 * expected.norm()


def test_batch_norms_are_folded_and_the_vectors_stay(tmp_path, images):
    folder = save_tiny_model(tmp_path / "model", TIMM_TOWER)
    shake_norms(folder)
    encoder = load(folder, exact=True)
    layers = [type(layer).__name__ for layer in encoder._network.visual.modules()]
    assert not [name for name in layers if name.startswith("BatchNorm")]
    expected = open_clips_own(folder, images)
    np.testing.assert_allclose(encoder.encode_images(images), expected, atol=1e-4)


def shake_norms(folder: Path) -> None:
    """Give a model's batch norms other statistics than those that change nothing."""
    from safetensors.torch import load_file, save_file

    weights = folder / "open_clip_model.safetensors"
    state = load_file(weights)
    torch.manual_seed(3)
    for name, values in state.items():
        if name.endswith("running_mean"):
            values.normal_(0, 0.1)
        elif name.endswith("running_var"):
            values.uniform_(0.5, 1.5)
    save_file(state, weights)


def test_a_norm_that_only_seems_to_follow_a_convolution_is_not_folded(tmp_path, images):
    from clipsearch.models.loading import load_model

    class NormFirst(torch.nn.Module):
        """Registers the norm after the convolution, and computes it before."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 3, 3, padding=1)
            self.norm = torch.nn.BatchNorm2d(3)
            self.norm.running_mean.fill_(2.0)
            self.norm.running_var.copy_(torch.tensor([0.1, 1, 9]))

        def forward(self, x):
            return self.conv(self.norm(x)).mean(dim=3).flatten(1)

    loaded = load_model(resolve_model(str(save_tiny_model(tmp_path / "model"))))
    torch.manual_seed(0)
    tower = loaded.network.visual = NormFirst().eval()
    encoder = Encoder(loaded, torch.device("cpu"))
    assert isinstance(encoder._network.visual.norm, torch.nn.BatchNorm2d)
    assert encoder._network.visual is tower
