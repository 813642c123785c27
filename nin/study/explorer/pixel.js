// One pixel explained: the numbers that it is made of, or what its gradient becomes.
//
// Each function takes `about`: the stage, the pixel (c, i, j), `x`, what the stage was given, `g`,
// the gradient of what it made, or null in the view of values, and the colours.
"use strict";

const MANY = 150; // numbers, of which each is a colour alone

const KINDS = {
  Conv2d: (about) =>
    about.stage.first.isPointwise ? explainPointwise(about) : explainWindow(about),
  Linear: explainPointwise,
  ReLU: explainReLU,
  MaxPool2d: explainMaximum,
  AvgPool2d: explainMean,
  AdaptiveAvgPool2d: explainMean,
};

function explain(about) {
  return about.stage ? KINDS[about.stage.first.kind](about) : explainPicture(about);
}

// What the l-th map is called that a stage is given.
function mapName({ start }, l) {
  return start === 0 && inColour ? CHANNELS[l] : `map ${l}`;
}

// --- the picture ---------------------------------------------------------------------------------

function explainPicture({ c, i, j, x, g }) {
  const [mean, std] = [normalisation.mean[c], normalisation.std[c]];
  const value = x.at(i, j, c);
  const share = Number((value * std + mean).toFixed(6)); // 0 is 0, whatever was rounded on the way
  const what = isDrawn ? "ink" : "light";
  if (g === null)
    return [
      paragraph(
        "The network sees a pixel minus the mean of the training pictures, divided by their " +
          "standard deviation.",
      ),
      equation([`${what}, from 0 to 1`, share], "−", ["mean", mean], "=", [
        "the difference",
        value * std,
      ]),
      equation(["the difference", value * std], "÷", ["standard deviation", std], "=", [
        "what the network sees, x",
        value,
      ]),
    ];
  const slope = g.at(i, j, c);
  return [
    paragraph(
      `With 0.1 more ${what} at this pixel, from 0 to 1, the loss would ` +
        `${slope > 0 ? "rise" : "fall"} by about ${digits(Math.abs((0.1 * slope) / std))}.`,
    ),
    equation(["the gradient, ∂L/∂x", slope], "·", ["change of x: 0.1 ÷ std", 0.1 / std], "=", [
      "change of the loss, about",
      (0.1 * slope) / std,
    ]),
  ];
}

// --- 1×1 convolutions and fully connected layers -------------------------------------------------

function explainPointwise(about) {
  const { stage, c, i, j, x, colours } = about;
  const layer = stage.first;
  const { width } = stage.made;
  const start = (i * width + j) * layer.in;
  const inputs = layer.rows.subarray(start, start + layer.in);
  const weights = layer.weight.subarray(c * layer.in, (c + 1) * layer.in);
  const what =
    layer.kind === "Linear"
      ? `Every output of a fully connected layer has a weight for each of its ${layer.in} inputs.`
      : `A 1×1 convolution looks at one pixel alone, (${i}, ${j}), through all ${layer.in} maps ` +
        `above it. Output map ${c} has a weight for each of these.`;
  return [
    paragraph(what),
    ...sumOfProducts(about, inputs, weights, (l) =>
      layer.kind === "Linear" ? `input ${l}` : mapName(stage, l),
    ),
  ];
}

// --- k×k convolutions ----------------------------------------------------------------------------

