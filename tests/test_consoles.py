"""Every command on every console: any encoding or none, and an end in one line.

The runs are written by hand, as nothing here is about what a network has learnt.
"""

from __future__ import annotations

import ast
import io
import json
import os
import re
import shlex
import subprocess
import sys
import warnings
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import minicnn
from minicnn import __main__ as minicnn_main
from minicnn import console
from minicnn.arguments import ArgumentError
from minicnn.console import Failure, UsageError, printable
from minicnn.gradcheck import __main__ as gradcheck_main
from nin import __main__ as nin_main
from nin import command_line, compare, config, drawing, evaluate, export, predict
from nin.kind import CLOTHES
from nin.presets import PRESETS
from nin.study import __main__ as study_main

pytestmark = pytest.mark.cpu
MAINS = {
    "evaluate": evaluate.main,
    "predict": predict.main,
    "compare": compare.main,
    "export": export.main,
    "study": study_main.main,
    "gradcheck": gradcheck_main.main,
    "minicnn": minicnn_main.main,
    "nin": nin_main.main,
}
METRICS = """epoch,train_loss,eval_loss,accuracy,lr,seconds,images_per_second
1,2.1,2,0.5,0.1,3,7
2,1.1,1,0.6,0.1,3,7
"""


def write_run(directory, preset, spoil=1.0, metrics=METRICS):
    """A run of a network as it is at first; `spoil` is what its first weights are multiplied by."""
    directory.mkdir()
    (directory / "config.toml").write_text(config.render(preset))
    state = preset.build().state_dict()
    first = next(iter(state))
    kind = {"kind": json.dumps(CLOTHES.as_json())}
    minicnn.save({**state, first: state[first] * spoil}, directory / "model.safetensors", kind)
    (directory / "metrics.csv").write_text(metrics)
    return directory


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with runs and pictures, good and bad."""
    place = tmp_path_factory.mktemp("place")
    few = {"limit_train": 20, "limit_test": 20, "mean": 0.286, "std": 0.353}
    quick = replace(PRESETS["quick"], dataset="fashion-mnist", **few)
    write_run(place / "good", quick)
    write_run(place / "slow", replace(quick, lr=0.01))
    write_run(place / "nan", quick, float("nan"))
    write_run(place / "inf", quick, 1e38)
    write_run(place / "small", replace(PRESETS["article"], image_size=28))
    write_run(place / "nan-metrics", quick, metrics=METRICS.replace("2,1.1,1,0.6", "2,nan,inf,0.1"))
    write_run(place / "nan-epoch", quick, metrics=METRICS.replace("2,1.1", "nan,1.1"))
    write_run(place / "no-metrics", quick, metrics=METRICS.partition("\n")[0] + "\n")
    other = write_run(place / "other", quick)
    (other / "config.toml").write_text(config.render(PRESETS["paper"]))
    broken = write_run(place / "broken", quick)
    (broken / "model.safetensors").write_bytes(b"\x10")
    odd = write_run(place / "odd", quick)
    (odd / "config.toml").unlink()
    os.mkfifo(odd / "config.toml")
    shirt = np.full((60, 40), 255, np.uint8)
    shirt[10:50, 10:30] = 20
    Image.fromarray(shirt).save(place / "shirt.png")
    (place / os.fsdecode(b"caf\xe9\x1b[31m\n.png")).write_bytes((place / "shirt.png").read_bytes())
    (place / "text\x1b[2J.png").write_bytes(b"hello")
    os.mkfifo(place / "fifo")
    (place / "file").write_bytes(b"")
    return place


@pytest.fixture
def call(place, capsys, monkeypatch):
    """A command line, run in this process where the runs are: status, stdout and stderr."""

    def call(line):
        monkeypatch.chdir(place)
        command, *arguments = shlex.split(line) if isinstance(line, str) else line
        try:
            status = MAINS[command](arguments)
        except SystemExit as stop:
            status = stop.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures take long, and are not what a test is about."""
    monkeypatch.setattr(drawing, "write", lambda path, draw: True)


