"""What is measured once a search is over: the contract between a run and its report, stored as measurements.json.

A number that was not measured is NaN here and null in JSON. Accuracies are fractions (0 to 1), times are in the unit
that their name says.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from search.report.verdict import Verdict

VERSION = 1
Cost = Literal["params", "macs", "bytes"]


def _nan_for_null(value: Any) -> Any:
    return math.nan if value is None else value


Metric = Annotated[float, BeforeValidator(_nan_for_null)]
"""A measured number; NaN where it was not measured."""


@dataclass(frozen=True)
class DataSet:
    """The images of the run.

    Attributes:
        source: as in the configuration.
        train, validation, test: images in each split.
        shape: channels, height, width.
        classes: names of the classes.
    """

    source: str
    train: int
    validation: int
    test: int
    shape: tuple[int, int, int]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Latency:
    """Time of one forward pass of the exported network, measured in turns with the base network.

    Attributes:
        median_ms: milliseconds per batch, with the interval ``low_ms`` to ``high_ms``.
        ratio_to_base: this network's time divided by the base network's (below 1 is faster), with its interval.
    """

    median_ms: Metric
    low_ms: Metric
    high_ms: Metric
    ratio_to_base: Metric
    ratio_low: Metric
    ratio_high: Metric
    batch_size: int
    dtype: str
    threads: int
    device: str


@dataclass(frozen=True)
class Sameness:
    """How far two forms of one network agree: largest output difference, and share of images with the same top-1."""

    difference: Metric
    agreement: Metric


@dataclass(frozen=True)
class Detection:
    """AUROC of telling the test images from others, by the likelihood of ``loss: l_gm`` and by the largest softmax."""

    likelihood: Metric
    softmax: Metric


@dataclass(frozen=True)
class LayerWidth:
    """Channels of one group in the grown base network, and those that were kept."""

    group: str
    full: int
    kept: int


@dataclass(frozen=True)
class Measured:
    """One network, measured on what is exported.

    Attributes:
        candidate: content hash of the genome; ``base`` for the base network.
        origin: who proposed it.
        growth: modules added to each stage.
        params: parameters of the exported program.
        macs: multiply-accumulates per image.
        bytes: size of the exported file.
        sameness: per comparison (masked, reloaded, onnx, …), how far the two forms agree.
        widths: kept and full width of every group.
        detection: by kind of image, how surely others are told from the test images; of ``loss: l_gm`` alone.
        before_finish: validation accuracy of its training, where it was finished and these are the finished weights;
            NaN where they are those of the training.
    """

    candidate: str
    origin: str
    growth: tuple[int, ...]
    params: int
    macs: int
    bytes: int
    validation_accuracy: Metric
    test_accuracy: Metric
    latency: Latency | None = None
    sameness: Mapping[str, Sameness] = field(default_factory=dict)
    widths: tuple[LayerWidth, ...] = ()
    detection: Mapping[str, Detection] = field(default_factory=dict)
    before_finish: Metric = math.nan

    @property
    def stem(self) -> str:
        """Name of its files, without their endings."""
        return f"{self.candidate}-finish" if math.isfinite(self.before_finish) else self.candidate

    def cost(self, measure: str) -> int:
        """Its ``params``, ``macs`` or ``bytes``."""
        return int({"params": self.params, "macs": self.macs, "bytes": self.bytes}[measure])

    @property
    def worst(self) -> Sameness:
        """The worst of all comparisons; NaN where there is none or one could not be measured."""
        pairs = list(self.sameness.values())
        if not pairs or any(math.isnan(s.difference) or math.isnan(s.agreement) for s in pairs):
            return Sameness(math.nan, math.nan)
        return Sameness(max(s.difference for s in pairs), min(s.agreement for s in pairs))

    def excess(self, budget: Mapping[str, float]) -> dict[str, float]:
        """Per measure over budget: its cost divided by the limit."""
        return {m: self.cost(m) / limit for m, limit in budget.items() if self.cost(m) > limit}


@dataclass(frozen=True)
class Control:
    """A plain alternative trained at the chosen network's cost.

    Attributes:
        name: uniform, sensitivity, random, scratch, bar or push_prune.
        params, macs, bytes: where seeds end at different sizes, on average.
        about: what it is, in one sentence.
        test: test accuracy per seed, in the order of ``Finals.chosen_test``.
        validation: validation accuracy per seed.
        seconds: device-seconds of all its trainings.
    """

    name: str
    about: str
    params: int
    macs: int
    bytes: int
    test: tuple[Metric, ...]
    validation: tuple[Metric, ...]
    seconds: float

    def cost(self, measure: str) -> int:
        """Its ``params``, ``macs`` or ``bytes``."""
        return int({"params": self.params, "macs": self.macs, "bytes": self.bytes}[measure])

    @property
    def mean_test(self) -> float:
        """Mean test accuracy over its finished trainings."""
        return mean(self.test)


@dataclass(frozen=True)
class Hypervolume:
    """Final hypervolume, (error, cost / base) minimised.

    Attributes:
        validation: of what selection saw.
        test: of the same candidates' held-out accuracies.
        reference: reference point.
    """

    validation: Metric
    test: Metric
    reference: tuple[float, float] = (1.1, 1.1)


@dataclass(frozen=True)
class Ledger:
    """What the run cost.

    Attributes:
        base_seconds, probe_seconds, training_seconds, control_seconds: device-seconds.
        probes, trainings: evaluations started.
        failures: failed evaluations per reason.
        gain_per_hour: accuracy gained per device-hour (fraction per hour), the search's, by the run's definition.
        wall_seconds: from start to end, by the clock.
        saved_seconds: device-seconds of probing that the surrogate saved, by estimate: what it passed over times the
            mean of the search's probes.
    """

    base_seconds: float
    probe_seconds: float
    training_seconds: float
    control_seconds: float
    probes: int
    trainings: int
    failures: Mapping[str, int]
    gain_per_hour: Metric
    wall_seconds: float
    saved_seconds: Metric = math.nan

    @property
    def device_seconds(self) -> float:
        """All device-seconds of the run."""
        return self.base_seconds + self.probe_seconds + self.training_seconds + self.control_seconds


@dataclass(frozen=True)
class Screening:
    """What the surrogate did beside its forecasts, which are in the archive.

    Attributes:
        passed_over: genomes that it looked at and that were not probed, by estimate.
        trusted: whether its forecasts were still followed at the end.
    """

    passed_over: int
    trusted: bool


@dataclass(frozen=True)
class Environment:
    """Where it ran."""

    torch: str
    python: str
    device: str
    threads: int


@dataclass(frozen=True)
class Finals:
    """Everything that a report says beside the archive.

    Attributes:
        cost: the objective beside the error.
        budget: absolute upper bound per measure.
        base: the base network.
        front: the non-dominated trained candidates.
        chosen: id of the chosen candidate, one of ``front``; None where none was chosen.
        chosen_test: test accuracies of the chosen candidate's repeated trainings, one per seed.
        registered: the registered model, as ``models:/name/version``.
        tracking_uri: where MLflow was logged to.
        screening: the surrogate's part; None where there was no surrogate.
        notes: further remarks for the reader.
    """

    name: str
    seed: int
    strategy: str
    data: DataSet
    cost: Cost
    budget: Mapping[str, float]
    base: Measured
    front: tuple[Measured, ...]
    chosen: str | None
    chosen_test: tuple[Metric, ...]
    controls: tuple[Control, ...]
    verdicts: tuple[Verdict, ...]
    hypervolume: Hypervolume
    ledger: Ledger
    environment: Environment
    notes: tuple[str, ...] = ()
    registered: str | None = None
    tracking_uri: str | None = None
    screening: Screening | None = None

    @property
    def chosen_network(self) -> Measured | None:
        """The chosen candidate's measurements."""
        return next((m for m in self.front if m.candidate == self.chosen), None) if self.chosen else None

    def stem(self, candidate: str) -> str:
        """Name of a trained candidate's files, without their endings."""
        return next((m.stem for m in self.front if m.candidate == candidate), candidate)

    def share(self, network: Measured | Control, measure: str | None = None) -> float:
        """Cost as a share of the base network's (of ``measure``, else of the run's cost)."""
        base = self.base.cost(measure or self.cost)
        return network.cost(measure or self.cost) / base if base else math.nan

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and finite numbers."""
        return {"version": VERSION, **json.loads(_adapter().dump_json(self))}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Finals:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: another version, or a field that is missing or wrong; the message names it.
        """
        if fields.get("version") != VERSION:
            raise ValueError(f"measurements of version {fields.get('version')!r}; this Niwaki reads {VERSION}")
        try:
            return _adapter().validate_python({k: v for k, v in fields.items() if k != "version"})
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"measurements: {place}: {first['msg']} (found {first['input']!r:.80})") from error


@cache
def _adapter() -> TypeAdapter[Finals]:
    return TypeAdapter(Finals)


def mean(values: tuple[float, ...]) -> float:
    """Mean of the finite values; NaN where there is none."""
    finite = [v for v in values if math.isfinite(v)]
    return sum(finite) / len(finite) if finite else math.nan