function explainWindow(about) {
  const { stage, c, i, j, x, colours } = about;
  const layer = stage.first;
  const [kh, kw] = layer.kernel;
  const channels = x.channels;
  const length = layer.in;
  const { height, width } = stage.made;
  const p = i * width + j;
  const row = layer.rows.subarray(p * length, (p + 1) * length);
  const column = layer.weight.subarray(c * length, (c + 1) * length);
  const name = (l) => {
    const place = Math.floor(l / channels);
    const where = `place (${Math.floor(place / kw)}, ${place % kw})`;
    return channels === 1 ? where : `${mapName(stage, l % channels)}, ${where}`;
  };
  const places = `${kh}×${kw}`;
  const maps =
    stage.start === 0
      ? `the picture${inColour ? " in its three colours" : ""}`
      : `all ${channels} maps above`;
  const parts = [
    paragraph(
      `Pixel (${i}, ${j}) of map ${c} sees ${maps} through a window of ${places} pixels, framed ` +
        `above: ${length} numbers. The filter of map ${c} has as many weights. Places beyond ` +
        "the edge count as 0.",
    ),
  ];
  if (length <= MANY) {
    const limits = [largest(x.values), largest(layer.weight)];
    const each = row.map((v, l) => v * column[l]);
    for (let m = 0; m < channels; m++) {
      const of = channels > 1 ? `, ${mapName(stage, m)}` : "";
      const own = (values) => values.filter((_, l) => l % channels === m);
      parts.push(
        h(
          "div",
          { className: "grids" },
          numbers(`window${of}`, own(row), kw, limits[0], colours.signed),
          h("span", { className: "operator" }, "×"),
          numbers(`filter ${c}${of}`, own(column), kw, limits[1], colours.signed),
          h("span", { className: "operator" }, "="),
          numbers(`products${of}`, own(each), kw, largest(each), colours.signed),
        ),
      );
    }
  } else {
    parts.push(
      h(
        "div",
        { className: "atlases" },
        atlas(
          `the window on each of the ${channels} maps`,
          new Maps(kh, kw, channels, row),
          largest(x.values),
          colours,
        ),
        atlas(
          `filter ${c}, a square for each of these maps`,
          new Maps(kh, kw, channels, column),
          largest(layer.weight),
          colours,
        ),
      ),
    );
  }
  parts.push(
    h("h5", {}, "As a product of matrices"),
    paragraph(
      `Laid out flat, the window is row ${p} of the im2col matrix, which has a row for each of ` +
        `the ${height}·${width} = ${height * width} pixels. The filter, laid out the same way, ` +
        `is column ${c} of the filter matrix, drawn on its side here, so that the numbers that are ` +
        "multiplied stand one under another.",
    ),
    ...sumOfProducts(about, row, column, name, matrix(layer, p, height * width, colours)),
  );
  return parts;
}

// The im2col matrix around a row, which is framed.
function matrix(layer, p, count, colours) {
  const most = 48;
  const first = Math.max(0, Math.min(p - most / 2, count - most));
  const shown = Math.min(most, count);
  const length = layer.in;
  const limit = largest(layer.rows);
  const canvas = h("canvas", { width: length, height: shown });
  paint(
    canvas,
    layer.rows.subarray(first * length, (first + shown) * length),
    limit,
    colours.signed,
  );
  const frame = { top: `${((p - first) / shown) * 100}%`, height: `${100 / shown}%` };
  const name = shown < count ? `im2col, rows ${first}–${first + shown - 1}` : "im2col matrix";
  return [
    h("span", { className: "name" }, name),
    h("div", { className: "matrix" }, canvas, h("span", { className: "row", style: frame })),
  ];
}

// --- what all sums of products share -------------------------------------------------------------

// The products and their sum; or, on the way back, the gradient that arrives and what it becomes.
function sumOfProducts(about, inputs, weights, name, above) {
  const parts = products(about, inputs, weights, name, above);
  const total = sum(about, inputs, weights);
  return about.g === null ? [...parts, total] : [total, ...parts];
}

// Inputs, weights and products under one another; or, on the way back, what the gradient becomes.
// `name(l)` says which is the l-th; `above` are a name and an element to stand over them.
function products({ stage, c, i, j, g, colours }, inputs, weights, name, above = []) {
  const layer = stage.first;
  const limits = { x: largest(layer.rows), w: largest(layer.weight) };
  const times = inputs.map((v, l) => v * weights[l]);
  let [strips, text, ranked] = [null, null, times];
  if (g === null) {
    strips = [
      ["input x", inputs, limits.x],
      ["weight w", weights, limits.w],
      ["x · w", times, largest(times)],
    ];
    text = (l) => `${name(l)}: ${digits(inputs[l])} × ${digits(weights[l])} = ${digits(times[l])}`;
  } else {
    const dz = stage.sumGradient.at(i, j, c);
    const back = weights.map((w) => dz * w);
    const own = inputs.map((v) => dz * v);
    strips = [
      ["weight w", weights, limits.w],
      ["g · w, to x", back, largest(back)],
      ["input x", inputs, limits.x],
      ["g · x, to w", own, largest(own)],
    ];
    text = (l) => `${name(l)}: its input gets ${digits(back[l])}, its weight ${digits(own[l])}`;
    ranked = back;
  }
  const order = [...ranked.keys()].sort((a, b) => Math.abs(ranked[b]) - Math.abs(ranked[a]));
  const largestOne =
    g === null ? `The largest product, ${text(order[0])}` : `Most goes to ${text(order[0])}`;
  const isSilent = ranked[order[0]] === 0;
  const readout = h(
    "p",
    { className: "readout" },
    isSilent && g !== null ? "No gradient goes on from here." : largestOne,
  );
  const drawn = strips.map(([title, values, limit]) => {
    const canvas = h("canvas", { width: values.length, height: 1 });
    paint(canvas, values, limit, colours.signed);
    for (const pointed of ["pointermove", "pointerdown"])
      canvas.addEventListener(pointed, (event) => {
        const l = Math.floor((event.offsetX / canvas.clientWidth) * values.length);
        if (l >= 0 && l < values.length) readout.textContent = text(l);
      });
    return [h("span", { className: "name" }, title), h("div", { className: "strip" }, canvas)];
  });
  const rows = order
    .slice(0, 40)
    .map((l) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, name(l)),
        ...strips.map(([, values]) => h("td", {}, digits(values[l]))),
      ),
    );
  const head = h(
    "tr",
    {},
    ...["", ...strips.map(([title]) => title)].map((title) => h("th", { scope: "col" }, title)),
  );
  const title = order.length > 40 ? "The 40 largest in numbers" : "In numbers, the largest first";
  const table = h(
    "details",
    {},
    h("summary", {}, title),
    h(
      "div",
      { className: "scroll" },
      h("table", {}, h("thead", {}, head), h("tbody", {}, ...rows)),
    ),
  );
  return [h("div", { className: "strips" }, ...above, ...drawn.flat()), readout, table];
}

