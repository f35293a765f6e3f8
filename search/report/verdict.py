"""Did the search beat a plain alternative? One pure function, with wording that claims no more than the seeds show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from search.report import wording

LABELS = {
    "uniform": "uniform ratios",
    "sensitivity": "sensitivity-then-bisect",
    "random": "random search",
    "scratch": "the same network from scratch",
    "bar": "budget-aware gates",
    "push_prune": "push and prune",
}
"""Controls in words; a control that is not here goes by its own name."""

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Verdict:
    """The chosen network held against one control.

    Attributes:
        name: the control's name.
        difference: mean test accuracy of the chosen network minus the control's, percentage points; None where
            one side has no finished training.
        low: lower end of the 95% interval of the difference, percentage points; None where seeds give no interval.
        high: upper end.
        beat: True or False where the interval excludes zero; None where the two were not told apart.
        seeds: trainings that were compared: pairs, or the smaller of the two numbers where they are not paired.
        paired: whether trainings were compared seed by seed.
        sentence: all this in words, with the chosen network as its unspoken subject.
    """

    name: str
    difference: float | None
    low: float | None
    high: float | None
    beat: bool | None
    seeds: int
    paired: bool
    sentence: str


def judge(chosen: Sequence[float], control: Sequence[float], name: str) -> Verdict:
    """Compare two sets of repeated trainings.

    With equally many on both sides they are paired by position (same seeds) and the interval is Student's t of the
    differences; otherwise it is Welch's. A training that is not a number is left out, with its partner. One seed, or
    seeds that do not differ at all, give no interval: then nothing is claimed.

    Args:
        chosen: test accuracies of the chosen candidate, 0 to 1, one per seed.
        control: test accuracies of the control.
        name: the control's name.
    """
    label = LABELS.get(name, name)
    paired = len(chosen) == len(control)
    ours, theirs = np.asarray(chosen, dtype=float), np.asarray(control, dtype=float)
    if paired:
        both = np.isfinite(ours) & np.isfinite(theirs)
        ours, theirs = ours[both], theirs[both]
    else:
        ours, theirs = ours[np.isfinite(ours)], theirs[np.isfinite(theirs)]
    seeds = min(len(ours), len(theirs))
    if seeds == 0:
        sentence = f"could not be compared with {label}: no finished training to compare"
        return Verdict(name, None, None, None, None, 0, paired, sentence)
    difference = 100 * float(ours.mean() - theirs.mean())
    interval = _paired(100 * (ours - theirs)) if paired else _welch(100 * ours, 100 * theirs)
    if interval is None:
        why = "one seed, too few to judge" if seeds == 1 else f"the same in all {seeds} seeds, no spread to judge by"
        sentence = f"was not told apart from {label}: {wording.signed(difference)} points ({why})"
        return Verdict(name, difference, None, None, None, seeds, paired, sentence)
    low, high = interval
    beat = True if low > 0 else False if high < 0 else None
    return Verdict(name, difference, low, high, beat, seeds, paired, _sentence(label, difference, low, high, seeds))


def _paired(differences: np.ndarray) -> tuple[float, float] | None:
    """Student's t-interval of the mean difference; None without spread."""
    n = len(differences)
    if n < 2 or np.ptp(differences) < 1e-9:
        return None
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * float(differences.std(ddof=1)) / math.sqrt(n)
    middle = float(differences.mean())
    return middle - half, middle + half


def _welch(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float] | None:
    """Welch's interval of the difference of two means; None without spread or with a single training on a side."""
    if min(len(ours), len(theirs)) < 2 or max(np.ptp(ours), np.ptp(theirs)) < 1e-9:
        return None
    a, b = (float(x.var(ddof=1)) / len(x) for x in (ours, theirs))
    freedom = (a + b) ** 2 / (a**2 / (len(ours) - 1) + b**2 / (len(theirs) - 1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(a + b)
    middle = float(ours.mean() - theirs.mean())
    return middle - half, middle + half


def _sentence(label: str, difference: float, low: float, high: float, seeds: int) -> str:
    near = min(abs(difference), abs(low), abs(high))
    decimals = 2 if near < 0.1 else 1
    evidence = f"{wording.bracket(low, high, decimals)} ({wording.plural(seeds, 'seed')})"
    size = f"{abs(difference):.{decimals}f} points"
    if low > 0:
        return f"beat {label} by {size} {evidence}"
    if high < 0:
        return f"LOST to {label} by {size} {evidence}"
    return f"was not told apart from {label}: {wording.signed(difference, decimals)} points {evidence}"


def tally(verdicts: Sequence[Verdict]) -> str:
    """All verdicts in one line, losses first: nobody should have to look for them."""
    groups = {False: "LOST to", True: "beat", None: "was not told apart from"}
    parts = []
    for outcome, verb in groups.items():
        names = [LABELS.get(v.name, v.name) for v in verdicts if v.beat is outcome]
        if names:
            parts.append(f"{verb} {wording.listed(names)}")
    return "; ".join(parts)
