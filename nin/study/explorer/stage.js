// What is shown as one: a layer, and a ReLU that follows its sums.
"use strict";

// `start` and `end` are its places among the network's layers.
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

  // Whether its maps, or numbers, are the classes': from here on there are no weights.
  get hasClasses() {
    const rest = network.layers.slice(this.end + 1);
    const isLast = !rest.some((layer) => layer instanceof Affine);
    return isLast && this.first.output[0] === kind.classes.length;
  }

  // Whether it makes the classes' maps.
  get drawsClasses() {
    return this.hasClasses && this.first.kind === "Conv2d";
  }

  // Whether it is the convolution that looks around, of those of a block.
  get beginsMlpconv() {
    const next = network.layers[this.end + 1];
    return this.first.kind === "Conv2d" && !this.first.isPointwise && Boolean(next?.isPointwise);
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

  // What of its input pixel (i, j) of map c has seen, on every map or on `only` one.
  window(c, i, j) {
    const { first, x } = this;
    const only = first instanceof Affine ? undefined : c;
    if (first.kind === "Linear") return { top: 0, left: 0, height: x.height, width: x.width, only };
    if (first.kind === "ReLU") return { top: i, left: j, height: 1, width: 1, only };
    const [top, bottom] = first.region ? first.region(i, 0, x.height) : span(first, 0, i, x.height);
    const [left, right] = first.region ? first.region(j, 1, x.width) : span(first, 1, j, x.width);
    return { top, left, height: bottom - top, width: right - left, only };
  }
}

// From where to where a window reaches along an axis, in the image.
function span({ kernel, stride, dilation, padding }, axis, i, length) {
  const start = i * stride[axis] - padding[axis];
  const end = start + (kernel[axis] - 1) * dilation[axis] + 1;
  return [Math.max(start, 0), Math.min(end, length)];
}

// The network's layers as stages, but for Flatten, which only counts differently.
function stages() {
  const found = [];
  network.layers.forEach((layer, place) => {
    const last = found.at(-1);
    const follows = last?.end === place - 1 && last.first instanceof Affine;
    const block = layer.path.includes(".") ? layer.path.split(".")[0] : null;
    if (layer.kind === "ReLU" && follows) last.end = place;
    else if (layer.kind !== "Flatten") found.push(new Stage(place, block));
  });
  return found;
}
