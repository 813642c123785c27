"""Pictures depend on what is drawn alone, and never end what they are drawn for."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from nin import drawing

pytestmark = pytest.mark.cpu
ROOT = Path(__file__).parents[1]


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


def test_a_matrix_is_drawn_in_the_colours_of_its_signs():
    figure = drawing.figure(1, 1)
    image = drawing.signed(figure.subplots(), np.linspace(-2, 2, 9)[None])
    expected = [to_rgb(c) for c in (*drawing.NEGATIVE[::-1], drawing.ZERO, *drawing.POSITIVE)]
    shown = image.to_rgba(image.get_array())[0, :, :3]
    np.testing.assert_allclose(shown, expected, atol=0.02)  # of 256 colours the nearest


def test_the_explorer_has_the_colours_of_the_figures():
    explorer = ROOT / "nin" / "study" / "explorer"
    script = (explorer / "colours.js").read_text()
    light = script.partition("light: {")[2].partition("dark: {")[0]
    triples = [
        "#" + "".join(f"{int(n):02x}" for n in each)
        for each in re.findall(r"\[(\d+), (\d+), (\d+)\]", light)
    ]
    assert triples[:9] == [drawing.ZERO, *drawing.POSITIVE, *drawing.NEGATIVE]
    style = (explorer / "style.css").read_text().partition("}")[0]
    named = dict(re.findall(r"--(positive|negative|mark): (#\w+);", style))
    assert named == {
        "positive": drawing.POSITIVE[2],
        "negative": drawing.NEGATIVE[2],
        "mark": drawing.MARK,
    }


def sources():
    """What draws: the application, and the pages that are notebooks."""
    return [*(ROOT / "nin").rglob("*.py"), *(ROOT / "docs" / "path").glob("*.md")]


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_no_figure_has_colours_of_sign_of_its_own(path):
    """Matplotlib's diverging colour maps and its red and blue are not those of `drawing`."""
    own = r"RdBu|coolwarm|bwr|seismic|tab:red|tab:blue|[\"'](?:red|blue)[\"']"
    assert not re.findall(own, path.read_text())


def test_every_figure_with_signs_has_their_legend():
    """One of `signs`, or a bar with numbers, in each function that draws by `signed`."""
    for path in (ROOT / "nin" / "study").glob("*.py"):
        for function in ast.parse(path.read_text()).body:
            if isinstance(function, ast.FunctionDef) and path.name != "heatmap.py":
                code = ast.unparse(function)
                if "drawing.signed(" in code or "heatmap.draw(" in code:
                    assert "drawing.signs(figure)" in code or "colorbar(" in code, function.name


def test_a_legend_of_signs_is_below_all_axes():
    figure = drawing.figure(3, 2)
    axes = figure.subplots()
    drawing.signed(axes, np.eye(3))
    drawing.signs(figure)
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert [each.get_text() for each in figure.legends[0].texts] == ["negative", "0", "positive"]
    assert legend.y0 >= 0 and legend.y1 <= axes.get_tightbbox().y0


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


WIDE = {"curves", "health", "silent", "compare", "cpu", "pixel", "gradients"}  # a click enlarges


def test_the_labels_of_the_pages_figures_can_be_read_on_a_phone():
    """A figure of 4.8 inches is shown 358 pixels wide there: letters of 8 points have 8 pixels."""
    for path in sorted((ROOT / "docs").rglob("*.png")):
        width = int.from_bytes(path.read_bytes()[16:20], "big")
        assert width <= 4.8 * 140 or path.stem.rpartition("-")[2] in WIDE, path.name
