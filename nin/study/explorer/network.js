// The network: what each layer computes, and how a gradient comes back through it.
//
// An image, and what a layer makes of it, is a `Maps`: `values` holds the channels of a pixel side
// by side, so that channel c of pixel (i, j) is values[(i * width + j) * channels + c]. A layer
// remembers in forward() what backward() needs. backward() takes the gradient of the loss with
// respect to what the layer made, dy, and returns that of its input.
"use strict";

class Maps {
  constructor(height, width, channels, values) {
    Object.assign(this, { height, width, channels });
    this.values = values ?? new Float32Array(height * width * channels);
  }

  at(i, j, c) {
    return this.values[(i * this.width + j) * this.channels + c];
  }
}

// --- products of matrices, stored row by row -----------------------------------------------------

// What is 0 adds nothing to a product: padding, what a ReLU has cut off, and gradients that it has
// stopped. `nonzero` finds the others in n numbers of an array; the list is filled up with zeros to
// a multiple of four, as four products at a time take less time than one after another.
function nonzero(array, start, n) {
  const where = new Int32Array(n + 3);
  const what = new Float64Array(n + 3);
  let count = 0;
  for (let l = 0; l < n; l++) {
    if (array[start + l] !== 0) {
      where[count] = l;
      what[count++] = array[start + l];
    }
  }
  return [where, what, count];
}

// a (n, k) times the transpose of b (m, k), plus a bias for each of the m columns: (n, m).
function timesTransposed(a, b, n, k, m, bias) {
  const y = new Float32Array(n * m);
  for (let p = 0; p < n; p++) {
    const [where, what, count] = nonzero(a, p * k, k);
    let o = 0;
    for (; o + 4 <= m; o += 4) {
      const b0 = o * k;
      const b1 = b0 + k;
      const b2 = b1 + k;
      const b3 = b2 + k;
      let s0 = bias[o];
      let s1 = bias[o + 1];
      let s2 = bias[o + 2];
      let s3 = bias[o + 3];
      for (let t = 0; t < count; t++) {
        const v = what[t];
        const l = where[t];
        s0 += v * b[b0 + l];
        s1 += v * b[b1 + l];
        s2 += v * b[b2 + l];
        s3 += v * b[b3 + l];
      }
      y.set([s0, s1, s2, s3], p * m + o);
    }
    for (; o < m; o++) {
      let sum = bias[o];
      for (let t = 0; t < count; t++) sum += what[t] * b[o * k + where[t]];
      y[p * m + o] = sum;
    }
  }
  return y;
}

// a (n, m) times b (m, k): (n, k).
function times(a, b, n, m, k) {
  const y = new Float32Array(n * k);
  for (let p = 0; p < n; p++) addRows(a, p * m, m, b, k, y, p * k);
  return y;
}

// Adds to a row of y the m rows of b, each times its number in a.
function addRows(a, start, m, b, k, y, to) {
  const [where, what, count] = nonzero(a, start, m);
  for (let t = 0; t < count; t += 4) {
    const v0 = what[t];
    const v1 = what[t + 1];
    const v2 = what[t + 2];
    const v3 = what[t + 3];
    const b0 = where[t] * k;
    const b1 = where[t + 1] * k;
    const b2 = where[t + 2] * k;
    const b3 = where[t + 3] * k;
    for (let l = 0; l < k; l++) {
      y[to + l] += v0 * b[b0 + l] + v1 * b[b1 + l] + v2 * b[b2 + l] + v3 * b[b3 + l];
    }
  }
}

// The transpose of a (n, m) times b (n, k), added up over the n rows: (m, k).
function transposedTimes(a, b, n, m, k) {
  const columns = new Float32Array(n * m); // a on its side
  for (let p = 0; p < a.length; p++) columns[(p % m) * n + Math.floor(p / m)] = a[p];
  return times(columns, b, m, n, k);
}

// --- layers with weights -------------------------------------------------------------------------

// y = x · weightᵀ + bias, for every row of the matrix x. A convolution is this, too: the rows are
// then the windows of the image. `weight` (out, in) and `bias` (out) are parts of the parameters,
// and dWeight and dBias, of the same form, are their gradients. Without a bias, it is and stays 0.
class Affine {
  get size() {
    return this.out * (this.in + (this.hasBias ? 1 : 0));
  }

  multiply(rows, n) {
    this.rows = rows; // (n, in)
    this.n = n;
    return timesTransposed(rows, this.weight, n, this.in, this.out, this.bias);
  }

  // The gradient of the rows.
  multiplyBack(dy) {
    this.dy = dy; // (n, out)
    return times(dy, this.weight, this.n, this.out, this.in);
  }

  // Those of the parameters, which are sums over all rows.
  findGradients() {
    this.dWeight.set(transposedTimes(this.dy, this.rows, this.n, this.out, this.in));
    this.dBias.fill(0);
    if (this.hasBias) this.dy.forEach((g, p) => (this.dBias[p % this.out] += g));
  }
}