# --- what can't be done is one line --------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "line"),
    [
        *((2, f"{name} --no-such-flag") for name in MAINS),
        *((2, f"{name}") for name in ("evaluate", "export", "predict", "compare")),
        *((2, f"{name} ''") for name in ("evaluate", "predict", "compare", "study", "nin")),
        (2, "nin train nosuch"),
        (2, "nin 'a\x1b[2J'"),
        (2, "minicnn x"),
        (2, "gradcheck nosuch"),
        (2, "gradcheck --backend 'x\x1b'"),
        (2, "evaluate good --out ''"),
        (2, "evaluate good --limit-test 0"),
        (2, f"evaluate good --limit-test 1{'0' * 30}"),
        (2, f"evaluate good --limit-test {'9' * 5000}"),
        (2, "evaluate good --limit-test nan"),
        (1, "evaluate nosuch"),
        (1, "evaluate file"),
        (1, "evaluate fifo"),
        (1, "evaluate /dev/zero"),
        (1, f"evaluate {'x' * 300}"),
        (1, "evaluate 'a\x1b[2J\n'"),
        (1, "evaluate nan"),
        (1, "evaluate inf"),
        (1, "evaluate small"),
        (1, "evaluate other"),
        (1, "evaluate broken"),
        (1, "evaluate odd"),
        (2, "evaluate good --out file"),
        (2, "evaluate good --out fifo"),
        (2, "evaluate good --out file/x"),
        (2, "predict good"),
        (2, "predict good ''"),
        (1, "predict nan shirt.png"),
        (1, "predict inf shirt.png --json"),
        (1, "predict small shirt.png"),
        (1, "predict good nosuch.png"),
        (1, "predict good 'text\x1b[2J.png'"),
        (1, "predict good fifo"),
        (1, "predict good /dev/zero"),
        (1, "predict good ."),
        (1, f"predict good {'x' * 300}"),
        (2, "export good"),
        (2, "export good --onnx ''"),
        (2, "export good --onnx good"),
        (1, "export nosuch --onnx x.onnx"),
        (1, "export nan --onnx x.onnx"),
        (1, "export small --onnx x.onnx"),
        (1, "export broken --onnx x.onnx"),
        (1, "export good --onnx fifo"),
        (1, "export good --onnx /dev/null"),
        (1, "export good --onnx file/x.onnx"),
        (1, "export good --onnx nosuch/x.onnx"),
        (1, "compare good nosuch"),
        (1, "compare good good"),
        (1, "compare good ./good/."),
        (1, "compare good no-metrics"),
        (1, "compare good nan-epoch"),
        (2, "compare good slow --out good"),
        (2, "compare good --out ''"),
        (1, "compare good --out fifo --json"),
        (1, "compare good --out /dev/null --json"),
        (1, "compare good --out file/x.png --json"),
        (2, "study nosuch"),
        (2, "study 'a\nb'"),
        (2, "study heads --out file"),
        (2, "study heads --out fifo"),
        (2, "study heads --out file/x"),
        (2, "study heads --out ''"),
        (2, "study heads --seed -1"),
        (2, f"study heads --seed 1{'0' * 30}"),
        (2, "study summary quick --steps 1e9"),
        (2, f"study summary quick --steps 1{'0' * 30}"),
        (2, "study graph quick --batch-size 10000000"),
        (2, "study im2col --padding 100000000000"),
        (2, "study im2col --size 1000000 --out s"),
        (2, "study compare --seconds inf"),
        (2, "study compare --seconds 1e300"),
        (2, f"study ablate --epochs 1{'0' * 30}"),
        (2, f"study ablate --seeds 1{'0' * 30}"),
        (2, "study classmaps good --wrong 1000000"),
        (1, "study classmaps nan --out s"),
        (1, "study classmaps small --out s"),
        (1, "study classmaps fifo --out s"),
        (1, "study filters nan --out s"),
        (1, "study filters other --out s"),
        (1, "study filters file --out s"),
    ],
    ids=lambda value: value[:50].encode("unicode_escape").decode() if type(value) is str else None,
)
def test_what_cannot_be_done_is_one_line(call, place, status, line):
    before = sorted(os.listdir(place))
    got, out, err = call(line)
    assert got == status
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert err[:-1].isprintable()
    # What only a programmer would understand: numbers of errors, and a file written beside another.
    assert not re.search(r"Traceback|Errno|\.tmp|File exists", err)
    assert out == "" or "--json" in line
    assert sorted(os.listdir(place)) == before


