"""The configuration of a run: every setting, its meaning, its bounds and its default."""

from __future__ import annotations

import json
import math
import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from search.halving import rung_epochs
from search.ranges import PACE, Range


class Section(BaseModel):
    """A part of the configuration: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads yes, no, on and off as truth values, which would pass for 1 and 0."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError(f"must not be true or false (yes and no mean the same in YAML), got {value}")
        return value


def _parse_bound(value: Any) -> Any:
    """``1/16`` and ``25%`` are shares of the base network; whole numbers are absolute."""
    if isinstance(value, str):
        text = value.strip().replace("_", "")
        try:
            number = float(text[:-1]) / 100 if text.endswith("%") else float(Fraction(text))
        except (ValueError, ZeroDivisionError, OverflowError):
            raise ValueError(f"{value!r} is neither a number (20000), a share (1/16) nor a percentage (25%)") from None
        value = number if "/" in text or text.endswith("%") or not 1 <= number < math.inf else int(number)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is neither a number (20000), a share (1/16) nor a percentage (25%)")
    if not 0 < value < math.inf:
        raise ValueError(f"must be greater than 0 and finite, got {value}")
    if isinstance(value, float) and value > 1:
        if value != int(value):
            raise ValueError(
                f"must be a share of the base network of at most 1, or an absolute whole number, got {value}"
            )
        return int(value)
    return value


Bound = Annotated[int | float, BeforeValidator(_parse_bound)]
"""A budget: a whole number is absolute, a float in (0, 1] is a share of the base network."""


def check_model_name(name: str) -> str:
    """``name``, or ValueError where MLflow's registry would not take it."""
    if not name.strip() or any(character in name for character in "/:"):
        raise ValueError(f"must be a name for MLflow's registry, without / and :, got {name!r}")
    return name


def check_alias(alias: str) -> str:
    """``alias``, or ValueError where MLflow's registry would not take it."""
    reserved = re.fullmatch(r"latest|v\d+", alias.lower())
    if reserved or not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", alias):
        raise ValueError(
            f"must be letters, digits, _ and -, and neither 'latest' nor a version such as 'v1', got {alias!r}"
        )
    return alias


def check_storage(uri: str) -> str:
    """``uri``, or ValueError where it is no place for runs in storage, or holds what should be nobody's to read."""
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise ValueError(f"must be an address such as s3://BUCKET/FOLDER, got another ({error})") from None
    if "@" in uri or parts.query or parts.fragment:  # a secret may hold a slash: @ is looked for everywhere
        raise ValueError(
            "must be an address alone, got one with user:password@ or ?…: credentials and the store's own address are "
            "read from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL)"
        )
    if not parts.scheme or not (parts.netloc or parts.path.strip("/")):
        raise ValueError("must be an address such as s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or file:///FOLDER")
    return uri.rstrip("/")


class DataConfig(Section):
    """Images and how they are split."""

    source: str = Field(
        description="digits, a torchvision set (CIFAR10), a folder of class/name.png, or a .parquet file"
    )
    test: str | None = Field(
        None, description="separate source of the test split; else the set's own, else a share of source"
    )
    root: str = Field("data", description="where torchvision keeps its downloads")
    size: int | None = Field(None, ge=1, description="resize images to size × size; default: as they are")
    limit: int | None = Field(None, ge=1, description="use at most this many images for training and validation")
    validation_fraction: float = Field(0.2, gt=0, lt=1, description="share of the images kept for validation")
    test_fraction: float = Field(0.2, gt=0, lt=1, description="share kept for the test split, where the set has none")
    download: bool = Field(True, description="let torchvision download the set")


class NetworkConfig(Section):
    """The base network that is grown and pruned."""

    name: str = Field("inception", description="inception, a torchvision CNN (resnet18), or package.module:factory")
    arguments: dict[str, Any] = Field({}, description="keyword arguments of the builder or factory")
    weights: str | None = Field(
        None, description="safetensors file of trained weights; default: train the base network"
    )
    keep: tuple[str, ...] = Field((), description="shell patterns of layers whose output channels must stay")

    @field_validator("arguments")
    @classmethod
    def _plain(cls, value: dict[str, Any]) -> dict[str, Any]:
        """They stand in every candidate's file, so that it can be built again."""
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"must be plain finite numbers, text, lists and mappings ({error})") from None
        return value


