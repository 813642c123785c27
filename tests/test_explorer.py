"""The explorer's page, in a real browser: its network is minicnn's, and a person can use it."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minicnn
from minicnn import nn, no_grad, optim, zeros
from minicnn.arguments import ArgumentError
from minicnn.backends import host
from minicnn.backends.windows import Window
from minicnn.nn import functional as F
from minicnn.vision.image_dataset import ImageDataset
from nin import networks, picture, trained
from nin import train as nin_train
from nin.command_line import Failure, UsageError
from nin.kind import Kind
from nin.networks import named_layers
from nin.presets import PRESETS
from nin.study import explore
from nin.study.__main__ import main

from .browser import Page

pytestmark = pytest.mark.cpu
SIZE, CLASSES, LABEL = 12, 3, 1
SHAPE = (1, SIZE, SIZE)
DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A little training of `quick`, and what the study makes of it."""
    out = tmp_path_factory.mktemp("run")
    flags = ["--limit-train", "256", "--limit-test", "64", "--epochs", "1", "--no-progress"]
    assert nin_train.main([*flags, "--out", str(out / "quick")]) == 0
    assert main(["explore", str(out / "quick"), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Page(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture
def page(browser, run):
    """The explorer as it opens, in a window of 1280×900."""
    resize(browser, 1280, 900)
    browser.open(run / "explore.html")
    return browser


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    """The page of an untrained `quick` for pictures in colour that are no squares."""
    kind = Kind(("apple", "frog", "sea"), 3, 20, 24)
    preset = replace(PRESETS["quick"], dataset="photographs", mean=(0.5, 0.4, 0.3), std=(0.25,))
    minicnn.manual_seed(3)
    model = preset.build(kind).eval()
    images = ImageDataset(np.random.default_rng(0).integers(0, 256, (9, 20, 24, 3), "uint8"),
                          [0, 1, 2] * 3, classes=kind.classes)  # fmt: skip
    network = explore.describe(model, (3, 20, 24))
    about = explore.about(trained.Trained(model, preset, kind), "photographs")
    path = tmp_path_factory.mktemp("coloured") / "explore.html"
    path.write_text(explore.page(about | network | explore.pictures(images, kind, 2)))
    return path


@pytest.fixture
def colour_page(browser, coloured):
    """The explorer of a network of colours as it opens, in a window of 390×844."""
    resize(browser, 390, 844)
    browser.open(coloured)
    return browser


@pytest.fixture
def scripts(browser, run):
    """The explorer's scripts, in a page in which anything may have been done."""
    if browser.evaluate("typeof Network") == "undefined":
        browser.open(run / "explore.html")
    return browser


def resize(page, width, height, scheme="light"):
    page.call(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=height,
        deviceScaleFactor=1,
        mobile=False,
    )
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},  # nothing scrolls under the mouse
    ]
    page.call("Emulation.setEmulatedMedia", features=features)


# --- the network: the same numbers as minicnn's --------------------------------------------------

NETWORKS = {
    "a convolution that strides, padded": lambda: [
        nn.Conv2d(1, 5, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(5, CLASSES, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ],
    "windows that are no squares, dilated, and no bias": lambda: [
        nn.Conv2d(1, 4, (3, 2), (1, 2), (2, 0), (2, 1), bias=False), nn.ReLU(inplace=True),
        nn.Conv2d(4, CLASSES, 3, padding="same"), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(),
    ],
    "an even window that keeps the size": lambda: [
        nn.Conv2d(1, CLASSES, 4, padding="same", dilation=(1, 3)), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ],
    "maxima that overlap and hang over": lambda: [
        nn.Conv2d(1, 6, 3, padding="valid"), nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
        nn.Dropout(0.5), nn.Conv2d(6, CLASSES, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ],
    "maxima of dilated windows": lambda: [
        nn.MaxPool2d(2, 1, 1, dilation=3), nn.Flatten(), nn.Linear(121, CLASSES),
    ],
    "means that count their padding": lambda: [
        nn.AvgPool2d(3, 2, 1, ceil_mode=True), nn.Flatten(), nn.Linear(49, CLASSES),
    ],
    "means that don't": lambda: [
        nn.AvgPool2d((3, 4), (2, 3), (1, 2), count_include_pad=False), nn.Flatten(),
        nn.Linear(30, CLASSES),
    ],
    "sums over a divisor": lambda: [
        nn.AvgPool2d(4, divisor_override=3), nn.Flatten(), nn.Linear(9, CLASSES, bias=False),
    ],
    "regions that overlap, then fully connected layers": lambda: [
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()), nn.AdaptiveAvgPool2d((3, 4)), nn.Flatten(),
        nn.Linear(48, 9), nn.ReLU(), nn.Linear(9, CLASSES), nn.ReLU(),
    ],
}  # fmt: skip


def passes(model, x, label):
    """By minicnn: each layer's output, their gradients, that of the image, and the loss.

    Layer by layer, as a leaf takes each in; those that do nothing are left out.
    """
    layers = [layer for layer in named_layers(model).values() if type(layer) not in explore.IDLE]
    inputs, outputs = [], []
    for layer in layers:
        inputs.append(minicnn.tensor(x, requires_grad=True))
        if isinstance(layer, nn.ReLU):
            layer.inplace = False  # a leaf's value is needed
        outputs.append(layer(inputs[-1]))
        x = outputs[-1].detach().numpy()
    loss = F.cross_entropy(outputs[-1], minicnn.tensor([label]))
    logits = minicnn.tensor(x, requires_grad=True)
    F.cross_entropy(logits, minicnn.tensor([label])).backward()
    gradients = [logits.grad]
    for x, y in zip(inputs[::-1], outputs[::-1], strict=True):
        y.backward(gradients[0])
        gradients.insert(0, x.grad)
    image, *gradients = (g.numpy() for g in gradients)
    return [y.detach().numpy() for y in outputs], gradients, image, loss.item()


def maps(record):
    """What the page holds as the channels of a pixel side by side, (1, C, H, W)."""
    shape = record["height"], record["width"], record["channels"]
    return np.array(record["values"]).reshape(shape).transpose(2, 0, 1)[None]


def close(found, expected):
    """Within 1e-4 of the largest."""
    expected = np.asarray(expected)
    scale = max(1e-3, float(abs(expected).max(initial=0)))
    np.testing.assert_allclose(np.reshape(found, expected.shape), expected, 0, 1e-4 * scale)


LIST = "({height, width, channels, values}) => ({height, width, channels, values: [...values]})"


def forward(page, record, x):
    """Make the network of a record in the page, `tested`, and let it see an image."""
    text = json.dumps(record)
    page.evaluate(f"void (tested = new Network(({text}).layers, decodeParameters({text})))")
    pixels, (channels, height, width) = x[0].transpose(1, 2, 0).ravel().tolist(), x.shape[1:]
    sizes = f"{height}, {width}, {channels}"
    page.evaluate(f"tested.forward(new Maps({sizes}, Float32Array.from({pixels})))")


def compare(page, model, x, label):
    """All values, gradients, and the loss after a step, in the page and by minicnn."""
    outputs, gradients, image, loss = passes(model, x, label)
    record = explore.describe(model, x.shape[1:])
    forward(page, record, x)
    page.evaluate(f"(tested.backward({label}), tested.findGradients())")
    for found, expected in zip(page.evaluate(f"tested.outputs.map({LIST})"), outputs, strict=True):
        close(maps(found), expected)
    found = page.evaluate(f"tested.gradients.map({LIST})")
    for each, expected in zip(found, gradients, strict=True):
        close(maps(each), expected)
    close(maps(page.evaluate(f"({LIST})(tested.imageGradient)")), image)
    close(page.evaluate(f"tested.loss({label})"), loss)

    found = json.loads(page.evaluate("JSON.stringify([...tested.gradient])"))
    for layer in (layer for layer in named_layers(model).values() if hasattr(layer, "weight")):
        weight = layer.weight.grad.numpy()
        if weight.ndim == 4:
            weight = weight.transpose(0, 2, 3, 1)
        close(found[: weight.size], weight.ravel())
        del found[: weight.size]
        if layer.bias is not None:
            close(found[: len(weight)], layer.bias.grad.numpy())
        del found[: len(weight)]
    assert not found

    optim.SGD(model.parameters(), lr=0.01).step()
    page.evaluate("(tested.step(0.01), tested.forward(tested.image))")
    close(page.evaluate(f"tested.loss({label})"), passes(model, x, label)[3])


def drawn_layer(rng, c):
    """A random layer for c maps."""

    def pick(*values):
        return values[rng.integers(len(values))]

    def pair(low, high):
        """A size along each axis, mostly the same along both."""
        one, other = (int(n) for n in rng.integers(low, high + 1, 2))
        return pick(one, (one, other))

    n, kernel, stride, padding = int(rng.integers(1, 7)), pair(2, 4), pair(1, 3), pair(0, 1)
    yes, dilation = pick(True, False), pair(1, 2)
    return pick(
        lambda: nn.Conv2d(c, n, kernel, stride, padding, dilation, bias=yes),
        lambda: nn.Conv2d(c, n, kernel, padding="same", dilation=dilation),
        lambda: nn.Sequential(nn.Conv2d(c, n, 1), nn.ReLU(), nn.Conv2d(n, 4, 1), nn.ReLU()),
        lambda: nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=yes),
        lambda: nn.AvgPool2d(kernel, stride, padding, yes, pick(True, False)),
        lambda: nn.AvgPool2d(kernel, stride, 0, yes, divisor_override=5),
        lambda: nn.AdaptiveAvgPool2d(pair(1, 5)),
        nn.ReLU,
        lambda: pick(nn.Dropout, nn.Dropout2d, nn.Identity)(),
    )()


def drawn_network(seed):
    """A random small network of the layers that the page knows, and an image for it."""
    rng = np.random.default_rng(seed)
    shape = 1, rng.choice([1, 3]), *rng.integers(7, 15, 2)
    layers, maps = [], zeros(*map(int, shape))
    while len(layers) < 8 and (len(layers) < 3 or rng.random() < 0.8):
        layer = drawn_layer(rng, maps.shape[1])
        try:
            with no_grad():
                made = layer(maps)
        except ArgumentError:  # the window is larger than the maps
            continue
        if made.numel() and np.isfinite(made.numpy()).all():  # some maxima are of padding alone
            layers.append(layer)
            maps = made
    layers.append(nn.Flatten())
    n = maps.numel()
    if rng.integers(2):
        layers += [nn.Linear(n, 5, bias=bool(rng.integers(2))), nn.ReLU()]
        n = 5
    model = nn.Sequential(*layers, nn.Linear(n, CLASSES)).eval()
    return model, rng.normal(size=shape).astype("float32")


@pytest.mark.parametrize("seed", range(20))
def test_so_they_are_for_networks_drawn_at_random(scripts, seed):
    minicnn.manual_seed(seed)
    model, x = drawn_network(seed)
    compare(scripts, model, x, seed % CLASSES)


def test_so_they_are_for_a_network_of_colours(scripts):
    minicnn.manual_seed(3)
    model = networks.quick(CLASSES, 3).eval()
    compare(scripts, model, minicnn.randn(1, 3, 24, 32).numpy(), LABEL)


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS)
def test_values_gradients_and_a_step_are_minicnns(scripts, layers):
    minicnn.manual_seed(3)
    model = nn.Sequential(*layers()).eval()
    compare(scripts, model, minicnn.randn(1, 1, SIZE, SIZE).numpy(), LABEL)


def test_so_they_are_for_a_trained_network(scripts, run):
    model, preset, kind, *_ = trained.network(run / "quick")
    contents = json.loads((run / "explore.json").read_text())
    grey = np.frombuffer(base64.b64decode(contents["pictures"]), "uint8").reshape(-1, 28, 28)
    x = preset.transform(False, kind).batch(grey[7:8], minicnn.Generator())
    compare(scripts, model, x, 3)


def test_the_im2col_matrix_is_the_engines(scripts):
    layer = nn.Conv2d(1, 4, (3, 2), (2, 1), (1, 0))
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(4 * 4 * 7, CLASSES))
    x = minicnn.randn(1, 1, 8, 8).numpy()
    forward(scripts, explore.describe(model, (1, 8, 8)), x)
    window = Window((3, 2), (2, 1), (1, 1), ((1, 1), (0, 0)))
    expected = host.im2col(np.ascontiguousarray(x.transpose(0, 2, 3, 1)), window)[:, :6]
    close(scripts.evaluate("[...tested.layers[0].rows]"), expected)


