"""What the report says of forecasts: against scipy, by hand, and aloud where they were bad, few or none."""

from __future__ import annotations

import io
import json
import math
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_fixtures import archive, evaluations, finals
from rich.console import Console
from scipy import stats

from search.conclude import _screening
from search.report import Finals, Screening, forecast_table
from search.report.correlation import RESAMPLES, correlations, rank
from search.report.forecasts import Forecasts, judge_forecasts
from search.report.page import build_page
from search.report.sections.forecasting import compare, forecasting
from search.surrogate.record import FEWEST
from spaces.genome import Genome
from workers.evaluation import FAILED, OK, PROBE, TRAIN, Evaluation, Outcome, Request

few_values = st.integers(0, 4).map(float)


@pytest.fixture(scope="module")
def made() -> Finals:
    return finals(archive(evaluations()))


def row(
    number: int,
    stage: str,
    key: float,
    forecast: tuple[float, float, float] | None = None,
    origin: str = "evolution",
    repeat: int = 0,
    status: str = OK,
    **metrics: float,
) -> Evaluation:
    request = Request(number, stage, Genome((), key, (0.5,), ((1.0,),)), origin, repeat, forecast)
    return Evaluation(request, Outcome(number, status, metrics={"violation": 0.0, **metrics}, seconds=2.0))


def pairs(
    forecasts: list[float], probed: list[float], trained: list[float], width: float = 0.05, refit: bool = True
) -> list[Evaluation]:
    """A probe and a training of one candidate per position."""
    rows = []
    for i, (f, p, t) in enumerate(zip(forecasts, probed, trained, strict=True)):
        key = (i + 1) / 100
        more = {"refit_accuracy": p} if refit else {}
        rows.append(row(2 * i, PROBE, key, accuracy=p / 2 if refit else p, **more))
        rows.append(row(2 * i + 1, TRAIN, key, (f, f - width, f + width), accuracy=t))
    return rows


@given(st.lists(st.tuples(few_values, few_values), min_size=2, max_size=9), st.data())
@settings(deadline=None)
def test_weighted_correlations_are_those_of_the_resample(
    points: list[tuple[float, float]], data: st.DataObject
) -> None:
    x, y = map(np.array, zip(*points, strict=True))
    drawn = data.draw(st.lists(st.integers(0, len(x) - 1), min_size=len(x), max_size=len(x)))
    tau, rho = correlations(x, y, np.bincount(drawn, minlength=len(x))[None, :].astype(float))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        expected = stats.kendalltau(x[drawn], y[drawn]).statistic, stats.spearmanr(x[drawn], y[drawn]).statistic
    np.testing.assert_allclose((tau[0], rho[0]), expected, atol=1e-12)


def test_intervals_are_quantiles_of_resamples_and_the_same_every_time() -> None:
    rng = np.random.default_rng(0)
    outcome = rng.normal(size=30)
    near, far = outcome + rng.normal(size=30) * 0.3, outcome + rng.normal(size=30) * 2
    first = rank(near.tolist(), far.tolist(), outcome.tolist())
    assert first == rank(near.tolist(), far.tolist(), outcome.tolist())
    assert first.tau.value == pytest.approx(stats.kendalltau(near, outcome).statistic)
    assert first.rho.value == pytest.approx(stats.spearmanr(near, outcome).statistic)
    assert first.tau_rival.value == pytest.approx(stats.kendalltau(far, outcome).statistic)
    assert first.lead.value == pytest.approx(first.tau.value - first.tau_rival.value)
    for estimate in (first.tau, first.rho, first.tau_rival, first.rho_rival, first.lead):
        assert estimate.low < estimate.value < estimate.high
    draws = [rng.integers(30, size=30) for _ in range(RESAMPLES)]
    plain = np.quantile([stats.kendalltau(near[d], outcome[d]).statistic for d in draws], [0.025, 0.975])
    np.testing.assert_allclose((first.tau.low, first.tau.high), plain, atol=0.02)


def test_a_perfect_order_has_no_interval() -> None:
    perfect = rank(list(range(8)), [math.nan] * 8, list(range(8)))
    assert perfect.tau.value == perfect.rho.value == pytest.approx(1.0)
    assert not perfect.tau.bounded
    assert math.isnan(perfect.tau_rival.value)
    assert math.isnan(perfect.lead.value)


def test_figures_by_hand() -> None:
    trained = [0.90, 0.91, 0.92, 0.93, 0.94, 0.95]
    forecasts = [0.91, 0.90, 0.92, 0.95, 0.94, 0.99]
    probed = [0.5, 0.4, 0.3, 0.6, 0.7, 0.8]
    found = judge_forecasts(archive(pairs(forecasts, probed, trained, width=0.03)))
    assert found.ranking.tau.value == pytest.approx((13 - 2) / 15)
    assert found.ranking.tau_rival.value == pytest.approx((12 - 3) / 15)
    assert found.error == pytest.approx(100 * (0.01 + 0.01 + 0 + 0.02 + 0 + 0.04) / 6)
    assert [p.held for p in found.pairs] == [True] * 5 + [False]
    # Wilson's interval in closed form.
    z, n, share = stats.norm.ppf(0.975), 6, 5 / 6
    middle, half = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    assert found.held.value == pytest.approx(share)
    assert found.held.low == pytest.approx((middle - half) / (1 + z**2 / n))
    assert found.held.high == pytest.approx((middle + half) / (1 + z**2 / n))


