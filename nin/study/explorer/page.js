// The page: what is chosen and drawn goes through the network, and all that is shown follows.
"use strict";

const $ = (id) => document.getElementById(id);
const contents = JSON.parse($("contents").textContent);
const { kind, normalisation } = contents;

const network = new Network(contents.layers, decodeParameters(contents));
const grey = new Grey(kind.width, kind.height); // the picture that is drawn on
const state = {
  view: "values",
  label: 0,
  colours: null,
  chosen: null, // the pixel that is explained: {stage, c, i, j}
  losses: [], // before and after each step
  source: null, // what the picture is, in words
};

// --- what the file holds -------------------------------------------------------------------------

// Numbers of 32 bits, or of 16, as IEEE 754 has them, the lowest byte first.
function decodeParameters({ parameters, bits }) {
  const bytes = Uint8Array.from(atob(parameters), (c) => c.charCodeAt(0));
  if (bits === 32) return new Float32Array(bytes.buffer);
  return Float32Array.from(new Uint16Array(bytes.buffer), (half) => {
    const sign = half >> 15 ? -1 : 1, exponent = (half >> 10) & 31, fraction = (half & 1023) / 1024;
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction);
  });
}

// The test pictures: {label, values}.
function decodePictures({ pictures, labels }) {
  const bytes = Uint8Array.from(atob(pictures), (c) => c.charCodeAt(0)), n = kind.width * kind.height;
  return labels.map((label, k) => ({ label, values: bytes.subarray(k * n, (k + 1) * n) }));
}

// --- stages --------------------------------------------------------------------------------------

// What is shown as one: a layer, and a ReLU that follows its sums. `start` and `end` are their
// places among the network's layers.
class Stage {
  constructor(place, block) {
    Object.assign(this, { start: place, end: place, block, first: network.layers[place] });
  }

  get hasReLU() {
    return this.end > this.start;
  }

  get x() {
    return this.start ? network.outputs[this.start - 1] : network.image;
  }

  get made() {
    return network.outputs[this.end];
  }

  get gradient() {
    return network.gradients[this.end];
  }

  // The gradient of the sums, before the ReLU.
  get sumGradient() {
    return network.gradients[this.start];
  }

  get endsInReLU() {
    return network.layers[this.end].kind === "ReLU";
  }

  // The maps behind a ReLU that are 0 everywhere, for this picture: nothing goes on, nor back.
  get dead() {
    if (!this.endsInReLU) return new Set();
    const { values, channels } = this.made;
    const dead = new Set(Array(channels).keys());
    values.forEach((v, p) => v > 0 && dead.delete(p % channels));
    return dead;
  }

  // What of its input pixel (i, j) of map c has seen, clipped to it; `only` is the map, if one alone.
  window(c, i, j) {
    const { first, x } = this;
    let rows = [0, x.height], columns = [0, x.width];
    if (first.region) {
      rows = first.region(i, 0, x.height);
      columns = first.region(j, 1, x.width);
    } else if (first.kernel) {
      const places = [];
      eachPlace(first, x, i, j, (_, row, column) => places.push([row, column]));
      rows = [Math.min(...places.map((p) => p[0])), Math.max(...places.map((p) => p[0])) + 1];
      columns = [Math.min(...places.map((p) => p[1])), Math.max(...places.map((p) => p[1])) + 1];
    } else if (first.kind === "ReLU") {
      [rows, columns] = [[i, i + 1], [j, j + 1]];
    }
    const only = first instanceof Affine ? undefined : c;
    return { top: rows[0], left: columns[0], height: rows[1] - rows[0], width: columns[1] - columns[0], only };
  }
}

function stages() {
  const found = [];
  network.layers.forEach((layer, place) => {
    const last = found.at(-1);
    if (layer.kind === "ReLU" && last?.end === place - 1 && last.first instanceof Affine) last.end = place;
    else if (layer.kind !== "Flatten") found.push(new Stage(place, layer.path.includes(".") ? layer.path.split(".")[0] : null));
  });
  return found;
}