def test_half_the_bits_are_the_weights_rounded(scripts):
    """Those that float16 can't hold but as subnormal numbers, too."""
    layer = nn.Linear(SIZE * SIZE, CLASSES)
    layer.weight.data = minicnn.randn(*layer.weight.shape) * 10 ** minicnn.randn(CLASSES, 1)
    layer.bias.data = minicnn.tensor([3e-6, -6e-8, 0.0])
    record = explore.describe(nn.Sequential(nn.Flatten(), layer), SHAPE, half=True)
    found = scripts.evaluate(f"[...decodeParameters({json.dumps(record)})]")
    exact = np.concatenate([layer.weight.detach().numpy().ravel(), layer.bias.detach().numpy()])
    np.testing.assert_array_equal(found, exact.astype("float16"))


def test_weights_beyond_16_bits_are_refused():
    layer = nn.Linear(SIZE * SIZE, CLASSES)
    layer.bias.data = minicnn.tensor([0.0, 1e5, 0.0])
    with pytest.raises(Failure, match="too large for 16 bits"):
        explore.describe(nn.Sequential(nn.Flatten(), layer), SHAPE, half=True)


class Doubled(nn.Linear):
    """It is a Linear, but does something else."""

    def forward(self, x):
        return 2 * super().forward(x)


