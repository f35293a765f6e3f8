"""The command line: `niwaki search`, `resume`, `status`, `watch`, `page`, `report`, `export`, `inspect`, `sync`, …

Exit codes: 0 done, 1 failed, 2 bad input. Progress goes to stderr, results to stdout, ``--json`` for programs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from search.config import SearchConfig
    from search.report import Finals
    from search.run import Result
    from search.view import View

app = typer.Typer(
    name="niwaki",
    help="Find the smallest and fastest network that still does the job.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
)

Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Override a setting; may be repeated.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, such as runs/digits.")]
RunOrAddress = Annotated[
    str, typer.Argument(metavar="RUN", help="Folder of a run, or its address in storage (s3://BUCKET/FOLDER/NAME).")
]
Storage = Annotated[
    str | None,
    typer.Option(metavar="URI", help="Publish the run to URI/NAME while it goes on, such as s3://BUCKET/runs."),
]
Address = Annotated[
    str | None, typer.Option(help="Ray cluster: auto, or HOST:6379 of its head; default: one on this machine.")
]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="inception, a torchvision CNN or package.module:factory.")]
Data = Annotated[str, typer.Argument(metavar="DATA", help="digits, a torchvision set, a folder or a .parquet file.")]
Quietly = Annotated[bool, typer.Option("--quiet", help="No progress.")]


@app.command()
def search(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file; see examples/.")],
    set_: Set = None,
    address: Address = None,
    out: Annotated[Path | None, typer.Option(help="Folder that holds the runs.")] = None,
    storage: Storage = None,
    as_json: Json = False,
    quiet: Quietly = False,
) -> None:
    """Search for compressed networks, train the promising ones, and register the chosen one.

    A run that was cut off is continued where it stood.

    Example: niwaki search examples/digits.yaml --set seed=1 --set name=digits-1
    """
    from search.loading import load_config

    settings = load_config(config, _overrides(set_, address, out, storage))
    from search.run import run_search

    with _apart_from_results():
        result = run_search(settings, _view(quiet))
    _tell(result, as_json)


@app.command()
def resume(
    run: RunOrAddress,
    address: Address = None,
    out: Annotated[Path, typer.Option(help="Folder of runs to bring a run in storage down to.")] = Path("runs"),
    storage: Storage = None,
    as_json: Json = False,
    quiet: Quietly = False,
) -> None:
    """Continue a run that was cut off; the result is that of an undisturbed run.

    One in storage is brought down to this machine first, and goes on being published.

    Example: niwaki resume runs/digits
    """
    from search.fetching import bring_run, in_storage
    from search.folder import RunFolder
    from search.loading import override

    view = _view(quiet)
    folder = RunFolder(bring_run(run, out, view.step) if in_storage(run) else Path(run))
    config = override(folder.load_config(), _overrides(None, address, None, storage))
    from search.run import run_search

    with _apart_from_results():
        result = run_search(config, view)
    _tell(result, as_json)


@app.command()
def inspect(
    model: Model,
    data: Data,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Groups, locked layers with reasons, reachable budgets, and what a search would cost. Trains nothing.

    Example: niwaki inspect resnet18 CIFAR10 --set budget.macs=1/4
    """
    from search.loading import parse_overrides

    config = parse_overrides({"name": "inspect", "data": {"source": data}, "network": {"name": model}}, set_ or [])
    from search.drive import plan_settings
    from search.forecast import forecast
    from search.inspection import Inspection
    from search.plan import course_counts
    from search.preflight import check

    with _apart_from_results():
        preflight = check(config)
    inspection = Inspection(preflight, forecast(preflight, course_counts(preflight.space, plan_settings(config))))
    if as_json:
        _print_json(inspection.to_json())
        return
    _print_parts((inspection.groups_table(), inspection.budget_table(), *inspection.lines()))


@app.command()
def complexity(
    data: Annotated[
        str, typer.Argument(metavar="DATASET", help="digits, a torchvision set, a folder or a .parquet file.")
    ],
    set_: Set = None,
    embedding: Annotated[
        str, typer.Option(help="Where classes overlap: patches, pixels, pca, tsne, autoencoder or autoencoder-tsne.")
    ] = "patches",
    images: Annotated[int, typer.Option(min=5, help="Look at no more than this many training images.")] = 4000,
    keep: Annotated[
        float, typer.Option(min=0, max=1, help="Share of its accuracy that a narrower network is to keep.")
    ] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="Of splits, embedding and draws.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for the report; default: complexity-NAME here.")] = None,
    as_json: Json = False,
) -> None:
    """How much classes overlap, how complex the images are, and how small set and network may be. Trains no classifier.

    Writes complexity.html, complexity.json and PNG files. Looks at training images only.

    Example: niwaki complexity CIFAR10 --set data.limit=5000 --set budget.params=1/16
    """
    from search.loading import parse_overrides

    content = {"name": "complexity", "seed": seed, "data": {"source": data}}
    config = parse_overrides(content, set_ or [])
    from search.complexity import complexity as measure
    from search.complexity import write_complexity
    from search.complexity.gather import ComplexitySettings, params_limit
    from search.complexity.tables import render
    from search.complexity.write import folder_name

    settings = ComplexitySettings(embedding, images, keep, params_limit(config), config.seed)
    with _apart_from_results():
        found = measure(config.data, settings)
        page = write_complexity(found, out or Path(folder_name(data)))
    if as_json:
        _print_json({"report": str(page), **found.to_json()})
    else:
        _print_parts(render(found))
        typer.echo(f"report: {page}")


