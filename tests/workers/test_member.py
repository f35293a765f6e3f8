"""Members of a population in a worker: they train for an interval, their children go on from there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from small_bench import small_bench

import workers.evaluate
from spaces.genome import Genome
from spaces.inherit import carrying, inherit
from workers.batches import place
from workers.checkpoint import load_candidate
from workers.evaluate import Bench, evaluate, weights_path
from workers.evaluation import INTERVAL, SCRATCH, TRAIN, Outcome, Request
from workers.measure.accuracy import predict
from workers.member import load_member, member_path
from workers.recalibrate import recalibrate


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    made = small_bench(tmp_path_factory.mktemp("members"))
    return replace(made, interval_epochs=3, varied=("distillation", "learning_rate", "pace"))


def member(bench: Bench, keep: float, growth: tuple[int, int] = (0, 0), rate: float = 0.004) -> Genome:
    whole = bench.foundation.space.uniform(keep, growth=growth)
    return replace(whole, settings=(0.3, rate, 0.8))


def interval(bench: Bench, genome: Genome, parent: str = "") -> Outcome:
    outcome = evaluate(Request(0, INTERVAL, genome, "population", parent=parent), bench)
    assert outcome.status == "ok", outcome.message
    return outcome


def weights(bench: Bench, genome: Genome) -> dict[str, torch.Tensor]:
    return dict(load_member(bench.folder, genome.id)[0].network.state_dict())


def test_children_count_their_ancestors_epochs_and_start_where_their_parents_stand(bench: Bench) -> None:
    first, second = member(bench, 0.9), member(bench, 0.6)
    assert interval(bench, first).metrics["epochs"] == 3
    found = interval(bench, second, first.id)
    assert found.metrics["epochs"] == 6
    assert found.metrics["params"] == bench.foundation.space.cost(second).params
    parent, epochs = load_member(bench.folder, first.id)
    child, _ = load_member(bench.folder, second.id)
    assert epochs == 3
    for name, channels in child.kept.items():
        assert set(channels.tolist()) <= set(parent.kept[name].tolist())
        assert len(channels) == len(set(channels.tolist()))
    # A learning rate that moves nothing shows what the child starts from.
    still = replace(second, settings=(0.3, 1e-12, 0.8))
    interval(bench, still, first.id)
    mine, theirs = weights(bench, still)["stem.conv.weight"], weights(bench, first)["stem.conv.weight"]
    place = {c: i for i, c in enumerate(parent.kept["stem.conv"].tolist())}
    taken = [place[c] for c in load_member(bench.folder, still.id)[0].kept["stem.conv"].tolist()]
    torch.testing.assert_close(mine, theirs[taken], rtol=0, atol=1e-9)


def test_a_grown_child_starts_as_good_as_its_parent(bench: Bench) -> None:
    parent = member(bench, 0.7)
    before = interval(bench, parent).metrics
    space = bench.foundation.space
    kept = load_member(bench.folder, parent.id)[0].kept
    sizes = dict(zip(space.layouts[0, 1].names, space.layouts[0, 1].sizes.tolist(), strict=True))
    added = {n: len(c) / sizes[n] for n, c in carrying(bench.foundation, (0, 1), (0, 0), kept).items()}
    keep = tuple(added.get(name, own) for name, own in zip(space.groups, parent.keep, strict=True))
    child = replace(parent, growth=(0, 1), keep=keep)
    calibration, validation = bench.data.calibration, bench.data.validation
    standing = load_member(bench.folder, parent.id)[0]
    recalibrate(place(standing.network, calibration), calibration, 64)
    images, _ = next(calibration.batches(len(calibration)))
    grown = place(inherit(bench.foundation, child, standing, images).network, calibration)
    recalibrate(grown, calibration, 64)
    torch.testing.assert_close(predict(grown, validation), predict(standing.network, validation), rtol=0, atol=0.05)
    assert interval(bench, child, parent.id).metrics["params"] > before["params"]


def test_the_same_interval_gives_the_same_weights_and_settings_are_the_members_own(bench: Bench) -> None:
    genome, other = member(bench, 0.5), member(bench, 0.5, rate=0.02)
    interval(bench, genome)
    once = weights(bench, genome)
    interval(bench, genome)
    assert all(torch.equal(once[name], value) for name, value in weights(bench, genome).items())
    interval(bench, other)
    assert not torch.equal(once["stem.conv.weight"], weights(bench, other)["stem.conv.weight"])


def test_a_training_to_the_end_goes_on_from_the_member(bench: Bench) -> None:
    genome = member(bench, 0.8)
    interval(bench, genome)
    request = Request(1, TRAIN, genome, "population", parent=genome.id)
    outcome = evaluate(request, bench)
    assert outcome.metrics["epochs"] == 3 + bench.training.epochs
    from_base = evaluate(replace(request, parent="", repeat=1), bench)
    assert from_base.metrics["epochs"] == bench.training.epochs
    network, about = load_candidate(weights_path(bench.folder, request))
    assert about.widths == {n: len(c) for n, c in load_member(bench.folder, genome.id)[0].kept.items()}
    assert sum(p.numel() for p in network.parameters()) == outcome.metrics["params"]


@pytest.mark.parametrize(("stage", "epochs"), [(TRAIN, 5), (SCRATCH, 7)])
def test_controls_train_as_long_as_they_are_told(bench: Bench, stage: str, epochs: int) -> None:
    assert bench.scratch_epochs - bench.training.epochs == 2
    request = Request(2, stage, member(bench, 0.4), "control:x", repeat=1, epochs=5)
    assert evaluate(request, bench).metrics["epochs"] == epochs


def test_an_interval_cut_off_goes_on_from_its_checkpoint(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    genome = member(bench, 0.65)
    interval(bench, genome)
    undisturbed = weights(bench, genome)
    real, left = workers.evaluate.measure_accuracy, [1]

    def mortal(*arguments: Any) -> Any:
        if left.pop():
            left.append(0)
            raise SystemExit
        return real(*arguments)

    monkeypatch.setattr(workers.evaluate, "measure_accuracy", mortal)
    with pytest.raises(SystemExit):
        interval(bench, genome)
    assert member_path(bench.folder, genome.id).with_suffix(".checkpoint").exists()
    monkeypatch.setattr(workers.evaluate, "measure_accuracy", real)
    interval(bench, genome)
    assert all(torch.equal(undisturbed[name], value) for name, value in weights(bench, genome).items())
    assert not member_path(bench.folder, genome.id).with_suffix(".checkpoint").exists()


def test_a_parent_that_is_gone_or_no_member_is_a_failed_row(bench: Bench) -> None:
    outcome = evaluate(Request(0, INTERVAL, member(bench, 0.3), "population", parent="nobody"), bench)
    assert outcome.reason == "error"
    assert "nobody.safetensors" in outcome.message
    genome = member(bench, 0.35)
    trained = Request(1, TRAIN, genome, "population")
    evaluate(trained, bench)
    path = member_path(bench.folder, genome.id)
    path.write_bytes(weights_path(bench.folder, trained).read_bytes())
    outcome = evaluate(Request(0, INTERVAL, member(bench, 0.3), "population", parent=genome.id), bench)
    assert "not a member of a population" in outcome.message
    assert np.isfinite(outcome.seconds)
