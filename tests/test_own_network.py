"""`--network FILE.py:function`: code of the user's own, run where it is named, and found again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from minicnn import nn
from minicnn.processes import AVAILABLE
from nin import evaluate, own_network, predict, train
from nin.checkpoint import MOST_TEXT
from nin.executors import executor_for
from nin.networks import named_layers
from nin.presets import Preset
from nin.run import read_metrics, read_preset
from nin.study import __main__ as study

from .noise import FLAGS
from .test_resume import metrics

pytestmark = pytest.mark.cpu
NETS = """
import os
from minicnn import nn


class Branches(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.wide = nn.Conv2d(channels, 4, 5, padding=2, stride=4)
        self.narrow = nn.Conv2d(channels, 4, 3, padding=1, stride=4)
        self.relu = nn.ReLU()
        self.head = nn.Linear(4 * 7 * 7, classes)

    def forward(self, x):
        return self.head(self.relu(self.wide(x) + self.narrow(x)).flatten(1))


def small(channels=1, classes=10, width=4):
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride=4), nn.ReLU(), nn.Conv2d(width, classes, 1),
        nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(),
    )
"""
DEFINED = """
from minicnn import nn
{}
def net(classes):
    {}
"""


@pytest.fixture
def written(tmp_path):
    """Write a file, and say where."""

    def write(text, name="nets.py"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def nets(written):
    return written(NETS)


def network(path, name="small"):
    return ["--network", f"{path}:{name}"]


# --- how a function is called --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "given"),
    [
        ("", {}),
        ("classes", {"classes": 10}),
        ("classes, channels", {"classes": 10, "channels": 1}),
        ("channels=3, width=8", {"channels": 1, "width": 8}),
        ("*, image_size, **rest", {"image_size": 28, "rest": {"channels": 1, "classes": 10}}),
        ("width=2, *more", {"width": 2, "more": ()}),
        ("first=1, /, channels=0", {"first": 1, "channels": 1}),
    ],
)
def test_a_function_is_given_what_it_has_parameters_for(written, parameters, given):
    path = written(
        f"from minicnn import nn\nseen = []\ndef net({parameters}):\n    seen.append(locals())\n"
        "    return nn.Linear(1, 1)\n"
    )
    own_network.build(f"{path}:net", channels=1, classes=10, image_size=28)
    module = own_network._module(path, path.read_bytes())
    assert module.seen == [given]


@pytest.mark.parametrize(
    ("beginning", "body", "message"),
    [
        ("", "return nn.Linear(1, classes, bias=no)", r":5: NameError: name 'no' is not defined"),
        ("1 / 0", "pass", r":3: ZeroDivisionError: division by zero"),
        ("raise SystemExit('no')", "pass", r":3: SystemExit: no"),
        ("import nosuch", "pass", r":3: ModuleNotFoundError: No module named 'nosuch'"),
        ("def (", "pass", r":3: SyntaxError: invalid syntax"),
        ("", "return [classes]", r":4: net\(\) must return a minicnn.nn.Module, got list"),
        ("", "return nn.ReLU()", r":4: net\(\) returns a network without parameters"),
        ("", "return nn.Conv2d(0, 1, 1)", r":5: .*in_channels"),
        ("", "return (lambda: 1 / 0)()", r":5: ZeroDivisionError"),
        ("", "return net(classes)", r":5: RecursionError"),
    ],
)
def test_what_goes_wrong_in_a_file_is_one_line_with_its_line(
    on_noise,
    written,
    tmp_path,
    beginning,
    body,
    message,
):
    path = written(DEFINED.format(beginning, body))
    status, out, err = on_noise(train, *FLAGS, *network(path, "net"), "--out", tmp_path / "run")
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert re.search(f"--network: {re.escape(str(path))}{message}", err), err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return nn.Flatten(), nn.Linear(9, classes)", r"must be a (4d|batch)|got|9"),
        ("return nn.Flatten(), nn.Linear(784, 7)", r"gives \(2, 7\) for 2 images, where a logit"),
        ("return nn.Flatten(), nn.Linear(784, classes), Odd()", r":\d+: ValueError: odd"),
        ("return nn.Flatten(), nn.Linear(784, classes), Pair()", r"gives tuple for 2 images"),
        ("return nn.Flatten(), nn.Linear(784, classes), Couple()", r"another output beside other"),
        ("return nn.Flatten(), nn.Linear(784, classes), Two()", r":\d+: AssertionError: no two"),
    ],
)
def test_a_network_that_does_not_fit_the_data_is_one_line(
    on_noise,
    written,
    tmp_path,
    body,
    message,
):
    own = "\n".join(
        f"class {name}(nn.Module):\n    def forward(self, x):\n        {what}"
        for name, what in [
            ("Odd", "raise ValueError('odd')"),
            ("Pair", "return x, x"),
            ("Couple", "return x - x.mean(0)"),
            ("Two", "assert len(x) == 2, 'no two'; return x"),
        ]
    )
    text = DEFINED.format(own, body.replace("return ", "return nn.Sequential(") + ")")
    flags = [*network(written(text), "net"), "--out", tmp_path / "run"]
    status, out, err = on_noise(train, *FLAGS, *flags)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert re.search(f"--network: the network net.*({message})", err), err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}:smal", "has no function 'smal'; did you mean small?"),
        ("{}:zz", "has no function 'zz'; there are: Branches, small"),
        ("{}:nn", "has no function 'nn'"),
        ("{}x.py:small", "can't be read: No such file"),
        ("{}", "must be one of article, d2l, paper, quick, or FILE.py:function"),
        ("{}:", "must be one of"),
        ("{}:1", "must be one of"),
        ("nets:small", "must be one of"),
        ("blocks", "network blocks needs [[blocks]]"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_line(on_noise, nets, text, message):
    status, out, err = on_noise(train, *FLAGS, "--network", text.format(nets))
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert message in err


def test_a_function_that_wants_more_than_is_known_is_refused(on_noise, written):
    path = written("\ndef net(width, *, classes):\n    pass\n")
    status, _, err = on_noise(train, *FLAGS, *network(path, "net"))
    assert (status, err.count("\n")) == (2, 1)
    assert f"{path}:2: net() wants 'width'; by name it can be given channels, classes" in err


def test_files_beside_it_are_found_and_the_path_is_left_as_it_was(written):
    import sys

    written("WIDE = 5\n", "beside_nets.py")
    path = written(
        "from beside_nets import WIDE\nfrom minicnn import nn\nnet = nn.Linear\n"
        "def own():\n    return nn.Linear(WIDE, 1)\n"
    )
    before = [*sys.path]
    assert own_network.build(f"{path}:own").in_features == 5
    assert sys.path == before


# --- a run of it ---------------------------------------------------------------------------------


@pytest.fixture(params=["small", "Branches"])
def run(request, on_noise, nets, tmp_path):
    """A run of one epoch."""
    flags = [*network(nets, request.param), "--out", tmp_path / "run"]
    status, _, err = on_noise(train, *FLAGS, *flags)
    assert status == 0, err
    return tmp_path / "run"


def test_its_code_decides_its_first_values_and_the_run_goes_by_path_and_hash(run, nets):
    preset = read_preset(run)
    assert preset.network.startswith(f"{nets.absolute()}:")
    assert (preset.init, preset.last_bias) == ("default", 0.0)
    environment = json.loads((run / "environment.json").read_text())
    assert environment["network_sha256"] == own_network.digest(preset.network)


def test_every_layer_is_looked_at(run, nets):
    preset = read_preset(run)
    layers = named_layers(own_network.build(preset.network, channels=1, classes=10))
    [row] = read_metrics(run)
    weighted = [path for path, layer in layers.items() if [*layer.parameters()]]
    relus = [path for path, layer in layers.items() if isinstance(layer, nn.ReLU)]
    expected = {f"{kind}:{path}" for path in weighted for kind in ("gradient_norm", "weight_norm")}
    assert {key for key in row if ":" in key} == expected | {f"dead:{path}" for path in relus}


def test_it_goes_on_bit_for_bit(run, on_noise, tmp_path, nets):
    assert on_noise(train, "--resume", run, "--epochs", 2)[0] == 0
    sorted(run.glob("checkpoint-*"))[-1].unlink()
    model, seen = (run / "model.safetensors").read_bytes(), metrics(run)
    assert on_noise(train, "--resume", run)[0] == 0
    assert (model, seen) == ((run / "model.safetensors").read_bytes(), metrics(run))


def test_the_commands_after_a_training_say_that_they_run_it(run, on_noise, nets):
    status, _out, err = on_noise(evaluate, run)
    assert status == 0, err
    assert f"Network  {nets}:" in err and "its code is run" in err


def test_a_file_that_has_changed_is_said(run, on_noise, nets):
    nets.write_text(NETS + "\n# more\n")
    with pytest.warns(UserWarning, match=r"nets\.py is not what it was when .*run was begun"):
        assert on_noise(evaluate, run)[0] == 0
    with pytest.warns(UserWarning, match=r"nets\.py is not what it was when .*run was begun"):
        assert on_noise(train, "--resume", run)[0] == 0


WIDER = {"4, ": "5, ", "width=4": "width=5"}
DEEPER = {"nn.ReLU(),": "nn.ReLU(), *[nn.Conv2d(width, width, 1) for _ in range(20)],"}
DEEPER["self.relu ="] = "self.more = nn.Linear(2, 2); self.relu ="


@pytest.mark.filterwarnings("ignore:.*is not what it was")
@pytest.mark.parametrize("changes", [WIDER, DEEPER], ids=["wider", "deeper"])
def test_a_file_whose_weights_have_other_shapes_is_one_line(run, on_noise, nets, changes):
    text = NETS
    for old, new in changes.items():
        text = text.replace(old, new)
    nets.write_text(text)
    for module, *arguments in ([evaluate, run], [train, "--resume", run]):
        status, out, err = on_noise(module, *arguments)
        assert (status, out, err.replace("Network", "", 1).count("\n")) in ((1, "", 1), (1, "", 2))
        assert re.search(r"is not the network|fit the run: array|can't take", err), err
        assert len(err) < 1000


def test_a_file_that_has_moved_is_named_anew(run, on_noise, nets, tmp_path):
    moved = nets.rename(tmp_path / "other.py")
    name = own_network.function_of(read_preset(run).network)
    for module, *arguments in ([evaluate, run], [train, "--resume", run]):
        status, _, err = on_noise(module, *arguments)
        assert (status, err.count("\n")) == (1, 1)
        assert "--network FILE.py:function says where the network is now" in err
    assert on_noise(evaluate, run, *network(moved, name))[0] == 0
    assert on_noise(train, "--resume", run, *network(moved, name), "--epochs", 2)[0] == 0
    assert read_preset(run).network == f"{moved}:{name}"
    assert on_noise(evaluate, run)[0] == 0


def test_a_run_does_not_get_another_network(run, on_noise, nets):
    for name in ("quick", f"{nets}:Branches:no"):
        status, out, err = on_noise(train, "--resume", run, "--network", name)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "--network" in err


@pytest.fixture
def stranger(run, tmp_path):
    """Code that must not be run: a run's network as somebody else has sent it."""
    (run / "evil.py").write_text("raise AssertionError('run')\n")
    return run


