"""One leg, trained: from the files of the leg before to those of this one."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path

from torch import nn

from spaces.randomness import seed_for
from workers.batches import place
from workers.checkpoint import load_candidate, save_candidate
from workers.evaluate import Bench, failure_of, largest_difference, weights_path
from workers.evaluation import TRAIN, Request
from workers.finish.leg import Finishing, Leg, LegResult
from workers.limits import memory_limit
from workers.measure.accuracy import measure_accuracy
from workers.shelved import train_on_shelf
from workers.tensors import CheckpointError, load_tensors
from workers.train import Diverged
from workers.training.progress import take_over


def train_leg(leg: Leg, finishing: Finishing, bench: Bench) -> LegResult:
    """Train a leg, unless its record says that it is over. A failure of the candidate is a result, not an exception."""
    bench.shelf.fetch(finishing.record(leg))
    result = finishing.noted(leg)
    if result is None:
        started = time.perf_counter()
        try:
            with memory_limit(bench.memory_mb):
                metrics = _train(leg, finishing, bench)
            result = LegResult(metrics, 0.0)
        except Exception as error:
            result = LegResult({}, 0.0, *failure_of(error))
        result = replace(result, seconds=time.perf_counter() - started)
        finishing.note(leg, result)
        # A record says that the files of its leg are there: it comes last.
        files = (finishing.checkpoint(leg), finishing.weights(leg), finishing.record(leg))
        bench.shelf.hand_over(*(path for path in files if path.exists()))
    return result


def _train(leg: Leg, finishing: Finishing, bench: Bench) -> dict[str, float]:
    trained = weights_path(bench.folder, Request(0, TRAIN, finishing.genome, ""))
    bench.shelf.fetch(trained, finishing.checkpoint(leg))
    network, about = load_candidate(trained, (bench.spec.name,))
    network = place(network, bench.data.train)
    seed = seed_for(bench.seed, "finish", finishing.genome.id, leg.member)
    checkpoint = finishing.checkpoint(leg)
    if leg.number > 0 and not _sound(checkpoint):
        parent = finishing.checkpoint(replace(leg, member=leg.parent, number=leg.number - 1))
        bench.shelf.fetch(parent)
        take_over(parent, checkpoint, leg.settings, seed, len(bench.data.train))
    soft_labels = bench.soft_labels(finishing.genome) if leg.settings.distillation else None
    train_on_shelf(bench.shelf, checkpoint, network, bench.data.train, leg.settings, seed, soft_labels, until=leg.until)
    measured = measure_accuracy(network, bench.data.validation)
    metrics = {"accuracy": measured.accuracy, "loss": measured.loss}
    if leg.last:
        save_candidate(finishing.weights(leg), network, about)
        metrics["same_reloaded"] = _proof(finishing.weights(leg), network, bench)
    unbounded = [name for name, value in metrics.items() if not math.isfinite(value)]
    if unbounded:
        raise Diverged(f"not a finite number: {', '.join(unbounded)}")
    return metrics


def _sound(checkpoint: Path) -> bool:
    try:
        load_tensors(checkpoint)
        return True
    except CheckpointError:
        return False


def _proof(path: Path, network: nn.Module, bench: Bench) -> float:
    """Largest output difference to the network that its file holds."""
    reloaded, _ = load_candidate(path, (bench.spec.name,))
    images, _ = next(bench.data.validation.first(64).batches(64))
    return largest_difference(network, place(reloaded, bench.data.train), images)