// --- words ---------------------------------------------------------------------------------------

const by = (sizes) => (sizes[0] === sizes[1] ? `${sizes[0]}×${sizes[0]}` : sizes.join("×"));
const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

function title(stage) {
  const { first, hasReLU } = stage, relu = hasReLU ? ", ReLU" : "";
  const stride = first.stride && first.kind === "Conv2d" && Math.max(...first.stride) > 1 ? `, stride ${first.stride[0]}` : "";
  return {
    Conv2d: () => `${by(first.kernel)} convolution${stride}${relu}`,
    Linear: () => `Fully connected layer${relu}`,
    ReLU: () => "ReLU",
    MaxPool2d: () => `Maximum of ${by(first.kernel)} windows`,
    AvgPool2d: () => `Mean of ${by(first.kernel)} windows`,
    AdaptiveAvgPool2d: () => (first.output[1] * first.output[2] === 1 ? "Global average pooling" : "Average pooling"),
  }[first.kind]();
}

// What is to be seen in the values, and what happens to a gradient on its way through.
const CAPTIONS = {
  Conv2d: ({ first, from, relu }) =>
    first.isPointwise
      ? [
          `Nothing slides here: at every pixel for itself, each new map is a weighted sum of ${from}, with the same weights at all pixels. It is a fully connected layer at every pixel.${relu}`,
          "A gradient stays at its pixel, and goes back to all maps above through the same weights. Click a pixel to see how it is shared out.",
        ]
      : [
          `${plural(first.out, "filter")} slide over ${from}. Each multiplies what its window of ${by(first.kernel)} pixels shows by its ${first.in} weights, adds up, and draws the sums as a map of its own.${relu}`,
          `A pixel's gradient goes back to the whole window that it has seen, ${by(first.kernel)} pixels, to each by its weight; where windows overlap, gradients add up.`,
        ],
  Linear: ({ first, relu }) => [
    `Each of the ${plural(first.out, "number")} is a weighted sum of all ${first.in} numbers above.${relu}`,
    "Each gradient goes back to all inputs, to each by its weight.",
  ],
  ReLU: () => [
    "What is negative becomes 0.",
    "A gradient goes through where the value was positive, and stops elsewhere.",
  ],
  MaxPool2d: () => [
    "Of each window only the largest value goes on. The maps become smaller, and it matters less where exactly something was.",
    "The largest value of each window takes the whole gradient, so most pixels of the maps above get none.",
  ],
  AvgPool2d: () => ["Of each window the mean goes on.", "The gradient is shared out evenly over the window."],
  AdaptiveAvgPool2d: ({ first }) =>
    first.output[1] * first.output[2] === 1
      ? [
          "The mean of each map is a single number. It has no weights, so each class has to draw a map of where it sees itself.",
          "Each mean hands its gradient to all pixels of its map, the same to each.",
        ]
      : ["The mean of each region of a map.", "The gradient is shared out evenly over each region."],
};

function caption(stage) {
  const { first, hasReLU } = stage, inputs = network.layers[stage.start - 1]?.output[0];
  const from = stage.start ? `the ${plural(inputs, "map")} above` : "the picture";
  return CAPTIONS[first.kind]({ first, from, relu: hasReLU ? " What is negative becomes 0 (ReLU)." : "" });
}

// --- panels --------------------------------------------------------------------------------------

const counted = (n) => n.toLocaleString("en");
const percent = (p) => `${(100 * p).toFixed(p > 0.0995 && p < 0.9995 ? 0 : 1)}%`;

