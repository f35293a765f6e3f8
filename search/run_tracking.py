"""A run's projection into MLflow: live from the search, or at once from its archive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from search.config import SearchConfig
from search.folder import RunRecord
from search.tracking import BackgroundTracker, Tracker, find_store
from search.view import View
from workers.evaluation import Evaluation


def make_tracker(config: SearchConfig, record: RunRecord) -> Tracker:
    """The run's tracker; it contacts nobody yet."""
    store = find_store(config.out, config.tracking.uri)
    return Tracker(store, config.tracking.experiment, record.id, config.name, config.model_dump(mode="json"))


def project_all(
    config: SearchConfig,
    record: RunRecord,
    evaluations: Iterable[Evaluation],
    metrics: Mapping[str, float] | None = None,
) -> int:
    """Bring MLflow up to date with a whole archive; the number of nested runs that were missing.

    Args:
        metrics: of a finished search; with them its parent run is closed.

    Raises:
        TrackingError: MLflow cannot be reached; call again later, nothing is doubled.
    """
    tracker = make_tracker(config, record)
    added = tracker.project(evaluations)
    if metrics is not None:
        tracker.finish(metrics)
    return added


class NoTracker:
    """Stands in where tracking is off."""

    def add(self, evaluation: Evaluation) -> None:
        """Nothing to log."""

    def close(self, deadline_s: float = 10.0) -> int:
        """Nothing is left."""
        return 0


def background_tracker(config: SearchConfig, record: RunRecord, view: View) -> BackgroundTracker | NoTracker:
    """What a running search hands its commits to.

    Ask for it before the base network is trained: MLflow is imported meanwhile, which would hold up the search's start.
    """
    if not config.tracking.enabled:
        return NoTracker()
    tracker = make_tracker(config, record)
    return BackgroundTracker(tracker, view.warn, prepare=tracker.prepare)
