"""What the report reads from the archive: hypervolume, probes against trainings, failures, headline; and its axes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_fixtures import BASE_PARAMS, archive, evaluations, finals
from scipy import stats

from search.report import Finals, wording
from search.report.axis import cost_axis, error, error_axis
from search.report.failures import count_failures
from search.report.foretelling import compare_probes
from search.report.headline import write_headline
from search.report.progress import measure_progress, volume_range
from search.report.scene import build_scene
from spaces.genome import Genome
from workers.evaluation import FAILED, OK, PROBE, TRAIN, Evaluation, Outcome, Request


def row(number: int, stage: str, origin: str = "evolution", key: float = 0.5, repeat: int = 0, **metrics: float):
    genome = Genome((), key, (0.5,), ((1.0,),))
    metrics = {"violation": 0.0, **metrics}
    return Evaluation(Request(number, stage, genome, origin, repeat), Outcome(number, OK, metrics=metrics, seconds=2.0))


@pytest.fixture(scope="module")
def made() -> Finals:
    return finals(archive(evaluations()))


@given(seed=st.integers(0, 50), probes=st.integers(0, 12), trainings=st.integers(0, 8))
@settings(max_examples=20, deadline=None)
def test_hypervolume_never_falls_and_covers_the_run(made: Finals, seed: int, probes: int, trainings: int) -> None:
    table = archive(evaluations(probes, trainings, failed=2, seed=seed))
    progress = measure_progress(table, made)
    for steps in (progress.evaluations, progress.seconds, progress.volumes):
        assert list(steps) == sorted(steps)
    rows = [r for r in table.to_pylist() if not r["origin"].startswith("control:")]
    assert progress.evaluations[-1] == len(rows)
    assert progress.seconds[-1] == pytest.approx(sum(r["seconds"] for r in rows))
    low, high = volume_range(progress, math.nan)
    assert low < high


def test_hypervolume_by_hand(made: Finals) -> None:
    half, tenth = BASE_PARAMS // 2, BASE_PARAMS // 10
    rows = [
        row(0, PROBE, params=1, accuracy=1.0),
        row(1, TRAIN, params=half, accuracy=0.9),
        row(2, TRAIN, key=0.2, params=tenth, accuracy=0.8, violation=0.3),
        row(3, TRAIN, "control:uniform", key=0.3, params=tenth, accuracy=0.99),
        row(4, TRAIN, key=0.4, repeat=1, params=tenth, accuracy=0.99),
        row(5, TRAIN, key=0.6, params=tenth, accuracy=0.7),
    ]
    progress = measure_progress(archive(rows), made)
    assert progress.volumes[1] == pytest.approx(1.0 * 0.6)
    assert progress.final == pytest.approx(1.0 * 0.6 + 0.4 * 0.8)
    assert progress.evaluations == (0, 2, 4, 4)
    assert progress.seconds == (0.0, 4.0, 8.0, 8.0)


def test_probes_are_paired_with_trainings_of_the_same_candidate() -> None:
    probed, trained = [0.3, 0.5, 0.4, 0.7], [0.90, 0.93, 0.94, 0.95]
    keys = [0.1, 0.2, 0.3, 0.4]
    rows = [
        row(i, PROBE, key=k, accuracy=p, refit_accuracy=1 - p)
        for i, (k, p) in enumerate(zip(keys, probed, strict=True))
    ]
    rows += [row(9 - i, TRAIN, key=k, accuracy=t) for i, (k, t) in enumerate(zip(keys, trained, strict=True))]
    rows += [row(10, TRAIN, "control:random", key=0.9, accuracy=0.1), row(11, TRAIN, key=0.1, repeat=1, accuracy=0.1)]
    result = compare_probes(archive(rows))
    assert {(p.probed, p.trained) for p in result.pairs} == set(zip(probed, trained, strict=True))
    assert result.tau_probed == pytest.approx(stats.kendalltau(probed, trained).statistic)
    assert result.tau == result.tau_refitted == pytest.approx(-result.tau_probed)
    assert math.isnan(compare_probes(archive(rows[:6])).tau)


def test_failures_keep_first_messages_and_lose_control_characters() -> None:
    def failed(number: int, reason: str, message: str) -> Evaluation:
        request = Request(number, PROBE, Genome((), 0.5, (0.5,), ((1.0,),)), "evolution")
        return Evaluation(request, Outcome(number, FAILED, reason, message, seconds=1.5))

    rows = [failed(i, "oom", m) for i, m in enumerate(["a\x1b[2J", "b", "a\x1b[2J", "c", "d"])] + [failed(5, "nan", "")]
    oom, nan = count_failures(archive(rows))
    assert (oom.reason, oom.count, oom.seconds) == ("oom", 5, 7.5)
    assert oom.messages == ((0, "a [2J"), (1, "b"), (3, "c"))
    assert nan.messages == ((5, "(no message)"),)


def test_headline_is_computed(made: Finals) -> None:
    table = archive(evaluations())
    chosen = made.chosen_network
    assert chosen is not None
    better = replace(chosen, params=BASE_PARAMS // 17, test_accuracy=made.base.test_accuracy - 0.003)
    seventeenth = replace(made, front=(better,))
    assert write_headline(table, seventeenth).title == "1/17 of the parameters at −0.3 points test accuracy"
    over = write_headline(table, replace(seventeenth, budget={"params": 5000}))
    assert over.title.startswith("Over budget: ")
    assert "misses its budget" in over.details[0]
    same = replace(made, front=(replace(better, test_accuracy=made.base.test_accuracy),))
    assert write_headline(table, same).title.endswith("at the same test accuracy")


def test_headline_without_a_choice_says_why(made: Finals) -> None:
    none = replace(made, front=(), chosen=None, chosen_test=(), controls=(), verdicts=())
    over = row(0, TRAIN, params=10, accuracy=0.5, violation=2.0)
    lost = replace(over, outcome=Outcome(0, FAILED, "nan"))
    for rows, why in (
        ([], "no evaluation"),
        ([row(0, TRAIN, "control:uniform", params=10, accuracy=0.5)], "no evaluation"),
        ([row(0, PROBE, params=10, accuracy=0.5)], "No candidate was trained"),
        ([over], "met the budget (24,000 parameters"),
        ([lost], "All of 1 training failed"),
    ):
        headline = write_headline(archive(rows), none)
        assert headline.title == "No network was chosen"
        assert why in headline.details[0]


def test_scene_leaves_out_controls_and_missing_numbers(made: Finals) -> None:
    rows = [
        row(0, PROBE, params=10, accuracy=0.2, refit_accuracy=0.6),
        row(1, PROBE, params=10),
        row(2, TRAIN, params=20, accuracy=0.9),
        row(3, TRAIN, "control:random", params=20, accuracy=0.9),
    ]
    scene = build_scene(archive(rows), made)
    assert [s.accuracy for s in scene.probes] == [0.6]
    assert [s.accuracy for s in scene.trained] == [0.9]
    best = [a for _, a in scene.stairs]
    assert best == sorted(best)


@given(st.lists(st.floats(1e-3, 1e12), max_size=8))
def test_cost_axis_holds_its_values_and_has_ticks(costs: list[float]) -> None:
    axis = cost_axis(costs)
    assert all(axis.low < c < axis.high for c in costs)
    assert len(axis.ticks) >= 1
    assert all(axis.low <= t <= axis.high for t in axis.ticks)


@given(st.lists(st.floats(0, 1), max_size=8), st.integers(1, 100_000))
def test_error_axis_labels_are_accuracies(accuracies: list[float], images: int) -> None:
    axis = error_axis(accuracies, 0.5 / images)
    assert all(axis.low < error(a, 0.5 / images) < axis.high for a in accuracies)
    assert len(axis.ticks) >= 1
    assert len(set(axis.labels)) == len(axis.labels)
    for tick, label in zip(axis.ticks, axis.labels, strict=True):
        assert float(label) == pytest.approx(100 * (1 - tick), abs=1e-3)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (wording.share(1 / 17.2), "1/17"),
        (wording.share(0.63), "63%"),
        (wording.share(1.0), "100%"),
        (wording.share(1.002), "100.2%"),
        (wording.percent(0.99996), "99.996%"),
        (wording.percent(1.0), "100.0%"),
        (wording.signed(-0.31), "−0.3"),
        (wording.signed(-0.01), "0.0"),
        (wording.bracket(-0.2, 1.44), "[−0.2, 1.4]"),
        (wording.bracket(-0.01, 0.02), "[0.0, 0.0]"),
        (wording.duration(104.5), "1 min 44 s"),
        (wording.duration(4320), "1 h 12 min"),
        (wording.milliseconds(0.9999), "1.00 ms"),
        (wording.milliseconds(341.2), "341 ms"),
        (wording.compact(167_210), "167k"),
        (wording.scientific(3.1e-6), "3e−6"),
        (wording.count(math.nan), wording.UNKNOWN),
        (wording.listed(["a"]), "a"),
        (wording.listed([]), ""),
        (wording.listed(list("abcd"), 2), "a, b and 2 more"),
    ],
)
def test_wording(said: str, expected: str) -> None:
    assert said == expected
