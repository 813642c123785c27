// A stage as it is shown: a heading, maps, and a pixel's explanation.
"use strict";

// A stage, or without one the picture, as it is shown: a heading, maps, and a pixel's explanation.
class Panel {
  constructor(stage, before) {
    Object.assign(this, { stage, before }); // `before` shows what the stage is given
    this.captions = stage ? captions(stage) : PICTURE;
    const heading = stage ? title(stage) : "What the network sees";
    const tile = !stage ? 140 : isGlobal(stage.first) ? 40 : stage.hasClasses ? 84 : 44;
    this.grid = new MapGrid({
      label: heading,
      tile,
      names: stage?.hasClasses ? (c) => [kind.classes[c], digits(mean(this.maps, c))] : null,
      onPoint: (c, i, j) => this.readOut(c, i, j),
      onPick: (c, i, j) => choose(stage ? { panel: this, c, i, j } : null),
    });
    this.facts = h("p", { className: "facts" });
    this.caption = h("p", { className: "caption" });
    this.legend = h("div");
    this.readout = h("output", { className: "readout" });
    this.explanation = h("div", {
      className: "explanation",
      hidden: true,
      role: "region",
      "aria-label": "The pixel explained",
    });
    const shown = [
      h("div", { className: "tray" }, this.grid.element),
      h("div", { className: "under" }, this.legend, this.readout),
    ];
    this.element = h(
      "section",
      { className: "stage", id: `stage-${stage ? stage.start : "input"}` },
      h("div", { className: "heading" }, h("h4", {}, heading), this.facts),
      this.caption,
      ...(stage ? shown : [h("div", { className: "with-notes" }, h("div", {}, ...shown), notes())]),
      this.explanation,
    );
  }

  get maps() {
    if (state.view === "values") return this.stage ? this.stage.made : network.image;
    return this.stage ? this.stage.gradient : network.imageGradient;
  }

  show() {
    const { stage, maps, grid } = this;
    const dead = stage?.dead ?? new Set();
    const limit = largest(maps.values);
    const positive = maps.values.every((v) => v >= 0);
    grid.show(maps, state.colours.signed, limit, dead);
    this.legend.replaceChildren(legend(limit, state.colours.signed, positive));
    setText(this.caption, this.captions[state.view]);
    const { height, width, channels } = maps;
    const facts = [];
    facts.push(
      height * width === 1
        ? `${channels} numbers`
        : `${plural(channels, "map")} of ${height}×${width}`,
    );
    if (stage?.first instanceof Affine) facts.push(`${counted(stage.first.size)} weights`);
    if (dead.size) facts.push(`${dead.size} dead`);
    setText(this.facts, facts.join(", "));
  }

  readOut(c, i, j) {
    const { channels, height, width } = this.maps;
    const which = channels > 1 ? `map ${c}` : "";
    const where = height * width > 1 ? `pixel (${i}, ${j})` : "";
    setText(
      this.readout,
      `${[which, where].filter(Boolean).join(", ")}: ${digits(this.maps.at(i, j, c))}`,
    );
  }

  explain({ c, i, j }) {
    const { stage, explanation } = this;
    const g = state.view === "values" ? null : stage.gradient;
    const where =
      stage.made.height * stage.made.width > 1 ? `Map ${c}, pixel (${i}, ${j})` : `Number ${c}`;
    const open = [...explanation.querySelectorAll("details")].map((details) => details.open);
    const close = h(
      "button",
      { type: "button", className: "quiet", onclick: () => choose(null) },
      "Close",
    );
    explanation.replaceChildren(
      h("div", { className: "heading" }, h("h5", {}, where), close),
      ...explain({ stage, c, i, j, x: stage.x, g, colours: state.colours }),
    );
    explanation
      .querySelectorAll("details")
      .forEach((details, n) => (details.open = open[n] ?? false));
    explanation.hidden = false;
  }
}

function notes() {
  return h(
    "div",
    {},
    h("p", { className: "notes-title" }, "Try this"),
    h("ol", { className: "notes" }, ...TRY.map((text) => h("li", {}, text))),
  );
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
    setText(old.panel.readout, "");
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