@app.command()
def criteria(
    model: Model,
    data: Data,
    set_: Set = None,
    width: Annotated[float, typer.Option(help="Share of channels that stay where pruned sets are compared.")] = 0.5,
    out: Annotated[Path | None, typer.Option(help="Folder for the report; default: criteria-MODEL-DATA here.")] = None,
    as_json: Json = False,
    quiet: Quietly = False,
) -> None:
    """How far pruning criteria agree about a network's channels, group by group. Trains the base network.

    Writes criteria.html, criteria.json, PNG files and base.safetensors: with --set network.weights=FILE nothing is
    trained.

    Example: niwaki criteria resnet18 CIFAR10 --set base_training.epochs=5 --width 0.3
    """
    from search.criteria import compare_criteria, write_criteria
    from search.criteria.gather import settings_for
    from search.criteria.tables import render
    from search.criteria.write import check_folder, folder_name

    config = settings_for(model, data, set_ or [])
    folder = out or Path(folder_name(model, data))
    check_folder(folder)
    with _apart_from_results():
        found, weights = compare_criteria(config, width, _view(quiet).step)
        page = write_criteria(found, weights, folder)
    if as_json:
        _print_json({"report": str(page), **found.to_json()})
    else:
        _print_parts(render(found))
        typer.echo(f"report: {page}")


@app.command()
def report(run: RunOrAddress, as_json: Json = False) -> None:
    """The front table, the verdicts, the plots and report.html, drawn again from the archive.

    Example: niwaki report runs/digits
    """
    from search.copying import looked_at
    from search.report import write_report
    from search.run import load_result

    with looked_at(run, keep=True) as folder:
        result = load_result(folder())
    write_report(result.archive(), result.finals, result.folder.report)
    _tell(result, as_json)


@app.command()
def status(run: RunOrAddress, as_json: Json = False) -> None:
    """Where a run stands: progress, front, forecasts, failures, workers and cost so far, on one screen.

    Reads the run's folder alone: a copy of it will do.

    Example: niwaki status runs/digits
    """
    from search.copying import looked_at
    from search.watch.snapshot import look

    with looked_at(run) as folder:
        snapshot = look(folder())
    if as_json:
        from search.watch.words import to_json

        _print_json(to_json(snapshot))
        return
    from search.watch.terminal import screen

    _stdout().print(screen(snapshot))


@app.command()
def watch(run: RunOrAddress) -> None:
    """The same as `niwaki status`, redrawn until the run ends; exit code 1 where it did not end well.

    Example: niwaki watch runs/digits
    """
    from search.copying import looked_at
    from search.watch.snapshot import look
    from search.watch.terminal import watch as follow

    try:
        with looked_at(run) as folder:
            snapshot = follow(lambda: look(folder()), _stdout())
    except KeyboardInterrupt:
        return  # of the watching alone: the run goes on
    if snapshot.phase != "finished":
        raise typer.Exit(1)


@app.command()
def page(
    run: RunOrAddress,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on the loopback address; 0: a free one.")] = 8484,
    to: Annotated[
        Path | None, typer.Option(help="Write the page as it is now to this file, and serve nothing.")
    ] = None,
) -> None:
    """A live web page of a run at http://127.0.0.1:8484, for this machine's browsers alone; Ctrl-C ends it.

    On a cluster without a browser: ssh -L 8484:127.0.0.1:8484 HOST, or copy the run's folder and look at the copy.

    Example: niwaki page runs/digits
    """
    from search.copying import looked_at
    from search.watch.snapshot import look

    with looked_at(run) as folder:
        if to is not None:
            from search.watch.page import build_page
            from workers.atomic import replacing

            with replacing(to) as temporary:
                temporary.write_text(build_page(look(folder())), encoding="utf-8", errors="replace")
            typer.echo(f"page: {to}")
            return
        from search.watch.server import make_server

        look(folder())  # what cannot be shown is refused before a port is opened
        with make_server(lambda: look(folder()), port) as server:
            typer.echo(f"http://127.0.0.1:{server.server_port}  (Ctrl-C ends it; the run goes on)")
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                return