class TrainConfig(Section):
    """One training: of the base network, or of a candidate."""

    epochs: int = Field(30, ge=1, description="passes over the training split")
    batch_size: int = Field(64, ge=2, description="images per step")
    learning_rate: float = Field(0.003, gt=0, description="peak learning rate of AdamW")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay, on weights of two or more dimensions")
    schedule: Literal["cosine", "one_cycle", "constant"] = Field(
        "one_cycle", description="learning rate over the steps"
    )
    loss: Literal["cross_entropy", "l_gm"] = Field(
        "cross_entropy",
        description="of the labels; l_gm: large-margin Gaussian mixture, whose likelihood tells images of another kind",
    )
    warm_up: float = Field(
        0.0, ge=0, lt=1, description="share of the steps in which cosine and constant rise first; one_cycle has its own"
    )
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay of an average of the weights over the steps, which is what a training ends with; 0 is off",
    )
    give_up: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the epochs after which a training that is no better than guessing is given up; 0 is off",
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of each label spread over all classes")
    margin: float = Field(0.1, ge=0, le=1, description="of l_gm: how much farther the true class's mean is held")
    likelihood: float = Field(0.1, ge=0, le=1, description="of l_gm: weight of the features' likelihood")
    push: float = Field(
        0.0,
        ge=0,
        le=1,
        description="weight of the push of class separation into few features (Grow-Push-Prune); 0 is off",
    )
    channel_correlation: float = Field(
        0.0, ge=0, le=1, description="weight of the correlation of channel attention with classes (CC-Loss); 0 is off"
    )
    distillation: float = Field(0.0, ge=0, le=1, description="weight of the base network's soft labels; 0 is off")
    temperature: float = Field(4.0, gt=0, description="temperature of the soft labels")
    shift: int = Field(0, ge=0, description="augmentation: random shift by up to this many pixels")
    flip: bool = Field(False, description="augmentation: random horizontal flip")
    cutout: int = Field(0, ge=0, description="augmentation: side in pixels of a square that is blotted out; 0 is off")

    @model_validator(mode="after")
    def _one_warm_up(self) -> Self:
        if self.warm_up and self.schedule == "one_cycle":
            raise ValueError("warm_up: schedule one_cycle rises by itself; set 0, or schedule cosine or constant")
        return self


class BaseTrainingConfig(TrainConfig):
    """The training of the base network."""

    epochs: int = Field(40, ge=1, description="passes over the training split")


class CandidateTrainingConfig(TrainConfig):
    """The training of a candidate."""

    distillation: float = Field(0.5, ge=0, le=1, description="weight of the base network's soft labels; 0 is off")


class SpaceConfig(Section):
    """What a genome may vary."""

    criteria: tuple[str, ...] = Field(
        ("l1", "l2", "bn_scale", "fpgm", "taylor", "activation_mean"),
        min_length=1,
        description="criteria to blend, of l1, l2, bn_scale, fpgm, lamp, random (weights alone); taylor, fisher, "
        "gate_fisher, cpli, ucp_se (gradients); activation_mean, activation_variance, apoz, hrank (activations); "
        "white_box, discriminant, csg_sensitivity (classes); compensation, self_supervised, reconstruction (no "
        "labels); or package.module:function of your own",
    )
    blend: Literal["joint", "paper"] = Field(
        "joint",
        description="joint: blends evolve together with ratios and growth; paper: blends alone, at the uniform ratio "
        "that the budget sets, with clustered criteria and without growth (He et al. 2021)",
    )
    criteria_clusters: int | None = Field(
        None,
        ge=2,
        description="cluster the criteria of each blend by how alike they rank, and weigh one of each cluster; "
        "default: every criterion has its weight, and (up to) 3 clusters with blend: paper",
    )
    blend_by: Literal["network", "stage", "group"] = Field("stage", description="groups that share a blend")
    growth: int = Field(1, ge=0, le=3, description="most modules that growth may add to a stage")
    min_keep: float = Field(0.05, gt=0, le=1, description="least keep ratio of a group")
    min_width: float = Field(0.1, gt=0, le=1, description="least overall width factor")
    round_to: int = Field(1, ge=1, description="widths are multiples of this (8 suits most accelerators)")
    mutation: float = Field(0.1, gt=0, le=1, description="probability that a gene mutates")

    @property
    def clusters(self) -> int | None:
        """Criteria clusters of each blend; ``None`` where criteria are not clustered."""
        if self.criteria_clusters is None and self.blend == "paper":
            return min(3, len(self.criteria))
        return self.criteria_clusters

    @property
    def most_growth(self) -> int:
        """Modules that may be added to a stage; none where blends alone are searched."""
        return 0 if self.blend == "paper" else self.growth


