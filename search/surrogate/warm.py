"""Trainings of earlier runs on the same data and base network, for the forecasts to learn from as well.

What was read of them is kept in the run's own folder, so that a resumed run knows the same though they may have gone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from search.archive import ArchiveError, read_archive, read_rows
from search.config import SearchConfig
from search.folder import RunFolder
from search.loading import ConfigError
from search.schema import SCHEMA, evaluations_of
from search.surrogate.surrogate import Lesson
from search.surrogate.warm_checks import check_candidate, check_inputs, check_meaning, check_weights
from spaces.space import Space
from workers.atomic import replacing
from workers.evaluation import OK, PROBE, TRAIN, Evaluation

COPY = "warm.parquet"
"""In a run's folder: the probes and trainings of earlier runs that it learns from, as rows of their archives."""


def read_earlier(config: SearchConfig, space: Space, run: RunFolder) -> pa.Table | None:
    """The rows of ``surrogate.warm_start``'s runs that teach, checked; ``None`` where ``run`` needs none or has them.

    Raises:
        ConfigError: a folder holds no run or a damaged one, its measurements mean something else, or what ``run`` has
            of them is damaged.
    """
    if not config.surrogate.warm_start:
        return None
    if (run.path / COPY).exists():
        earlier_lessons(run)
        return None
    tables = [_read_run(RunFolder(Path(folder)), config, space) for folder in config.surrogate.warm_start]
    table = pa.concat_tables(tables)
    check_inputs(space, _lessons(table))
    return table


def keep_earlier(table: pa.Table | None, run: RunFolder) -> None:
    """Write what :func:`read_earlier` found to the run's folder; before its first evaluation."""
    if table is not None:
        with replacing(run.path / COPY) as temporary:
            pq.write_table(table, temporary, write_page_checksum=True)


def earlier_lessons(run: RunFolder) -> list[Lesson]:
    """What a run learns from earlier ones, a candidate but once; none where it was started without.

    Raises:
        ConfigError: the copy is damaged.
    """
    path = run.path / COPY
    if not path.exists():
        return []
    try:
        return _lessons(read_rows(path))
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{path}: damaged ({' '.join(str(error).split())}); restore it from a copy") from None


def _read_run(run: RunFolder, config: SearchConfig, space: Space) -> pa.Table:
    try:
        other = run.load_config()
        table = read_archive(run.archive)
    except (ConfigError, ArchiveError) as error:
        raise ConfigError(f"surrogate.warm_start: {error}") from None
    check_meaning(run.path, other, config)
    check_weights(run.path, config)
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    if missing:
        raise ConfigError(
            f"surrogate.warm_start: {run.path}: another version made it, without {missing[0]!r}; leave it out"
        )
    table = _teaching(table.select(SCHEMA.names))
    for _, training in _lessons(table):
        check_candidate(run.path, training, space)
    return table.cast(SCHEMA)


def _teaching(table: pa.Table) -> pa.Table:
    """Rows of the search itself that succeeded, of candidates both probed and trained."""
    own = pc.invert(pc.starts_with(table["origin"], "control:"))
    measured = pc.is_finite(pc.fill_null(table["accuracy"], math.nan))
    first = pc.and_(pc.equal(table["status"], OK), pc.equal(table["repeat"], 0))
    table = table.filter(pc.and_(pc.and_(own, measured), first))
    probes, trainings = (set(_of_stage(table, stage)["candidate"].to_pylist()) for stage in (PROBE, TRAIN))
    both = pa.array(sorted(probes & trainings), pa.string())
    stages = pc.is_in(table["stage"], pa.array([PROBE, TRAIN]))
    return table.filter(pc.and_(stages, pc.is_in(table["candidate"], both)))


def _of_stage(table: pa.Table, stage: str) -> pa.Table:
    return table.filter(pc.equal(table["stage"], stage))


def _lessons(table: pa.Table) -> list[Lesson]:
    """Pairs in the order of the trainings; of a candidate that stands twice the first counts."""
    probes, trainings = (_first(evaluations_of(_of_stage(table, stage))) for stage in (PROBE, TRAIN))
    return [(probes[name], training) for name, training in trainings.items()]


def _first(evaluations: Iterator[Evaluation]) -> dict[str, Evaluation]:
    found: dict[str, Evaluation] = {}
    for evaluation in evaluations:
        found.setdefault(evaluation.request.genome.id, evaluation)
    return found