@app.command()
def export(
    run: RunOrAddress,
    max_params: Annotated[int | None, typer.Option(min=1, help="At most this many parameters.")] = None,
    max_macs: Annotated[int | None, typer.Option(min=1, help="At most this many MACs per image.")] = None,
    max_latency_ms: Annotated[float | None, typer.Option(min=0, help="At most this latency, as in the report.")] = None,
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="At most this much below the base network's validation accuracy."),
    ] = None,
    candidate: Annotated[str | None, typer.Option(help="This candidate of the front, whatever it costs.")] = None,
    format_: Annotated[str, typer.Option("--format", help="onnx or torch (a torch.export program).")] = "onnx",
    to: Annotated[Path | None, typer.Option(help="File to write; default: CANDIDATE.onnx or .pt2 here.")] = None,
    register: Annotated[str | None, typer.Option(metavar="NAME", help="Register it in MLflow, too.")] = None,
    alias: Annotated[str, typer.Option(help="Alias of the registered version.")] = "champion",
    as_json: Json = False,
) -> None:
    """Export the most accurate network of the front within limits (the cheapest, with --max-accuracy-drop).

    It is exported afresh, compared with the trained network, and measured.

    Example: niwaki export runs/digits --max-params 10000 --format onnx
    """
    from search.copying import looked_at
    from search.exporting import Limits, export_candidate

    limits = Limits(max_params, max_macs, max_latency_ms, max_accuracy_drop, candidate)
    with _apart_from_results(), looked_at(run, weights=True) as folder:
        exported = export_candidate(folder(), limits, format_, to, register, alias)
    if as_json:
        _print_json(exported.to_json())
        return
    for line in exported.lines():
        typer.echo(line)


@app.command()
def sync(run: Run, as_json: Json = False) -> None:
    """Bring MLflow up to date with the run's archive; what is there already is not logged twice.

    Example: niwaki sync runs/digits
    """
    from search.archive import Archive
    from search.folder import RunFolder
    from search.run_tracking import project_all
    from search.shipping import final_metrics

    folder = RunFolder(run)
    config, record = folder.load_config(), folder.load_record()
    metrics = final_metrics(folder.load_finals()) if folder.finished else None
    with folder.locked():
        archive = Archive(folder.archive)  # publishes what a killed driver left unpublished
        added = project_all(config, record, archive.evaluations(), metrics)
    if as_json:
        _print_json({"evaluations": len(archive), "logged": added})
    else:
        typer.echo(f"{len(archive):,} evaluations in the archive, {added:,} runs were missing in MLflow, now logged")


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="RUN_A")],
    second: Annotated[str, typer.Argument(metavar="RUN_B")],
    as_json: Json = False,
) -> None:
    """Whether two runs' archives are equal in every column but the wall-clock ones; exit code 1 if not.

    Example: niwaki compare runs/one-worker runs/two-workers
    """
    from search.archive import read_archive
    from search.comparison import compare_archives
    from search.copying import looked_at
    from search.folder import RunFolder

    tables = []
    for run in (first, second):
        with looked_at(run) as path:
            folder = RunFolder(path())
            folder.load_config()
            tables.append(read_archive(folder.archive))
    comparison = compare_archives(*tables)
    if as_json:
        _print_json(comparison.to_json())
    else:
        typer.echo(str(comparison))
    if not comparison.equal:
        raise typer.Exit(1)


