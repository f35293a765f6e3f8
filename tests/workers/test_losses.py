"""Each loss is its formula, its gradient is right, and odd batches do it no harm."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.feature_selection import f_classif
from torch import Tensor, nn

from workers.losses import Step
from workers.losses.channel_correlation import ChannelCorrelation, mean_distances
from workers.losses.cross_entropy import cross_entropy
from workers.losses.distillation import distillation
from workers.losses.large_margin import LargeMargin, large_margin
from workers.losses.push import COVARIANCE, Push, push_loss, scatter, utility
from workers.losses.ramp import RAMP, ramp

K, D = 3, 7


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(count: int, seed: int = 0, dimension: int = D) -> tuple[Tensor, Tensor]:
    """Positive float64 features with some class structure, and labels of which every class has its share."""
    labels = torch.arange(count) % K
    centres = 2 * torch.rand(K, dimension, generator=generator(99), dtype=torch.float64)
    noise = torch.rand(count, dimension, generator=generator(seed), dtype=torch.float64)
    return centres[labels] + noise, labels


def step(features: Tensor, labels: Tensor, progress: float = 0.9) -> Step:
    return Step(torch.zeros(len(labels), K), labels, None, features, progress)


def attention() -> ChannelCorrelation:
    return ChannelCorrelation(D, generator(1)).double()


def losses() -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Every loss as a function of features and labels; logits are some linear function of features."""
    weight = torch.randn(K, D, generator=generator(2), dtype=torch.float64)
    teacher = torch.randn(100, K, generator=generator(3), dtype=torch.float64)
    branch = attention()
    return {
        "cross_entropy": lambda x, y: cross_entropy(x @ weight.T, y, 0.1),
        "distillation": lambda x, y: distillation(x @ weight.T, teacher[: len(x)], 3.0),
        "push": lambda x, y: push_loss(x, y, K),
        "channel_correlation": lambda x, y: branch(step(x, y)),
        "large_margin": lambda x, y: large_margin(x, weight, y, 0.3, 0.1, 0.1),
    }


@pytest.mark.parametrize("name", list(losses()))
def test_gradient(name: str) -> None:
    features, labels = draw(12)
    assert torch.autograd.gradcheck(lambda x: losses()[name](x, labels), (features.requires_grad_(),))


def test_gradients_of_parameters() -> None:
    features, labels = draw(9)
    means = torch.randn(K, D, generator=generator(4), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m: large_margin(features, m, labels, 0.3, 0.1), (means,))
    branch = attention()

    def loss(squeeze: Tensor, excite: Tensor) -> Tensor:
        shadow = {"squeeze": squeeze, "excite": excite}
        result: Tensor = torch.func.functional_call(branch, shadow, (step(features, labels),))
        return result

    assert torch.autograd.gradcheck(loss, (branch.squeeze, branch.excite))


@pytest.mark.parametrize("name", ["cross_entropy", "push", "channel_correlation", "large_margin"])
@given(seed=st.integers(0, 99), count=st.integers(6, 20))
@settings(max_examples=20, deadline=None)
def test_the_order_of_images_does_not_matter(name: str, seed: int, count: int) -> None:
    features, labels = draw(count, seed)
    order = torch.randperm(count, generator=generator(seed))
    loss = losses()[name]
    shuffled, plain = loss(features[order], labels[order]), loss(features, labels)
    assert float(shuffled.detach()) == pytest.approx(float(plain.detach()), rel=1e-9)


@pytest.mark.parametrize("name", ["push", "channel_correlation"])
@given(seed=st.integers(0, 99), names=st.permutations(range(K)))
@settings(max_examples=20, deadline=None)
def test_the_names_of_classes_do_not_matter(name: str, seed: int, names: list[int]) -> None:
    features, labels = draw(12, seed)
    loss = losses()[name]
    renamed = torch.tensor(names)[labels]
    other, plain = loss(features, renamed), loss(features, labels)
    assert float(other.detach()) == pytest.approx(float(plain.detach()), rel=1e-9)