ODD_NUMBERS = [
    *(
        "",
        " ",
        "0",
        "-1",
        "-0",
        "1.5",
        "1e3",
        "1e999",
        "-inf",
        "nan",
        "0x10",
        "1_0",
        "\N{SUPERSCRIPT TWO}",
    ),
    *("1" + "0" * 30, "-" + "9" * 30, "9" * 5000, "True", "None", "\x1b[2J", "\udce9", "1\n"),
]


def parsers():
    """Every command's parser that has flags, by what the command is called."""
    for name in study_main.STUDIES:
        study = import_module(f"nin.study.{name}")
        yield f"study {name}", study_main._parser(name, study)
    yield "evaluate", evaluate._parser()


PATHS = (None, command_line.path, command_line.directory)
NUMBERS = [
    pytest.param(parser, action, id=f"{command} {action.option_strings[0]}")
    for command, parser in parsers()
    for action in parser._actions
    if action.option_strings and action.type not in PATHS and action.dest != "dataset"
]


@pytest.mark.parametrize(("parser", "action"), NUMBERS)
def test_a_number_is_one_that_the_command_can_work_with_or_refused(capsys, parser, action):
    positional = {"run": "x", "preset": "quick"}
    codes = []
    needed = [positional[a.dest] for a in parser._actions if not a.option_strings]
    for text in ODD_NUMBERS:
        try:
            args = parser.parse_args([*needed, f"{action.option_strings[0]}={text}"])
        except SystemExit as stop:
            err = capsys.readouterr().err
            codes.append((stop.code, err.count("\n"), err[:-1].isprintable(), len(err) < 700))
        else:
            assert 0 <= getattr(args, action.dest) < 2**63, text
    assert len(codes) > 10
    assert set(codes) == {(2, 1, True, True)}


# --- what can be done is done --------------------------------------------------------------------


def numbers(text):
    """JSON without the NaN and Infinity that Python's own would let through."""

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    "line",
    [
        "predict good shirt.png --json",
        "evaluate good --out ../out --json",
        "compare good slow nan-metrics --out ../c.png --json",
        "compare good --out ../c.png --json",
    ],
)
def test_json_is_json_whatever_the_figures_are(call, line):
    status, out, _ = call(line)
    assert status == 0
    assert numbers(out)


def test_a_comparison_with_a_run_that_diverged_says_nan(call):
    status, out, _ = call("compare good nan-metrics --out ../c.png")
    assert status == 0
    assert "nan" in out


def test_a_name_that_is_no_text_is_shown_with_escapes(call, place):
    name = next(each for each in os.listdir(place) if each.startswith("caf"))
    status, out, _ = call(["predict", "good", name])
    assert status == 0
    assert out.splitlines()[0].startswith(r"caf\xe9\x1b[31m\n.png: ")
    assert all(line.isprintable() for line in out.splitlines())


def test_a_name_that_is_no_text_is_text_in_json(call, place):
    name = next(each for each in os.listdir(place) if each.startswith("caf"))
    _, out, _ = call(["predict", "good", name, "--json"])
    numbers(out)[0]["file"].encode("utf-8")


def test_an_odd_data_directory_is_written_down(call, undrawn, tmp_path):
    flags = ["--data-dir", os.fsdecode(b"\xe9"), "--limit-test", "200"]
    out = tmp_path / os.fsdecode(b"out\xe9")
    status, text, err = call(["study", "classmaps", "good", *flags, "--out", str(out)])
    assert (status, err) == (0, "")
    assert numbers((out / "classmaps.json").read_text())["settings"]["arguments"]["data_dir"]
    assert r"out\xe9" in text


# --- consoles ------------------------------------------------------------------------------------


def closed_stream():
    stream = io.StringIO()
    stream.close()
    return stream