class Backwards(nn.Sequential):
    def forward(self, x):
        for layer in reversed(list(self)):
            x = layer(x)
        return x


SHARED = nn.Linear(144, 144)


@pytest.mark.parametrize(
    ("layers", "what"),
    [
        ([nn.Conv2d(1, 3, 3), nn.Sigmoid(), nn.AdaptiveAvgPool2d(1), nn.Flatten()], "1, Sigmoid"),
        ([nn.Sequential(nn.Flatten(2)), nn.Linear(144, 3)], r"0\.0, Flatten"),
        ([nn.Linear(12, 3), nn.Flatten()], "0, Linear"),
        ([nn.Conv2d(1, 3, 3)], "a number a class"),
        ([nn.Flatten()], "have weights"),
        ([nn.Flatten(), Doubled(144, 3)], "1, Doubled"),
        ([nn.Flatten(), Backwards(nn.Linear(144, 3))], "1, Backwards"),
        ([nn.Flatten(), SHARED, SHARED], "share weights"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_network_that_the_page_cannot_show_is_refused(layers, what):
    with pytest.raises(UsageError, match=what) as refused:
        explore.describe(nn.Sequential(*layers), SHAPE)
    assert "\n" not in str(refused.value)


# --- the picture: as nin.predict sees it ---------------------------------------------------------


def png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def shape(height, width, background, ink):
    """A slanted thing, nearer to one corner, on a background."""
    i, j = np.mgrid[:height, :width]
    inside = (abs(i - height * 0.4) < height * 0.3) & (abs(j - i * 0.2 - width * 0.5) < width * 0.2)
    return np.where(inside, ink, background).astype("uint8")


COLOURS = np.stack([shape(50, 70, 250, 30), shape(50, 70, 240, 90), shape(50, 70, 255, 10)], -1)
PICTURES = {
    "dark on light": shape(90, 61, 255, 40),
    "light on dark": shape(64, 133, 12, 230),
    "tall": shape(300, 41, 255, 0),
    "smaller than the frame": shape(17, 9, 255, 0),
    "a training picture": shape(28, 28, 0, 200),
    "28×28, but on paper": shape(28, 28, 200, 100),
    "grey, with brighter and darker": np.maximum(shape(80, 80, 180, 20), shape(80, 80, 0, 255).T),
    "colours": COLOURS,
    "transparent": np.concatenate([COLOURS, shape(50, 70, 0, 255)[..., None]], -1),
    "large": shape(2500, 1300, 255, 60),
}


def uploaded(scripts, content, kind, uploads):
    """What the page makes of a file for a network of a kind, (H, W, C)."""
    data = base64.b64encode(content).decode()
    found = scripts.evaluate(
        f"fetch('data:image/png;base64,{data}').then((r) => r.blob())"
        f".then((blob) => decode(new File([blob], 'a.png'), {kind.channels}))"
        f".then((found) => prepare(found, {json.dumps(kind.as_json())}, {json.dumps(uploads)}))"
        ".then(({values}) => [...values])"
    )
    return np.reshape(found, (kind.height, kind.width, kind.channels))


PHOTOGRAPHS = {"cifar-10": (3, 32, 32), "folder": (3, 20, 36), "grey folder": (1, 40, 24)}
DRAWINGS = {"fashion-mnist": (1, 28, 28), "mnist": (1, 28, 28), "emnist-letters": (1, 28, 28)}


@pytest.mark.parametrize("dataset", [*DRAWINGS, *PHOTOGRAPHS])
@pytest.mark.parametrize("pixels", PICTURES.values(), ids=PICTURES)
def test_an_uploaded_picture_is_made_as_nin_predict_makes_it(scripts, tmp_path, dataset, pixels):
    kind = Kind(("a", "b"), *{**DRAWINGS, **PHOTOGRAPHS}[dataset])
    reading = picture.preparation(dataset, kind)
    assert reading.on_paper == (dataset in PHOTOGRAPHS)
    (tmp_path / "a.png").write_bytes(png(pixels))
    uploads = {"box": reading.box, "turned": reading.turned}
    found = uploaded(scripts, png(pixels), kind, uploads)
    expected = reading.read(tmp_path / "a.png").reshape(found.shape)
    assert abs(found - expected).max() <= 2


def test_a_picture_is_resized_as_the_run_resizes_it(scripts):
    preset = replace(PRESETS["quick"], image_size=33, mean=0.3, std=0.4)
    grey = np.arange(28 * 28, dtype="uint8").reshape(28, 28)
    given = {"size": [33, 33], "mean": [0.3], "std": [0.4]}
    text = f"new Picture(28, 28, 1, Float64Array.from({grey.ravel().tolist()}))"
    found = scripts.evaluate(f"[...normalised({text}, {json.dumps(given)}).values]")
    close(found, preset.transform(False).batch(grey[None], minicnn.Generator()))


# --- the page: as a person uses it ---------------------------------------------------------------


def settled(page):
    """When all that is to be seen has been drawn."""
    frame = "await new Promise((done) => requestAnimationFrame(done));"
    page.evaluate(f"(async () => {{ {frame} do {{ {frame} }} while (waiting) }})()")


def mouse(page, kind, x, y):
    buttons = 0 if kind == "mouseReleased" else 1
    page.call(
        "Input.dispatchMouseEvent",
        type=kind,
        x=x,
        y=y,
        button="left",
        buttons=buttons,
        clickCount=1,
    )


def place(page, selector, across=0.5, down=0.5):
    """A point in an element that has been scrolled to."""
    box = page.evaluate(
        f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
        " e.scrollIntoView({block: 'center', behavior: 'instant'});"
        " const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height] })()"
    )
    return box[0] + across * box[2], box[1] + down * box[3]


def click(page, selector, across=0.5, down=0.5):
    x, y = place(page, selector, across, down)
    mouse(page, "mousePressed", x, y)
    mouse(page, "mouseReleased", x, y)
    settled(page)


def press(page, *keys, ctrl=False):
    for key in keys:
        text = {"Enter": {"text": "\r"}, " ": {"text": " "}}.get(key, {})
        held = {"key": key, "modifiers": 2 if ctrl else 0}
        page.call("Input.dispatchKeyEvent", type="keyDown", **held, **text)
        page.call("Input.dispatchKeyEvent", type="keyUp", **held)
    settled(page)


def text(page, selector):
    return page.evaluate(f"document.querySelector({json.dumps(selector)}).textContent")


def painted(page):
    """What all canvases show: a number that changes with any pixel of theirs."""
    return page.evaluate(
        "[...document.querySelectorAll('canvas:not(.overlay)')].map((c) => c.toDataURL()).join()"
    )


def test_the_page_opens_with_the_networks_answer(page, run):
    model, preset, kind, *_ = trained.network(run / "quick")
    contents = json.loads((run / "explore.json").read_text())
    grey = np.frombuffer(base64.b64decode(contents["pictures"]), "uint8").reshape(-1, 28, 28)
    x = minicnn.tensor(preset.transform(False, kind).batch(grey[:1], minicnn.Generator()))
    shares = F.softmax(model(x), 1).detach().numpy()[0]
    settled(page)
    close(page.evaluate("[...network.probabilities]"), shares)
    rows = page.evaluate("[...document.querySelectorAll('#classes label')].map((l) => l.innerText)")
    assert len(rows) == 10
    assert "T-shirt/top" in rows[0]


def test_all_layers_change_while_somebody_draws(page):
    settled(page)
    before = page.evaluate("network.outputs.map((o) => o.values.join())")
    seen = painted(page)
    x, y = place(page, "#pad")
    mouse(page, "mousePressed", x - 60, y - 60)
    mouse(page, "mouseMoved", x + 60, y + 60)
    settled(page)  # the button is still down
    after = page.evaluate("network.outputs.map((o) => o.values.join())")
    mouse(page, "mouseReleased", x + 60, y + 60)
    assert not any(a == b for a, b in zip(after, before, strict=True))
    assert painted(page) != seen


def test_one_draws_with_the_keyboard_too(page):
    click(page, "#clear")
    page.evaluate("document.querySelector('#pad').focus()")
    press(page, " ", "ArrowRight", "ArrowRight", "ArrowDown", " ", "ArrowUp")
    assert 0 < page.evaluate("picture.values.filter((v) => v > 0).length") < 40


@pytest.mark.parametrize("view", ["values", "gradients"])
def test_a_pixel_of_each_layer_is_explained_when_it_is_clicked(page, view):
    click(page, f"[value={view}]")
    for stage in page.evaluate("panels.slice(1).map((p) => p.element.id)"):
        click(page, f"#{stage} .maps canvas", 0.02, 0.1)
        explained = f"#{stage} .explanation"
        assert page.evaluate(f"!document.querySelector('{explained}').hidden"), stage
        assert not re.search("NaN|undefined|null|Infinity", text(page, explained)), stage
        assert page.evaluate("document.querySelectorAll('.explanation:not([hidden])').length") == 1


@pytest.mark.parametrize("place_of_layer", [0, 2, 5])
def test_the_explanation_of_a_convolution_ends_in_the_value_that_was_clicked(page, place_of_layer):
    settled(page)
    panel = f"panels.find((p) => p.stage?.start === {place_of_layer})"
    page.evaluate(f"choose({{panel: {panel}, c: 3, i: 2, j: 4}})")
    terms = page.evaluate(
        f"[...{panel}.explanation.querySelectorAll('.term b')].map((b) => b.textContent)"
    )
    products, bias, z, value = (float(t.replace("−", "-")) for t in terms)
    assert z == pytest.approx(products + bias, abs=0.02)
    assert value == pytest.approx(max(z, 0), abs=0.01)
    assert value == pytest.approx(page.evaluate(f"{panel}.stage.made.at(2, 4, 3)"), abs=0.01)


def test_the_keyboard_moves_over_the_maps_and_explains(page):
    page.evaluate("panels[2].grid.element.focus()")
    press(page, "PageDown", "ArrowRight", "ArrowDown", "Enter")
    assert text(page, "#stage-2 .explanation h5") == "Map 1, pixel (1, 1)"
    press(page, "Escape")
    assert page.evaluate("panels[2].explanation.hidden")


def test_a_pixel_can_be_chosen_as_soon_as_gradients_are_shown(page):
    settled(page)
    page.evaluate("(setView('gradients'), choose({panel: panels[1], c: 0, i: 0, j: 0}))")
    assert "gradient" in text(page, "#stage-0 .explanation")


def test_a_maximum_says_who_takes_its_gradient(page):
    click(page, "[value=gradients]")
    page.evaluate("choose({panel: panels[3], c: 4, i: 3, j: 3})")
    cells = page.evaluate(
        "[...panels[3].explanation.querySelectorAll('figure:last-child .cell')]"
        ".map((c) => [c.textContent, c.classList.contains('framed')])"
    )
    assert len(cells) == 4
    assert [framed for _, framed in cells].count(True) == 1
    assert all(value == "0.00" for value, framed in cells if not framed)


@pytest.mark.parametrize(
    ("value", "caption", "cell"),
    [(-0.00174, "g, in units of 10⁻³", "−1.74"), (2e-13, "g, in units of 10⁻¹³", "2.00"),
     (0.1, "g", "0.10"), (-12.34, "g", "−12.3"), (0, "g", "0.00"), (-0.0, "g", "0.00")],
)  # fmt: skip
def test_small_numbers_in_a_window_say_their_unit(scripts, value, caption, cell):
    figure = f"numbers('g', [{value}, 0], 2, 1, palette('light').signed)"
    found = scripts.evaluate(
        f"(({{firstChild, lastChild}}) => [firstChild.innerText, lastChild.innerText])({figure})"
    )
    assert found[0] == caption
    assert found[1].startswith(cell)


def test_steps_lower_the_loss_of_the_picture_and_can_be_undone(page):
    click(page, "[name=label][value='6']")
    losses = [page.evaluate("network.loss(6)")]
    shares = page.evaluate("[...network.probabilities]")
    for _ in range(3):
        click(page, "#step")
        losses.append(page.evaluate("network.loss(6)"))
    assert losses == sorted(losses, reverse=True)
    assert "fell" in text(page, "#step-text")
    click(page, "#reset")
    assert page.evaluate("[...network.probabilities]") == shares


def test_a_step_after_which_the_loss_is_higher_is_said(page):
    page.evaluate("(rate.add(new Option('-0.01')), (rate.value = '-0.01'))")
    click(page, "#step")
    assert "The step was too long" in text(page, "#step-text")


def test_dead_relus_are_counted_for_the_picture(page, run):
    click(page, "#clear")
    model, preset, kind, *_ = trained.network(run / "quick")
    empty = np.zeros((1, 28, 28), "uint8")
    outputs, *_ = passes(model, preset.transform(False, kind).batch(empty, minicnn.Generator()), 0)
    layers = named_layers(model).values()
    relus = [y for y, layer in zip(outputs, layers, strict=True) if isinstance(layer, nn.ReLU)]
    dead = sum(int((y.max(axis=(2, 3)) <= 0).sum()) for y in relus)
    assert dead > 0
    assert text(page, "#dead").startswith(f"{dead} of {sum(y.shape[1] for y in relus)} maps")


def test_an_uploaded_file_becomes_the_picture_or_is_refused_in_a_line(page, tmp_path):
    (tmp_path / "a.png").write_bytes(png(PICTURES["dark on light"]))
    (tmp_path / "b.png").write_bytes(b"no picture")
    (tmp_path / "c.png").write_bytes(png(np.full((40, 40), 77, "uint8")))
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=root, selector="#upload")["nodeId"]

    def upload(name):
        page.call("DOM.setFileInputFiles", nodeId=node, files=[str(tmp_path / name)])
        page.evaluate("new Promise((done) => setTimeout(done, 200))")
        return text(page, "#message")

    assert upload("a.png") == ""
    values = page.evaluate("[...picture.values]")
    assert abs(np.reshape(values, (28, 28)) - picture.read(tmp_path / "a.png")).max() <= 2
    assert "b.png is not a picture" in upload("b.png")
    assert "all of it has one colour" in upload("c.png")
    assert page.evaluate("[...picture.values]") == values


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window_and_colours_are_as_the_system_has_them(
    page, width, scheme
):
    resize(page, width, 844, scheme)
    settled(page)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    click(page, "[value=gradients]")
    for panel in (1, 2, 3, 4):
        page.evaluate(f"choose({{panel: panels[{panel}], c: 1, i: 1, j: 1}})")
        settled(page)
        assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize(("wish", "animation"), [("no-preference", "arrive"), ("reduce", "none")])
def test_the_gradient_comes_layer_by_layer_but_where_less_motion_is_wished(page, wish, animation):
    features = [{"name": "prefers-reduced-motion", "value": wish}]
    page.call("Emulation.setEmulatedMedia", features=features)
    click(page, "[value=gradients]")
    styles = page.evaluate(
        "panels.map((p) => getComputedStyle(p.element))"
        ".map((s) => [s.animationName, parseFloat(s.animationDelay)])"
    )
    assert {name for name, _ in styles} == {animation}
    delays = [delay for _, delay in styles]
    assert wish == "reduce" or delays == sorted(set(delays), reverse=True)


def test_what_a_pixel_reads_is_that_of_the_view(page):
    settled(page)
    page.evaluate("choose({panel: panels[1], c: 3, i: 2, j: 4})")
    click(page, "[value=gradients]")
    gradient = page.evaluate("digits(network.gradients[1].at(2, 4, 3))")
    assert text(page, "#stage-0 output") == f"Map 3, pixel (2, 4): {gradient}"


def test_beside_a_map_its_nearest_pixel_is_meant(page):
    settled(page)
    across = page.evaluate("14.5 / panels[1].grid.canvas.width")
    click(page, "#stage-0 .maps canvas", across, 0.05)
    assert page.evaluate("state.chosen.c === 0 && state.chosen.j === 13")


TARGETS = """[...document.querySelectorAll(`button, a, select, summary, .switch label, .button,
  .swatches > *, #classes label, [type=range], .strip canvas`)]
  .map((e) => [e.getBoundingClientRect(), e.outerHTML.slice(0, 60)])
  .filter(([box]) => box.width * box.height && Math.min(box.width, box.height) < 40)"""


def test_a_finger_can_hit_whatever_there_is_to_hit_on_a_phone(colour_page):
    settled(colour_page)
    colour_page.evaluate("choose({panel: panels[2], c: 0, i: 0, j: 0})")
    assert colour_page.evaluate(TARGETS) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_numbers_can_be_read_on_their_colours(page, theme):
    """With the contrast that WCAG 2.2 asks for, 1.4.3."""
    settled(page)

    def luminance(colour):
        share = np.array(colour) / 255
        linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    pairs = page.evaluate(
        f"(() => {{ const {{signed}} = palette('{theme}');"
        " return Array.from({length: 201}, (_, n) => n / 100 - 1)"
        ".map((v) => [css(v, 1, signed), onTop(v, 1, signed)]) })()"
    )
    for below, above in pairs:
        one = luminance([int(n) for n in re.findall(r"\d+", below)])
        other = luminance([int(above[k : k + 2], 16) for k in (1, 3, 5)])
        assert (max(one, other) + 0.05) / (min(one, other) + 0.05) >= 4.5, (below, above)


def test_the_colours_can_be_switched(page):
    click(page, "#theme")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_whatever_can_be_focused_has_a_name(page):
    page.call("Accessibility.enable")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    focusable = [n for n in nodes for p in n.get("properties", ())
                 if p["name"] == "focusable" and p["value"]["value"]]  # fmt: skip
    assert len(focusable) > 40
    nameless = [n["role"]["value"] for n in focusable if not n.get("name", {}).get("value")]
    assert set(nameless) <= {"RootWebArea"}


def test_one_draws_in_colour(colour_page):
    click(colour_page, "[name=ink][value=red]")
    x, y = place(colour_page, "#pad")
    mouse(colour_page, "mousePressed", x, y)
    mouse(colour_page, "mouseReleased", x, y)
    settled(colour_page)
    middle = 3 * (10 * 24 + 12)
    red = colour_page.evaluate(f"[...picture.values.slice({middle}, {middle} + 3)]")
    assert red == [216, 39, 29]
    seen = colour_page.evaluate("[0, 1, 2].map((c) => network.image.at(10, 12, c))")
    close(seen, (np.array(red) / 255 - [0.5, 0.4, 0.3]) / 0.25)


@pytest.mark.parametrize("view", ["values", "gradients"])
def test_pixels_of_a_network_of_colours_are_explained_without_a_wider_page(colour_page, view):
    click(colour_page, f"[value={view}]")
    for panel in range(colour_page.evaluate("panels.length")):
        colour_page.evaluate(f"choose({{panel: panels[{panel}], c: 2, i: 0, j: 0}})")
        settled(colour_page)
        explained = colour_page.evaluate(f"panels[{panel}].explanation.innerText")
        assert not re.search("NaN|undefined|null|Infinity", explained)
        assert colour_page.evaluate("document.documentElement.scrollWidth") == 390


def test_what_was_done_to_the_picture_can_be_undone(page):
    settled(page)
    first = page.evaluate("[...picture.values]")
    assert page.evaluate("document.querySelector('#undo').disabled")
    click(page, "#pad", 0.1, 0.1)
    drawn = page.evaluate("[...picture.values]")
    click(page, "#examples button:nth-child(3)")
    click(page, "#examples button:nth-child(3)")  # a second time changes nothing
    click(page, "#clear")
    assert page.evaluate("Math.max(...picture.values)") == 0
    for _ in range(2):
        click(page, "#undo")
    assert page.evaluate("[...picture.values]") == drawn != first
    press(page, "z", ctrl=True)
    assert page.evaluate("[...picture.values]") == first
    assert page.evaluate("document.querySelector('#examples .current') === examples[0]")
    assert page.evaluate("document.querySelector('#undo').disabled")


def test_a_stroke_covers_a_pixel_once_however_often_it_passes(page):
    click(page, "#clear")
    page.evaluate("(putDown(), [1, 2, 3].forEach(() => draw(9, 9, {x: 4, y: 9})))")
    often = page.evaluate("[...picture.values]")
    page.evaluate("(undo(), putDown(), draw(9, 9, {x: 4, y: 9}))")
    assert page.evaluate("[...picture.values]") == often


def test_a_network_that_takes_long_waits_until_the_pen_rests(page):
    settled(page)
    page.evaluate("(seen = network.outputs, durations = {forward: 500})")
    click(page, "#pad")
    assert page.evaluate("seen !== network.outputs") and text(page, "#brief") != "computing …"
    page.evaluate("(seen = network.outputs, durations = {forward: 500}, update(), update())")
    assert text(page, "#brief") == "computing …"
    assert page.evaluate("seen === network.outputs")


def test_a_second_finger_does_not_draw(page):
    click(page, "#clear")
    x, y = place(page, "#pad")
    one, other = {"x": x, "y": y, "id": 1}, {"x": x + 80, "y": y + 80, "id": 2}
    for kind, points in (("Start", [one]), ("Start", [one, other]), ("End", [])):
        page.call("Input.dispatchTouchEvent", type=f"touch{kind}", touchPoints=points)
    settled(page)
    assert page.evaluate("picture.values[28 * 14 + 14]") == 255
    assert page.evaluate("Math.max(...picture.values.slice(28 * 20))") == 0


def test_a_pixel_of_the_picture_says_what_the_network_sees_of_it(page):
    settled(page)
    page.evaluate("choose({panel: panels[0], c: 0, i: 12, j: 14})")
    terms = page.evaluate(
        "[...panels[0].explanation.querySelectorAll('.term b')].map((b) => b.textContent)"
    )
    ink, mean, _, _, std, x = (float(t.replace("−", "-")) for t in terms)
    assert ink == pytest.approx(page.evaluate("picture.values[12 * 28 + 14] / 255"), abs=0.001)
    assert x == pytest.approx((ink - mean) / std, abs=0.02)


def test_buttons_lead_to_the_pixels_beside_it_and_keep_the_focus(page):
    settled(page)
    page.evaluate("choose({panel: panels[1], c: 1, i: 2, j: 13})")
    click(page, "#stage-0 .nudges [aria-label='The pixel to the right']")
    assert text(page, "#stage-0 h5") == "Map 2, pixel (2, 0)"
    click(page, "#stage-0 .nudges [aria-label='The pixel above']")
    press(page, "Enter")
    assert text(page, "#stage-0 h5") == "Map 2, pixel (0, 0)"
    press(page, "Escape")
    assert page.evaluate("document.activeElement === panels[1].grid.element")


def test_steps_that_are_not_taken_back_are_said(page):
    settled(page)
    click(page, "#step")
    click(page, "#examples button:nth-child(2)")
    assert "those after 1 step" in text(page, "#step-text")
    click(page, "#reset")
    click(page, "#examples button:nth-child(3)")
    assert "those of the training" in text(page, "#step-text")


# --- the file ------------------------------------------------------------------------------------


def test_the_page_asks_for_nothing_from_elsewhere(run):
    html = (run / "explore.html").read_text()
    assert not re.search(r"https?://|\bsrc=|@import|<link|url\(", html)


def test_no_name_of_a_class_can_end_the_script(browser, run, tmp_path):
    contents = json.loads((run / "explore.json").read_text())
    name = "</script><b id=bad>{{style}}"
    contents["kind"]["classes"][0] = name
    (tmp_path / "a.html").write_text(explore.page(contents))
    browser.open(tmp_path / "a.html")
    assert browser.evaluate("kind.classes[0]") == name
    assert browser.evaluate("document.querySelector('#bad')") is None


def test_the_page_of_the_site_knows_its_pictures(browser, tmp_path):
    """What the site keeps of a run is what the scripts of today take."""
    contents = json.loads((DOCS / "figures" / "explore.json").read_text())
    (tmp_path / "a.html").write_text(explore.page(contents))
    browser.open(tmp_path / "a.html")
    settled(browser)
    right = browser.evaluate(
        "decodePictures(contents).filter(({label, values}) => {"
        "  network.forward(normalised(new Picture(28, 28, 1, values), normalisation));"
        "  return network.probabilities[label] > 0.5;"
        "}).length"
    )
    assert right >= 0.8 * len(contents["labels"])


def test_each_class_has_as_many_pictures_as_there_are_up_to_the_number(run):
    labels = json.loads((run / "explore.json").read_text())["labels"]
    assert labels == [*range(10)] * 3
