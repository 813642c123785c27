"""Pictures depend on what is drawn alone, and never end what they are drawn for."""

from __future__ import annotations

import subprocess
import sys
import warnings

import matplotlib
import numpy as np
import pytest

from nin import drawing

pytestmark = pytest.mark.cpu


def line(label="a"):
    figure = drawing.figure(2, 2)
    axes = figure.subplots()
    axes.plot([1, 2], label=label)
    axes.legend()
    return figure


@pytest.mark.parametrize(
    "settings",
    [
        {"text.usetex": True},
        {"savefig.dpi": 7, "font.size": 3},
        {"axes.prop_cycle": "cycler('lw', [9])"},
    ],
)
def test_a_users_matplotlibrc_plays_no_part(tmp_path, settings):
    drawing.write(tmp_path / "a.png", line)
    with matplotlib.rc_context(settings):
        before = dict(matplotlib.rcParams)
        assert drawing.write(tmp_path / "b.png", line)
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("error", [ValueError("bad\nvalue"), RuntimeError(), ImportError("no")])
def test_what_cannot_be_drawn_is_a_warning_and_leaves_the_old_picture(tmp_path, error):
    def draw():
        raise error

    (tmp_path / "a.png").write_bytes(b"old")
    with pytest.warns(UserWarning, match=r"a\.png can't be drawn: (bad|RuntimeError|no)"):
        assert not drawing.write(tmp_path / "a.png", draw)
    assert (tmp_path / "a.png").read_bytes() == b"old"


def test_a_picture_that_cannot_be_written_is_an_error_that_names_it(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(drawing.atomic, "_write", full)
    with pytest.raises(OSError, match="No space left") as caught:
        drawing.write(tmp_path / "a.png", line)
    assert caught.value.filename == str(tmp_path / "a.png")


def test_a_directory_is_no_place_for_a_picture(tmp_path):
    with pytest.raises(OSError, match=r"a directory|not a regular file"):
        drawing.write(tmp_path, line)


@pytest.mark.parametrize(
    "name", ["$x^{$", "_hidden", "a\x1b\n", "caf\udce9", "漢字", r"\$x$y$", ""]
)
def test_any_name_can_be_drawn_without_a_word(tmp_path, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert drawing.write(tmp_path / "a.png", lambda: line(drawing.label(name)))


def test_a_label_is_in_the_legend_also_with_an_underscore(tmp_path):
    pictures = [tmp_path / name for name in ("a.png", "b.png")]
    for path, name in zip(pictures, ("_a", "_b"), strict=True):
        drawing.write(path, lambda name=name: line(drawing.label(name)))
    assert pictures[0].read_bytes() != pictures[1].read_bytes()


def test_what_is_called_svg_is_one_that_says_nothing_of_time(tmp_path):
    for name in ("a.svg", "b.svg"):
        drawing.write(tmp_path / name, line)
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text()
    assert ">a</text>" in text


def test_blue_is_positive_red_negative_and_white_0():
    figure = drawing.figure(1, 1)
    image = drawing.signed(figure.subplots(), np.array([[-2.0, 0.0, 1.0]]))
    (red, _, low), white, (other, _, blue) = image.to_rgba(image.get_array())[0, :, :3]
    assert red > low
    assert min(white) > 0.95
    assert blue > other


def test_a_backend_that_is_not_there_plays_no_part(tmp_path, monkeypatch):
    """Matplotlib can't even be imported with it."""
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    program = (
        "import pathlib, sys; from nin import drawing\n"
        "figure = lambda: drawing.figure(1, 1)\n"
        "assert 'matplotlib' not in sys.modules\n"
        "assert drawing.write(pathlib.Path(sys.argv[1]), figure)\n"
    )
    path = tmp_path / "a.png"
    done = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert path.read_bytes().startswith(b"\x89PNG")
