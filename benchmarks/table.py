"""Many candidates of one search space, each probed and trained under two seeds: a benchmark table.

    python benchmarks/table.py examples/digits.yaml --set training.epochs=10 --out benchmarks/tables/digits.parquet

On such a table strategies and surrogates are compared in seconds over many seeds, as NAS benchmarks do. Half of the
candidates are drawn as random search draws them, half as :class:`search.strategies.evolution.Evolution` proposes them
on the probe error, so that the table is dense where searches go. Every evaluation is the product's own
(:func:`workers.evaluate.evaluate`); a training's network is measured on the test split as well, which no search sees.
Rows that are done stay in ``--work``: a script that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from search.config import SearchConfig
from search.drive import run_settings
from search.folder import RunFolder
from search.loading import dump_config, load_config
from search.preflight import Preflight, check
from search.strategies.evolution import Evolution
from spaces.foundation import Foundation
from spaces.genome import Genome
from spaces.randomness import numpy_generator
from workers.atomic import replacing
from workers.batches import Tensors, place, to_tensors
from workers.checkpoint import load_candidate
from workers.evaluate import Bench, evaluate, weights_path
from workers.evaluation import PROBE, Evaluation, Request
from workers.jobs import RunSettings, VisibleData, base_job, make_bench, trunk_job
from workers.measure.accuracy import measure_accuracy

SEEDS = (0, 1)
"""Repeats of every training."""

SEARCHES, STEPS, START = 5, 140, 40
"""Evolutions that the bred half comes from, probes of each, and how many of them are random ones."""

Row = dict[str, Any]
State = tuple[VisibleData, RunSettings, Foundation, Tensors]


def main() -> None:
    arguments = _arguments()
    config = load_config(Path(arguments.config), arguments.set)
    work = arguments.work or Path("runs") / f"table-{config.name}"
    work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    state = prepare(config, work)
    genomes = _remembered(work / "genomes.json", lambda: candidates(state, arguments.candidates, config.seed))
    genomes = dict(list(genomes.items())[: arguments.first])
    tasks = [(stage, repeat, genome) for genome in genomes for stage, repeat in arguments.stages]
    rows = dict(_read(work / "rows.jsonl"))
    missing = [task for task in tasks if _key(*task) not in rows]
    print(f"{len(genomes)} candidates, {len(tasks) - len(missing)} of {len(tasks)} evaluations are there", flush=True)
    rows.update(_run(missing, state, work / "rows.jsonl", arguments.workers))
    table = as_table(genomes, rows, config, check(config))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(arguments.out) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    print(f"{len(table)} candidates in {arguments.out}")


def prepare(config: SearchConfig, work: Path) -> State:
    """The trained base network, its growths scored, and the data; as a run has them."""
    preflight = check(config)
    settings = run_settings(preflight, RunFolder(work))
    data = VisibleData.of(preflight.splits)
    accuracy = base_job(data, settings)(None)
    print(f"base network: {accuracy:.2%} on validation", flush=True)
    score = trunk_job(data, settings, preflight.space.layouts)
    foundation = Foundation(preflight.space, {growth: score(growth) for growth in preflight.space.layouts})
    return data, settings, foundation, to_tensors(preflight.splits.test, data.mean, data.std)


def candidates(state: State, count: int, seed: int) -> dict[Genome, str]:
    """Genomes with who proposed them: ``random``, or ``evolution``; shuffled, so that any part is a fair sample."""
    data, settings, foundation, _ = state
    space, found = foundation.space, dict[Genome, str]()
    for i in range(count - count // 2):
        found[space.sample(numpy_generator(seed, "table", i))] = "random"
    # Proxies have no say in what evolution proposes, and take longer than all else of a probe.
    bench = make_bench(data, replace(settings, probe=replace(settings.probe, proxies=())), foundation)
    for run in range(SEARCHES):
        strategy = Evolution(space, seed + 1 + run, START, "params")
        for number in range(START + count // 2 // SEARCHES):
            genome = strategy.ask(number)
            request = Request(number, PROBE, genome, "evolution")
            strategy.tell(Evaluation(request, evaluate(request, bench)))
            if number >= START:
                found.setdefault(genome, "evolution")
    order = numpy_generator(seed, "order").permutation(len(found))
    items = list(found.items())
    return dict(items[i] for i in order)


def measure(stage: str, repeat: int, genome: Genome) -> Row:
    """One evaluation in a worker process; a training is measured on the test split, too."""
    bench, test = _bench
    outcome = evaluate(Request(0, stage, genome, "table", repeat), bench)
    row = {"status": outcome.status, "message": outcome.message, "seconds": outcome.seconds, **outcome.metrics}
    row["embedding"] = list(outcome.embedding)
    path = weights_path(bench.folder, Request(0, stage, genome, "table", repeat))
    if stage != PROBE and path.exists():
        network, _ = load_candidate(path, (bench.spec.name,))
        row["test_accuracy"] = measure_accuracy(place(network, test), test).accuracy
        path.unlink()
    return row


def as_table(genomes: dict[Genome, str], rows: dict[str, Row], config: SearchConfig, preflight: Preflight) -> pa.Table:
    """One row a candidate: ``probe_*`` as measured by its probe, ``STAGE_REPEAT_*`` by the others."""
    stages = sorted({key.rsplit(" ", 1)[0] for key in rows})
    columns: dict[str, list[Any]] = {}
    for genome, origin in genomes.items():
        found = {stage: rows.get(f"{stage} {genome.id}") for stage in stages}
        if any(row is None or row["status"] != "ok" for row in found.values()):
            continue
        record: Row = {"candidate": genome.id, "genome": genome.text, "origin": origin}
        for stage, row in found.items():
            assert row is not None
            prefix = "probe" if stage.startswith(PROBE) else stage.replace(" ", "_")
            known = {"params", "macs", "bytes", "violation"}
            record.update({k: row[k] for k in known if k in row})
            skipped = (
                known
                | {"status", "message", "epochs", "seed", "same_reloaded"}
                | (set() if prefix == "probe" else {"embedding"})
            )
            record.update({f"{prefix}_{k}": v for k, v in row.items() if k not in skipped})
        for name, value in record.items():
            columns.setdefault(name, []).append(value)
    about = {
        "config": dump_config(config),
        "space": preflight.space.hash,
        "base": json.dumps(
            {
                "params": preflight.base.params,
                "macs": preflight.base.macs,
                "shape": preflight.spec.shape,
                "classes": preflight.spec.classes,
                "validation_images": len(preflight.splits.validation),
            }
        ),
        "torch": torch.__version__,
    }
    return pa.table(columns).replace_schema_metadata(about)


def _run(tasks: list[tuple[str, int, Genome]], state: State, path: Path, workers: int) -> Iterator[tuple[str, Row]]:
    """Evaluate ``tasks`` in processes; each row is on disk before it is given out."""
    context = multiprocessing.get_context("spawn")
    started = time.time()
    with ProcessPoolExecutor(workers, context, _start, (state,)) as pool, path.open("a") as log:
        futures = {pool.submit(measure, *task): task for task in tasks}
        for done, future in enumerate(as_completed(futures), 1):
            key, row = _key(*futures.pop(future)), future.result()
            log.write(json.dumps({"key": key, "row": row}) + "\n")
            log.flush()
            if done % 50 == 0:
                print(f"{done} of {len(tasks)} in {time.time() - started:.0f} s", flush=True)
            yield key, row


_bench: tuple[Bench, Tensors]


def _start(state: State) -> None:
    global _bench
    torch.set_num_threads(1)
    data, settings, foundation, test = state
    bench = make_bench(data, settings, foundation)
    _bench = replace(bench, memory_mb=None), replace(test, memory_format=bench.data.train.memory_format)


def _read(path: Path) -> Iterator[tuple[str, Row]]:
    if path.exists():
        for line in path.read_text().splitlines():
            record = json.loads(line)
            yield record["key"], record["row"]


def _remembered(path: Path, find: Callable[[], dict[Genome, str]]) -> dict[Genome, str]:
    if not path.exists():
        found = {genome.text: origin for genome, origin in find().items()}
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(found))
    return {Genome.from_text(text): origin for text, origin in json.loads(path.read_text()).items()}


def _key(stage: str, repeat: int, genome: Genome) -> str:
    return f"{stage} {repeat} {genome.id}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="YAML configuration of a search")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=VALUE", help="override a setting")
    parser.add_argument("--candidates", type=int, default=1040)
    parser.add_argument("--first", type=int, help="only the first so many of them; they stand in random order")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("--work", type=Path, help="folder of unfinished work; default: runs/table-NAME")
    parser.add_argument("--stages", nargs="+", default=["train:0", "train:1", "probe:0"], help="STAGE:REPEAT, in order")
    arguments = parser.parse_args()
    arguments.stages = [(s.partition(":")[0], int(s.partition(":")[2] or 0)) for s in arguments.stages]
    return arguments


if __name__ == "__main__":
    main()