// A stage, or without one the picture, as it is shown: a heading, maps, and a pixel's explanation.
class Panel {
  constructor(stage, before) {
    Object.assign(this, { stage, before }); // `before` shows what the stage is given
    this.isClasses = stage !== null && this.answers(stage);
    const [heading, [values, gradients]] = stage
      ? [title(stage) + (this.isClasses && stage.first.kind === "Conv2d" ? ": the class maps" : ""), caption(stage)]
      : ["What the network sees", ["The picture as numbers: 0 … 1, less the mean of the training pictures, over their standard deviation.", "What the gradient says of the picture itself: blue pixels would raise the loss if they were brighter, red ones would lower it."]];
    this.captions = { values, gradients };
    if (this.isClasses && stage.first.kind === "Conv2d") {
      this.captions.values += " Here each map is a class's: blue where the network sees something of that class, red where it sees what speaks against it. Under each stands its mean.";
    }
    const size = stage?.first.output;
    this.grid = new MapGrid({
      label: heading,
      tile: !stage ? 140 : size[1] * size[2] === 1 ? 40 : this.isClasses ? 84 : 44,
      names: this.isClasses ? (c) => [kind.classes[c], digits(this.maps.values.length === size[0] ? this.maps.values[c] : mean(this.maps, c))] : null,
      onPoint: (c, i, j) => this.readOut(c, i, j),
      onPick: (c, i, j) => choose(stage ? { panel: this, c, i, j } : null),
    });
    this.facts = h("p", { className: "facts" });
    this.caption = h("p", { className: "caption" });
    this.legend = h("div");
    this.readout = h("output", { className: "readout" });
    this.explanation = h("div", { className: "explanation", hidden: true });
    this.element = h(
      "section",
      { className: "stage", id: `stage-${stage ? stage.start : "input"}` },
      h("div", { className: "heading" }, h("h4", {}, heading), this.facts),
      this.caption,
      stage ? h("div", { className: "tray" }, this.grid.element) : h("div", { className: "with-notes" }, h("div", { className: "tray" }, this.grid.element), notes()),
      h("div", { className: "under" }, this.legend, this.readout),
      this.explanation,
    );
  }

  // Whether its maps are the classes': from there on there are no weights.
  answers(stage) {
    const rest = network.layers.slice(stage.end + 1);
    return stage.first.output[0] === kind.classes.length && !rest.some((layer) => layer instanceof Affine);
  }

  get maps() {
    if (state.view === "values") return this.stage ? this.stage.made : network.image;
    return this.stage ? this.stage.gradient : network.imageGradient;
  }

  show() {
    const { stage, maps, grid } = this, { height, width, channels } = maps;
    const positive = state.view === "values" && maps.values.every((v) => v >= 0), limit = largest(maps.values);
    const dead = stage?.dead ?? new Set();
    grid.show(maps, state.colours.signed, limit, dead);
    const size = height * width === 1 ? `${counted(channels)} numbers` : `${plural(channels, "map")} of ${height}×${width}`;
    const weights = stage?.first instanceof Affine ? `, ${counted(stage.first.weight.length + (stage.first.hasBias ? channels : 0))} weights` : "";
    const silent = dead.size ? `, ${dead.size} dead` : "";
    setText(this.facts, size + weights + silent);
    setText(this.caption, this.captions[state.view]);
    this.legend.replaceChildren(legend(limit, state.colours.signed, positive));
  }

  readOut(c, i, j) {
    const { channels, height, width } = this.maps, which = channels > 1 ? `map ${c}` : "";
    const where = height * width > 1 ? `pixel (${i}, ${j})` : "";
    setText(this.readout, `${[which, where].filter(Boolean).join(", ")}: ${digits(this.maps.at(i, j, c))}`);
  }

  explain({ c, i, j }) {
    const { stage, explanation } = this, g = state.view === "values" ? null : stage.gradient;
    const where = stage.made.height * stage.made.width > 1 ? `Map ${c}, pixel (${i}, ${j})` : `Number ${c}`;
    const open = [...explanation.querySelectorAll("details")].map((details) => details.open);
    const close = h("button", { type: "button", className: "quiet", onclick: () => choose(null) }, "Close");
    explanation.replaceChildren(
      h("div", { className: "heading" }, h("h5", {}, where), close),
      ...explain({ stage, c, i, j, x: stage.x, g, colours: state.colours }),
    );
    explanation.querySelectorAll("details").forEach((details, n) => (details.open = open[n] ?? false));
    explanation.hidden = false;
  }
}

