// The page: what is chosen and drawn goes through the network, and all that is shown follows.
"use strict";

const network = new Network(contents.layers, decodeParameters(contents));
const picture = new Picture(kind.width, kind.height, kind.channels); // the one that is drawn on
const state = {
  view: "values",
  label: 0,
  colours: null,
  chosen: null, // the pixel that is explained: {panel, c, i, j}
  losses: [], // of this picture: before the first step, and after each
  steps: 0, // since the weights were those of the training
};
const panels = []; // the picture's, then one for each stage

function build() {
  panels.push(new Panel(null, null));
  $("stages").append(panels[0].element);
  let block = null;
  let container = $("stages");
  let number = 0;
  for (const stage of stages()) {
    if (stage.block !== block) {
      block = stage.block;
      container =
        block === null
          ? $("stages")
          : h("section", { className: "block" }, h("h3", {}, `Block ${++number}`));
      if (block !== null) $("stages").append(container);
      if (stage.beginsMlpconv) container.append(h("p", { className: "caption" }, BLOCK));
    }
    panels.push(new Panel(stage, panels.at(-1)));
    container.append(panels.at(-1).element);
  }
  $("stages").append($("stage-softmax"));
  panels.forEach((panel, n) => panel.element.style.setProperty("--from-end", panels.length - n));
}

let durations = {}; // of what was done last, in milliseconds
let waiting = 0; // the timer of what is still to be done

// Compute and show what has changed, once before the screen is next drawn. A large network, which
// takes longer than a few frames, leaves as much time to the pen as it takes itself, and a very
// large one waits until the pen rests.
function update() {
  const taken = Object.values(durations).reduce((sum, ms) => sum + ms, 0);
  const isSlow = taken > 300;
  if (waiting && !isSlow) return;
  clearTimeout(waiting);
  if (isSlow) setText($("brief"), "computing …");
  const begin = () => requestAnimationFrame(computeAndShow);
  waiting = setTimeout(begin, isSlow ? 300 : taken > 60 ? taken : 0);
}

function computeAndShow() {
  clearTimeout(waiting);
  waiting = 0;
  compute();
  show();
}

function compute() {
  const start = performance.now();
  network.forward(normalised(picture, normalisation));
  const middle = performance.now();
  durations = { forward: middle - start };
  if (state.view === "gradients") {
    network.backward(state.label);
    durations.backward = performance.now() - middle;
  }
}

function show() {
  const start = performance.now();
  paintPicture($("pad"), picture);
  for (const panel of panels) panel.show();
  showOverview();
  showAnswer();
  showLosses();
  if (state.chosen) state.chosen.panel.explain(state.chosen);
  const behind = panels.filter(({ stage }) => stage?.endsInReLU).map(({ stage }) => stage);
  const dead = behind.reduce((n, stage) => n + stage.dead.size, 0);
  setText(
    $("dead"),
    aboutDead(
      dead,
      behind.reduce((n, stage) => n + stage.first.output[0], 0),
    ),
  );
  durations.drawing = performance.now() - start;
  setText(
    $("times"),
    Object.entries(durations)
      .map(([name, ms]) => `${name} ${ms.toFixed(1)} ms`)
      .join(", "),
  );
}

// The gradient comes back: the panels appear from the last to the first.
function arrive() {
  const flow = $("stages");
  flow.classList.remove("arriving");
  void flow.offsetWidth; // so that the animation begins anew
  flow.classList.add("arriving");
}

function setView(view) {
  if (view === "gradients") network.backward(state.label); // as maps may be pointed at right away
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
  if (network.outputs) show();
}

const dark = matchMedia("(prefers-color-scheme: dark)");
setText($("lead"), contents.about);
build();
if (!panels.some(({ stage }) => stage?.beginsMlpconv))
  document.title = $("title").textContent = "Inside a convolutional network";
buildOverview();
buildClasses();
const examples = buildExamples();
listenToEasel();
for (const input of document.querySelectorAll("[name=view]")) {
  input.addEventListener("change", () => setView(input.value));
}
$("theme").addEventListener("click", () => {
  setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
});
$("step").addEventListener("click", step);
$("reset").addEventListener("click", reset);
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !state.chosen) return;
  const { panel } = state.chosen;
  if (panel.explanation.contains(document.activeElement)) panel.grid.element.focus();
  choose(null);
});
dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
let room = $("stages").clientWidth;
new ResizeObserver(() => {
  if (room === $("stages").clientWidth) return; // it is only longer, or shorter
  room = $("stages").clientWidth;
  show();
}).observe($("stages"));
document.documentElement.dataset.view = "values";
setTheme(dark.matches ? "dark" : "light");
showPicture(examples[0].values, examples[0].title, contents.labels[0]);
computeAndShow(); // at once, as whatever is clicked needs the numbers
