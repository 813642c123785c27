// One colour code for all numbers: blue above 0, red below, and the colour of the paper for 0.
"use strict";

// From 0 to the largest, by theme. Light: ColorBrewer's RdBu, as in the project's other figures.
const STOPS = {
  light: {
    paper: [255, 255, 255],
    positive: [
      [146, 197, 222],
      [67, 147, 195],
      [33, 102, 172],
      [5, 48, 97],
    ],
    negative: [
      [244, 165, 130],
      [214, 96, 77],
      [178, 24, 43],
      [103, 0, 31],
    ],
    ink: [[23, 28, 36]],
  },
  dark: {
    paper: [17, 21, 28],
    positive: [
      [27, 66, 104],
      [44, 116, 176],
      [100, 171, 226],
      [196, 227, 255],
    ],
    negative: [
      [98, 38, 36],
      [176, 66, 56],
      [233, 124, 103],
      [255, 214, 199],
    ],
    ink: [[240, 243, 248]],
  },
};
const STEPS = 255;

// The colour `share` of the way along stops that are equally far from one another.
function mix(stops, share) {
  const place = share * (stops.length - 1);
  const first = Math.min(Math.floor(place), stops.length - 2);
  return stops[first].map((v, k) => Math.round(v + (place - first) * (stops[first + 1][k] - v)));
}

// Colours as canvases store them, for numbers from -1 to 1: entry STEPS + n stands for n / STEPS.
function palette(theme) {
  const { paper, positive, negative, ink } = STOPS[theme];
  const table = (up, down) => {
    const colours = new Uint32Array(2 * STEPS + 1);
    for (let n = -STEPS; n <= STEPS; n++) {
      const [r, g, b] = mix([paper, ...(n < 0 ? down : up)], Math.abs(n) / STEPS);
      colours[STEPS + n] = (255 << 24) | (b << 16) | (g << 8) | r;
    }
    return colours;
  };
  return { signed: table(positive, negative), ink: table(ink, ink) };
}

// A picture's pixels as canvases store them: colours, shades of grey, or ink on the page's paper.
function pixelColours({ channels, values }, ink) {
  const pixels = new Uint32Array(values.length / channels);
  for (let p = 0; p < pixels.length; p++) {
    const from = p * channels;
    const [r, g, b] = [0, channels >> 1, channels - 1].map((c) => Math.round(values[from + c]));
    pixels[p] = isDrawn ? ink[entry(r, 255)] : (255 << 24) | (b << 16) | (g << 8) | r;
  }
  return pixels;
}

function paintPicture(canvas, picture) {
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  new Uint32Array(pixels.data.buffer).set(pixelColours(picture, state.colours.ink));
  context.putImageData(pixels, 0, 0);
}

function entry(value, limit) {
  return STEPS + Math.round(Math.max(-1, Math.min(1, value / limit)) * STEPS);
}

// The same colour for a style sheet, and one that can be read on it.
function css(value, limit, colours) {
  const rgb = colours[entry(value, limit)];
  return `rgb(${rgb & 255} ${(rgb >> 8) & 255} ${(rgb >> 16) & 255})`;
}

function onTop(value, limit, colours) {
  const rgb = colours[entry(value, limit)];
  const [r, g, b] = [rgb, rgb >> 8, rgb >> 16].map((v) => ((v & 255) / 255) ** 2.2);
  const luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return luminance > 0.179 ? "#000000" : "#ffffff"; // whichever has the larger contrast (WCAG 2)
}

// The value at which colours are strongest: the largest without its sign, so that all can be told.
function largest(values) {
  let most = 0;
  for (const v of values) if (Math.abs(v) > most) most = Math.abs(v);
  return most || 1;
}

// A number in three digits, with a minus sign that is as wide as a plus.
function digits(value, n = 3) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text =
    size >= 1e-3 && size < 1e5
      ? Number(size.toPrecision(n)).toString()
      : size.toExponential(1).replace("e-", "e−").replace("e+", "e");
  return (value < 0 ? "−" : "") + text;
}