const TRY = [
  "Draw a line across the picture, and watch the maps of each layer: which of them notice?",
  "Click a pixel of any map: all the numbers that it is made of appear below it.",
  "Switch to the gradients, pick a label that is wrong, and look at the picture's own gradient here: it says which pixels to paint, and which to erase.",
  "Press Step until the network believes the wrong label. How many steps does it take?",
];

function notes() {
  return h("div", {}, h("p", { className: "notes-title" }, "Try this"), h("ol", { className: "notes" }, ...TRY.map((text) => h("li", {}, text))));
}

function mean(maps, c) {
  let sum = 0;
  for (let p = c; p < maps.values.length; p += maps.channels) sum += maps.values[p];
  return sum / (maps.height * maps.width);
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// The pixel to explain, or none. What it has seen is framed on the maps before it.
function choose(chosen) {
  const old = state.chosen;
  if (old) {
    old.panel.explanation.hidden = true;
    old.panel.grid.chosen = old.panel.before.grid.marked = null;
    old.panel.grid.draw();
    old.panel.before.grid.draw();
  }
  state.chosen = chosen;
  if (!chosen) return;
  const { panel, c, i, j } = chosen;
  panel.grid.chosen = [c, i, j];
  panel.before.grid.marked = panel.stage.window(c, i, j);
  panel.grid.draw();
  panel.before.grid.draw();
  panel.readOut(c, i, j);
  panel.explain(chosen);
}

// --- the flow ------------------------------------------------------------------------------------

const BLOCK = "A convolution that looks around, then 1×1 convolutions, which are a small network at every pixel: the network in the network (Lin, Chen and Yan 2013).";
const panels = [new Panel(null, null)];
const softmaxTable = h("tbody");
let softmaxThumbnail;

function build() {
  $("stages").append(panels[0].element);
  let block = null, container = $("stages"), number = 0;
  for (const stage of stages()) {
    const panel = new Panel(stage, panels.at(-1));
    if (stage.block !== block) {
      container = $("stages");
      block = stage.block;
      if (block !== null) {
        container = h("section", { className: "block" }, h("h3", {}, `Block ${++number}`), h("p", { className: "caption" }, BLOCK));
        $("stages").append(container);
      }
    }
    panels.push(panel);
    container.append(panel.element);
  }
  const heads = ["", "logit z", "exp(z)", "share p", "∂L/∂z = p − 1 at the label"].map((name) => h("th", { scope: "col" }, name));
  $("stages").append(
    h(
      "section",
      { className: "stage", id: "stage-softmax" },
      h("div", { className: "heading" }, h("h4", {}, "Softmax and cross-entropy")),
      h("p", { className: "caption" }, "Each logit's exponential, as a share of the sum of all, is the probability of its class. The loss is −ln of the label's probability, and here the gradient begins: each class's probability, less 1 at the label. What is sure and right sends hardly anything back."),
      h("div", { className: "scroll" }, h("table", { className: "softmax" }, h("thead", {}, h("tr", {}, ...heads)), softmaxTable)),
    ),
  );
  panels.forEach((panel, n) => panel.element.style.setProperty("--from-end", panels.length - n));
  const last = { element: $("stage-softmax") };
  const items = [...panels, last].map(overviewItem);
  softmaxThumbnail = last.thumbnail;
  $("overview").append(...items.flatMap((item, n) => (n ? [h("span", { className: "arrow", "aria-hidden": "true" }), item] : [item])));
}

// A link to a panel, with room for its strongest map, or a row of numbers.
function overviewItem(panel) {
  const { stage, element } = panel;
  const [channels, height, width] = stage?.first.output ?? [1, ...(panel.grid ? [2, 2] : [1, 1])];
  const name = !panel.grid ? "softmax" : !stage ? "picture" : panel.isClasses && height * width > 1 ? "class maps" : SHORT[stage.first.kind](stage.first);
  panel.thumbnail = h("canvas");
  const kinds = height * width === 1 ? "row" : channels > 1 ? "many" : "one";
  return h("a", { href: `#${element.id}`, className: kinds }, panel.thumbnail, h("span", {}, name));
}

const SHORT = {
  Conv2d: (layer) => by(layer.kernel),
  Linear: () => "linear",
  ReLU: () => "ReLU",
  MaxPool2d: () => "max",
  AvgPool2d: () => "mean",
  AdaptiveAvgPool2d: () => "mean",
};

// Of each layer the map in which most happens.
function showOverview() {
  for (const panel of panels) {
    const { maps, thumbnail } = panel, { height, width, channels, values } = maps;
    const limit = largest(values);
    if (height * width === 1) {
      drawRow(thumbnail, values, limit);
      continue;
    }
    const sums = new Float64Array(channels);
    values.forEach((v, p) => (sums[p % channels] += Math.abs(v)));
    const strongest = sums.indexOf(Math.max(...sums));
    [thumbnail.width, thumbnail.height] = [width, height];
    const one = Float32Array.from({ length: height * width }, (_, p) => values[p * channels + strongest]);
    paint(thumbnail, one, limit, state.colours.signed);
  }
  const shares = state.view === "values" ? network.probabilities : network.gradients.at(-1).values;
  drawRow(softmaxThumbnail, shares, 1);
  for (const arrow of $("overview").querySelectorAll(".arrow")) setText(arrow, state.view === "values" ? "→" : "←");
}

function drawRow(canvas, values, limit) {
  [canvas.width, canvas.height] = [values.length, 1];
  paint(canvas, values, limit, state.colours.signed);
}

// --- the answer ----------------------------------------------------------------------------------

function buildClasses() {
  $("classes").append(
    ...kind.classes.map((name, label) =>
      h(
        "label",
        {},
        h("input", { type: "radio", name: "label", value: label, onchange: () => setLabel(label) }),
        h("span", { className: "name" }, name),
        h("span", { className: "bar-of" }, h("span")),
        h("span", { className: "share" }),
      ),
    ),
  );
}

function setLabel(label) {
  state.label = label;
  state.losses = [];
  if (state.view === "gradients") arrive();
  update();
}

function showAnswer() {
  const p = network.probabilities, guess = p.indexOf(Math.max(...p)), loss = network.loss(state.label);
  $("classes").querySelectorAll("label").forEach((row, label) => {
    row.classList.toggle("guess", label === guess);
    row.querySelector("input").checked = label === state.label;
    row.querySelector(".bar-of span").style.width = `${100 * p[label]}%`;
    setText(row.querySelector(".share"), percent(p[label]));
  });
  const brief = `${percent(p[guess])} ${kind.classes[guess]}`;
  setText($("brief"), state.view === "values" ? brief : `of the loss, if ${kind.classes[state.label]} is right`);
  setText($("loss"), digits(loss));
  setText($("loss-name"), `is the loss, −ln of the probability of ${kind.classes[state.label]}`);
  const top = Math.max(...network.logits);
  softmaxTable.replaceChildren(
    ...kind.classes.map((name, label) => {
      const g = p[label] - (label === state.label ? 1 : 0);
      const cells = [digits(network.logits[label]), digits(Math.exp(network.logits[label])), percent(p[label]), digits(g)];
      const colour = { background: css(g, 1, state.colours.signed), color: onTop(g, 1, state.colours.signed) };
      return h("tr", { className: label === state.label ? "label" : "" }, h("th", { scope: "row" }, name), ...cells.map((text, n) => h("td", n === 3 ? { style: colour } : {}, text)));
    }),
  );
}

// --- a step --------------------------------------------------------------------------------------

function step() {
  const rate = Number($("rate").value), before = network.loss(state.label);
  network.backward(state.label);
  network.findGradients();
  network.step(rate);
  network.forward(network.image);
  const after = network.loss(state.label), norm = Math.sqrt(network.gradient.reduce((sum, g) => sum + g * g, 0));
  if (!state.losses.length) state.losses.push(before);
  state.losses.push(after);
  const what = `The loss of this picture ${after <= before ? "fell" : "rose"} from ${digits(before)} to ${digits(after)}.`;
  const why = after <= before
    ? `All weights moved against their gradients, by ${digits(rate * norm)} in all: ${digits(rate)} times the gradient's norm, ${digits(norm)}.`
    : "The step was too long: the gradient says what the loss does near by, and not so far away. Undo, and try a smaller rate.";
  $("step-text").textContent = `${what} ${why}`;
  $("reset").disabled = false;
  update();
}

function reset() {
  network.reset();
  state.losses = [];
  $("reset").disabled = true;
  $("step-text").textContent = "The weights are those of the training again.";
  update();
}

function showLosses() {
  const { losses } = state, chart = $("losses");
  chart.toggleAttribute("hidden", losses.length < 2);
  if (losses.length < 2) return;
  const most = Math.max(...losses), n = losses.length - 1;
  const points = losses.map((loss, k) => `${(4 + (k / n) * 232).toFixed(1)},${(44 - (loss / most) * 38).toFixed(1)}`);
  chart.setAttribute("aria-label", `The loss after each step: ${losses.map((loss) => digits(loss)).join(", ")}`);
  chart.querySelector("polyline").setAttribute("points", points.join(" "));
}

// --- the picture ---------------------------------------------------------------------------------

const pen = { x: kind.width / 2, y: kind.height / 2, down: false };

function setPicture(values, source, label) {
  grey.values.set(values);
  state.source = source;
  state.losses = [];
  if (label !== undefined) state.label = label;
  setText($("seen"), source);
  update();
}

function draw(x, y, from = pen) {
  const ink = Number(document.querySelector("[name=ink]:checked").value);
  grey.stroke(from.x, from.y, x, y, Number($("size").value), ink);
  Object.assign(pen, { x, y });
  setText($("seen"), "Drawn by you. The training pictures are filled shapes on an empty background, as large as the frame.");
  state.losses = [];
  update();
}

function padPlace(event) {
  const box = $("pad").getBoundingClientRect();
  return [((event.clientX - box.left) / box.width) * kind.width, ((event.clientY - box.top) / box.height) * kind.height];
}

function listenToPad() {
  const pad = $("pad");
  [pad.width, pad.height] = [kind.width, kind.height];
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    const [x, y] = padPlace(event);
    pen.drawing = true;
    draw(x, y, { x, y });
  });
  pad.addEventListener("pointermove", (event) => {
    if (!pen.drawing) return;
    for (const each of event.getCoalescedEvents?.() ?? [event]) draw(...padPlace(each));
  });
  for (const end of ["pointerup", "pointercancel"]) pad.addEventListener(end, () => (pen.drawing = false));
  pad.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === " ") pen.down = !pen.down;
    else if (!(event.key in moves)) return;
    event.preventDefault();
    const [dx, dy] = moves[event.key] ?? [0, 0], from = { ...pen };
    const x = Math.max(0, Math.min(kind.width, pen.x + dx)), y = Math.max(0, Math.min(kind.height, pen.y + dy));
    if (pen.down) draw(x, y, from);
    else Object.assign(pen, { x, y });
    showBrush();
  });
  for (const event of ["focus", "blur"]) pad.addEventListener(event, showBrush);
}

