"""Each proxy against its definition: closed forms, finite differences, brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spaces.randomness import torch_generator
from workers.proxies import grad_norm, jacobian, naswot, snip, synflow, zen

COUNT, SHAPE, CLASSES = 6, (2, 5, 5), 3


def draw(*shape: int, purpose: str = "images") -> Tensor:
    return torch.randn(shape, generator=torch_generator(0, purpose))


IMAGES = draw(COUNT, *SHAPE)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def generator() -> torch.Generator:
    return torch_generator(0, "proxy")


def chain(bias: bool = False, norm: bool = False) -> nn.Sequential:
    """Convolution, ReLU, pool, convolution, ReLU, linear, linear; drawn from a generator of its own."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((2, 4), (4, 6)):
        layers.append(nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias))
        layers += [nn.BatchNorm2d(outputs)] if norm else []
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(6, 5, bias), nn.ReLU(), nn.Linear(5, CLASSES, bias))
    with torch.no_grad():
        for parameter in network.parameters():  # by shape: the same weights with and without batch norms
            parameter.copy_(draw(*parameter.shape, purpose=f"weight {list(parameter.shape)}"))
    return network


def weights_of(network: nn.Module) -> list[nn.Parameter]:
    return [m.weight for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def test_synflow_is_conserved_from_layer_to_layer() -> None:
    network = chain(norm=True)  # batch norms are off
    flows = list(synflow.flows(network, torch.Size(SHAPE)).values())
    assert len(flows) == 4
    for flow in flows:
        assert flow.dtype == torch.float64
        assert float(flow) == pytest.approx(float(flows[0]), rel=1e-12)
    absolute = chain().double()
    with torch.no_grad():
        for parameter in absolute.parameters():
            parameter.abs_()
        total = float(absolute(torch.ones(1, *SHAPE, dtype=torch.float64)).sum())
    assert float(flows[0]) == pytest.approx(total, rel=1e-12)
    assert synflow.score(network, IMAGES, LABELS, generator()) == pytest.approx(math.log(4 * total), rel=1e-12)


def test_synflow_of_a_deep_network_needs_no_single_precision_range() -> None:
    layers = [layer for _ in range(60) for layer in (nn.Linear(50, 50, bias=False), nn.ReLU())]
    network = nn.Sequential(nn.Flatten(), *layers)
    for weight in weights_of(network):
        nn.init.constant_(weight, -1)
    # Each layer multiplies by 50; 50 outputs of 50 to the 60th each, and 60 layers.
    expected = 61 * math.log(50) + math.log(60)
    assert expected > math.log(torch.finfo(torch.float32).max)
    assert synflow.score(network, IMAGES, LABELS, generator()) == pytest.approx(expected, rel=1e-12)


def test_synflow_is_the_same_without_normalisation() -> None:
    expected = synflow.score(chain(), IMAGES, LABELS, generator())
    for norm in (nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.LayerNorm([4, 5, 5])):
        network = chain()
        network.insert(1, norm)
        network[2] = nn.ReLU(inplace=True)
        assert synflow.score(network, IMAGES, LABELS, generator()) == pytest.approx(expected, rel=1e-12)


def finite_differences(network: nn.Module, weight: nn.Parameter) -> np.ndarray:
    """Central differences of the training loss by each entry of a float64 network's weight."""
    slopes = np.zeros(weight.numel())
    flat = weight.data.view(-1)
    for i in range(len(slopes)):
        losses = []
        for step in (1e-6, -1e-6):
            flat[i] += step
            losses.append(float(F.cross_entropy(network(IMAGES.double()), LABELS)))
            flat[i] -= step
        slopes[i] = (losses[0] - losses[1]) / 2e-6
    return slopes


@pytest.mark.parametrize("norm", [False, True])
def test_snip_and_gradient_norm_are_finite_differences_of_the_training_loss(norm: bool) -> None:
    network = chain(bias=True, norm=norm).double().train()
    with torch.no_grad():
        pairs = [(w.detach().view(-1).numpy().copy(), finite_differences(network, w)) for w in weights_of(network)]
    snips = sum(np.abs(w * g).sum() for w, g in pairs)
    norms = sum(np.linalg.norm(g) for _, g in pairs)
    for module, expected in ((snip, snips), (grad_norm, norms)):
        found = module.score(network, IMAGES.double(), LABELS, generator())
        assert found == pytest.approx(math.log(expected), abs=1e-6)
        single = module.score(chain(bias=True, norm=norm), IMAGES, LABELS, generator())
        assert single == pytest.approx(found, abs=1e-4)


def codes_by_hand(network: nn.Sequential) -> np.ndarray:
    """Which ReLUs are on: bool ``[N, units]``."""
    x, codes = IMAGES, []
    with torch.no_grad():
        for layer in network.train():
            if isinstance(layer, nn.ReLU):
                codes.append((x > 0).flatten(1))
            x = layer(x)
    return torch.cat(codes, dim=1).numpy()


@pytest.mark.parametrize("norm", [False, True])
def test_naswot_counts_the_units_in_which_codes_agree(norm: bool) -> None:
    network = chain(bias=True, norm=norm)
    kernel = naswot.kernel(network, IMAGES).numpy()
    codes = codes_by_hand(network)
    expected = [[(a == b).sum() for b in codes] for a in codes]
    assert np.array_equal(kernel, expected)
    units = 4 * 5 * 5 + 6 * 2 * 2 + 5
    assert (np.diag(kernel) == units).all()
    determinant = np.linalg.slogdet(np.array(expected, dtype=float) + naswot.RIDGE * np.eye(COUNT))[1]
    assert naswot.score(network, IMAGES, LABELS, generator()) == pytest.approx(determinant, rel=1e-12)


def test_naswot_counts_any_rectifier_once() -> None:
    rectifiers = (nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.LeakyReLU(), nn.SiLU(), nn.GELU(), nn.Hardswish())
    for rectifier in rectifiers:
        network = chain()[:1].append(rectifier)
        assert naswot.kernel(network, IMAGES).diagonal().tolist() == [4 * 5 * 5] * COUNT


def test_naswot_of_equal_images_is_finite_and_falls_with_every_copy() -> None:
    scores = []
    for copies in range(COUNT):
        images = IMAGES.clone()
        images[1 : copies + 1] = images[0]
        scores.append(naswot.score(chain(), images, LABELS, generator()))
    assert np.isfinite(scores).all()
    assert all(b < a - 5 for a, b in itertools.pairwise(scores))


def term(value: float) -> float:
    return math.log(value + 1e-5) + 1 / (value + 1e-5)


def test_jacobian_by_brute_force() -> None:
    network = chain(bias=True).double()
    rows = torch.stack(
        [
            torch.autograd.functional.jacobian(lambda x: network(x[None])[0], image).sum(0).flatten()
            for image in IMAGES.double()
        ]
    )
    assert torch.allclose(jacobian.jacobians(network, IMAGES.double()), rows, rtol=1e-10)
    values = np.linalg.eigvalsh(np.corrcoef(rows.numpy()))
    expected = -math.log(sum(term(v) for v in values) / COUNT)
    assert -math.log(1 / 1e-5) < expected < 0
    assert jacobian.score(network, IMAGES.double(), LABELS, generator()) == pytest.approx(expected, rel=1e-9)


def test_jacobian_takes_batch_norms_as_constants_of_the_batch() -> None:
    network = chain(norm=True).double().train()
    found = jacobian.jacobians(network, IMAGES.double())
    fixed = chain(norm=True).double().eval()
    x = IMAGES.double()
    with torch.no_grad():
        for layer in fixed:
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean = x.mean((0, 2, 3))
                layer.running_var = x.var((0, 2, 3), correction=0)
            x = layer(x)
    leaf = IMAGES.double().requires_grad_()
    (expected,) = torch.autograd.grad(fixed(leaf).sum(), leaf)
    assert torch.allclose(found, expected.flatten(1), rtol=1e-9)


def test_jacobian_of_more_images_than_values_leaves_out_what_is_always_zero() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 20), nn.ReLU(), nn.Linear(20, 3)).double()
    images = draw(12, 1, 2, 2).double()
    values = np.sort(np.linalg.eigvalsh(np.corrcoef(jacobian.jacobians(network, images).numpy())))
    assert values[:9] == pytest.approx(0, abs=1e-9)
    expected = -math.log(sum(term(v) for v in values[9:]) / 3)
    assert jacobian.score(network, images, LABELS, generator()) == pytest.approx(expected, rel=1e-6)