// The sum, the bias and the ReLU; or, on the way back, whether the ReLU lets the gradient through.
function sum({ stage, c, i, j, g }, inputs, weights) {
  const layer = stage.first;
  const total = inputs.reduce((s, v, l) => s + v * weights[l], 0);
  const z = total + layer.bias[c];
  if (g === null) {
    return equation(
      ["the sum of x · w", total],
      "+",
      ["bias", layer.bias[c]],
      "=",
      [stage.hasReLU ? "z" : "the result", z],
      ...(stage.hasReLU ? ["→", ["ReLU: max(z, 0)", Math.max(z, 0)]] : []),
    );
  }
  const arrived = g.at(i, j, c);
  const passed = stage.sumGradient.at(i, j, c);
  if (!stage.hasReLU) return equation(["the gradient that arrives here, g", arrived]);
  const gate = z > 0 ? "g: the ReLU is open, as z > 0" : "g: the ReLU is closed, as z ≤ 0";
  return equation(["the gradient that arrives here", arrived], "→", [gate, passed]);
}

// --- layers without weights ----------------------------------------------------------------------

function explainReLU({ stage, c, i, j, x, g }) {
  const z = x.at(i, j, c);
  if (g === null) return [equation(["z", z], "→", ["ReLU: max(z, 0)", Math.max(z, 0)])];
  return [
    equation(["the gradient that arrives here", g.at(i, j, c)], "→", [
      z > 0 ? "goes through, as z > 0" : "stops, as z ≤ 0",
      z > 0 ? g.at(i, j, c) : 0,
    ]),
  ];
}

function explainMaximum({ stage, c, i, j, x, g, colours }) {
  const layer = stage.first;
  const [kh, kw] = layer.kernel;
  const values = new Array(kh * kw).fill(null);
  const winner = layer.winner[(i * stage.made.width + j) * x.channels + c];
  let won = 0;
  eachPlace(layer, x, i, j, (place, row, column) => {
    values[place] = x.at(row, column, c);
    if ((row * x.width + column) * x.channels + c === winner) won = place;
  });
  const [row, column] = [
    Math.floor(winner / x.channels / x.width),
    Math.floor(winner / x.channels) % x.width,
  ];
  const equal =
    values.filter((v) => v === values[won]).length > 1 ? " Of equal values the first counts." : "";
  const who = `Pixel (${row}, ${column}) has the largest value of this window of map ${c}.${equal}`;
  if (g === null) {
    return [
      paragraph(`${who} It goes on, and on the way back it takes all of the gradient.`),
      h(
        "div",
        { className: "grids" },
        numbers(
          "window; the largest is framed",
          values,
          kw,
          largest(x.values),
          colours.signed,
          won,
        ),
      ),
    ];
  }
  const arrived = g.at(i, j, c);
  const shares = values.map((v, place) => (v === null ? null : place === won ? arrived : 0));
  return [
    paragraph(
      `${who} So the whole gradient that arrives here, ${digits(arrived)}, is its own, and the ` +
        "others of the window get 0: a little more of them would change nothing.",
    ),
    h(
      "div",
      { className: "grids" },
      numbers("values", values, kw, largest(x.values), colours.signed, won),
      h("span", { className: "operator" }, "→"),
      numbers("gradients", shares, kw, largest(g.values), colours.signed, won),
    ),
  ];
}