function showBrush() {
  const brush = $("brush");
  brush.hidden = document.activeElement !== $("pad");
  brush.classList.toggle("down", pen.down);
  brush.style.left = `${(100 * pen.x) / kind.width}%`;
  brush.style.top = `${(100 * pen.y) / kind.height}%`;
}

function buildExamples() {
  const pictures = decodePictures(contents);
  const buttons = pictures.map(({ label, values }, n) => {
    const canvas = h("canvas", { width: kind.width, height: kind.height });
    const name = `${kind.classes[label]}, test picture ${contents.numbers[n]}`;
    const button = h("button", { type: "button", tabIndex: n ? -1 : 0, title: name, "aria-label": name }, canvas);
    button.addEventListener("click", () => {
      buttons.forEach((each) => each.classList.toggle("current", each === button));
      setPicture(values, `${name}. Draw on it, too.`, label);
    });
    button.paint = () => paint(canvas, values, 255, state.colours.ink);
    return button;
  });
  $("examples").append(...buttons);
  $("examples").addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10 }[event.key];
    const next = buttons[buttons.indexOf(document.activeElement) + by];
    if (!next) return;
    event.preventDefault();
    document.activeElement.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  return buttons;
}

async function upload(file) {
  setText($("message"), "");
  try {
    const picture = prepare(await decode(file), kind);
    setPicture(picture.values, `${file.name}, trimmed, made small and grey, light on dark, as nin.predict does it.`);
  } catch (error) {
    setText($("message"), error.message);
  }
}