def test_images_that_a_network_ignores_score_worst() -> None:
    rows = draw(4, 30).double()
    assert torch.allclose(jacobian.correlations(rows), torch.from_numpy(np.corrcoef(rows.numpy())))
    rows[1] = 7.0
    assert jacobian.correlations(rows)[1].abs().max() < 1e-12
    linear = nn.Sequential(nn.Flatten(), nn.Linear(50, 3))  # all images have the same Jacobian
    same = jacobian.score(linear, IMAGES, LABELS, generator())
    assert same < jacobian.score(chain(), IMAGES, LABELS, generator()) - 2


class Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def test_zen_sees_neither_weights_nor_images() -> None:
    network = chain(norm=True)
    expected = zen.score(network, IMAGES, LABELS, generator())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(-3).add_(1)
    assert zen.score(network, 5 * IMAGES + 1, LABELS, generator()) == expected


@pytest.mark.parametrize("factor", [0.5, 3.0, 100.0])
def test_zen_puts_back_the_scale_that_batch_norm_takes(factor: float) -> None:
    """A factor shifts the score by its logarithm, with a batch norm behind it (f does not change) or without."""
    for norm in (False, True):
        plain, scaled = chain(norm=norm), chain(norm=norm)
        scaled[0] = nn.Sequential(scaled[0], Scale(factor))
        difference = zen.score(scaled, IMAGES, LABELS, generator()) - zen.score(plain, IMAGES, LABELS, generator())
        assert difference == pytest.approx(math.log(factor), abs=1e-3)


def test_zen_of_a_linear_map_by_hand() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(50, 7), nn.Linear(7, 3))
    found = zen.score(network, IMAGES, LABELS, generator())
    stream, expected = generator(), []
    for _ in range(zen.REPEATS):
        first, _ = (torch.randn(shape, generator=stream) for shape in ((7, 50), (3, 7)))
        _, noise = (torch.randn(IMAGES.shape, generator=stream) for _ in range(2))
        expected.append(math.log((0.01 * noise.flatten(1) @ first.T).abs().sum(1).mean()))
    assert found == pytest.approx(np.mean(expected), abs=1e-4)
    convolutional = nn.Sequential(nn.Conv2d(2, 3, 5), nn.Flatten())  # no linear layer: f is the output
    assert math.isfinite(zen.score(convolutional, IMAGES, LABELS, generator()))