@pytest.mark.parametrize(
    "where", ["evil.py", "{run}/evil.py", "../run/evil.py", "{run}/../run/evil.py"]
)
def test_code_that_came_with_a_run_is_not_run(stranger, on_noise, where):
    text = (stranger / "config.toml").read_text()
    path = where.format(run=stranger)
    (stranger / "config.toml").write_text(
        re.sub(r'network = ".*"', f'network = "{path}:net"', text)
    )
    for module, *arguments in (
        [evaluate, stranger],
        [predict, stranger, "x.png"],
        [train, "--resume", stranger],
    ):
        status, out, err = on_noise(module, *arguments)
        assert (status, out, err.count("\n")) == (1, "", 1), err
        assert "AssertionError" not in err


def test_code_is_not_run_for_a_file_of_weights_alone(run, on_noise, nets, tmp_path):
    model = run / "model.safetensors"
    status, out, err = on_noise(evaluate, model, "--out", tmp_path)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "its network is code" in err and "--network FILE.py:function names it to be run" in err
    name = own_network.function_of(read_preset(run).network)
    assert on_noise(evaluate, model, *network(nets, name), "--out", tmp_path)[0] == 0


def test_a_network_of_a_file_is_none_for_a_run_of_another(on_noise, nets, tmp_path):
    assert on_noise(train, *FLAGS, "--out", tmp_path / "run")[0] == 0
    for module, *arguments in ([evaluate, tmp_path / "run"], [train, "--resume", tmp_path / "run"]):
        status, _, err = on_noise(module, *arguments, *network(nets))
        assert status in (1, 2) and err.count("\n") == 1
        assert "quick" in err


