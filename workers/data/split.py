"""Seeded, stratified splits: which rows train, which validate, which test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workers.data.errors import DataError

_Rows = npt.NDArray[np.int64]
_Mask = npt.NDArray[np.bool_]
_Quota = npt.NDArray[np.floating]

# Each purpose has its own stream, so that the limit moves no image in or out of the test split.
_TEST, _VALIDATION, _LIMIT, _ORDER = range(4)


@dataclass(frozen=True, eq=False)
class Rows:
    """Row numbers of a table by split, each in a seeded random order; empty where not asked for."""

    train: _Rows
    validation: _Rows
    test: _Rows


def split_rows(
    labels: _Rows,
    seed: int,
    validation_fraction: float = 0.0,
    test_fraction: float = 0.0,
    limit: int | None = None,
) -> Rows:
    """Splits `labels` (int64 [N], 0 or more) by class; a function of these arguments alone.

    A fraction is one of all N rows, honoured in every class to within one row; 0 makes no such split. Every
    class with at least three rows gets a row in each split, even where its fraction would round to none.
    limit: the most rows of training and validation together, drawn from each class in proportion, at least
    one for each class and split. The test split does not depend on it.
    Raises DataError for a limit too small for that.
    """
    counts = np.bincount(labels)
    present = np.minimum(counts, 1)
    makes_validation = 1 if validation_fraction else 0

    test = np.zeros(len(labels), dtype=np.bool_)
    if test_fraction:
        room = counts - present * (1 + makes_validation)
        test = _take(labels, ~test, _share(counts * test_fraction, room), seed, _TEST)

    pool = ~test
    everything = int(pool.sum())
    pool = _limited(labels, pool, limit, present * (1 + makes_validation), seed)

    validation = np.zeros(len(labels), dtype=np.bool_)
    if makes_validation:
        kept = int(pool.sum()) / max(everything, 1)
        room = np.bincount(labels[pool], minlength=len(counts)) - present
        validation = _take(labels, pool, _share(counts * validation_fraction * kept, room), seed, _VALIDATION)

    order = np.argsort(_keys(len(labels), seed, _ORDER), kind="stable")
    train = pool & ~validation
    return Rows(order[train[order]], order[validation[order]], order[test[order]])


def limit_parts(train: _Rows, validation: _Rows, limit: int | None, seed: int) -> tuple[_Rows, _Rows]:
    """Rows of a training and a validation table that are given apart, each in a seeded random order.

    limit: the most rows of both together, drawn from each class of each in proportion, at least one each.
    Raises DataError for a limit too small for that.
    """
    classes = int(train.max()) + 1
    strata = np.concatenate([train, validation + classes])
    everything = np.ones(len(strata), dtype=np.bool_)
    chosen = _limited(strata, everything, limit, np.minimum(np.bincount(strata), 1), seed)
    order = np.argsort(_keys(len(strata), seed, _ORDER), kind="stable")
    order = order[chosen[order]]
    return order[order < len(train)], order[order >= len(train)] - len(train)


def apportion(quota: _Quota, low: _Rows, high: _Rows, total: int) -> _Rows:
    """Whole numbers that sum to `total`, as near to `quota` as `low` and `high` allow (largest remainders).

    Needs low <= high and low.sum() <= total <= high.sum(). Ties go to the lower index.
    """
    given = np.clip(np.floor(quota).astype(np.int64), low, high)
    while (short := total - int(given.sum())) != 0:
        step = 1 if short > 0 else -1
        movable = given < high if step > 0 else given > low
        gain = np.where(movable, (quota - given) * step, -np.inf)
        given[int(np.argmax(gain))] += step
    return given


def _share(quota: _Quota, room: _Rows) -> _Rows:
    # Between floor and ceiling, so that no class strays by a whole row; at least one where there is room.
    room = np.maximum(room, 0)
    high = np.minimum(np.ceil(quota).astype(np.int64), room)
    low = np.minimum(np.maximum(np.floor(quota).astype(np.int64), 1), high)
    total = int(np.clip(round(float(quota.sum())), low.sum(), high.sum()))
    return apportion(quota, low, high, total)


def _limited(strata: _Rows, pool: _Mask, limit: int | None, least: _Rows, seed: int) -> _Mask:
    if limit is None or limit >= int(pool.sum()):
        return pool
    needed = int(least.sum())
    if limit < needed:
        raise DataError(
            f"limit {limit} is too small",
            f"give at least {needed}: one image of each class in training and in validation",
        )
    counts = np.bincount(strata[pool], minlength=len(least))
    quota = counts * (limit / counts.sum())
    return _take(strata, pool, apportion(quota, np.minimum(least, counts), counts, limit), seed, _LIMIT)


def _take(strata: _Rows, pool: _Mask, counts: _Rows, seed: int, purpose: int) -> _Mask:
    """A random `counts[s]` of the pool's rows of each stratum `s`."""
    keys = _keys(len(strata), seed, purpose)
    rows = np.flatnonzero(pool)
    rows = rows[np.lexsort((keys[rows], strata[rows]))]
    sorted_strata = strata[rows]
    rank = np.arange(len(rows)) - np.searchsorted(sorted_strata, sorted_strata)
    taken = np.zeros(len(strata), dtype=np.bool_)
    taken[rows[rank < counts[sorted_strata]]] = True
    return taken


def _keys(count: int, seed: int, purpose: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose,))).random(count)
