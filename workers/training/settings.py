"""How a network is trained."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainSettings:
    """How a network is trained; the fields of :class:`search.config.TrainConfig`, which documents them."""

    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 0.003
    weight_decay: float = 0.01
    schedule: str = "one_cycle"
    loss: str = "cross_entropy"
    warm_up: float = 0.0
    ema: float = 0.0
    give_up: float = 0.0
    label_smoothing: float = 0.0
    margin: float = 0.1
    likelihood: float = 0.1
    push: float = 0.0
    channel_correlation: float = 0.0
    distillation: float = 0.0
    temperature: float = 4.0
    shift: int = 0
    flip: bool = False
    cutout: int = 0