ODD = {
    "one class": (draw(8)[0], torch.ones(8).long()),
    "one image a class": (draw(K)[0], torch.arange(K)),
    "two images": (draw(2)[0], torch.tensor([1, 1])),
    "dead features": (draw(9)[0] * torch.tensor([1.0, 0, 0, 1, 1, 0, 1]), torch.arange(9) % K),
    "all features dead": (torch.zeros(9, D).double(), torch.arange(9) % K),
    "all images alike": (torch.ones(9, D).double(), torch.arange(9) % K),
    "features that tell the class": (torch.eye(K, D).double().repeat(3, 1), torch.arange(9) % K),
    "large features": (draw(9)[0] * 1e4, torch.arange(9) % K),
}


@pytest.mark.parametrize("case", list(ODD))
@pytest.mark.parametrize(
    ("name", "dtype"), [("push", torch.float32), *((name, torch.float64) for name in losses())], ids=str
)
def test_odd_batches_have_finite_losses_and_gradients(name: str, case: str, dtype: torch.dtype) -> None:
    features, labels = ODD[case]
    x = features.to(dtype, copy=True).requires_grad_()
    loss = losses()[name](x, labels)
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert x.grad is not None
    assert x.grad.isfinite().all()


class TestPush:
    def test_utility_is_the_f_of_an_analysis_of_variance(self) -> None:
        images, labels = load_digits(return_X_y=True)
        alive = images[:, images.std(axis=0) > 0]
        within, between, count, present = scatter(torch.from_numpy(alive), torch.from_numpy(labels), 10)
        assert (int(count), int(present)) == (len(alive), 10)
        v = utility(within.diagonal(), between.diagonal(), floor=0.0)
        expected, _ = f_classif(alive, labels)
        assert np.allclose(v.numpy() * (len(alive) - 10) / 9, expected, rtol=1e-9)

    def test_scatter_by_hand_and_rows_that_do_not_count(self) -> None:
        features, labels = draw(13)
        x, y = features.numpy(), labels.numpy()
        means = np.stack([x[y == k].mean(axis=0) for k in range(K)])[y]
        within = (x - means).T @ (x - means) / len(x)
        between = (means - x.mean(axis=0)).T @ (means - x.mean(axis=0)) / len(x)
        ignored = torch.cat([features, 100 * torch.ones(4, D).double()]), torch.cat([labels, torch.full((4,), -1)])
        for pair in ((features, labels), ignored):
            found = scatter(*pair, K)
            assert np.allclose(found[0].numpy(), within)
            assert np.allclose(found[1].numpy(), between)
        assert np.allclose(within + between, np.cov(x.T, bias=True))

    def test_loss_by_hand(self) -> None:
        features, labels = draw(30, dimension=12)
        within, between, *_ = (part.numpy() for part in scatter(features, labels, K))
        floor = 1e-4 * np.trace(within + between) / 12
        v = between.diagonal() / (within.diagonal() + floor)
        top = np.argsort(-v)[:3]  # a quarter of 12
        correlation = 0.0
        for matrix in (within, between):
            scale = matrix.diagonal() + 1e-4 * matrix.diagonal().mean()
            r = matrix / np.sqrt(np.outer(scale, scale))
            correlation += (r**2).sum() - (r.diagonal() ** 2).sum()
        outside = np.delete(v, top).sum() / v.sum()
        expected = -np.log1p(v[top]).mean() + COVARIANCE * correlation / 144 + outside
        assert float(push_loss(features, labels, K)) == pytest.approx(expected, rel=1e-9)

    @given(seed=st.integers(0, 99), scale=st.floats(1e-2, 1e2), shift=st.floats(-5, 5))
    @settings(max_examples=20, deadline=None)
    def test_units_and_names_of_features_do_not_matter(self, seed: int, scale: float, shift: float) -> None:
        features, labels = draw(12, seed)
        other = (scale * features + shift)[:, torch.randperm(D, generator=generator(seed))]
        assert float(push_loss(other, labels, K)) == pytest.approx(float(push_loss(features, labels, K)), rel=1e-6)

    def test_nothing_is_known_from_single_images(self) -> None:
        features, labels = draw(2 * K)
        assert float(push_loss(features, labels, K)) != 0
        assert float(push_loss(features[:-1], labels[:-1], K)) == 0

    def test_a_step_downhill_separates_and_aligns(self) -> None:
        features, labels = draw(60, dimension=16)
        features = features + torch.randn(60, 16, generator=generator(5), dtype=torch.float64)

        def state(x: Tensor) -> tuple[float, float]:
            within, between, *_ = scatter(x, labels, K)
            v = utility(within.diagonal(), between.diagonal()).sort(descending=True).values
            return float(v[:4].log1p().mean()), float(v[4:].sum() / v.sum())

        before = state(features)
        x = features.clone().requires_grad_()
        for _ in range(30):
            (gradient,) = torch.autograd.grad(push_loss(x, labels, K), x)
            x = (x - 2.0 * gradient).detach().requires_grad_()
        after = state(x.detach())
        assert after[0] > 1.5 * before[0]
        assert after[1] < 0.7 * before[1]

    def test_a_batch_is_judged_with_the_images_before_it(self) -> None:
        push = Push(D, K).double()
        features, labels = draw(60)
        for part in (slice(0, 16), slice(16, 32), slice(32, 48)):
            push(step(features[part], labels[part]))
        size = 8 * K
        known = torch.cat([features[48:], features[32:48], features[16:24]])
        classes = torch.cat([labels[48:], labels[32:48], labels[16:24]])
        assert len(known) == 12 + size
        own = features[48:].clone().requires_grad_()
        loss = push(step(own, labels[48:]))
        assert float(loss.detach()) == pytest.approx(float(push_loss(known, classes, K)), rel=1e-9)
        whole = known.clone().requires_grad_()
        push_loss(whole, classes, K).backward()
        loss.backward()
        assert own.grad is not None
        assert whole.grad is not None
        assert torch.allclose(own.grad, whole.grad[:12] * (12 + size) / 12)

    def test_it_comes_in_slowly(self) -> None:
        features, labels = draw(12)
        full = float(Push(D, K).double()(step(features, labels, 0.5)))
        assert float(Push(D, K).double()(step(features, labels, 0.0))) == 0
        assert float(Push(D, K).double()(step(features, labels, RAMP / 4))) == pytest.approx(full / 4)
        assert [ramp(p) for p in (0.0, RAMP, 0.99)] == [0.0, 1.0, 1.0]


