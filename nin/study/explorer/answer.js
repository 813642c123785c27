// The answer: the probabilities, the label, its loss, and steps that make it smaller.
"use strict";

function buildClasses() {
  $("classes").append(
    ...kind.classes.map((name, label) =>
      h(
        "label",
        {},
        h("input", { type: "radio", name: "label", value: label, onchange: () => setLabel(label) }),
        h("span", { className: "name", title: name }, name),
        h("span", { className: "bar-of" }, h("span")),
        h("span", { className: "share" }),
      ),
    ),
  );
}

function setLabel(label) {
  state.label = label;
  forgetSteps();
  if (state.view === "gradients") arrive();
  update();
}

function showAnswer() {
  const p = network.probabilities;
  const guess = p.indexOf(Math.max(...p));
  const loss = network.loss(state.label);
  $("classes")
    .querySelectorAll("label")
    .forEach((row, label) => {
      row.classList.toggle("guess", label === guess);
      row.querySelector("input").checked = label === state.label;
      row.querySelector(".bar-of span").style.width = `${100 * p[label]}%`;
      setText(row.querySelector(".share"), percent(p[label]));
    });
  const brief = `${percent(p[guess])} ${kind.classes[guess]}`;
  const asked = `loss ${digits(loss)} for ${kind.classes[state.label]}`;
  setText($("brief"), state.view === "values" ? brief : asked);
  setText($("loss"), digits(loss));
  setText($("loss-name"), `is the loss, −ln of the probability of ${kind.classes[state.label]}`);
  showSoftmax();
}

// The table in which the gradient begins.
function showSoftmax() {
  const rows = kind.classes.map((name, label) => {
    const z = network.logits[label];
    const p = network.probabilities[label];
    const g = p - (label === state.label ? 1 : 0);
    const colours = state.colours.signed;
    const style = { background: css(g, 1, colours), color: onTop(g, 1, colours) };
    const cells = [digits(z), digits(Math.exp(z)), percent(p)].map((text) => h("td", {}, text));
    const className = label === state.label ? "label" : "";
    return h(
      "tr",
      { className },
      h("th", { scope: "row" }, name),
      ...cells,
      h("td", { style }, digits(g)),
    );
  });
  $("softmax").replaceChildren(...rows);
}

// --- a step --------------------------------------------------------------------------------------

function step() {
  const rate = Number($("rate").value);
  const before = network.loss(state.label);
  network.backward(state.label);
  network.findGradients();
  network.step(rate);
  network.forward(network.image);
  const after = network.loss(state.label);
  const norm = Math.sqrt(network.gradient.reduce((sum, g) => sum + g * g, 0));
  if (!state.losses.length) state.losses.push(before);
  state.losses.push(after);
  state.steps++;
  setText($("step-text"), aboutStep(before, after, rate, norm));
  $("reset").disabled = false;
  update();
}

// Losses are those of one picture and label. The steps that were taken remain.
function forgetSteps() {
  state.losses = [];
  if (state.steps) setText($("step-text"), aboutSteps(state.steps));
}

function reset() {
  network.reset();
  Object.assign(state, { losses: [], steps: 0 });
  $("reset").disabled = true;
  setText($("step-text"), "The weights are those of the training again.");
  update();
}

function showLosses() {
  const { losses } = state;
  const chart = $("losses");
  chart.toggleAttribute("hidden", losses.length < 2);
  if (losses.length < 2) return;
  const most = Math.max(...losses);
  const n = losses.length - 1;
  const points = losses.map(
    (loss, k) => `${(4 + (k / n) * 232).toFixed(1)},${(44 - (loss / most) * 38).toFixed(1)}`,
  );
  chart.setAttribute(
    "aria-label",
    `The loss after each step: ${losses.map((loss) => digits(loss)).join(", ")}`,
  );
  chart.querySelector("polyline").setAttribute("points", points.join(" "));
}