def test_a_path_in_toml_is_seen_from_the_file(on_noise, written, nets, tmp_path):
    toml = written('network = "nets.py:small"\ninit = "xavier_uniform"\n', "my.toml")
    status, out, _ = on_noise(train, "--config", toml, "--print-config")
    assert status == 0
    assert f'network = "{nets}:small"\ninit = "xavier_uniform"\n' in out


def test_what_goes_wrong_in_a_step_is_one_line_too(on_noise, written, tmp_path):
    text = """
import minicnn
from minicnn import nn
class Net(nn.Sequential):
    def forward(self, x):
        if minicnn.is_grad_enabled():
            raise ValueError("in a step")
        return super().forward(x)
def net():
    return Net(nn.Flatten(), nn.Linear(784, 10))
"""
    path, run = written(text), tmp_path / "run"
    status, _, err = on_noise(train, *FLAGS, *network(path, "net"), "--out", run)
    assert status == 1
    assert "Traceback" not in err
    assert err.splitlines()[-1].endswith(f"{path}:7: ValueError: in a step")


def test_a_run_says_whether_its_network_is_on_processes_or_on_threads(nets):
    for name, workers in (
        ("small", "processes" if AVAILABLE else "threads"),
        ("Branches", "threads"),
    ):
        model = own_network.build(f"{nets}:{name}", channels=1, classes=10)
        executor = executor_for(model, Preset(), threads=2)
        executor.close()
        assert executor.how.startswith(f"2 {workers}, ")


