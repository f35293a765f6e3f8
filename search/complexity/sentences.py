"""The report in sentences and rows, the same for terminal and page."""

from __future__ import annotations

from dataclasses import dataclass

from search.complexity.report import ComplexityReport, Pair
from search.report import wording
from workers.complexity.csg import Interval
from workers.complexity.expected import IMAGES as CALIBRATED_IMAGES
from workers.complexity.expected import SIDE, ExpectedError
from workers.complexity.image import Mean
from workers.complexity.width_reference import DATA_SETS, LEFT_OUT_ERROR, SOURCES

SHOWN_PAIRS = 10
"""Hardest pairs in tables."""
LEAST_OVERLAP = 0.0005
"""Less is 0.0%."""


@dataclass(frozen=True)
class Row:
    """A figure: what it is called, its value, its 95% interval (empty where there is none), and how to read it."""

    name: str
    value: str
    interval: str
    reading: str


def title(report: ComplexityReport) -> str:
    """The answer in one line."""
    hardest = shown_pairs(report)
    if not hardest:
        return "All classes are apart"
    overlap = wording.percent(report.csg.relative.mean)
    pair = f"{wording.plain(hardest[0].first)} and {wording.plain(hardest[0].second)}"
    return f"Classes overlap by {overlap}, most of all {pair}"


def shown_pairs(report: ComplexityReport) -> list[Pair]:
    """The hardest pairs of classes, without those that do not overlap."""
    return [pair for pair in report.hardest_pairs(SHOWN_PAIRS) if pair.similarity >= LEAST_OVERLAP]


def data_line(report: ComplexityReport) -> str:
    """What was looked at."""
    m = report.measured
    channels, height, width = m.shape
    used = f"{m.images:,} of {m.training:,}" if m.images < m.training else f"all {m.training:,}"
    return (
        f"data {wording.plain(m.source)}: {used} training images of {channels}×{height}×{width} in "
        f"{len(m.classes):,} classes"
    )


def method_line(report: ComplexityReport) -> str:
    """How class overlap was measured; figures by other settings do not compare."""
    m = report.measured
    weighed = "weighed by volume" if m.volume else "not weighed by volume"
    return (
        f"overlap: up to {m.samples} images a class and {m.neighbours} neighbours of each, {weighed}, in the "
        f"embedding {m.embedding} of {wording.plural(m.dimensions, 'dimension')}; means of {m.repeats} draws, seed "
        f"{m.seed}; compare only figures with the same settings and number of images"
    )


def overlap_rows(report: ComplexityReport) -> list[Row]:
    """Figures of class overlap."""
    c, k = report.csg, len(report.measured.classes)
    rows = [
        _row("CSG", c.csg, f"cumulative spectral gradient: 0 where classes are apart, {k - 1} where all are the same"),
        _row("CSG / (K − 1)", c.relative, "the same from 0 to 1, comparable between numbers of classes"),
        _row("AULS", c.auls, "the same sum without the cumulative maximum"),
        _row("cmsAULS", c.cmsauls, "cumulative maximum over squared eigenvalues"),
        Row("effective samples", f"{c.effective_samples:.0f}", "", "of the class with fewest; trust no less than 30"),
    ]
    return [*rows, expected_row(report.expected)]


def picture_rows(report: ComplexityReport) -> list[Row]:
    """Figures of the images themselves."""
    readings = {
        "jpeg": ("JPEG bytes per value", "J of CC-Net at quality 95, headers not counted"),
        "blobs": ("area in blobs", "B of CC-Net: the share covered by bright spots of 3 pixels radius and more"),
        "frequency": ("median frequency", "cycles per pixel below which half of the power lies"),
    }
    return [_row(*readings[name][:1], mean, readings[name][1]) for name, mean in report.pictures.items()]


def reduction_line(report: ComplexityReport) -> str:
    """The advice on a smaller set."""
    r, m = report.reduction, report.measured
    if len(r.rungs) == 1:
        return f"smaller set: the smallest class has too few of the {m.images:,} images to try parts of them; keep all"
    if r.advised == m.images:
        return f"smaller set: no part of the {m.images:,} images shows the same overlap; keep all"
    return (
        f"smaller set: {r.advised:,} of the {m.images:,} images show the same overlap (to within "
        f"{r.tolerance:.2g} of CSG): enough to judge the data by, though networks still gain from more"
    )


def width_line(report: ComplexityReport) -> str:
    """The advice on a narrower network."""
    w = report.width
    kept = f"{wording.percent(w.keep, 0)} of the full network's accuracy"
    expected = (
        f"expected there: {wording.percent(w.retained)}, 95% interval {wording.percent(w.low)} to "
        f"{wording.percent(w.high)}"
    )
    if w.factor is None:
        return f"width: {kept} cannot be promised within {wording.share(w.params)} of its parameters ({expected})"
    if w.factor == 1:
        return f"width: no narrower network is sure enough to keep {kept}"
    return (
        f"width: {w.factor:.2f} of the full width, {wording.share(w.params)} of the parameters, should keep {kept} "
        f"({expected})"
    )


def width_caveat() -> str:
    """What the advice on width rests on."""
    return (
        f"the advice on width rests on trainings of one network family on {DATA_SETS} small data sets from {SOURCES} "
        f"sources, none of them this one; on a source left out it was off by {wording.percent(LEFT_OUT_ERROR, 0)} of "
        "the accuracy, and image complexity did not help"
    )


def expected_row(expected: ExpectedError | None) -> Row:
    """The accuracy that a small network should reach."""
    if expected is None:
        return Row("expected accuracy", wording.UNKNOWN, "", f"takes at least {CALIBRATED_IMAGES:,} training images")
    interval = f"{wording.percent(1 - expected.high, 0)} to {wording.percent(1 - expected.low, 0)}"
    reading = f"of a small CNN trained on {CALIBRATED_IMAGES:,} images of {SIDE}×{SIDE} for ten epochs; a guess"
    return Row("expected accuracy", wording.percent(1 - expected.error, 0), interval, reading)


def _row(name: str, figure: Interval | Mean, reading: str) -> Row:
    value = figure.mean if isinstance(figure, Interval) else figure.value
    digits = 3 if abs(value) < 10 else 1
    return Row(name, f"{value:.{digits}f}", interval(figure, digits), reading)


def interval(figure: Interval | Mean, digits: int = 3) -> str:
    """``[low, high]``, or nothing where all draws agree or there is but one value."""
    spread = figure.high - figure.low
    return wording.bracket(figure.low, figure.high, digits) if spread > 1e-9 else ""