ENCODINGS = ["ascii", "cp1252", "latin-1", "cp437", "utf-16", "utf-8"]
LINES = [
    *(f"{name} --help" for name in MAINS),
    *(f"study {name} --help" for name in study_main.STUDIES),
    "predict good shirt.png",
    "compare good slow --out ../c.png",
    "study heads --out ../{encoding}",
    "minicnn",
    "gradcheck exp",
    "study 'é×█'",
]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_command_speaks_to_every_console(place, monkeypatch, undrawn, encoding):
    monkeypatch.chdir(place)
    for line in LINES:
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
        command, *arguments = shlex.split(line.format(encoding=encoding))
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            try:
                status = MAINS[command](arguments)
            except SystemExit as stop:
                status = stop.code
        out, err = (stream.buffer.getvalue().decode(encoding) for stream in streams)
        assert status == (2 if "█" in line else 0), (line, err)
        assert "Traceback" not in err
        assert (out or err).strip()


ANY_TEXT = st.lists(st.integers(0, sys.maxunicode).map(chr)).map("".join)  # surrogates, too


@given(ANY_TEXT, st.sampled_from(ENCODINGS))
def test_any_text_can_be_written_to_any_console(text, encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="minicnn.console")
    stream.write(text)
    stream.flush()
    stream.buffer.getvalue().decode(encoding)


def printed_by(path):
    """The characters in a file's strings, its docstrings aside."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bodies = (ast.Module, ast.ClassDef, ast.FunctionDef)
    first = [node.body[0] for node in ast.walk(tree) if isinstance(node, bodies) and node.body]
    docstrings = [node.value for node in first if isinstance(node, ast.Expr)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from () if node in docstrings else node.value


def test_every_character_that_a_command_prints_has_a_stand_in():
    root = Path(console.__file__).parents[1]
    files = [*(root / "nin").rglob("*.py"), *(root / "minicnn" / "gradcheck").rglob("*.py")]
    used = {c for path in files for c in printed_by(path) if not c.isascii()}
    assert {"×", "█"} <= used <= set(console.ASCII)


def test_what_a_console_lacks_becomes_ascii():
    assert "█–×…→±".encode("ascii", "minicnn.console") == b"#-x...->+-"
    assert "Größe".encode("ascii", "minicnn.console") == rb"Gr\xf6\xdfe"


@given(ANY_TEXT)
def test_printable_text_is_one_line_that_moves_no_cursor(text):
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)


@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb", "\u202e", "\x9b1m", "\udce9", "\r", "\u2028"])
def test_what_a_terminal_would_obey_is_an_escape(text):
    assert printable(text) != text
    assert "\\" in printable(text)


@pytest.mark.parametrize("gone", [lambda: None, closed_stream])
@pytest.mark.parametrize("closed", ["stdout", "stderr"])
@pytest.mark.parametrize("line", ["predict good shirt.png", "evaluate nosuch", "predict --help"])
def test_without_a_stream_a_command_does_its_work(place, monkeypatch, capsys, closed, gone, line):
    """As under pythonw, or behind 2>&-."""
    monkeypatch.chdir(place)
    stream = gone()
    monkeypatch.setattr(sys, closed, stream)
    command, *arguments = shlex.split(line)
    try:
        status = MAINS[command](arguments)
    except SystemExit as stop:
        status = stop.code
    assert getattr(sys, closed) is stream
    assert status == (1 if "nosuch" in line else 0)


PROGRAM = """
import sys
from minicnn.console import run
def command():
    for i in range(int(sys.argv[1])):
        print(f"line {i}")
    return 0
raise SystemExit(run("prog", command))
"""


@pytest.mark.parametrize(
    ("shell", "expected"),
    [
        ("100000 | head -1", "line 0\n"),
        ("100000 > /dev/full", "prog: No space left on device\n"),
        ("1 > /dev/full", "prog: standard output: No space left on device\n"),
        ("1 >&-", ""),
        ("100000 2>&- | tail -1", "line 99999\n"),
    ],
)
def test_a_reader_that_leaves_ends_a_command_quietly(tmp_path, shell, expected):
    (tmp_path / "program.py").write_text(PROGRAM)
    command = f"{shlex.quote(sys.executable)} {shlex.quote(str(tmp_path / 'program.py'))} {shell}"
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    done = subprocess.run(
        command, shell=True, env=buffered, capture_output=True, text=True, check=False
    )
    assert done.stdout + done.stderr == expected


WITHOUT_HOME = """
import os, pwd
def nobody(uid):
    raise KeyError(uid)