def test_a_network_that_no_checkpoint_could_hold_is_refused(on_noise, nets, tmp_path, monkeypatch):
    monkeypatch.setattr("nin.begin.MOST", MOST_TEXT + 100)
    status, out, err = on_noise(train, *FLAGS, *network(nets), "--out", tmp_path / "run")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "--network: the network small takes 0.0 GiB, its momentum included" in err


def test_an_unused_layer_and_one_that_is_used_twice_do_no_harm(on_noise, written, tmp_path):
    text = """
from minicnn import nn
class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.unused, self.relu = nn.ReLU(), nn.ReLU()
        self.one, self.two = nn.Linear(784, 4), nn.Linear(4, classes)
    def forward(self, x):
        return self.two(self.relu(self.relu(self.one(x.flatten(1)))))
"""
    run = tmp_path / "run"
    flags = [*network(written(text), "Net"), "--out", run]
    assert on_noise(train, *FLAGS, *flags)[0] == 0
    assert on_noise(train, "--resume", run)[0] == 0
    assert {key for key in read_metrics(run)[0] if key[:4] == "dead"} == {
        "dead:relu",
        "dead:unused",
    }


@pytest.mark.parametrize(("language", "flag"), [("python", "--network"), ("toml", "--config")])
def test_what_the_page_shows_is_trained(on_noise, written, tmp_path, language, flag):
    page = (Path(__file__).parents[1] / "docs/your-own-network.md").read_text()
    [(name, text)] = re.findall(rf"^```{language}\n# (.+)\n((?:.|\n)+?)^```", page, re.M)
    which = f"{written(text, name)}{':small' if language == 'python' else ''}"
    status, _, err = on_noise(train, *FLAGS, flag, which, "--out", tmp_path / "run")
    assert status == 0, err


@pytest.mark.parametrize("command", ["summary", "graph"])
@pytest.mark.parametrize("name", ["small", "Branches"])
def test_the_studies_of_a_network_take_one(on_noise, nets, tmp_path, command, name):
    small = {"summary": ["--steps", 1], "graph": ["--batch-size", 2]}[command]
    flags = [command, f"{nets}:{name}", *small, "--out", tmp_path / "study"]
    status, out, err = on_noise(study, *flags)
    assert status == 0, err
    model = own_network.build(f"{nets}:{name}", channels=1, classes=10)
    if command == "summary":
        assert f"{sum(p.numel() for p in model.parameters()):,}" in out


@pytest.mark.parametrize(
    ("text", "message"),
    [("nosuch", "must be one of"), ("no.toml", "No such file"), ("no.py:net", "No such file")],
)
def test_a_study_of_no_network_is_one_line(on_noise, text, message):
    status, out, err = on_noise(study, "summary", text)
    assert (status in (1, 2), out, err.count("\n")) == (True, "", 1)
    assert message in err