class Linear extends Affine {
  forward(x) {
    return new Maps(1, 1, this.out, this.multiply(x.values, 1));
  }

  backward(dy) {
    return new Maps(1, 1, this.in, this.multiplyBack(dy.values));
  }
}

// A convolution as a matrix product: each window of the image is laid out as a row (im2col).
class Conv2d extends Affine {
  // Whether the pixels are the rows already, so that nothing is to be laid out.
  get isPointwise() {
    const { kernel, stride, padding } = this;
    return [...kernel, ...stride].every((n) => n === 1) && padding.every((n) => n === 0);
  }

  forward(x) {
    this.x = x;
    const [, height, width] = this.output;
    const rows = this.isPointwise ? x.values : im2col(x, this);
    return new Maps(height, width, this.out, this.multiply(rows, height * width));
  }

  backward(dy) {
    const dRows = this.multiplyBack(dy.values);
    const { height, width, channels } = this.x;
    if (this.isPointwise) return new Maps(height, width, channels, dRows);
    return col2im(dRows, this, new Maps(height, width, channels));
  }
}

// For each place of the window, the pixel of the image that stands there for output pixel (i, j):
// visit(place, row, column), with places 0 … kh·kw - 1. Places on the padding are left out.
function eachPlace(layer, image, i, j, visit) {
  const { kernel, stride, dilation, padding } = layer;
  const [kh, kw] = kernel;
  for (let u = 0; u < kh; u++) {
    const row = i * stride[0] - padding[0] + u * dilation[0];
    if (row < 0 || row >= image.height) continue;
    for (let v = 0; v < kw; v++) {
      const column = j * stride[1] - padding[1] + v * dilation[1];
      if (column >= 0 && column < image.width) visit(u * kw + v, row, column);
    }
  }
}

// The windows of x as rows (H'·W', kh·kw·C), the channels of a place side by side; padding is 0.
function im2col(x, layer) {
  const [, height, width] = layer.output;
  const length = layer.in;
  const c = x.channels;
  const rows = new Float32Array(height * width * length);
  for (let p = 0; p < height * width; p++) {
    eachPlace(layer, x, Math.floor(p / width), p % width, (place, row, column) => {
      const from = (row * x.width + column) * c;
      const to = p * length + place * c;
      for (let l = 0; l < c; l++) rows[to + l] = x.values[from + l];
    });
  }
  return rows;
}

// The transpose of im2col: what stands in the rows is added up on the pixels that it came from.
function col2im(rows, layer, dx) {
  const [, height, width] = layer.output;
  const length = layer.in;
  const c = dx.channels;
  for (let p = 0; p < height * width; p++) {
    eachPlace(layer, dx, Math.floor(p / width), p % width, (place, row, column) => {
      const to = (row * dx.width + column) * c;
      const from = p * length + place * c;
      for (let l = 0; l < c; l++) dx.values[to + l] += rows[from + l];
    });
  }
  return dx;
}

// --- layers without weights ----------------------------------------------------------------------

class ReLU {
  forward(x) {
    this.x = x;
    const y = x.values.map((v) => Math.max(v, 0));
    return new Maps(x.height, x.width, x.channels, y);
  }

  // The gradient goes through where the value did.
  backward(dy) {
    const { height, width, channels, values } = this.x;
    const dx = dy.values.map((g, p) => (values[p] > 0 ? g : 0));
    return new Maps(height, width, channels, dx);
  }
}

// The first of equal maxima wins.
class MaxPool2d {
  forward(x) {
    this.x = x;
    const [channels, height, width] = this.output;
    const y = new Maps(height, width, channels);
    y.values.fill(-Infinity);
    this.winner = new Int32Array(y.values.length); // for each output, where in x its maximum stood
    for (let i = 0; i < height; i++) {
      for (let j = 0; j < width; j++) {
        const to = (i * width + j) * channels;
        eachPlace(this, x, i, j, (place, row, column) => {
          const from = (row * x.width + column) * channels;
          for (let c = 0; c < channels; c++) {
            if (x.values[from + c] > y.values[to + c]) {
              y.values[to + c] = x.values[from + c];
              this.winner[to + c] = from + c;
            }
          }
        });
      }
    }
    return y;
  }

  // The winner takes all of the gradient.
  backward(dy) {
    const dx = new Maps(this.x.height, this.x.width, this.x.channels);
    dy.values.forEach((g, p) => (dx.values[this.winner[p]] += g));
    return dx;
  }
}

// The mean of each region of a grid of regions; a subclass says where these begin and end, along
// an axis, and how many elements each counts for: [first, one after the last, count].
class AveragePool {
  forward(x) {
    this.x = x;
    const [channels, height, width] = this.output;
    const y = new Maps(height, width, channels);
    this.each((from, to, share) => (y.values[to] += share * x.values[from]));
    return y;
  }

