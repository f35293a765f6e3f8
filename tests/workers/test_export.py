"""Exports give the network's logits at any batch size, hold no pickle, and cost what the layout says."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from spaces.groups import example_input
from spaces.layout import Cost, make_layout
from spaces.networks import NetworkSpec, build_network
from spaces.surgery import compact
from workers.deployed import Deployed
from workers.export import (
    OPSET,
    ExportError,
    count_program,
    export_onnx,
    export_program,
    load_program,
    run_onnx,
    run_program,
)


def make_deployed(spec: NetworkSpec) -> tuple[Deployed, Cost]:
    """A compact network of uneven widths behind its normalisation, and what its layout says it costs."""
    network = build_network(spec, torch.Generator().manual_seed(0))
    layout = make_layout(network, example_input(spec.shape))
    rng = np.random.default_rng(0)
    kept = {g.name: np.sort(rng.permutation(g.size)[: rng.integers(1, g.size + 1)]) for g in layout.groups}
    widths = np.array([len(kept[name]) for name in layout.names])
    channels = spec.shape[0]
    return Deployed(compact(network, layout, kept), (0.4,) * channels, (0.3,) * channels), layout.cost(widths)


INCEPTION = NetworkSpec("inception", (1, 12, 12), 3, {"stem": 6, "widths": [8, 12], "modules": [1, 1]})


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Deployed, Cost, Path]:
    folder = tmp_path_factory.mktemp("exported")
    deployed, cost = make_deployed(INCEPTION)
    example = torch.rand(1, *INCEPTION.shape)
    export_onnx(deployed, example, folder / "model.onnx", {"genome": "{}"})
    export_program(deployed, example, folder / "model.pt2")
    return deployed, cost, folder


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_exports_give_the_networks_logits_at_any_batch_size(exported: tuple[Deployed, Cost, Path], batch: int) -> None:
    deployed, _, folder = exported
    images = torch.rand(batch, *INCEPTION.shape)
    with torch.no_grad():
        logits = deployed(images).numpy()
    np.testing.assert_allclose(run_onnx(folder / "model.onnx", images.numpy()), logits, atol=1e-5)
    np.testing.assert_allclose(run_program(folder / "model.pt2", images.numpy()), logits, atol=1e-5)


def test_each_export_is_one_file_and_says_what_it_is(exported: tuple[Deployed, Cost, Path]) -> None:
    _, _, folder = exported
    assert sorted(p.name for p in folder.iterdir()) == ["model.onnx", "model.pt2"]
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    onnx.checker.check_model(model)
    assert [(x.domain, x.version) for x in model.opset_import if x.domain == ""] == [("", OPSET)]
    assert {p.key: p.value for p in model.metadata_props}["genome"] == "{}"
    assert not any(t.external_data for t in model.graph.initializer)
    assert [x.name for x in model.graph.input] == ["images"]


def test_the_program_holds_no_pickle_and_a_pickle_in_it_is_refused(
    exported: tuple[Deployed, Cost, Path], tmp_path: Path
) -> None:
    deployed, _, folder = exported
    with zipfile.ZipFile(folder / "model.pt2") as archive:
        weights = [n for n in archive.namelist() if "data/weights/weight_" in n]
        others = [archive.read(n) for n in archive.namelist() if n not in weights]
    assert weights
    assert not any(content.startswith((b"PK", b"\x80")) for content in others)

    # What torch.export.save writes by itself, example inputs pickled.
    program = torch.export.export(deployed, (torch.rand(2, *INCEPTION.shape),))
    torch.export.save(program, tmp_path / "theirs.pt2")
    with pytest.raises(ExportError, match=r"theirs\.pt2: its record 'data/sample_inputs/model\.pt' may be a pickle"):
        load_program(tmp_path / "theirs.pt2")
    torch.save({"a": 1}, tmp_path / "pickle.pt2")
    with pytest.raises(ExportError, match=r"pickle\.pt2: its record 'data\.pkl' may be a pickle"):
        load_program(tmp_path / "pickle.pt2")


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(INCEPTION, id="inception"),
        pytest.param(NetworkSpec("resnet18", (3, 32, 32), 5), id="resnet18"),
        pytest.param(NetworkSpec("mobilenet_v2", (3, 32, 32), 5, {"width_mult": 0.25}), id="depthwise"),
    ],
)
def test_the_program_itself_costs_what_the_layout_says(spec: NetworkSpec, tmp_path: Path) -> None:
    deployed, cost = make_deployed(spec)
    export_program(deployed, torch.rand(2, *spec.shape), tmp_path / "m.pt2")
    assert count_program(tmp_path / "m.pt2") == (cost.params, cost.macs)


def test_export_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    deployed, _ = make_deployed(INCEPTION)
    before = {name: value.clone() for name, value in deployed.state_dict().items()}
    deployed.train()
    export_program(deployed, torch.rand(1, *INCEPTION.shape), tmp_path / "m.pt2")
    assert deployed.training
    assert all(torch.equal(before[name], value) for name, value in deployed.state_dict().items())


class Stubborn(nn.Module):
    """Branches on a value that no tracer can know."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3)) if float(images.sum()) > 0 else images.amax(dim=(2, 3))


def test_what_cannot_be_exported_says_why_and_leaves_no_file(tmp_path: Path) -> None:
    deployed = Deployed(Stubborn(), (0.0,), (1.0,))
    with pytest.raises(ExportError, match=r"cannot be exported by torch\.export .*Mend: "):
        export_program(deployed, torch.rand(2, 1, 4, 4), tmp_path / "m.pt2")
    with pytest.raises(ExportError, match=r"cannot be exported by ONNX .*Mend: "):
        export_onnx(deployed, torch.rand(2, 1, 4, 4), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_bad_exported_files_are_refused_by_name(exported: tuple[Deployed, Cost, Path], tmp_path: Path) -> None:
    _, _, folder = exported
    images = np.zeros((1, 1, 12, 12), dtype=np.float32)
    for run, name in ((run_onnx, "model.onnx"), (run_program, "model.pt2")):
        with pytest.raises(ExportError, match=rf"{name}: no such file"):
            run(tmp_path / name, images)
        content = (folder / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ExportError, match=name):
            run(tmp_path / name, images)
    with pytest.raises(ExportError, match=r"end in \.pt2"):
        export_program(nn.Identity(), torch.rand(1, 1, 2, 2), tmp_path / "model.bin")


def test_exporting_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    deployed, images = Deployed(network, (0.5,), (0.5,)), torch.rand(1, 1, 8, 8)
    export_onnx(deployed, images, tmp_path / "m.onnx")
    export_program(deployed, images, tmp_path / "m.pt2")
    run_onnx(tmp_path / "m.onnx", images.numpy())
    run_program(tmp_path / "m.pt2", images.numpy())
    assert capfd.readouterr() == ("", "")
