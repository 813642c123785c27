"""The benchmark on a CPU: its competitors compute the same network, and its tables are told.

Those of the `bench` extra are compared where they are installed; minicnn and PyTorch always are.
"""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
import torch

from benchmarks import (
    agreement,
    beside_pytorch,
    by_operation,
    convolution,
    cpu,
    gpu,
    gpu_counts,
    network,
    plateau,
    scaling,
    step_size,
    suite,
)
from benchmarks.network import Conv, Dropout, GlobalAverage, Pool, Recorder, Relu
from benchmarks.table import COLUMNS, table
from nin.presets import PRESETS

pytestmark = pytest.mark.cpu
F = torch.nn.functional
POOLS = [  # the image's size, and PyTorch's arguments
    (8, {"kernel_size": 2}),
    (9, {"kernel_size": 3, "stride": 2}),
    (10, {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    (9, {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    (7, {"kernel_size": 2, "stride": 2, "padding": 1, "ceil_mode": True}),  # one begins too late
    (11, {"kernel_size": (4, 3), "stride": (3, 2), "padding": (2, 1)}),
    (11, {"kernel_size": 4, "stride": 3, "padding": (0, 2), "ceil_mode": True}),
]


def pooled(x, layer):
    """A Pool by its explicit padding alone: floor mode, no padding of the library's own."""
    (top, below), (left, right) = layer.around
    sides = (left, right, top, below)
    if layer.kind == "max":
        return F.max_pool2d(F.pad(x, sides, value=-math.inf), layer.kernel, layer.stride)
    sums = F.avg_pool2d(F.pad(x, sides), layer.kernel, layer.stride, divisor_override=1)
    return sums / torch.from_numpy(layer.divisors())


def logits(layers, parameters, x):
    """What the layers, as they are written down, give in evaluation."""
    mine = iter(torch.from_numpy(p) for p in parameters)
    for layer in layers:
        if isinstance(layer, Conv):
            x = F.conv2d(x, next(mine), next(mine), layer.stride, layer.padding)
        elif isinstance(layer, Pool):
            x = pooled(x, layer)
        elif isinstance(layer, Relu):
            x = x.relu()
        elif isinstance(layer, GlobalAverage):
            x = x.mean((2, 3))
        else:
            assert isinstance(layer, Dropout)
    return x


def recorded(size, kind, arguments):
    recorder = Recorder(size)
    getattr(recorder, kind)(**arguments)
    return recorder.layers[0], recorder.size


# --- the network, for libraries that can't be given minicnn's ------------------------------------


@pytest.mark.parametrize("preset", network.IMAGE_SIZE)
def test_the_layers_written_down_are_the_presets(preset):
    model = network.network(preset, torch.nn).eval()
    parameters = network.initial_parameters(preset)
    x = torch.from_numpy(network.draw(preset, 2)[0])
    with torch.no_grad():
        for p, value in zip(model.parameters(), parameters, strict=True):
            p.copy_(torch.from_numpy(value))
        torch.testing.assert_close(logits(network.layers(preset), parameters, x), model(x))


@pytest.mark.parametrize(("size", "arguments"), POOLS)
def test_max_pooling_by_explicit_padding(size, arguments):
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, size, size)))
    layer, outputs = recorded(size, "MaxPool2d", arguments)
    expected = torch.nn.MaxPool2d(**arguments)(x)
    assert outputs == expected.shape[2:]
    torch.testing.assert_close(pooled(x, layer), expected)


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize(("size", "arguments"), POOLS)
def test_average_pooling_by_explicit_padding_and_divisors(size, arguments, counts):
    arguments = {**arguments, "count_include_pad": counts}
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, size, size)))
    layer, outputs = recorded(size, "AvgPool2d", arguments)
    expected = torch.nn.AvgPool2d(**arguments)(x)
    assert outputs == expected.shape[2:]
    torch.testing.assert_close(pooled(x, layer), expected)


def test_a_layer_that_no_competitor_knows_is_refused_by_name():
    with pytest.raises(AttributeError, match=r"no competitor knows nn\.Linear"):
        _ = Recorder(28).Linear


def test_an_argument_that_no_competitor_knows_is_refused_by_name():
    with pytest.raises(TypeError, match="dilation"):
        Recorder(28).Conv2d(1, 2, 3, dilation=2)


def test_averages_of_more_than_one_place_are_refused():
    with pytest.raises(ValueError, match=r"no competitor can average to \(2, 2\)"):
        Recorder(28).AdaptiveAvgPool2d((2, 2))


def test_making_a_network_of_other_layers_leaves_minicnn_in_place():
    import minicnn

    network.network("quick", torch.nn)
    assert __import__("minicnn") is minicnn


def test_more_images_begin_with_those_that_fewer_are():
    few, many = network.draw("quick", 2), network.draw("quick", 5)
    assert all(np.array_equal(a, b[:2]) for a, b in zip(few, many, strict=True))


def test_sizes_and_batches_are_the_presets():
    assert {
        name: PRESETS[name].input_size()[0] for name in network.IMAGE_SIZE
    } == network.IMAGE_SIZE
    assert {name: PRESETS[name].batch_size for name in cpu.BATCH} == cpu.BATCH