  // The gradient is shared out evenly.
  backward(dy) {
    const dx = new Maps(this.x.height, this.x.width, this.x.channels);
    this.each((from, to, share) => (dx.values[from] += share * dy.values[to]));
    return dx;
  }

  // For all elements that go into a mean: which element, into which mean, with which factor.
  each(visit) {
    const [channels, height, width] = this.output;
    const x = this.x;
    for (let i = 0; i < height; i++) {
      const [top, bottom, rows] = this.region(i, 0, x.height);
      for (let j = 0; j < width; j++) {
        const [left, right, columns] = this.region(j, 1, x.width);
        const share = 1 / (this.divisor ?? rows * columns);
        for (let row = top; row < bottom; row++) {
          for (let column = left; column < right; column++) {
            const from = (row * x.width + column) * channels;
            const to = (i * width + j) * channels;
            for (let c = 0; c < channels; c++) visit(from + c, to + c, share);
          }
        }
      }
    }
  }
}

class AvgPool2d extends AveragePool {
  region(i, axis, length) {
    const pad = this.padding[axis];
    const start = i * this.stride[axis] - pad;
    const end = start + this.kernel[axis];
    const first = Math.max(start, 0);
    const last = Math.min(end, length);
    return [first, last, this.countPadding ? Math.min(end, length + pad) - start : last - first];
  }
}

class AdaptiveAvgPool2d extends AveragePool {
  region(i, axis, length) {
    const count = this.output[1 + axis];
    const first = Math.floor((i * length) / count);
    const last = Math.ceil(((i + 1) * length) / count);
    return [first, last, last - first];
  }
}

// The maps one after another in a single row, as a Linear layer takes them.
class Flatten {
  forward(x) {
    this.x = x;
    const y = new Maps(1, 1, x.values.length);
    this.each((from, to) => (y.values[to] = x.values[from]));
    return y;
  }

  backward(dy) {
    const dx = new Maps(this.x.height, this.x.width, this.x.channels);
    this.each((from, to) => (dx.values[from] = dy.values[to]));
    return dx;
  }

  each(visit) {
    const { height, width, channels } = this.x;
    for (let p = 0; p < height * width; p++) {
      for (let c = 0; c < channels; c++) visit(p * channels + c, c * height * width + p);
    }
  }
}

const LAYERS = { Conv2d, Linear, ReLU, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, Flatten };

// --- the whole network ---------------------------------------------------------------------------

class Network {
  // `layers` are records of the layers' settings in order, and `parameters` one array of all
  // weights and biases, layer after layer.
  constructor(layers, parameters) {
    this.initial = parameters;
    this.parameters = parameters.slice();
    this.gradient = new Float32Array(parameters.length);
    let start = 0;
    this.layers = layers.map((record) => {
      const layer = Object.assign(new LAYERS[record.kind](), record);
      if (layer instanceof Affine) {
        const middle = start + layer.out * layer.in;
        const end = middle + layer.out;
        layer.weight = this.parameters.subarray(start, middle);
        layer.bias = this.parameters.subarray(middle, end);
        layer.dWeight = this.gradient.subarray(start, middle);
        layer.dBias = this.gradient.subarray(middle, end);
        start = end;
      }
      return layer;
    });
  }

  // What each layer makes of an image; the last are the logits, a number for each class.
  forward(image) {
    this.image = image;
    this.outputs = [];
    for (const layer of this.layers) this.outputs.push(layer.forward(this.outputs.at(-1) ?? image));
    this.logits = this.outputs.at(-1).values;
    this.probabilities = softmax(this.logits);
  }

  // The cross-entropy of the image last seen, if `label` is right: -ln of its probability, in nats.
  loss(label) {
    const largest = Math.max(...this.logits);
    const sum = this.logits.reduce((s, z) => s + Math.exp(z - largest), 0);
    return Math.log(sum) + largest - this.logits[label];
  }

  // The gradients of that loss: `gradients` of what each layer made, and `imageGradient` of the
  // image. The first is that of the logits: the probabilities, less 1 at the label.
  backward(label) {
    let g = new Maps(1, 1, this.logits.length, this.probabilities.slice());
    g.values[label] -= 1;
    this.gradients = [];
    for (const layer of this.layers.toReversed()) {
      this.gradients.unshift(g);
      g = layer.backward(g);
    }
    this.imageGradient = g;
  }

  // And `gradient`, that of all parameters.
  findGradients() {
    for (const layer of this.layers) if (layer instanceof Affine) layer.findGradients();
  }

  // A step of gradient descent: every parameter a little against its gradient.
  step(rate) {
    for (let p = 0; p < this.parameters.length; p++) {
      this.parameters[p] -= rate * this.gradient[p];
    }
  }

  // Take all steps back.
  reset() {
    this.parameters.set(this.initial);
  }
}

function softmax(logits) {
  const largest = Math.max(...logits); // taken away first, so that no exponential overflows
  const powers = logits.map((z) => Math.exp(z - largest));
  const sum = powers.reduce((s, e) => s + e, 0);
  return powers.map((e) => e / sum);
}