def test_only_first_trainings_of_the_search_with_a_forecast_count() -> None:
    sure = (0.8, 0.7, 0.9)
    rows = [
        row(0, TRAIN, 0.1, sure, accuracy=0.85),
        row(1, TRAIN, 0.2, accuracy=0.85),
        row(2, TRAIN, 0.3, sure, origin="control:chosen", accuracy=0.85),
        row(3, TRAIN, 0.4, sure, repeat=1, accuracy=0.85),
        row(4, TRAIN, 0.5, sure, status=FAILED),
        row(5, PROBE, 0.6, sure, accuracy=0.85),
        row(6, TRAIN, 0.1, (0.1, 0.0, 0.2), accuracy=0.1),
        row(7, TRAIN, 0.7, sure, accuracy=math.nan),
    ]
    found = judge_forecasts(archive(rows))
    assert [(p.forecast, p.trained) for p in found.pairs] == [(0.8, 0.85)]
    assert found.error == pytest.approx(5.0)
    assert math.isnan(found.pairs[0].probed)
    assert judge_forecasts(archive(rows[1:5])) == Forecasts()


def test_the_probe_is_the_refitted_one_where_all_have_it() -> None:
    values = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    rows = pairs(values, values, values)
    assert judge_forecasts(archive(rows)).refitted
    without = pairs(values[:1], values[:1], values[:1], refit=False)
    mixed = judge_forecasts(archive(without + rows[2:]))
    assert not mixed.refitted
    assert [p.probed for p in mixed.pairs] == pytest.approx([0.1, 0.1, 0.15, 0.2, 0.25, 0.3])


@pytest.mark.parametrize("number", [1, 3, FEWEST - 1, FEWEST])
def test_no_rank_correlation_of_too_few(number: int, made: Finals) -> None:
    values = [0.5 + 0.05 * i for i in range(number)]
    found = judge_forecasts(archive(pairs(values, values, values)))
    assert math.isfinite(found.ranking.tau.value) is (number >= FEWEST)
    assert ("too few" in compare(found)) is (number < FEWEST)
    assert "data-figure" in forecasting(found, made)


@pytest.mark.parametrize(("forecast", "probe", "said"), [(0.02, 0.5, "better than"), (0.5, 0.02, "WORSE than")])
def test_whether_forecasts_beat_the_probe_is_said(forecast: float, probe: float, said: str, made: Finals) -> None:
    rng = np.random.default_rng(1)
    trained = rng.uniform(0.3, 0.7, 40)
    forecasts, probed = (trained + rng.normal(0, noise, 40) for noise in (forecast, probe))
    found = judge_forecasts(archive(pairs(forecasts.tolist(), probed.tolist(), trained.tolist())))
    assert said in compare(found)
    same = judge_forecasts(archive(pairs(probed.tolist(), probed.tolist(), trained.tolist())))
    assert "could not be told" in compare(same)
    lone = [e for e in pairs(forecasts.tolist(), probed.tolist(), trained.tolist()) if e.request.stage == TRAIN]
    unprobed = judge_forecasts(archive(lone))
    assert math.isfinite(unprobed.ranking.tau.value)
    assert "cannot be compared" in compare(unprobed)
    assert ">nan" not in forecasting(unprobed, made).lower()


def test_without_forecasts_one_sentence_and_no_plot(made: Finals) -> None:
    off = replace(made, screening=None)
    for some, why in ((off, "There was no surrogate"), (made, "too few trainings")):
        section = forecasting(Forecasts(), some)
        assert why in section
        assert "data-figure" not in section
        assert "facts" not in section
    assert forecast_table(archive([]), made) is None


def test_distrust_and_savings_are_said_everywhere(made: Finals) -> None:
    table = archive(evaluations())
    doubted = replace(made, screening=Screening(14_009, trusted=False))
    page = build_page(table, doubted, Path("run"))
    shown = _shown(forecast_table(table, doubted))
    for text in (page, shown):
        assert "orecasts were not followed at the end" in text
        assert "14,009 genomes" in text
        assert "1 h 42 min" in text
    assert "not followed" not in _shown(forecast_table(table, made))
    assert "not followed" not in forecasting(judge_forecasts(table), made)
    assert "not followed" in forecasting(Forecasts(), doubted)
    unsaved = replace(made, screening=None, ledger=replace(made.ledger, saved_seconds=math.nan))
    assert "passed over" not in build_page(table, unsaved, Path("run"))


def _shown(table: object) -> str:
    console = Console(file=io.StringIO(), width=140)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_screening_survives_json_and_may_be_missing(made: Finals) -> None:
    fields = json.loads(json.dumps(made.to_json(), allow_nan=False))
    assert Finals.from_json(fields).screening == made.screening
    assert Finals.from_json({k: v for k, v in fields.items() if k != "screening"}).screening is None


def test_what_was_passed_over_leaves_out_all_probes_of_the_search() -> None:
    rows = [row(i, PROBE, i / 10, accuracy=0.5) for i in range(1, 4)]
    rows += [row(4, TRAIN, 0.1, accuracy=0.5), row(5, PROBE, 0.5, origin="control:random", accuracy=0.5)]

    def screened(proposed: int) -> Screening | None:
        surrogate = SimpleNamespace(proposed=proposed, record=SimpleNamespace(trusted=False))
        return _screening(SimpleNamespace(surrogate=surrogate), archive(rows))  # type: ignore[arg-type]

    assert screened(40) == Screening(37, trusted=False)
    assert screened(2) == Screening(0, trusted=False)
    assert _screening(SimpleNamespace(surrogate=None), archive(rows)) is None  # type: ignore[arg-type]