class BudgetConfig(Section):
    """Upper bounds on a candidate: absolute (20000) or a share of the base network (1/16, 25%)."""

    params: Bound | None = Field(None, description="parameters")
    macs: Bound | None = Field(None, description="multiply-accumulates per image")
    bytes: Bound | None = Field(None, description="bytes of float32 weights")


class SearchSettings(Section):
    """What is tried, and how much of it."""

    strategy: str = Field(
        "evolution",
        description="proposes genomes: evolution, population (members that train while they are searched), random (a "
        "control), optuna-tpe or optuna-nsga2",
    )
    probes: int = Field(
        240, ge=1, description="evaluations without training; with strategy population: intervals of training"
    )
    trainings: int = Field(12, ge=1, description="candidates that are trained; with rungs, few of them to the end")
    rungs: int = Field(
        0,
        ge=0,
        le=6,
        description="times that a training pauses and only the best of those that got there go on (asynchronous "
        "successive halving), for wide searches; 0: every training goes to its end",
    )
    reduction: int = Field(3, ge=2, le=10, description="one training in so many goes on from a rung to the next")
    rounds: int = Field(
        3, ge=1, description="times that probing pauses and the most promising are trained; not of a population"
    )
    population: int = Field(40, ge=4, description="individuals that survive selection")
    bisections: int = Field(
        0,
        ge=0,
        le=8,
        description="probes per group of a structural search with step constraint (CaP), whose answer is a starting "
        "individual of evolution; 0 for none",
    )
    cost: Literal["params", "macs", "bytes"] = Field("params", description="second objective beside the error")
    window: int | None = Field(
        None,
        ge=1,
        description="evaluations under way or waiting to commit; part of the result; default: more for more workers "
        "and longer searches, least 32; of a population 2 × workers, least 8",
    )


