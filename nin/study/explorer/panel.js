// A stage as it is shown: a heading, maps, and a pixel's explanation.
"use strict";

// A stage, or without one the picture, as it is shown: a heading, maps, and a pixel's explanation.
class Panel {
  constructor(stage, before) {
    Object.assign(this, { stage, before }); // `before` shows what the stage is given
    this.captions = stage ? captions(stage) : aboutPicture(normalisation);
    const heading = stage ? title(stage) : "What the network sees";
    this.grid = new MapGrid({
      label: heading,
      tile: tileOf(stage),
      names: stage?.hasClasses
        ? (c) => [kind.classes[c], digits(mean(this.maps, c))]
        : !stage && inColour
          ? (c) => [CHANNELS[c]]
          : null,
      onPoint: (c, i, j) => this.readOut(c, i, j),
      onPick: (c, i, j, isFar = true) => {
        choose({ panel: this, c, i, j });
        if (isFar) this.explanation.firstChild.scrollIntoView({ block: "nearest" });
      },
    });
    this.facts = h("p", { className: "facts" });
    this.caption = h("p", { className: "caption" });
    this.legend = h("div");
    this.readout = h("output", { className: "readout" });
    this.where = h("h5");
    this.explained = h("div", { className: "explained" });
    this.explanation = h(
      "div",
      {
        className: "explanation",
        hidden: true,
        role: "region",
        "aria-label": "The pixel explained",
      },
      h("div", { className: "heading" }, this.where, this.nudges()),
      this.explained,
    );
    const shown = [
      h("div", { className: "tray" }, this.grid.element),
      h("div", { className: "under" }, this.legend, this.readout),
    ];
    this.element = h(
      "section",
      { className: "stage", id: `stage-${stage ? stage.start : "input"}` },
      h("div", { className: "heading" }, h("h4", {}, heading), this.facts),
      this.caption,
      ...(stage
        ? [...shown, this.explanation]
        : [
            h(
              "div",
              { className: inColour ? "with-notes wide" : "with-notes" },
              h("div", {}, ...shown),
              notes(),
              this.explanation,
            ),
          ]),
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
    if (this.pointed) this.readOut(...this.pointed); // which is another number by now
  }

  readOut(c, i, j) {
    this.pointed = [c, i, j];
    setText(this.readout, `${this.name(c, i, j)}: ${digits(this.maps.at(i, j, c))}`);
  }

  // What a pixel is called: after its map's number and class, or its colour.
  name(c, i, j) {
    const { height, width } = this.maps;
    const pixel = `pixel (${i}, ${j})`;
    if (!this.stage) return `The picture${inColour ? `'s ${CHANNELS[c]}` : ""}, ${pixel}`;
    const what = this.stage.hasClasses ? `${c} (${kind.classes[c]})` : c;
    return height * width === 1 ? `Number ${what}` : `Map ${what}, ${pixel}`;
  }

  explain({ c, i, j }) {
    const { stage, explained } = this;
    const g = state.view === "values" ? null : this.maps;
    const x = stage ? stage.x : network.image;
    setText(this.where, this.name(c, i, j));
    const open = explained.querySelector("details")?.open ?? false;
    explained.replaceChildren(...explain({ stage, c, i, j, x, g, colours: state.colours }));
    if (open) explained.querySelector("details").open = true;
    this.explanation.hidden = false;
  }

  // Buttons for a pixel beside the one that is explained, as a finger can't hit each, and to close.
  nudges() {
    const button = (text, label, onclick) =>
      h("button", { type: "button", className: "quiet", "aria-label": label, onclick }, text);
    const steps = {
      ArrowLeft: ["←", "The pixel to the left"],
      ArrowRight: ["→", "The pixel to the right"],
      ArrowUp: ["↑", "The pixel above"],
      ArrowDown: ["↓", "The pixel below"],
      PageDown: ["map ›", "The same pixel of the next map"],
    };
    const isMap = !this.stage || !isGlobal(this.stage.first);
    const isOne = (this.stage ? this.stage.first.output[0] : kind.channels) === 1;
    const word = (label) => (isMap ? label : label.replace("pixel", "number"));
    return h(
      "div",
      { className: "nudges", role: "group", "aria-label": "Another pixel" },
      ...Object.entries(steps)
        .filter(([key]) => isMap || key === "ArrowLeft" || key === "ArrowRight")
        .filter(([key]) => key !== "PageDown" || !isOne)
        .map(([key, [text, label]]) => button(text, word(label), () => this.nudge(key))),
      button("✕", "Close", () => {
        choose(null);
        this.grid.element.focus();
      }),
    );
  }

  // Frame a window on the maps, or none.
  mark(window) {
    this.grid.marked = window;
    this.grid.draw();
  }

  nudge(key) {
    const { c, i, j } = state.chosen;
    this.grid.cursor = this.grid.neighbour(key, [c, i, j]);
    this.grid.onPick(...this.grid.cursor, false);
  }
}

// How wide a map is to be, about, in pixels of the screen; single numbers have as much room beside.
function tileOf(stage) {
  if (!stage) return 140;
  if (isGlobal(stage.first)) return stage.hasClasses ? 33 : 20;
  return stage.hasClasses ? 84 : 44;
}

function notes() {
  return h(
    "div",
    { className: "notes-about" },
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
    old.panel.pointed = null;
    setText(old.panel.readout, "");
    old.panel.grid.chosen = null;
    old.panel.grid.draw();
    old.panel.before?.mark(null);
  }
  state.chosen = chosen;
  if (!chosen) return;
  const { panel, c, i, j } = chosen;
  panel.grid.chosen = [c, i, j];
  panel.grid.draw();
  panel.before?.mark(panel.stage.window(c, i, j));
  panel.readOut(c, i, j);
  panel.explain(chosen);
}
