"""Each data-driven criterion against plain loops in float64, on a network with sums, concatenation and a flatten."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from criteria_networks import Chain, Mixed, data, generator_for, layout_of, one_thread, prepared  # noqa: F401
from sklearn.feature_selection import f_classif
from sklearn.linear_model import Ridge
from torch import Tensor, nn
from torch.nn import functional as F

from spaces.criteria import CRITERIA, Evidence, collect_evidence, resolve, score_groups
from spaces.criteria.channels import COMPENSATION_RIDGE, SEPARATION_RIDGE
from spaces.criteria.objectives import preview
from spaces.criteria.ucp_se import train
from spaces.groups import Group, Member

IMAGES = 12


def scores(network: nn.Module, *names: str, batch_size: int = 5) -> dict[str, np.ndarray]:
    images, labels = data(IMAGES)
    return score_groups(network, layout_of(network), resolve(names), images, labels, batch_size, generator_for)


def inputs(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """What every convolution and linear layer reads, from a forward pass of its own."""
    found: dict[str, Tensor] = {}
    handles = [
        m.register_forward_pre_hook(lambda m, a, n=n: found.__setitem__(n, a[0].detach().clone()))
        for n, m in network.named_modules()
        if isinstance(m, nn.Conv2d | nn.Linear)
    ]
    with torch.no_grad():
        network(images)
    for handle in handles:
        handle.remove()
    return found


def channels(x: Tensor, member: Member, size: int) -> list[Tensor]:
    """Per channel its values ``[N, positions]``: those of all inputs that carry it."""
    maps = x.flatten(2) if x.dim() > 2 else x[:, :, None]
    return [maps[:, torch.from_numpy(member.positions[member.channels == c])].flatten(1) for c in range(size)]


def per_image_gradients(network: nn.Module, layer: str) -> list[Tensor]:
    """Each image's own gradient of the layer's weight, one backward pass each."""
    images, labels = data(IMAGES)
    weight = network.get_submodule(layer).weight
    return [
        torch.autograd.grad(F.cross_entropy(network(x[None]), y[None]), weight)[0]  # type: ignore[arg-type]
        for x, y in zip(images, labels, strict=True)
    ]


@pytest.mark.parametrize("make", [Mixed, Chain])
def test_statistics_are_those_of_the_values_that_consumers_read(make: type[nn.Module]) -> None:
    network = prepared(make)
    found = scores(network, "apoz", "activation_variance")
    seen = inputs(network, data(IMAGES)[0])
    for group in layout_of(network).groups:
        parts = [channels(seen[m.layer], m, group.size) for m in group.consumers()]
        active = [np.mean([float((p[c] != 0).double().mean()) for p in parts]) for c in range(group.size)]
        variance = [np.mean([float(p[c].var(correction=0)) for p in parts]) for c in range(group.size)]
        np.testing.assert_allclose(found[group.name], [active, variance], rtol=1e-9, atol=1e-15)


def test_hrank_is_the_mean_of_the_maps_ranks() -> None:
    network = prepared(Mixed)
    found = scores(network, "hrank")
    seen = inputs(network, data(IMAGES)[0])
    for group in layout_of(network).groups:
        for c in range(group.size):
            means = []
            for m in group.consumers():
                maps = seen[m.layer][:, torch.from_numpy(m.positions[m.channels == c])]
                flat = maps.reshape(-1, *maps.shape[2:])
                ranks = [np.linalg.matrix_rank(x.numpy()) if x.dim() == 2 else float(x != 0) for x in flat]
                means.append(np.mean(ranks))
            assert found[group.name][0, c] == pytest.approx(np.mean(means), rel=1e-12)


def test_hrank_of_a_map_of_one_product_is_one() -> None:
    left, right = torch.rand(2, 3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    images = torch.einsum("ni,nj->nij", left, right)[:, None].repeat(1, 3, 1, 1)
    network = prepared(Chain)
    network.a = nn.Conv2d(3, 6, 1, bias=False, dtype=torch.float64)
    network.norm = nn.Identity()
    network.a.weight.data.abs_()
    found = score_groups(network, layout_of(network), resolve(["hrank"]), images, torch.arange(3), 2, generator_for)
    assert found["a"].tolist() == [[1.0] * 6]


@pytest.mark.parametrize("make", [Mixed, Chain])
@pytest.mark.parametrize("batch_size", [1, 5])
def test_fisher_squares_every_images_own_gradient(make: type[nn.Module], batch_size: int) -> None:
    network = prepared(make)
    found = scores(network, "fisher", batch_size=batch_size)
    for group in layout_of(network).groups:
        expected = np.zeros(group.size)
        for m in group.producers():
            weight = network.get_submodule(m.layer).weight
            for gradient in per_image_gradients(network, m.layer):
                own = (weight * gradient).square().flatten(1).sum(1).detach().numpy()  # type: ignore[operator]
                for p, c in zip(m.positions, m.channels, strict=True):
                    expected[c] += own[p] / IMAGES / 2
        np.testing.assert_allclose(found[group.name][0], expected, rtol=1e-9, atol=1e-18)


def edges(network: nn.Module, group: Group, member: Member) -> np.ndarray:
    """Mean square of the loss's derivative by a gate between channel and output, ``[outputs, size]``."""
    weight = network.get_submodule(member.layer).weight
    total = np.zeros((len(weight), group.size))  # type: ignore[arg-type]
    for gradient in per_image_gradients(network, member.layer):
        through = (weight * gradient).detach().flatten(2).sum(2).numpy() if weight.dim() == 4 else None  # type: ignore[operator,union-attr]
        through = (weight * gradient).detach().numpy() if through is None else through  # type: ignore[operator]
        for c in range(group.size):
            total[:, c] += through[:, member.positions[member.channels == c]].sum(1) ** 2 / IMAGES
    return total


