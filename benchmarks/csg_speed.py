"""CSG of 60,000 points against plain loops on the same samples, and the memory it takes.

    python benchmarks/csg_speed.py [--points 60000] [--rounds 3]

64 dimensions, 10 classes, 250 samples of each, 5 neighbours, one torch thread. The plain loops take one sample after
another: differences to all points, a sort, the votes. Either side is run in a process of its own, on the same points
and samples, timed in CPU seconds without making the points. Memory is the process's peak above where it stood before.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import torch
from scipy.sparse.csgraph import laplacian
from torch import Tensor

from spaces.randomness import torch_generator
from workers.complexity.csg import csg_of_samples, draw_samples

DIMENSIONS, CLASSES, SAMPLES, NEIGHBOURS = 64, 10, 250, 5


def make_points(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Overlapping Gaussian classes, float32, their labels, and the samples."""
    generator = torch_generator(0, "speed")
    labels = torch.arange(count) % CLASSES
    centres = 0.5 * torch.randn(CLASSES, DIMENSIONS, generator=generator)
    points = centres[labels] + torch.randn(count, DIMENSIONS, generator=generator)
    return points, labels, draw_samples(labels, SAMPLES, generator)


def plain_loops(points: Tensor, labels: Tensor, chosen: Tensor) -> float:
    """The authors' steps, one sample at a time."""
    table, classes = points.double().numpy(), labels.numpy()
    votes = np.zeros((CLASSES, CLASSES))
    for sample in chosen.numpy():
        distances = np.square(table - table[sample]).sum(1)
        around = np.argsort(distances, kind="stable")[1 : NEIGHBOURS + 1]
        volume = max(1e-4, float(np.prod(2 * np.abs(table[around] - table[sample]).max(0))))
        votes[classes[sample]] += np.bincount(classes[around], minlength=CLASSES) / NEIGHBOURS / volume
    votes /= votes.sum(1, keepdims=True)
    similarity = 1 - np.abs(votes[:, None] - votes[None]).sum(2) / 2
    spectrum = np.linalg.eigvalsh(laplacian(similarity))
    return float(np.maximum.accumulate(np.diff(spectrum) / np.arange(CLASSES, 1, -1)).sum())


def run_side(side: str, count: int) -> None:
    """Print CSG, CPU seconds and megabytes of one side."""
    torch.set_num_threads(1)
    points, labels, chosen = make_points(count)
    # Libraries are loaded and their buffers made before the measurement.
    csg_of_samples(points[:500], labels[:500], torch.arange(500), NEIGHBOURS)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    if side == "ours":
        value = csg_of_samples(points, labels, chosen, NEIGHBOURS).csg
    else:
        value = plain_loops(points, labels, chosen)
    seconds = time.process_time() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"csg": value, "seconds": seconds, "megabytes": grown}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--points", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=["ours", "loops"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        run_side(arguments.side, arguments.points)
        return
    ratios = []
    for _ in range(arguments.rounds):
        ours, loops = (_in_process(side, arguments.points) for side in ("ours", "loops"))
        if abs(ours["csg"] - loops["csg"]) > 1e-10:
            raise SystemExit(f"ours is {ours['csg']!r}, the loops' {loops['csg']!r}")
        ratios.append(loops["seconds"] / ours["seconds"])
        print(
            f"CSG {ours['csg']:.6f}, ours {ours['seconds']:.2f} CPU s and {ours['megabytes']:.0f} MB more, "
            f"plain loops {loops['seconds']:.1f} CPU s and {loops['megabytes']:.0f} MB more: {ratios[-1]:.0f} ×",
            flush=True,
        )
    print(f"{statistics.median(ratios):.0f} × (median of {arguments.rounds}), at {arguments.points:,} points")


def _in_process(side: str, points: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--side", side, "--points", str(points)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


if __name__ == "__main__":
    main()
