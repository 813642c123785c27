// The whole network in a strip.
"use strict";

// A link to a panel, and a canvas for its strongest map, or for a row of numbers.
function overviewItem(name, id, form) {
  const canvas = h("canvas");
  const link = h("a", { href: `#${id}`, className: form }, canvas, h("span", {}, name));
  return { canvas, link };
}

let overview; // an item for the picture, one for each stage, and one for the softmax

function buildOverview() {
  overview = panels.map(({ stage, element }) => {
    if (!stage) return overviewItem("picture", element.id, "one");
    const name = stage.drawsClasses ? "class maps" : WORDS[stage.first.kind].short(stage.first);
    const form = isGlobal(stage.first) ? "row" : stage.first.output[0] > 1 ? "many" : "one";
    return overviewItem(name, element.id, form);
  });
  overview.push(overviewItem("softmax", "stage-softmax", "row"));
  overview.forEach(({ link }, n) => {
    if (n) $("overview").append(h("span", { className: "arrow", "aria-hidden": "true" }));
    $("overview").append(link);
  });
}

// Of each layer the map in which most happens.
function showOverview() {
  panels.forEach((panel, n) => {
    const { maps } = panel;
    if (!panel.stage && inColour && state.view === "values") {
      Object.assign(overview[n].canvas, { width: kind.width, height: kind.height });
      paintPicture(overview[n].canvas, picture);
      return;
    }
    const { height, width, channels, values } = maps;
    const limit = largest(values);
    if (height * width === 1) {
      drawThumbnail(overview[n].canvas, values, channels, limit);
      return;
    }
    const sums = new Float64Array(channels);
    values.forEach((v, p) => (sums[p % channels] += Math.abs(v)));
    const strongest = sums.indexOf(Math.max(...sums));
    const one = values.filter((_, p) => p % channels === strongest);
    drawThumbnail(overview[n].canvas, one, width, limit);
  });
  const shares = state.view === "values" ? network.probabilities : network.gradients.at(-1).values;
  drawThumbnail(overview.at(-1).canvas, shares, shares.length, 1);
  for (const arrow of $("overview").querySelectorAll(".arrow"))
    setText(arrow, state.view === "values" ? "→" : "←");
}

function drawThumbnail(canvas, values, width, limit) {
  [canvas.width, canvas.height] = [width, values.length / width];
  paint(canvas, values, limit, state.colours.signed);
}