@pytest.mark.parametrize("make", [Mixed, Chain])
def test_cpli_weighs_outputs_by_their_own_importance(make: type[nn.Module]) -> None:
    network = prepared(make)
    found = scores(network, "cpli")
    groups = layout_of(network).groups
    plain = {g.name: sum(edges(network, g, m).sum(0) for m in g.consumers()) / 2 for g in groups}
    for group in groups:
        expected = np.zeros(group.size)
        for m in group.consumers():
            table = edges(network, group, m)
            weights = np.ones(len(table))
            for other in groups:
                for maker in other.producers():
                    if maker.layer == m.layer:
                        weights[maker.positions] = (plain[other.name] / plain[other.name].max())[maker.channels]
            expected += weights @ table / 2
        np.testing.assert_allclose(found[group.name][0], expected, rtol=1e-9, atol=1e-18)


def test_gate_fisher_is_half_the_mean_square_of_the_slopes() -> None:
    network = prepared(Mixed)
    layout = layout_of(network)
    evidence = collect_evidence(network, layout, *data(IMAGES), 5, frozenset({"slopes", "taylor", "gate_fisher"}))
    found = scores(network, "gate_fisher", "taylor")
    for name in layout.names:
        slopes = evidence.slopes[name]
        assert slopes.shape == (IMAGES, found[name].shape[1])
        np.testing.assert_allclose(found[name][0], slopes.square().mean(0) / 2, rtol=1e-12)
        np.testing.assert_allclose(found[name][1], slopes.abs().mean(0), rtol=1e-12)


def instance_losses(last: Tensor, features: Tensor, images: Tensor) -> Tensor:
    """Each image told from all others, by normalised features."""
    likeness = F.normalize(last, dim=1) @ F.normalize(features, dim=1).T / 0.07
    return F.cross_entropy(likeness, torch.arange(len(last)), reduction="none")


def decoding_losses(last: Tensor, features: Tensor, images: Tensor) -> Tensor:
    """Each picture decoded by scikit-learn's ridge regression on the untouched features."""
    pictures = images.flatten(1).numpy()
    ridge = 1e-3 * features.var(0, correction=0).mean().item() * len(features)
    decoder = Ridge(alpha=ridge, solver="cholesky").fit(features.numpy(), pictures)
    missed = np.square(decoder.predict(last.numpy()) - pictures).sum(1)
    return torch.from_numpy(missed / (2 * np.square(pictures - pictures.mean(0)).sum(1).mean()))


