"""Gradients of a batch in parts, against those of the whole batch at once."""

import pytest
import torch
from tiny_training import RESNET, VIT, write_json
from torch import nn
from torch.nn import functional

from clipsearch.training.learning.gradient_cache import Encoding, backward_in_parts
from clipsearch.training.learning.objective import Objective
from clipsearch.training.run_config import ModelConfig, ObjectiveConfig
from clipsearch.training.towers.models import build_model, set_training_mode

N = 12


def batch(size: int):
    torch.manual_seed(1)
    tokens = torch.randint(1, 49000, (N, 8))
    tokens[:, -1] = 49407
    keys = torch.stack([torch.arange(N) // 2, torch.arange(N), torch.full((N,), -1)], dim=1)
    return torch.randn(N, 3, size, size), tokens, keys


def gradients(network, objective, inputs, part: int) -> tuple[float, dict[str, torch.Tensor]]:
    pixels, tokens, keys = inputs
    set_training_mode(network)
    network.zero_grad()
    encoding = Encoding(network)

    def gradients_of(images, texts):
        leaves = [images.clone().requires_grad_(), texts.clone().requires_grad_()]
        loss = objective(network, *leaves, keys)
        loss.backward()
        return loss.detach(), leaves[0].grad, leaves[1].grad

    parts = list(zip(pixels.split(part), tokens.split(part), strict=True))
    loss = backward_in_parts(
        network, parts, lambda p: (encoding.images(p[0]), encoding.texts(p[1])), gradients_of
    )
    return float(loss), {n: p.grad for n, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_parts_give_the_gradient_of_the_whole_batch(tmp_path, loss):
    torch.manual_seed(0)
    settings = ObjectiveConfig(loss=loss)
    name = write_json(tmp_path / "m.json", VIT)
    network = build_model(ModelConfig(name=name, scratch=True), settings).network
    inputs, objective = batch(16), Objective(settings)
    encoding = Encoding(network)
    set_training_mode(network)
    plain = objective(network, encoding.images(inputs[0]), encoding.texts(inputs[1]), inputs[2])
    plain.backward()
    expected = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
    for part in (N, 5, 1):
        value, found = gradients(network, objective, inputs, part)
        assert value == pytest.approx(plain.item(), abs=1e-5)
        assert found.keys() == expected.keys()
        for key, gradient in found.items():
            assert torch.allclose(gradient, expected[key], atol=1e-5), (part, key)


class Dropping(nn.Module):
    """Two towers with dropout, whose gradient depends on which numbers were dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = (
            nn.Sequential(nn.Linear(6, 32), nn.Dropout(0.5), nn.Linear(32, 4)) for _ in range(2)
        )

    def forward(self, part):
        unit = functional.normalize
        return unit(self.image(part[0]), dim=1), unit(self.text(part[1]), dim=1)


def test_the_second_pass_drops_what_the_first_one_dropped():
    torch.manual_seed(0)
    network = Dropping()
    parts = list(torch.randn(3, 2, 4, 6))

    def loss_of(images, texts):
        return functional.cross_entropy(5 * images @ texts.T, torch.arange(len(images)))

    def gradients_of(images, texts):
        leaves = [images.clone().requires_grad_(), texts.clone().requires_grad_()]
        loss = loss_of(*leaves)
        loss.backward()
        return loss.detach(), leaves[0].grad, leaves[1].grad

    torch.manual_seed(7)
    images, texts = (torch.cat(v) for v in zip(*map(network, parts), strict=True))
    loss_of(images, texts).backward()
    after = torch.rand(1)
    expected = [parameter.grad.clone() for parameter in network.parameters()]

    network.zero_grad()
    torch.manual_seed(7)
    backward_in_parts(network, parts, network, gradients_of)
    assert torch.rand(1) == after  # and chance goes on as if there had been one pass
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-6)


def test_batch_norms_count_each_part_once(tmp_path):
    torch.manual_seed(0)
    name = write_json(tmp_path / "m.json", RESNET)
    network = build_model(ModelConfig(name=name, scratch=True), ObjectiveConfig()).network
    inputs = batch(32)
    before = network.visual.bn1.running_mean.clone()
    gradients(network, Objective(ObjectiveConfig()), inputs, 6)
    with torch.no_grad():
        means = [network.visual.conv1(part).mean(dim=(0, 2, 3)) for part in inputs[0].split(6)]
    expected = before
    for mean in means:
        expected = 0.9 * expected + 0.1 * mean
    assert torch.allclose(network.visual.bn1.running_mean, expected, atol=1e-6)
    assert network.visual.bn1.momentum == 0.1