class PopulationConfig(Section):
    """Members of strategy population, which train while they are searched."""

    interval: int = Field(3, ge=1, description="epochs that a member trains between two selections")
    vary: dict[str, tuple[float, float]] = Field(
        {
            "learning_rate": (0.0005, 0.01),
            "weight_decay": (0.001, 0.1),
            "distillation": (0.0, 0.9),
            PACE: (0.5, 0.95),
        },
        description="what each member varies, and its least and greatest value: settings of training that are "
        "numbers, and pace, the share of its cost that a member keeps when it is pruned",
    )

    @field_validator("vary")
    @classmethod
    def _within_bounds(cls, value: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        pace = value.get(PACE)
        if pace is not None and not 0 < pace[0] <= pace[1] < 1:
            raise ValueError(f"{PACE}: a member keeps more than nothing and less than all, got {list(pace)}")
        _check_ranges({name: ends for name, ends in value.items() if name != PACE}, PACE)
        return value

    @property
    def ranges(self) -> tuple[Range, ...]:
        """What members vary, in the order of ``Genome.settings``."""
        return tuple(Range(name, low, high) for name, (low, high) in sorted(self.vary.items()))


def _check_ranges(ranges: dict[str, tuple[float, float]], *others: str) -> None:
    """What is drawn must be a setting that a configuration could have, with a schedule that takes every setting.

    ``others`` can vary as well, and are checked elsewhere.
    """
    numbers = [name for name, field in CandidateTrainingConfig.model_fields.items() if field.annotation is float]
    for name, (low, high) in ranges.items():
        if name not in numbers:
            known = ", ".join([*numbers, *others])
            raise ValueError(f"{name!r} cannot vary; of the settings of training these can: {known}")
        if low > high:
            raise ValueError(f"{name}: the lowest value {low:g} is above the highest, {high:g}")
        for end in (low, high):
            try:
                CandidateTrainingConfig.model_validate({name: end, "schedule": "cosine"})
            except ValidationError as error:
                raise ValueError(f"{name}: {end:g} is not possible ({error.errors()[0]['msg']})") from None


class ProbeConfig(Section):
    """The cheap evaluation."""

    images: int | None = Field(
        None,
        ge=2,
        description="training images for batch-norm recalibration and the ridge refit; default: the smallest part of "
        "them with the class overlap (CSG) of all, at least 256",
    )
    batch_size: int = Field(256, ge=2, description="images per forward pass")
    scoring_images: int = Field(512, ge=2, description="training images that data-driven criteria see")
    compensate: bool = Field(
        False,
        description="make up for removed channels by least squares, in the weights of what reads them (CaP); trainings "
        "start from these weights too",
    )
    latency: bool = Field(False, description="time every probed network (wall-clock column; selection never uses it)")
    proxies: tuple[str, ...] = Field(
        (), description="zero-cost proxies to measure as well: synflow, snip, grad_norm, naswot, jacobian, zen"
    )


class SurrogateConfig(Section):
    """The forecast of trained accuracy, and what it decides."""

    enabled: bool = Field(
        True, description="let forecasts choose what is probed and trained (strategy evolution; others stay plain)"
    )
    warm_start: tuple[str, ...] = Field(
        (),
        description="folders of earlier runs on the same data and base network, whose trainings the forecasts also "
        "learn from",
    )


class LimitsConfig(Section):
    """When an evaluation is given up."""

    probe_seconds: float = Field(120.0, gt=0, description="time limit of a probe")
    train_seconds: float = Field(3600.0, gt=0, description="time limit of a training")
    memory_mb: int | None = Field(
        None,
        ge=64,
        description="memory an evaluation may take beyond its idle worker; default: nine tenths of what is free (CPU)",
    )
    retries: int = Field(2, ge=0, description="restarts elsewhere after a lost worker")


class ClusterConfig(Section):
    """Where evaluations run."""

    address: str | None = Field(None, description="address of a running Ray cluster; default: start a local one")
    workers: int | None = Field(
        None,
        ge=1,
        description="worker processes; default: one per core, or per GPU share; with an address, as many as there is "
        "room for at any time",
    )
    threads: int = Field(
        1, ge=1, description="CPU threads of an evaluation; part of the result, so a setting of the run"
    )
    gpus_per_worker: float | None = Field(
        None,
        ge=0,
        description="GPUs, or the share of one, that a worker takes; 0: workers compute on CPUs; default: where there "
        "are GPUs, the share whose memory the largest network is measured to need, else 0",
    )
    probes_on: Literal["workers", "cpus"] = Field(
        "workers",
        description="where probes run: on the workers that train, or on CPUs whoever trains, also on machines without "
        "a GPU; part of the result",
    )
    deterministic: bool = Field(True, description="on GPUs: deterministic kernels, at some cost in speed")


class FinishConfig(Section):
    """The last training of the chosen candidates, by Ray Tune, from their trained weights."""

    method: Literal["none", "plain", "pbt", "asha"] = Field(
        "none",
        description="none; plain: trained on with the settings of training; pbt: population-based training over "
        "ranges; asha: settings drawn from ranges, the worst given up early",
    )
    candidates: int = Field(1, ge=1, description="candidates to finish: the chosen one, then the most accurate others")
    population: int = Field(4, ge=2, description="networks trained side by side from one candidate (pbt, asha)")
    epochs: int = Field(20, ge=1, description="passes over the training split of each of them")
    interval: int = Field(5, ge=1, description="epochs between two decisions; the first rung of asha")
    ranges: dict[str, tuple[float, float]] = Field(
        {"learning_rate": (0.0003, 0.01), "weight_decay": (0.0001, 0.1), "distillation": (0.0, 1.0)},
        description="lowest and highest value of each setting of training that varies",
    )

    @property
    def members(self) -> int:
        """Networks that are trained of one candidate."""
        return 1 if self.method == "plain" else self.population

    @property
    def in_words(self) -> str:
        """``pbt, 4 × 20 epochs``."""
        return f"{self.method}, {self.members} × {self.epochs} epochs"

    @field_validator("ranges")
    @classmethod
    def _within_bounds(cls, value: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        """What is drawn must be a setting that a configuration could have."""
        _check_ranges(value)
        return value


class ControlsConfig(Section):
    """Plain alternatives trained at the same cost, to hold the search against."""

    enabled: bool = Field(True, description="train the controls and print whether the search beat them")
    repeats: int = Field(3, ge=1, description="trainings (seeds) of each control and of the chosen candidate")
    recipes: tuple[Literal["bar", "push_prune"], ...] = Field(
        (),
        description="training methods that choose channels themselves, as controls too: bar (budget-aware gates), "
        "push_prune (discriminant pushing and pruning); each trains the base network, at its full size to begin with",
    )
    sensitivity_levels: int = Field(3, ge=1, description="keep ratios probed per group for sensitivity-then-bisect")


class ExportConfig(Section):
    """What leaves the run."""

    formats: tuple[Literal["onnx", "torch"], ...] = Field(("onnx", "torch"), min_length=1, description="export formats")
    tolerance: float = Field(1e-4, gt=0, description="largest output difference that the registry accepts")
    max_accuracy_drop: float | None = Field(
        None,
        ge=0,
        le=1,
        description="choose the cheapest candidate within this drop of validation accuracy; default: the most accurate",
    )
    register_as: str | None = Field(None, description="name of the registered model; default: niwaki-NAME")
    alias: str = Field("champion", min_length=1, description="alias that points to the registered version")

    @field_validator("register_as")
    @classmethod
    def _model_name(cls, value: str | None) -> str | None:
        return None if value is None else check_model_name(value)

    @field_validator("alias")
    @classmethod
    def _model_alias(cls, value: str) -> str:
        return check_alias(value)


class TrackingConfig(Section):
    """MLflow."""

    enabled: bool = Field(True, description="log to MLflow; MLFLOW_TRACKING_URI overrides uri")
    uri: str | None = Field(
        None,
        description="tracking server; default: SQLite beside the runs; credentials in it are not kept with the run, so "
        "give them as MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    )
    experiment: str = Field("niwaki", min_length=1, description="MLflow experiment")


class SearchConfig(Section):
    """A whole run."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100, description="name of the run; its folder is OUT/NAME"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="all randomness of the run is derived from it")
    out: Path = Field(Path("runs"), description="folder that holds the runs")
    storage: str | None = Field(
        None,
        description="where the run is published to while it goes on, as STORAGE/NAME, so that it can be resumed when "
        "this machine is gone: s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or file:///FOLDER; credentials come from the "
        "environment",
    )
    data: DataConfig
    network: NetworkConfig = NetworkConfig()
    base_training: BaseTrainingConfig = BaseTrainingConfig()
    training: CandidateTrainingConfig = CandidateTrainingConfig()
    space: SpaceConfig = SpaceConfig()
    budget: BudgetConfig = BudgetConfig()
    search: SearchSettings = SearchSettings()
    population: PopulationConfig = PopulationConfig()
    surrogate: SurrogateConfig = SurrogateConfig()
    probe: ProbeConfig = ProbeConfig()
    limits: LimitsConfig = LimitsConfig()
    cluster: ClusterConfig = ClusterConfig()
    finish: FinishConfig = FinishConfig()
    controls: ControlsConfig = ControlsConfig()
    export: ExportConfig = ExportConfig()
    tracking: TrackingConfig = TrackingConfig()

    @field_validator("storage")
    @classmethod
    def _no_credentials(cls, value: str | None) -> str | None:
        return None if value is None else check_storage(value)

    @model_validator(mode="after")
    def _consistent(self) -> SearchConfig:
        if self.search.rounds > self.search.trainings and self.search.strategy != "population":
            raise ValueError(
                f"search.rounds ({self.search.rounds}) cannot exceed search.trainings ({self.search.trainings})"
            )
        if self.search.trainings > self.search.probes:
            raise ValueError(
                f"search.trainings ({self.search.trainings}) cannot exceed search.probes ({self.search.probes}): what "
                "is trained was probed before"
            )
        if len(set(self.space.criteria)) != len(self.space.criteria):
            raise ValueError(f"space.criteria: {list(self.space.criteria)} names a criterion twice")
        if len(set(self.controls.recipes)) != len(self.controls.recipes):
            raise ValueError(f"controls.recipes: {list(self.controls.recipes)} names a recipe twice")
        clusters = self.space.criteria_clusters
        if clusters is not None and clusters > len(self.space.criteria):
            raise ValueError(
                f"space.criteria_clusters ({clusters}) cannot exceed the {len(self.space.criteria)} of space.criteria"
            )
        if self.space.blend == "paper" and self.budget == BudgetConfig():
            raise ValueError(
                "space.blend: paper prunes every group by the ratio that the budget sets, and there is none; set "
                "budget.params, budget.macs or budget.bytes"
            )
        if self.space.blend == "paper" and len(self.space.criteria) < 2:
            raise ValueError(
                "space.blend: paper searches blends alone, and of one criterion there is but one; name two or more in "
                "space.criteria"
            )
        if self.search.strategy == "population" and self.space.blend == "paper":
            raise ValueError(
                "search.strategy: population prunes its members step by step, and space.blend: paper knows but one "
                "ratio; set space.blend=joint, or search.strategy=evolution"
            )
        if self.search.strategy == "population" and self.search.trainings > self.search.population:
            raise ValueError(
                f"search.trainings ({self.search.trainings}) cannot exceed search.population "
                f"({self.search.population}): the members that survive are trained to the end; lower it, or raise "
                "search.population"
            )
        varied = {*self.finish.ranges, *(self.population.vary if self.search.strategy == "population" else ())}
        if "warm_up" in varied and self.training.schedule == "one_cycle":
            raise ValueError(
                "training.schedule: one_cycle rises by itself, so warm_up cannot vary; set cosine or constant"
            )
        if self.search.strategy == "population" and self.probe.compensate:
            raise ValueError(
                "probe.compensate: members of a population are not compensated; set it false, or "
                "search.strategy=evolution"
            )
        try:
            rung_epochs(self.training.epochs, self.search.rungs, self.search.reduction)
        except ValueError as error:
            raise ValueError(f"search.rungs: {error}; lower it, or raise training.epochs") from None
        if self.search.rungs and self.search.strategy == "population":
            raise ValueError(
                "search.rungs: members of a population train by intervals, and who goes on is chosen at each; set 0, "
                "or search.strategy=evolution"
            )
        if self.search.bisections and (self.space.blend == "paper" or self.search.strategy == "random"):
            raise ValueError(
                "search.bisections: the answer would start a search over keep ratios, and space.blend: paper and "
                "search.strategy: random have no use for it; set 0"
            )
        if self.surrogate.warm_start and not self.steered:
            raise ValueError(
                "surrogate.warm_start: there is no forecast to learn from earlier runs; leave it out, or set "
                "surrogate.enabled=true, search.strategy=evolution and space.blend=joint"
            )
        if self.finish.method in ("pbt", "asha") and not self.finish.ranges:
            raise ValueError(
                f"finish.ranges: {self.finish.method} compares settings of training, and none may vary; name one, or "
                "set finish.method: plain"
            )
        for name in ("push", "channel_correlation", "ema", "give_up") if self.finish.method == "pbt" else ():
            if name in self.finish.ranges and not min(self.finish.ranges[name][0], getattr(self.training, name)) > 0:
                raise ValueError(
                    f"finish.ranges: a member that trains with {name} cannot go on from one that does not; set "
                    f"training.{name} and its lowest value above 0"
                )
        return self

    @property
    def steered(self) -> bool:
        """Whether forecasts steer the search; strategies other than evolution stay plain, and so do blends alone: what
        forecasts know best, a candidate's sizes, is the same for all of them.
        """
        return self.surrogate.enabled and self.search.strategy == "evolution" and self.space.blend == "joint"

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.out / self.name
