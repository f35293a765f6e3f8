"""Makes a realistic run for the tests of the report: an archive and its final measurements, on demand spoilt."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pyarrow as pa

from search.report import (
    Control,
    DataSet,
    Environment,
    Finals,
    Hypervolume,
    Latency,
    LayerWidth,
    Ledger,
    Measured,
    Sameness,
    Screening,
    judge,
)
from search.report.progress import measure_progress
from search.schema import SCHEMA, to_row
from spaces.genome import Genome
from workers.evaluation import FAILED, OK, PROBE, TRAIN, Evaluation, Outcome, Request

BASE_PARAMS, BASE_MACS, BASE_BYTES = 167_210, 9_412_608, 681_904
GROUPS = [
    ("stem.conv", 24),
    *(
        (f"stages.{stage}.{module}.{branch}", width)
        for stage, module in ((0, 0), (0, 1), (1, 0), (1, 1))
        for branch, width in (("one", 16), ("three.reduce", 24), ("three.conv", 32), ("five.conv", 12), ("pool", 8))
    ),
]
MESSAGES = {
    "oom": "RuntimeError: [enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate 805306368 bytes",
    "nan": "loss is not a number at step 41 of epoch 3 (learning rate 0.003)",
    "timeout": "no result within 120.0 s (limits.probe_seconds)",
    "worker_lost": "worker 10.0.3.17/4121 died 3 times while running this evaluation",
}


def archive(rows: list[Evaluation]) -> pa.Table:
    """A table of the archive's schema."""
    return pa.Table.from_pylist([to_row(e, 1_753_000_000.0 + i) for i, e in enumerate(rows)], schema=SCHEMA)


