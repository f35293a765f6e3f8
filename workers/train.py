"""The full evaluation: train a network to the end, by steps that can be resumed exactly.

All randomness of a step comes from (seed, epoch, step), so a training that was cut off anywhere and resumed from its
checkpoint ends with the weights of one that was not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from spaces.randomness import seed_for, torch_generator
from workers.augment import Draws, augment, draw
from workers.batches import Tensors
from workers.losses import Objective, Step, make_objective
from workers.pointwise import pointwise_products
from workers.training.average import Average
from workers.training.course import Course, steps_per_epoch
from workers.training.hope import Hope, Hopeless
from workers.training.optimizer import make_optimizer
from workers.training.progress import Progress
from workers.training.schedule import rate
from workers.training.settings import TrainSettings
from workers.training.termination import Preempted, terminations
from workers.training.watch import Diverged, Watch

__all__ = ["Diverged", "Hopeless", "Preempted", "TrainSettings", "train"]


@dataclass(frozen=True)
class _Job:
    """What a training is made from: nothing here changes."""

    data: Tensors
    settings: TrainSettings
    seed: int
    soft_labels: Tensor | None

    @property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(len(self.data), self.settings.batch_size)

    @property
    def steps(self) -> int:
        return self.settings.epochs * self.steps_per_epoch

    @property
    def device(self) -> torch.device:
        return self.data.labels.device


def train(
    network: nn.Module,
    data: Tensors,
    settings: TrainSettings,
    seed: int,
    soft_labels: Tensor | None = None,
    checkpoint: Path | None = None,
    after_epoch: Callable[[int], None] | None = None,
    objective: Objective | None = None,
    until: int | None = None,
) -> None:
    """Train ``network`` in place on ``data``; left in eval mode.

    Args:
        network: on the device of ``data``.
        seed: with the settings, data, device and thread count it determines the result bit for bit on CPU.
        soft_labels: the base network's logits on ``data``, float ``[N, K]``, used where ``settings.distillation`` > 0.
            They are those of the images as they are, also where the student sees them augmented.
        checkpoint: file to resume from where it exists, and to write after the first epoch, every few seconds and on
            SIGTERM. Which steps it holds makes no difference to the result.
        after_epoch: called with the number of epochs done. The network then has its latest weights; their average
            (``settings.ema``) takes their place in the end.
        objective: what is minimised, trained with the network; ``None`` for what the settings ask for.
        until: break off after so many epochs of the schedule, with the state in ``checkpoint``. Another call goes on
            from there; after :func:`workers.training.progress.take_over`, with other settings or another seed.

    Raises:
        Diverged: the loss is not finite or has exploded.
        Hopeless: nothing was learnt by the time that ``settings.give_up`` says.
        Preempted: the process received SIGTERM, and has written the checkpoint since.
        ValueError: the settings ask for a loss that does not fit the network.
    """
    job = _Job(data, settings, seed, soft_labels)
    course = _start(network, job, objective)
    progress = Progress(checkpoint, settings, seed, len(data), course.objective.identity)
    end = job.steps if until is None else min(until * job.steps_per_epoch, job.steps)
    done = progress.resume(course, end)
    with terminations() as asked_to_end:

        def after_step(steps: int) -> None:
            if asked_to_end():
                progress.save(course, steps)
                raise Preempted(steps)
            progress.save_if_due(course, steps, epoch_ends=steps % job.steps_per_epoch == 0)

        while done < end:
            done = _train_epoch(course, job, done, after_step)
            if after_epoch is not None:
                after_epoch(done // job.steps_per_epoch)
    if end < job.steps:
        progress.save(course, done)
    elif course.average is not None:
        course.average.finish(network, data, settings.batch_size)
    course.objective.finish(network)  # also of one that is broken off: its state is on disk, and it may be measured
    network.eval()


def _start(network: nn.Module, job: _Job, objective: Objective | None) -> Course:
    if objective is None:
        objective = make_objective(network, job.settings, torch_generator(job.seed, "objective"))
    objective.start(network, job.data)  # before the average, which begins with the weights that training begins with
    classes = int(job.data.labels.max()) + 1 if len(job.data) else 0
    return Course(
        network,
        objective,
        make_optimizer(network, objective, job.settings),
        Watch(classes, job.steps, job.device),
        Average(network, job.settings.ema) if job.settings.ema else None,
        Hope(job.data.labels, job.settings.epochs, job.settings.give_up) if job.settings.give_up else None,
    )


def _train_epoch(course: Course, job: _Job, done: int, after_step: Callable[[int], None]) -> int:
    """Train from step ``done`` to the end of its epoch; the number of steps done then."""
    epoch, first = divmod(done, job.steps_per_epoch)
    data, size = job.data, job.settings.batch_size
    order, draws = _draw_epoch(job, epoch)
    course.network.train()
    course.objective.train()
    fill = data.fill
    with (
        _own_randomness(job.device) as reseed,
        course.objective.watching(course.network) as seen,
        pointwise_products(course.network, data),
    ):
        for step in range(done, (epoch + 1) * job.steps_per_epoch):
            start = (step - done + first) * size
            reseed(seed_for(job.seed, "dropout", step))
            index = order[start : start + size]
            images = data.normalise(augment(data.at(index), draws.of(start, start + size), fill))
            # A block of its own for each step: until it ends, autocast goes on with the weights that it cast first.
            with _autocast(job.device):
                logits = course.network(images).float()
            target = job.soft_labels[index] if job.soft_labels is not None else None
            features = seen[0].float() if seen else None
            progress = step / job.steps
            loss = course.objective(Step(logits, data.labels[index], target, features, progress))
            course.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            for group in course.optimizer.param_groups:
                group["lr"] = job.settings.learning_rate * rate(job.settings.schedule, progress, job.settings.warm_up)
            course.optimizer.step()
            if course.average is not None:
                course.average.update(step)
            course.watch.note(loss, step)
            if course.hope is not None:
                course.hope.note(logits, data.labels[index])
                if (step + 1) % job.steps_per_epoch == 0:
                    course.hope.judge(epoch + 1)
            after_step(step + 1)
    return (epoch + 1) * job.steps_per_epoch


def _draw_epoch(job: _Job, epoch: int) -> tuple[Tensor, Draws]:
    """The order of an epoch's images, and what augmentation does to each in that order."""
    generator = torch_generator(job.seed, "epoch", epoch)
    count, (height, width) = len(job.data), job.data.images.shape[2:]
    order = torch.randperm(count, generator=generator).to(job.device)
    return order, draw(count, (height, width), job.settings, generator, job.device)


@contextlib.contextmanager
def _own_randomness(device: torch.device) -> Iterator[Callable[[int], object]]:
    """Dropout and its like draw from torch's global generators: the function seeds them, the end puts them back."""
    on_gpu = device.type == "cuda"
    place = device.index or 0
    with torch.random.fork_rng(devices=[place] if on_gpu else []):
        # Not by torch.manual_seed, which seeks all kinds of devices and notes the call stack for those not there.
        own = torch.cuda.default_generators[place] if on_gpu else None

        def reseed(seed: int) -> None:
            torch.default_generator.manual_seed(seed)
            if own is not None:
                own.manual_seed(seed)

        yield reseed


def _autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()
