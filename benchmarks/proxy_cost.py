"""What each zero-cost proxy costs beside the probe that it would go with, on networks of the demo's space.

    python benchmarks/proxy_cost.py [--genomes 30]

CPU seconds of the process at one torch thread; medians over genomes drawn as a search's first ones are, and the median
of the ratios to the same candidate's probe with its interval. What they are worth ``benchmarks/predictor.py`` prints.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from probe_speed import draw, make_demo_bench
from rich.console import Console
from rich.table import Table

from spaces.genome import Genome
from workers.evaluate import Bench, evaluate
from workers.evaluation import PROBE, Request
from workers.measure.latency import median_interval
from workers.proxies import PROXIES, measure_proxies
from workers.threads import torch_threads

WARM_UP = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genomes", type=int, default=30)
    count = parser.parse_args().genomes
    with torch_threads(1), tempfile.TemporaryDirectory() as folder:
        bench = make_demo_bench(Path(folder), 1)
        genomes = draw(bench.foundation.space, WARM_UP + count)
        spent = [costs(genome, bench) for genome in genomes][WARM_UP:]
    printed = Table(title=f"{count} candidates of the demo's space")
    for title in ("", "CPU ms", "of a probe"):
        printed.add_column(title, justify="right" if title else "left")
    for name in spent[0]:
        ratios = [s[name] / s["probe"] for s in spent]
        within = median_interval(ratios)
        share = "–" if name == "probe" else f"{within.median:.0%} [{within.low:.0%}, {within.high:.0%}]"
        printed.add_row(name, f"{1e3 * statistics.median(s[name] for s in spent):.1f}", share)
    Console().print(printed)


def costs(genome: Genome, bench: Bench) -> dict[str, float]:
    """CPU seconds of the genome's probe, and of each proxy on its network."""
    network = bench.foundation.build(genome).network
    data = bench.data.calibration
    jobs: dict[str, Callable[[], object]] = {"probe": lambda: evaluate(Request(0, PROBE, genome, "benchmark"), bench)}
    for name in PROXIES:
        jobs[name] = lambda name=name: measure_proxies([name], network, data, bench.seed)
    spent = {}
    for name, job in jobs.items():
        started = time.process_time()
        job()
        spent[name] = time.process_time() - started
    return spent


if __name__ == "__main__":
    main()