def evaluations(probes: int = 240, trainings: int = 14, failed: int = 9, seed: int = 7) -> list[Evaluation]:
    """Probes, every so often followed by trainings of the most promising; some of both fail; then the controls.

    From the second round on, trainings have a forecast.
    """
    rng = np.random.default_rng(seed)
    rows: list[Evaluation] = []
    pool: list[tuple[float, Genome, float, tuple[int, ...]]] = []
    rounds = 3
    reasons = list(MESSAGES)
    fail_at = set(rng.choice(max(probes, 1), min(failed, probes), replace=False).tolist())

    # Forecasts are drawn from a generator of their own, so that the run is the same with and without them.
    luck = np.random.default_rng(seed + 1)

    def foretell(accuracy: float) -> tuple[float, float, float]:
        odds = math.log(accuracy / (1 - accuracy)) + luck.normal(0, 0.25)
        low, middle, high = (1 / (1 + math.exp(-odds - d)) for d in (-0.41, 0.0, 0.41))
        return middle, low, high

    def add(
        genome: Genome,
        stage: str,
        origin: str,
        metrics: dict[str, float],
        reason: str = "",
        seconds: float = 1.0,
        forecast: tuple[float, float, float] | None = None,
    ) -> None:
        number = len(rows)
        status = FAILED if reason else OK
        outcome = Outcome(number, status, reason, MESSAGES.get(reason, ""), metrics, (), seconds, "node/1")
        rows.append(Evaluation(Request(number, stage, genome, origin, 0, forecast), outcome))

    for round_ in range(rounds):
        for i in range(round_ * probes // rounds, (round_ + 1) * probes // rounds):
            keep = float(np.clip(rng.beta(2, 4) + 0.05, 0.05, 1))
            growth = tuple(int(g) for g in rng.integers(0, 2, 2))
            genome = Genome(growth, keep, tuple(rng.uniform(0.2, 1, len(GROUPS)).tolist()), ((0.5, 0.5),))
            params = float(np.exp(rng.uniform(np.log(1500), np.log(23_500))))
            if i in fail_at:
                add(genome, PROBE, "evolution", {}, reasons[i % len(reasons)], 4.0)
                continue
            quality = 1 - 0.55 * math.exp(-params / 4000) - abs(rng.normal(0, 0.05))
            refit = float(np.clip(quality - 0.05 - abs(rng.normal(0, 0.06)), 0.1, 0.985))
            metrics = {
                "accuracy": float(np.clip(refit - rng.uniform(0.1, 0.5), 0.08, 1)),
                "refit_accuracy": refit,
                "loss": 1.2,
                **_costs(params),
                "epochs": 0,
            }
            add(genome, PROBE, "evolution" if i > 20 else "seed:uniform", metrics, seconds=float(rng.gamma(4, 0.1)))
            pool.append((refit + 0.16 * math.log(BASE_PARAMS / params), genome, params, growth))
        pool.sort(key=lambda item: -item[0])
        for _ in range(trainings // rounds + (round_ < trainings % rounds)):
            if not pool:
                break
            _, genome, params, _ = pool.pop(0)
            if failed and round_ == 1 and not any(e.request.stage == TRAIN and not e.ok for e in rows):
                add(genome, TRAIN, "evolution", {}, "nan", 31.0)
                continue
            accuracy = 0.9886 - 0.1 * math.exp(-params / 1900) - abs(rng.normal(0, 0.003))
            metrics = {"accuracy": round(accuracy * 719) / 719, **_costs(params), "epochs": 30}
            forecast = foretell(accuracy) if round_ else None
            add(genome, TRAIN, "evolution", metrics, seconds=float(rng.gamma(9, 3.0)), forecast=forecast)
    if trainings:
        for name in ("uniform", "sensitivity", "random"):
            genome = Genome((0, 0), 0.2, tuple(0.3 for _ in GROUPS), ((0.5, 0.5),))
            add(genome, TRAIN, f"control:{name}", {"accuracy": 0.96, **_costs(9500), "epochs": 30}, seconds=25.0)
    return rows


def _costs(params: float) -> dict[str, float]:
    params = int(params)
    return {"params": params, "macs": int(params * 51.7), "bytes": params * 4 + 1200, "violation": 0.0}


def measured(candidate: str, params: float, validation: float, test: float, origin: str = "evolution") -> Measured:
    """A measured network whose other figures follow from its size."""
    share = params / BASE_PARAMS
    ratio = 0.25 + 0.75 * share
    rng = np.random.default_rng(int(params))
    widths = tuple(
        LayerWidth(name, full, max(1, round(full * float(np.clip(share**0.5 * rng.uniform(0.4, 1.9), 0.05, 1)))))
        for name, full in GROUPS
    )
    return Measured(
        candidate=candidate,
        origin=origin,
        growth=(0, 1),
        params=int(params),
        macs=int(params * 51.7 + 31_000),
        bytes=int(params * 4 + 13_064),
        validation_accuracy=validation,
        test_accuracy=test,
        latency=Latency(
            3.41 * ratio, 3.35 * ratio, 3.5 * ratio, ratio, ratio * 0.97, ratio * 1.03, 32, "float32", 1, "cpu"
        ),
        sameness={
            "masked": Sameness(3.1e-6, 1.0),
            "reloaded": Sameness(0.0, 1.0),
            "onnx": Sameness(7.6e-6, 1.0),
        },
        widths=widths,
    )


def finals(table: pa.Table, classes: tuple[str, ...] = tuple("0123456789")) -> Finals:
    """Final measurements that fit the archive."""
    front = tuple(_front(table))
    chosen = next((m.candidate for m in reversed(front) if m.params <= 11_000), None)
    picked = next((m for m in front if m.candidate == chosen), None)
    params = picked.params if picked else 9_842
    chosen_test = (352 / 360, 350 / 360, 353 / 360) if picked else ()
    controls = (
        Control(
            "uniform", "Every group keeps the same share of its channels, the least important by L1 norm go.",
            params + 20, 480_000, 52_000, (345 / 360, 346 / 360, 347 / 360), (0.961, 0.957, 0.964), 84.2,
        ),
        Control(
            "sensitivity", "Every group is pruned as far as the same drop in probed accuracy allows.",
            params - 140, 470_000, 51_000, (349 / 360, 350 / 360, 352 / 360), (0.972, 0.969, 0.971), 88.9,
        ),
        Control(
            "random", "The most accurate of as many random genomes, trained like the search’s.",
            params - 310, 466_000, 51_000, (348 / 360, 347 / 360, 349 / 360), (0.967, 0.964, 0.965), 90.1,
        ),
        Control(
            "scratch", "The chosen architecture, trained as long from random weights.",
            params, 508_000, 52_400, (355 / 360, 354 / 360, 355 / 360), (0.978, 0.981, 0.986), 79.6,
        ),
    )  # fmt: skip
    built = Finals(
        name="digits-sixteenth",
        seed=0,
        strategy="evolution",
        data=DataSet("digits", 1078, 359, 360, (1, 8, 8), classes),
        cost="params",
        budget={"params": 24_000, "macs": 2_000_000},
        base=replace(measured("base", BASE_PARAMS, 0.9916, 0.9861, "base"), widths=()),
        front=front,
        chosen=chosen,
        chosen_test=chosen_test,
        controls=controls if picked else (),
        verdicts=tuple(judge(chosen_test, c.test, c.name) for c in controls) if picked else (),
        hypervolume=Hypervolume(0.0, math.nan),
        ledger=Ledger(
            base_seconds=61.0, probe_seconds=104.5, training_seconds=371.0, control_seconds=342.8,
            probes=240, trainings=14, failures={"oom": 3, "nan": 3, "timeout": 2, "worker_lost": 2},
            gain_per_hour=0.41, wall_seconds=512.0, saved_seconds=6100.0,
        ),
        environment=Environment("2.9.1+cpu", "3.11.14", "AMD EPYC 9R14, 2 cores", 1),
        notes=("The base network was trained here for 40 epochs.",),
        registered="models:/niwaki-digits-sixteenth/3" if picked else None,
        tracking_uri="sqlite:////srv/runs/mlflow.db",
        screening=Screening(14_009, trusted=True),
    )  # fmt: skip
    final = measure_progress(table, built).final
    return replace(built, hypervolume=Hypervolume(final, final - 0.006 if final else math.nan))


def _front(table: pa.Table) -> list[Measured]:
    rows = [
        r for r in table.to_pylist()
        if r["stage"] == TRAIN and r["status"] == OK and not r["origin"].startswith("control:")
    ]  # fmt: skip
    rng = np.random.default_rng(3)
    best, front = -1.0, []
    for row in sorted(rows, key=lambda r: r["params"]):
        if row["accuracy"] > best:
            best = row["accuracy"]
            test = round((best - 0.004 + rng.normal(0, 0.004)) * 360) / 360
            front.append(measured(row["candidate"], row["params"], best, test))
    return front