// --- all of it -----------------------------------------------------------------------------------

const durations = {};
let waiting = false;

// Compute and show what has changed, once before the screen is next drawn.
function update() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    compute();
    show();
  });
}

function compute() {
  const start = performance.now();
  network.forward(normalised(grey, normalisation));
  const middle = performance.now();
  durations.forward = middle - start;
  if (state.view === "gradients") {
    network.backward(state.label);
    durations.backward = performance.now() - middle;
  }
}

function show() {
  const start = performance.now();
  paint($("pad"), grey.values, 255, state.colours.ink);
  for (const panel of panels) panel.show();
  showOverview();
  showAnswer();
  showLosses();
  if (state.chosen) state.chosen.panel.explain(state.chosen);
  const dead = panels.reduce((n, panel) => n + (panel.stage?.dead.size ?? 0), 0);
  const maps = panels.reduce((n, { stage }) => n + (stage?.endsInReLU ? stage.first.output[0] : 0), 0);
  setText($("dead"), dead ? `${dead} of ${maps} maps behind a ReLU are dead for this picture: they are 0 everywhere (hatched), and no gradient comes back through them.` : `None of the ${maps} maps behind a ReLU is dead for this picture.`);
  durations.drawing = performance.now() - start;
  setText($("times"), Object.entries(durations).map(([name, ms]) => `${name} ${ms.toFixed(1)} ms`).join(", "));
}