pwd.getpwuid = nobody
import minicnn.vision
from minicnn.vision.datasets import places
assert places.cache('mnist') is None
from nin import predict
raise SystemExit(predict.main(["good", "shirt.png"]))
"""


def test_a_user_without_a_home_directory_can_work(place):
    environment = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME")}
    environment |= {"PYTHONIOENCODING": "cp1252", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_HOME],
        cwd=place,
        env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count(b"\n")) == (0, 1), done.stderr
    assert done.stderr.startswith(b"The network sees pictures trimmed")
    assert b"#" in done.stdout


# --- how a command ends --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (UsageError("a\nb"), 2, r"prog: a\nb"),
        (Failure("x\x1b"), 1, r"prog: x\x1b"),
        (ArgumentError("lr must be above 0"), 1, "prog: lr must be above 0"),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (FileNotFoundError(2, "No such file", "a\x07"), 1, r"prog: a\x07: No such file"),
        (OSError(28, "No space left"), 1, "prog: No space left"),
        (OSError("odd"), 1, "prog: odd"),
        (MemoryError(), 1, "prog: out of memory"),
        (MemoryError("9 GiB"), 1, "prog: out of memory: 9 GiB"),
        (RecursionError(), 1, "prog: what was read is nested too deeply"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_an_end_is_one_line_and_a_status(capsys, error, status, text):
    def command():
        raise error

    assert console.run("prog", command) == status
    assert capsys.readouterr().err == f"{text}\n"


@pytest.mark.skipif(os.name == "nt", reason="there, a directory in use stays")
def test_a_current_directory_that_was_deleted_is_said(tmp_path):
    code = "import os, sys; os.rmdir(os.getcwd()); from nin import train; sys.exit(train.main())"
    here = tmp_path / "here"
    here.mkdir()
    env = {**os.environ, "PYTHONPATH": str(Path(console.__file__).parents[1])}
    flags = ["-c", code, "--dataset", "somewhere"]
    ended = subprocess.run([sys.executable, *flags], cwd=here, env=env, capture_output=True)
    assert (ended.returncode, ended.stderr.count(b"\n")) == (1, 1)
    assert b"the current directory has been deleted" in ended.stderr


def test_a_closed_pipe_is_no_word(capsys):
    def command():
        raise BrokenPipeError(32, "Broken pipe")

    assert console.run("prog", command) == 1
    assert capsys.readouterr() == ("", "")


def test_a_fault_is_a_traceback_that_asks_to_report_it(capsys):
    def command():
        raise ZeroDivisionError("\x1b")

    assert console.run("prog", command) == 1
    *lines, error, last = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert error == r"ZeroDivisionError: \x1b"
    assert "report" in last
    assert "python -m minicnn prints" in last


def test_a_warning_is_a_line_within_a_command_alone(capsys):
    before = warnings.formatwarning

    def command():
        print(warnings.formatwarning("a\x1b\nb", UserWarning, "file.py", 1), end="")
        return 0

    assert console.run("prog", command) == 0
    assert capsys.readouterr().out == "Warning: a\\x1b\\nb\n"
    assert warnings.formatwarning is before


def test_a_stream_is_left_as_it_was(capsys):
    before = sys.stdout.errors
    assert console.run("prog", lambda: 0) == 0
    assert sys.stdout.errors == before


def test_an_end_is_written_at_once_as_other_ranks_write_to_the_same_console(monkeypatch):
    class Writes(io.StringIO):
        def __init__(self):
            super().__init__()
            self.each = []

        def write(self, text):
            self.each.append(text)
            return super().write(text)

    def fails():
        raise Failure("no more")

    monkeypatch.setattr(sys, "stderr", stream := Writes())
    assert console.run("nin", fails) == console.FAILED
    assert stream.each == ["nin: no more\n"]