@pytest.mark.parametrize(("name", "loss"), [("self_supervised", instance_losses), ("reconstruction", decoding_losses)])
@pytest.mark.parametrize("make", [Mixed, Chain])
def test_label_free_slopes_are_derivatives_of_a_gate(
    make: type[nn.Module], name: str, loss: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> None:
    network = prepared(make)
    layout = layout_of(network)
    images, labels = data(IMAGES)
    found = scores(network, name)
    view = preview(network, images, labels, 4)

    def losses(gate: float, group: Group, channel: int) -> Tensor:
        weights = [network.get_submodule(m.layer).weight for m in group.consumers()]
        saved = [w.detach().clone() for w in weights]  # type: ignore[union-attr,operator]
        with torch.no_grad():
            for m, w in zip(group.consumers(), weights, strict=True):
                w[:, torch.from_numpy(m.positions[m.channels == channel])] *= gate  # type: ignore[index,operator]
            last = inputs(network, images)["last" if make is Mixed else "head"]
            if view.layer in [m.layer for m in group.consumers()]:
                member = next(m for m in group.consumers() if m.layer == view.layer)
                last[:, torch.from_numpy(member.positions[member.channels == channel])] *= gate
            for w, s in zip(weights, saved, strict=True):
                w.copy_(s)  # type: ignore[union-attr,operator]
        return loss(last, view.features, images)

    step = 1e-5
    for group in layout.groups:
        for channel in range(group.size):
            slope = (losses(1 + step, group, channel) - losses(1 - step, group, channel)) / (2 * step)
            np.testing.assert_allclose(found[group.name][0, channel], slope.abs().mean(), rtol=1e-4, atol=1e-8)


def test_nothing_can_be_painted_from_dead_features() -> None:
    network = prepared(Chain)
    with torch.no_grad():
        network.b.bias.fill_(-1e6)  # type: ignore[union-attr,operator]
    assert all((table == 0).all() for table in scores(network, "reconstruction").values())


def test_label_free_scores_never_see_the_labels() -> None:
    network = prepared(Mixed)
    layout = layout_of(network)
    images, labels = data(IMAGES)
    criteria = resolve(["self_supervised", "reconstruction", "activation_variance", "compensation", "hrank"])
    first = score_groups(network, layout, criteria, images, labels, 5, generator_for)
    other = score_groups(network, layout, criteria, images, labels.flip(0), 5, generator_for)
    assert all(np.array_equal(first[name], other[name]) for name in layout.names)


@pytest.mark.parametrize("make", [Mixed, Chain])
def test_compensation_is_the_least_error_of_linear_regression(make: type[nn.Module]) -> None:
    network = prepared(make)
    layout = layout_of(network)
    images, labels = data(200)
    found = score_groups(network, layout, resolve(["compensation"]), images, labels, 64, generator_for)
    seen = inputs(network, images)
    for group in layout.groups:
        parts = []
        for m in group.consumers():
            x, weight = seen[m.layer], network.get_submodule(m.layer).weight.detach()  # type: ignore[union-attr,operator]
            pixels = len(m.positions) // group.size
            rows = x.transpose(0, 1).flatten(1).T if x.dim() == 4 else x.reshape(len(x), -1, pixels).mT.flatten(0, 1)
            part = np.zeros(group.size)
            for c in range(group.size):
                places = m.positions[m.channels == c]
                column = places[0] // pixels
                others = np.delete(np.arange(rows.shape[1]), column)
                centred = rows - rows.mean(0)
                ridge = COMPENSATION_RIDGE * float(centred.square().mean(0).mean())
                a, b = centred[:, others], centred[:, column]
                inner = a.T @ a / len(rows) + ridge * torch.eye(len(others), dtype=torch.float64)
                cross = a.T @ b / len(rows)
                left = float(b.square().mean() - cross @ torch.linalg.solve(inner, cross))
                part[c] = left * float(weight[:, torch.from_numpy(places)].square().sum())
            parts.append(part / part.mean() if len(group.consumers()) > 1 else part)
        np.testing.assert_allclose(found[group.name][0], np.mean(parts, 0), rtol=1e-7, atol=1e-15)


def test_compensation_is_the_measured_error_of_a_linear_reader() -> None:
    network = prepared(Chain)
    images, labels = data(300)
    found = score_groups(network, layout_of(network), resolve(["compensation"]), images, labels, 64, generator_for)
    x = inputs(network, images)["head"].numpy()
    y = network.head(torch.from_numpy(x)).detach().numpy()  # type: ignore[operator]
    for c in range(5):
        rest = np.column_stack([np.delete(x, c, axis=1), np.ones(len(x))])
        error = y - rest @ np.linalg.lstsq(rest, y, rcond=None)[0]
        assert found["b"][0, c] == pytest.approx((error**2).sum(1).mean(), rel=1e-4)  # the ridge is 1e-6


def test_a_channel_that_others_add_up_to_needs_no_compensation() -> None:
    network = prepared(Chain)
    with torch.no_grad():
        network.b.weight[4], network.b.bias[4] = network.b.weight[3], network.b.bias[3]  # type: ignore[union-attr,index,operator]
    row = scores(network, "compensation")["b"][0]
    assert row[3:] == pytest.approx([0, 0], abs=1e-5 * row[:3].max())
    assert row[:3].min() > 1e-3 * row[:3].max()


@pytest.mark.parametrize("make", [Mixed, Chain])
def test_csg_sensitivity_is_the_fall_of_the_separability_when_a_channel_is_left_out(make: type[nn.Module]) -> None:
    network = prepared(make)
    found = scores(network, "csg_sensitivity")
    images, labels = data(IMAGES)
    seen = inputs(network, images)
    y = labels.numpy()

    def separability(z: np.ndarray, ridge: float) -> float:
        means = np.stack([z[y == k].mean(0) for k in y])
        within = (z - means).T @ (z - means) / len(z) + ridge * np.eye(z.shape[1])
        between = (means - z.mean(0)).T @ (means - z.mean(0)) / len(z)
        return float(np.trace(np.linalg.solve(within, between)))

    for group in layout_of(network).groups:
        parts = []
        for m in group.consumers():
            pixels = len(m.positions) // group.size
            x = seen[m.layer]
            z = (x.mean((2, 3)) if x.dim() == 4 else x.reshape(len(x), -1, pixels).mean(2)).numpy()
            ridge = SEPARATION_RIDGE * z.var(0).mean()
            whole = separability(z, ridge)
            columns = [m.positions[m.channels == c][0] // pixels for c in range(group.size)]
            parts.append([(whole - separability(np.delete(z, k, axis=1), ridge)) / whole for k in columns])
        np.testing.assert_allclose(found[group.name][0], np.mean(parts, 0), rtol=1e-6, atol=1e-10)


def test_discriminants_are_analysis_of_variance() -> None:
    network = prepared(Mixed)
    images, labels = data(60)
    view = preview(network, images, labels, 16)
    expected, _ = f_classif(view.features.numpy(), labels.numpy())
    classes = int(torch.unique(labels).numel())
    np.testing.assert_allclose(view.discriminants() * (60 - classes) / (classes - 1), expected, rtol=1e-9)


class Positive(nn.Module):
    """conv → ReLU → mean → linear → ReLU → linear."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3)
        self.b = nn.Linear(4, 6)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.b(torch.relu(self.a(x)).mean((2, 3)))))  # type: ignore[no-any-return]


@pytest.mark.parametrize("traced", [3, IMAGES, 128])
def test_discriminant_traced_by_hand(traced: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spaces.criteria.trace.IMAGES", traced)
    network = prepared(Positive)
    images, labels = data(IMAGES)
    found = scores(network, "discriminant")
    v = preview(network, images, labels, 4).discriminants()
    seen = inputs(network, images)
    last, middle = seen["head"][:traced], seen["b"][:traced]
    np.testing.assert_allclose(found["b"][0], v * last.mean(0), rtol=1e-9)
    signal = (v * (last > 0)) @ network.b.weight.detach()  # type: ignore[union-attr,operator]
    np.testing.assert_allclose(found["a"][0], (signal.clamp(min=0) * middle).mean(0), rtol=1e-9, atol=1e-15)


def test_white_box_by_plain_gradient_descent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spaces.criteria.masks.EPOCHS", 1)
    network = prepared(Chain)
    images, labels = data(IMAGES)
    found = scores(network, "white_box", batch_size=IMAGES)
    generator = generator_for("evidence", "class_masks")
    v = torch.rand(IMAGES, int(labels.max()) + 1, generator=generator, dtype=torch.float64)
    v[torch.arange(IMAGES), labels] = 1
    v /= v.sum(1, keepdim=True)
    masks = [torch.ones(v.shape[1], n, dtype=torch.float64, requires_grad=True) for n in (6, 5)]
    x = torch.relu(network.norm(network.a(images))) * (v @ masks[0])[:, :, None, None]  # type: ignore[operator]
    x = torch.relu(network.b(x)).mean((2, 3)) * (v @ masks[1])  # type: ignore[operator]
    loss = F.cross_entropy(network.head(x), labels) + 0.01 * sum(m.sum(0).norm() for m in masks)  # type: ignore[operator]
    for mask, slope, name in zip(masks, torch.autograd.grad(loss, masks), ("a", "b"), strict=True):
        votes = (mask - 0.1 * slope).sum(0).abs().detach() / 2
        np.testing.assert_allclose(found[name][0], votes - votes.min(), rtol=1e-9, atol=1e-14)


def test_masks_of_one_leave_the_network_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spaces.criteria.masks.RATE", 0.0)
    network = prepared(Mixed)
    for name, row in scores(network, "white_box").items():
        np.testing.assert_allclose(row, 0.0, err_msg=name)


def test_ucp_se_is_gradient_descent_on_the_expanded_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    pooled = torch.rand(20, 6, generator=generator, dtype=torch.float64)
    slopes = torch.randn(20, 6, generator=generator, dtype=torch.float64)
    x, t = pooled / pooled.square().mean().sqrt(), slopes / slopes.square().sum(1).mean().sqrt()
    first = torch.linalg.svd(x, full_matrices=False)[2][:2].clone()
    first *= torch.where((x @ first.T).pow(3).sum(0) < 0, -1.0, 1.0)[:, None]
    second = torch.zeros(6, 2, dtype=torch.float64)
    for _ in range(5):
        first.requires_grad_(True), second.requires_grad_(True)
        u = ((2 * torch.sigmoid(torch.relu(x @ first.T) @ second.T) - 1) * t).sum(1)
        slope = torch.autograd.grad((u + u.square() / 2).mean(), [first, second])
        first, second = first.detach() - slope[0], second.detach() - slope[1]
    expected = torch.sigmoid(torch.relu(x @ first.T) @ second.T)
    torch.testing.assert_close(train(pooled, slopes, 2, 5), expected, rtol=1e-9, atol=1e-12)
    assert torch.equal(train(pooled, slopes, 2, 0), torch.full((20, 6), 0.5, dtype=torch.float64))


def test_ucp_se_closes_gates_that_do_harm_and_opens_those_that_help() -> None:
    network = prepared(Chain)
    group = layout_of(network).groups[0]
    slopes = torch.full((30, 6), 0.0, dtype=torch.float64)
    slopes[:, 1], slopes[:, 4] = 1.0, -1.0
    pooled = torch.rand(30, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    evidence = Evidence(network, {}, {}, pooled={"a": pooled}, slopes={"a": slopes})
    values = CRITERIA["ucp_se"].score(group, evidence, torch.Generator())
    assert values[1] < 0.5 < values[4]
    assert values[[0, 2, 3, 5]].tolist() == [0.5] * 4