function explainMean({ stage, c, i, j, x, g, colours }) {
  const layer = stage.first;
  const y = stage.made;
  const to = (i * y.width + j) * y.channels + c;
  const inside = [];
  let share = 0;
  layer.each((from, into, part) => {
    if (into === to) (inside.push(x.values[from]), (share = part));
  });
  const [left, right] = layer.region(j, 1, x.width);
  const width = right - left;
  if (g === null) {
    return [
      paragraph(
        `The mean of ${inside.length} pixels of map ${c}. It has no weights: nothing is learnt ` +
          "here, and nothing can be overfitted.",
      ),
      h(
        "div",
        { className: "grids" },
        numbers(`map ${c}`, inside, width, largest(x.values), colours.signed),
      ),
      equation(["their sum", inside.reduce((a, b) => a + b, 0)], "÷", ["", 1 / share], "=", [
        "the mean",
        y.at(i, j, c),
      ]),
    ];
  }
  const arrived = g.at(i, j, c);
  return [
    paragraph(
      "Each pixel has the same part in the mean, so each gets the same part of the gradient, " +
        "wherever it lies and whatever its value is.",
    ),
    equation(["the gradient that arrives here", arrived], "÷", ["", 1 / share], "=", [
      "for each pixel",
      arrived * share,
    ]),
  ];
}

// --- their pieces --------------------------------------------------------------------------------

function paragraph(text) {
  return h("p", {}, text);
}

// One row of pixels after another, a number each.
function paint(canvas, values, limit, colours) {
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  const data = new Uint32Array(pixels.data.buffer);
  values.forEach((v, p) => (data[p] = colours[entry(v, limit)]));
  context.putImageData(pixels, 0, 0);
}

// A square of numbers on their colours; null stands for what lies outside. Very many are colours
// alone, and very small ones are shown times a power of ten, which the caption names.
function numbers(caption, values, columns, limit, colours, framed = -1) {
  if (values.length > MANY)
    return atlas(caption, new Maps(values.length / columns, columns, 1, values), limit, {
      signed: colours,
    });
  const isFine = columns > 6;
  const most = largest(Array.from(values).filter((v) => v !== null));
  const power = most < 0.1 ? Math.ceil(-Math.log10(most)) : 0;
  const unit = power ? `, in units of 10${superscript(-power)}` : "";
  const cells = Array.from(values, (v, p) => {
    const style =
      v === null ? {} : { background: css(v, limit, colours), color: onTop(v, limit, colours) };
    return h(
      "span",
      { className: p === framed ? "cell framed" : "cell", style },
      v === null ? "" : short(v * 10 ** power, isFine ? 1 : 2),
    );
  });
  const style = { gridTemplateColumns: `repeat(${columns}, minmax(0, 2.6rem))` };
  return h(
    "figure",
    {},
    h("figcaption", {}, caption + unit),
    h("div", { className: isFine ? "numbers fine" : "numbers", style }, ...cells),
  );
}

function superscript(n) {
  return n < 0 ? `⁻${superscript(-n)}` : [...String(n)].map((d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]).join("");
}

// So many decimals, or fewer for large numbers, so that all are about as wide.
function short(v, decimals) {
  const size = Math.abs(v);
  const text = size.toFixed(Math.max(0, decimals - (size < 10 ? 0 : size < 100 ? 1 : 2)));
  return v < 0 && Number(text) ? `−${text}` : text;
}

// Small maps that only show something.
function atlas(caption, maps, limit, colours) {
  const columns = window.innerWidth < 700 ? 8 : 16;
  const scale = Math.max(1, Math.round((maps.channels > 4 ? 18 : 120) / maps.width));
  const gap = Math.ceil(2 / scale);
  const across = Math.min(columns, maps.channels);
  const down = Math.ceil(maps.channels / across);
  const canvas = h("canvas", {
    width: across * (maps.width + gap) - gap,
    height: down * (maps.height + gap) - gap,
  });
  canvas.style.width = `${canvas.width * scale}px`;
  const context = canvas.getContext("2d");
  for (let c = 0; c < maps.channels; c++) {
    const tile = context.createImageData(maps.width, maps.height);
    const data = new Uint32Array(tile.data.buffer);
    for (let p = 0; p < data.length; p++)
      data[p] = colours.signed[entry(maps.values[p * maps.channels + c], limit)];
    context.putImageData(
      tile,
      (c % across) * (maps.width + gap),
      Math.floor(c / across) * (maps.height + gap),
    );
  }
  return h("figure", {}, h("figcaption", {}, caption), canvas);
}

// Numbers with their names under them, and signs between.
function equation(...parts) {
  return h(
    "div",
    { className: "equation" },
    ...parts.map((part) => {
      if (typeof part === "string") return h("span", { className: "operator" }, part);
      const [name, value] = part;
      const sign = value > 0 ? "positive" : value < 0 ? "negative" : "zero";
      return h(
        "span",
        { className: `term ${sign}` },
        h("b", {}, digits(value)),
        h("small", {}, name),
      );
    }),
  );
}