def main() -> None:
    """Entry point; turns errors that a user can mend into one readable message and an exit code."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _show_token()
    signal.signal(signal.SIGTERM, _interrupt)  # as Ctrl-C does: workers are stopped before the driver goes
    sys.exit(_guarded(lambda: app(standalone_mode=False)))


def _show_token() -> None:
    """Let Ray show the user's token: `ray start` asks for it, a driver shows it only if told before Ray is imported."""
    token = Path.home() / ".ray" / "auth_token"
    if token.exists() or os.environ.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}:
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _guarded(action: Callable[[], Any]) -> int:
    """Run the command; its exit code."""
    try:
        code = action()
        return code if isinstance(code, int) else 0
    except _usage_error() as error:
        error.show()  # type: ignore[attr-defined]
        return 2
    except (KeyboardInterrupt, typer.Abort):
        return _fail("stopped; `niwaki resume RUN` goes on from here", 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if isinstance(error, _bad_input()):
            return _fail(str(error), 2)
        if isinstance(error, _failures()):
            return _fail(str(error), 1)
        if isinstance(error, OSError) and error.filename is not None:
            return _fail(f"{error.filename}: {error.strerror or type(error).__name__}", 1)
        raise


def _usage_error() -> type[Exception]:
    """The base of what Typer raises for a wrong command line: click's, or that of the copy that newer ones bring."""
    return next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def _bad_input() -> tuple[type[Exception], ...]:
    from search.archive import ArchiveError
    from search.exporting import ExportRefused
    from search.loading import ConfigError
    from workers.cluster import NoCluster
    from workers.data import DataError
    from workers.tensors import CheckpointError

    return ConfigError, DataError, CheckpointError, ArchiveError, ExportRefused, NoCluster


def _failures() -> tuple[type[Exception], ...]:
    from search.engine import ReplayMismatch
    from search.registry import RegistryRefused
    from search.storage import StorageError
    from search.tracking import TrackingError
    from workers.cluster import ClusterError
    from workers.export import ExportError
    from workers.train import Diverged

    return ClusterError, ReplayMismatch, RegistryRefused, StorageError, TrackingError, ExportError, Diverged


def _fail(message: str, code: int) -> int:
    typer.echo(f"niwaki: {message}", err=True)
    return code


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _apart_from_results() -> AbstractContextManager[Any]:
    """What others print, such as Ray or a user's factory, goes to standard error: standard output is for results."""
    return redirect_stdout(sys.stderr)


def _overrides(set_: list[str] | None, address: str | None, out: Path | None, storage: str | None = None) -> list[str]:
    given = list(set_ or [])
    if address is not None:
        given.append(f"cluster.address={json.dumps(address)}")
    if out is not None:
        given.append(f"out={json.dumps(str(out))}")
    if storage is not None:
        given.append(f"storage={json.dumps(storage)}")
    return given


def _view(quiet: bool) -> View:
    if quiet:
        from search.view import Quiet

        return Quiet()
    from search.live import Terminal

    return Terminal()


def _stdout() -> Any:
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 140)


def _print_parts(parts: Iterable[RenderableType]) -> None:
    """One below the other with a line between; text is taken as it stands."""
    console = _stdout()
    for part in parts:
        console.print(part, markup=False)
        console.print()


def _print_json(content: dict[str, Any]) -> None:
    typer.echo(json.dumps(content, indent=1, allow_nan=False))


def _tell(result: Result, as_json: bool) -> None:
    """The front, the verdicts, and what to do next."""
    from search.report import forecast_table, front_table, verdict_table
    from search.report.headline import write_headline

    finals, folder = result.finals, result.folder
    if as_json:
        _print_json({"run": str(folder.path), "report": str(folder.report / "report.html"), **finals.to_json()})
        return
    console = _stdout()
    archive = result.archive()
    headline = write_headline(archive, finals)
    console.print()
    console.print(f"[bold]{headline.title}[/bold]")
    for detail in headline.details:
        console.print(detail, markup=False)
    verdicts = verdict_table(finals) if finals.verdicts else None
    for part in (front_table(finals), verdicts, forecast_table(archive, finals)):
        if part is not None:
            console.print()
            console.print(part)
    for note in finals.notes:
        console.print(f"note: {note}", markup=False)
    console.print()
    for line in _next_steps(folder.load_config(), folder.path, finals):
        console.print(line, markup=False, soft_wrap=True)


def _next_steps(config: SearchConfig, path: Path, finals: Finals) -> list[str]:
    from search.report.wording import browsing
    from search.tracking import find_store

    niwaki, mlflow = _command("niwaki"), _command("mlflow")
    lines = [f"open the report      {path / 'report' / 'report.html'}"]
    stem = "" if finals.chosen is None else finals.stem(finals.chosen)
    files = [path / "weights" / f"{stem}{suffix}" for suffix in (".onnx", ".pt2")]
    if any(file.exists() for file in files):
        lines.append(f"exported             {' and '.join(str(file) for file in files if file.exists())}")
    if finals.registered:
        lines.append(f'registered           mlflow.pytorch.load_model("{finals.registered}")')
    if config.tracking.enabled:
        store = find_store(config.out, config.tracking.uri)
        lines.append(f"browse the runs      {browsing(store.shown, mlflow)}")
    lines.append(f"take another one     {niwaki} export {path} --max-params N --format onnx")
    lines.append(f"search on your own   {niwaki} inspect MODEL DATA, then change a copy of examples/digits.yaml")
    return lines


def _command(name: str) -> str:
    """``name`` as it can be typed here: by its path, where the user came by the path."""
    folder = os.path.dirname(sys.argv[0])
    on_path = shutil.which("niwaki")
    if not folder or (on_path and os.path.samefile(on_path, sys.argv[0])):
        return name
    return os.path.join(min(os.path.relpath(folder), os.path.abspath(folder), key=len), name)