# --- that all compute the same -------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_the_competitors_that_are_installed_agree(preset):
    """One of each library; `torch.compile` alone would take longer than all the others."""
    libraries = {c.library: name for name, c in cpu.COMPETITORS.items() if c.how != "compiled"}
    assert agreement.check(preset, list(libraries.values()))


def test_a_competitor_that_computes_something_else_is_told(monkeypatch, capsys):
    distances = {"minicnn, auto": 0.0, "JAX": 2e-4, "MyGrad": math.nan}
    monkeypatch.setattr(agreement, "distances", lambda preset, what, names: distances)
    assert not agreement.check("paper")
    differing = [line for line in capsys.readouterr().out.splitlines() if "DIFFERS" in line]
    assert [line.split()[0] for line in differing] == ["JAX", "MyGrad"]


# --- the measurement -----------------------------------------------------------------------------


def test_a_measurement_has_a_time_and_the_versions_it_was_made_with(capsys):
    entries = cpu.usual("quick", "predict", 2, 1, ["minicnn, im2col"])
    result = cpu.measure("quick", "predict", 1, entries)
    assert result["rows"]["minicnn, im2col"]["ms_an_image"] > 0
    assert {"minicnn", "torch"} <= set(result["versions"])
    cpu.report(result)
    assert "minicnn, im2col" in capsys.readouterr().out


def test_who_only_predicts_is_left_out_of_training_with_one_line(capsys):
    assert cpu.usual("quick", "train", None, 1, ["OpenVINO", "PyTorch"]).keys() == {"PyTorch"}
    assert capsys.readouterr().out == "without OpenVINO: it only predicts\n"


def test_who_is_not_installed_is_left_out_with_one_line(monkeypatch, capsys):
    nowhere = cpu.Competitor("torch", needs=("nosuch",))
    monkeypatch.setitem(cpu.COMPETITORS, "PyTorch", nowhere)
    assert cpu.usual("quick", "predict", None, 1, ["PyTorch"]) == {}
    line = "without PyTorch: nosuch is not installed (make bench installs it)\n"
    assert capsys.readouterr().out == line


@pytest.mark.parametrize(("kernels", "lines"), [("Haswell", 1), ("", 0), (None, 0)])
def test_kernels_chosen_by_the_environment_are_warned_of(monkeypatch, capsys, kernels, lines):
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    if kernels is not None:
        monkeypatch.setenv("OPENBLAS_CORETYPE", kernels)
    cpu.warn_of_settings()
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == lines
    assert all(line.startswith("warning: OPENBLAS_CORETYPE=Haswell ") for line in warnings)


# --- the table -----------------------------------------------------------------------------------


@pytest.fixture
def results(tmp_path):
    """Two measurements, as they are written: `write(processor)` writes the second anew."""
    cpu.save("cpu-quick-train", {"rows": {"JAX": {"batch": 64, "ms_an_image": 0.25}}}, tmp_path)

    def write(processor=None):
        rows = {"JAX": {"batch": 256, "ms_an_image": 12.345}}
        cpu.save("cpu-quick-predict", {"rows": rows}, tmp_path)
        path = tmp_path / "cpu-quick-predict.json"
        result = json.loads(path.read_text())
        result["machine"]["processor"] = processor or result["machine"]["processor"]
        path.write_text(json.dumps(result))
        return table(tmp_path).splitlines()

    return write


def test_the_table_has_a_row_for_each_result_and_a_dash_for_who_was_not_there(results):
    heading, _, step, prediction, *_ = results()
    assert heading == "| ms an image | " + " | ".join(COLUMNS) + " |"
    dashes = " | ".join(["–"] * (len(COLUMNS) - 3))
    assert step == f"| `quick`, step, 64 images | – | – | 0.25 | {dashes} |"
    assert prediction == f"| `quick`, prediction, 256 images | – | – | 12.3 | {dashes} |"


def test_one_machine_has_one_line_under_the_table(results):
    empty, machine = results()[4:]
    assert (empty, torch.__version__ in machine) == ("", True)


def test_rows_of_two_machines_name_theirs(results):
    *_, first, _, second = results("another processor")
    assert first.startswith("`quick`, step, 64 images: ")
    assert second.startswith("`quick`, prediction, 256 images: another processor ")


def test_the_columns_are_competitors():
    assert set(COLUMNS) <= set(cpu.COMPETITORS)


COMMANDS = [agreement, beside_pytorch, by_operation, convolution, cpu, gpu, gpu_counts, plateau]


@pytest.mark.parametrize("module", [*COMMANDS, scaling, step_size, suite])
def test_help_fits_80_columns(module, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.argv", ["a benchmark", "--help"])
    with pytest.raises(SystemExit) as stop:
        module.main()
    out = capsys.readouterr().out
    assert stop.value.code == 0
    assert out.startswith(f"usage: python -m {module.__name__} ")
    assert max(map(len, out.splitlines())) <= 80


def test_the_error_of_numerical_derivatives_is_drawn_and_is_least_near_gradcheck_s_step(
    monkeypatch, capsys, tmp_path
):
    monkeypatch.setattr("sys.argv", ["step_size", "--out", str(tmp_path / "v.png")])
    step_size.main()
    said = capsys.readouterr().out
    best = float(re.search(r"at step (\S+)", said)[1])
    assert step_size.EPS / 10 < best < 10 * step_size.EPS
    assert (tmp_path / "v.png").stat().st_size > 10_000
