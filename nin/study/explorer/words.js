// What is said about layers: their names, what is to be seen in their values, and what becomes of a
// gradient on its way through.
"use strict";

const by = (sizes) => (sizes[0] === sizes[1] ? `${sizes[0]}×${sizes[0]}` : sizes.join("×"));
const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
const counted = (n) => n.toLocaleString("en");
const percent = (p) => `${(100 * p).toFixed(p < 0.0995 ? 1 : 0)}%`;
const isGlobal = (layer) => layer.output[1] * layer.output[2] === 1;

// By kind of layer: its title, its name in the strip, and the captions in the view of values and in
// that of gradients.
const WORDS = {
  Conv2d: {
    title: (layer) => {
      const [down, across] = layer.stride;
      const stride = down === across ? down : `${down} and ${across}`;
      return `${by(layer.kernel)} convolution${stride === 1 ? "" : `, stride ${stride}`}`;
    },
    short: (layer) => by(layer.kernel),
    values: (layer, from) =>
      layer.isPointwise
        ? `Nothing slides here. Each new map is a weighted sum of ${from}, pixel by pixel, with ` +
          "the same weights at every pixel: a fully connected layer at each of them."
        : `${plural(layer.out, "filter")} slide over ${from}. Each multiplies the numbers in its ` +
          `window of ${by(layer.kernel)} pixels by its ${layer.in} weights and adds them up; the ` +
          "sums are its map.",
    gradients: (layer) =>
      layer.isPointwise
        ? "A gradient stays at its pixel, and goes back to all maps above through the same " +
          "weights. Click a pixel to see how it is shared out."
        : `A pixel's gradient goes back to the whole window of ${by(layer.kernel)} pixels that it ` +
          "was computed from, to each through its weight; where windows overlap, gradients add up.",
  },
  Linear: {
    title: () => "Fully connected layer",
    short: () => "linear",
    values: (layer) =>
      `Each of the ${plural(layer.out, "number")} is a weighted sum of all ${layer.in} above.`,
    gradients: () => "Each gradient goes back to all inputs, to each by its weight.",
  },
  ReLU: {
    title: () => "ReLU",
    short: () => "ReLU",
    values: () => "Negative values become 0.",
    gradients: () => "A gradient goes through where the value was positive, and stops elsewhere.",
  },
  MaxPool2d: {
    title: (layer) => `Maximum of ${by(layer.kernel)} windows`,
    short: () => "max",
    values: () =>
      "Of each window only the largest value goes on. The maps become smaller, and it matters " +
      "less where exactly something was.",
    gradients: () =>
      "The largest value of each window takes the whole gradient, so most pixels of the maps " +
      "above get none.",
  },
  AvgPool2d: {
    title: (layer) => `Mean of ${by(layer.kernel)} windows`,
    short: () => "mean",
    values: () => "Of each window the mean goes on.",
    gradients: () => "The gradient is shared out evenly over the window.",
  },
  AdaptiveAvgPool2d: {
    title: (layer) => (isGlobal(layer) ? "Global average pooling" : "Average pooling"),
    short: () => "mean",
    values: (layer) =>
      isGlobal(layer)
        ? "The mean of each map is a single number. It has no weights, so each class has to draw " +
          "a map of where it sees itself."
        : "The mean of each region of a map.",
    gradients: (layer) =>
      isGlobal(layer)
        ? "Each mean hands its gradient to all pixels of its map, the same to each."
        : "The gradient is shared out evenly over each region.",
  },
};

function title(stage) {
  const name = WORDS[stage.first.kind].title(stage.first) + (stage.hasReLU ? ", ReLU" : "");
  return stage.drawsClasses ? `${name}: the class maps` : name;
}

// The captions in both views.
function captions(stage) {
  const { first, start } = stage;
  const from = start
    ? `the ${plural(network.layers[start - 1].output[0], "map")} above`
    : `the picture${inColour ? "'s red, green and blue" : ""}`;
  const relu = stage.hasReLU ? " Negative values become 0 (ReLU)." : "";
  const words = WORDS[first.kind];
  const classes = stage.drawsClasses ? `${CLASS_MAPS} ` : "";
  return {
    values: classes + words.values(first, from) + relu,
    gradients: words.gradients(first),
  };
}

const CLASS_MAPS =
  "There is a map for each class: blue where the network sees signs of that class, red where it " +
  "sees signs against it. The number under a map is its mean.";

const CHANNELS = inColour ? ["red", "green", "blue"] : ["the picture"];

function aboutPicture({ mean, std }) {
  const exact = inColour
    ? mean.map((m, c) => `${m} and ${std[c]}`).join(", ")
    : `${mean[0]} and ${std[0]}`;
  const same = mean.every((m) => m === 0) && std.every((s) => s === 1);
  const less = ` minus the mean of the training pictures, divided by their deviation (${exact}).`;
  const most = isDrawn ? "ink" : "light";
  return {
    values:
      `The picture as numbers: from 0 to 1 for the most ${most}` +
      (inColour ? ", in red, green and blue" : "") +
      (same ? "." : `,${less}`),
    gradients:
      "The gradient has come back to the picture itself: where it is blue, more " +
      `${inColour ? "of that colour" : most} would raise the loss, and where it is red, lower it.`,
  };
}

const BLOCK =
  "A convolution that looks at a pixel's surroundings, then 1×1 convolutions, which are a small " +
  "network at every pixel: the network in the network (Lin, Chen and Yan 2013).";

const TRY = [
  "Draw a line across the picture, and watch the maps of each layer: which of them notice?",
  "Click a pixel of two convolutions, a 1×1 and a larger one: how many numbers does each see?",
  "Switch to the gradients, pick a label that is wrong, and look at the picture's own gradient " +
    `here: it says which pixels to ${isDrawn ? "paint, and which to erase" : "change, and how"}.`,
  "Press Step until the network believes the wrong label. How many steps does it take?",
];

function aboutDead(dead, maps) {
  if (!dead) return `None of the ${maps} maps after a ReLU is dead for this picture.`;
  return (
    `${dead} of ${maps} maps after a ReLU are dead for this picture: they are 0 everywhere ` +
    "(hatched), and no gradient comes back through them."
  );
}

function aboutSteps(steps) {
  return (
    `The weights are those after ${plural(steps, "step")}, and no longer the trained ones. Reset ` +
    "brings these back."
  );
}

function aboutStep(before, after, rate, norm) {
  const fell = after <= before;
  const change = `${fell ? "fell" : "rose"} from ${digits(before)} to ${digits(after)}`;
  const why = fell
    ? `All weights moved against their gradients, by ${digits(rate * norm)} in all: ` +
      `${digits(rate)} times the gradient's norm, ${digits(norm)}.`
    : "The step was too long: the gradient says what the loss does near by, and not so far away. " +
      "Reset, and try a smaller rate.";
  return `The loss of this picture ${change}. ${why}`;
}