class TestChannelCorrelation:
    def test_distances_by_brute_force(self) -> None:
        a, labels = torch.rand(10, D, generator=generator(0), dtype=torch.float64), torch.arange(10) % K
        same, apart = [], []
        for i in range(10):
            for j in range(10):
                if i != j:
                    (same if labels[i] == labels[j] else apart).append(float((a[i] - a[j]).norm()) / math.sqrt(D))
        intra, inter = mean_distances(a, labels)
        assert float(intra) == pytest.approx(np.mean(same), rel=1e-5)
        assert float(inter) == pytest.approx(np.mean(apart), rel=1e-5)

    def test_attention_by_hand(self) -> None:
        branch = attention()
        features, _ = draw(5)
        hidden = np.maximum(features.numpy() @ branch.squeeze.detach().numpy().T, 0)
        expected = 1 / (1 + np.exp(-hidden @ branch.excite.detach().numpy().T))
        assert np.allclose(branch.attention(features).detach().numpy(), expected)

    def test_attention_that_is_the_same_within_a_class(self) -> None:
        labels = torch.arange(12) % K
        a = torch.rand(K, D, generator=generator(0), dtype=torch.float64)[labels]
        intra, inter = mean_distances(a, labels)
        assert float(intra) == pytest.approx(0, abs=2e-4)
        assert float(inter) > 0.1

    def test_pairs_that_are_not_there_count_nothing(self) -> None:
        a = torch.rand(6, D, generator=generator(0))
        assert float(mean_distances(a, torch.zeros(6))[1]) == 0
        assert float(mean_distances(a, torch.arange(6))[0]) == 0

    @given(seed=st.integers(0, 99), scale=st.floats(0.01, 100))
    @settings(max_examples=20, deadline=None)
    def test_it_is_between_minus_one_and_one(self, seed: int, scale: float) -> None:
        features, labels = draw(12, seed)
        assert -1 <= float(attention()(step(scale * features, labels)).detach()) <= 1