// The gradient comes back: the panels appear from the last to the first.
function arrive() {
  const flow = $("stages");
  flow.classList.remove("arriving");
  void flow.offsetWidth; // so that the animation begins anew
  flow.classList.add("arriving");
}

function setView(view) {
  state.view = view;
  document.documentElement.dataset.view = view;
  if (view === "gradients") arrive();
  update();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  state.colours = palette(theme);
  $("theme").setAttribute("aria-label", `Switch to ${theme === "dark" ? "light" : "dark"} colours`);
  for (const button of examples) button.paint();
  update();
}

const examples = buildExamples();
const dark = matchMedia("(prefers-color-scheme: dark)");
setText($("lead"), contents.about);
build();
buildClasses();
listenToPad();
for (const input of document.querySelectorAll("[name=view]")) input.addEventListener("change", () => setView(input.value));
$("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
$("clear").addEventListener("click", () => setPicture(grey.values.fill(0), "An empty picture. Draw something."));
$("upload").addEventListener("change", (event) => event.target.files[0] && upload(event.target.files[0]));
$("step").addEventListener("click", step);
$("reset").addEventListener("click", reset);
document.addEventListener("keydown", (event) => event.key === "Escape" && choose(null));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files[0]) upload(event.dataTransfer.files[0]);
});
dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
new ResizeObserver(update).observe($("stages"));
document.documentElement.dataset.view = "values";
setTheme(dark.matches ? "dark" : "light");
examples[0].click();