class TestLargeMargin:
    def mixture(self, margin: float = 0.0, likelihood: float = 0.0) -> tuple[nn.Linear, LargeMargin]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layer = nn.Linear(D, K).double()
        return layer, LargeMargin(layer, margin, likelihood)

    def test_formula_by_hand(self) -> None:
        features, labels = draw(11)
        means = torch.randn(K, D, generator=generator(4), dtype=torch.float64)
        alpha, weight = 0.3, 0.07
        x, mu = features.numpy(), means.numpy()
        total = 0.0
        for row, label in zip(x, labels.tolist(), strict=True):
            distance = np.array([0.5 * ((row - mean) ** 2).sum() for mean in mu])
            logits = np.array([-d * (1 + alpha * (k == label)) for k, d in enumerate(distance)])
            total += math.log(np.exp(logits).sum()) - logits[label] + weight * distance[label]
        assert float(large_margin(features, means, labels, alpha, weight)) == pytest.approx(total / 11, rel=1e-12)

    def test_without_margin_and_likelihood_it_is_softmax_regression(self) -> None:
        features, labels = draw(11)
        means = torch.randn(K, D, generator=generator(4), dtype=torch.float64)
        logits = features @ means.T - 0.5 * means.square().sum(1)
        expected = nn.functional.cross_entropy(logits, labels)
        assert float(large_margin(features, means, labels, 0, 0)) == pytest.approx(float(expected), rel=1e-12)

    @given(seed=st.integers(0, 99), margin=st.floats(0, 1), more=st.floats(0, 1))
    @settings(max_examples=20, deadline=None)
    def test_a_margin_never_helps(self, seed: int, margin: float, more: float) -> None:
        features, labels = draw(9, seed)
        means = torch.randn(K, D, generator=generator(seed), dtype=torch.float64)
        less = float(large_margin(features, means, labels, margin, 0))
        assert float(large_margin(features, means, labels, margin + more, 0)) >= less - 1e-12

    def test_the_likelihood_pulls_means_to_the_features(self) -> None:
        features, labels = draw(12)
        means = torch.randn(K, D, generator=generator(4), dtype=torch.float64, requires_grad=True)
        with_, without = (
            torch.autograd.grad(large_margin(features, means, labels, 0.0, weight), means)[0] for weight in (1.0, 0.0)
        )
        pull = torch.stack([(means[k] - features[labels == k].mean(0)) for k in range(K)]) / K
        assert torch.allclose(with_ - without, pull)

    def test_known_gaussians_give_back_their_means(self) -> None:
        truth = torch.tensor([[2.0, 0.0], [-2.0, 1.0], [0.0, -3.0]], dtype=torch.float64)
        labels = torch.arange(600) % K
        features = truth[labels] + torch.randn(600, 2, generator=generator(0), dtype=torch.float64)
        means = torch.zeros(K, 2, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([means], lr=0.05)
        for _ in range(400):
            optimizer.zero_grad()
            large_margin(features, means, labels, 0.0, 1.0).backward()
            optimizer.step()
        assert torch.allclose(means, truth, atol=0.15)

    def test_the_layer_ends_as_the_mixture(self) -> None:
        layer, mixture = self.mixture(margin=0.2)
        features, labels = draw(9)
        tied = mixture.read(step(features, labels)).logits
        assert not torch.allclose(layer(features), tied)
        mixture.finish()
        assert torch.allclose(layer(features), tied)
        distances = torch.cdist(features, layer.weight).square() / 2
        assert torch.equal(tied.argmax(1), distances.argmin(1))

    def test_the_margin_comes_in_slowly(self) -> None:
        features, labels = draw(9)

        def loss(margin: float, progress: float) -> float:
            _, mixture = self.mixture(margin=margin)
            return float(mixture(mixture.read(step(features, labels, progress))).detach())

        assert loss(0.4, 0.0) == loss(0.0, 0.5)
        assert loss(0.4, RAMP / 4) == pytest.approx(loss(0.1, 0.5))

    def test_its_parameters_are_the_networks_own(self) -> None:
        _, mixture = self.mixture()
        assert not list(mixture.parameters())
        assert not mixture.state_dict()
