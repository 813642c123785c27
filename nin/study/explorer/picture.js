// Pictures before the network sees them: grey, 0 for the background and 255 for the most ink, as
// the network's training pictures were. `values` holds such numbers row by row.
"use strict";

class Grey {
  constructor(width, height, values) {
    Object.assign(this, { width, height, values: values ?? new Float64Array(width * height) });
  }

  // A stroke from (x0, y0) to (x1, y1), in pixels, as wide as a brush of this radius; ink 0 erases.
  // A pixel at the brush's edge is covered in part.
  stroke(x0, y0, x1, y1, radius, ink) {
    const dx = x1 - x0;
    const dy = y1 - y0;
    const length = dx * dx + dy * dy;
    for (let i = 0; i < this.height; i++) {
      for (let j = 0; j < this.width; j++) {
        const px = j + 0.5 - x0;
        const py = i + 0.5 - y0;
        const along = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
        const distance = Math.hypot(px - along * dx, py - along * dy);
        const cover = Math.min(1, Math.max(0, radius + 0.5 - distance));
        const p = i * this.width + j;
        const target = cover * ink;
        if (ink) this.values[p] = Math.max(this.values[p], target);
        else this.values[p] *= 1 - cover;
      }
    }
  }
}

// The matrix (target, source) of bilinear interpolation, as minicnn's Resize and Pillow have it:
// output pixel i looks at the place (i + ½) · source / target - ½ and mixes its neighbours by their
// distance; when shrinking, its reach is longer by that factor, so that no pixel is passed over.
function resizeMatrix(source, target) {
  const scale = source / target;
  const reach = Math.max(scale, 1);
  return Array.from({ length: target }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const row = Array.from({ length: source }, (_, j) => {
      return Math.max(0, 1 - Math.abs(j + 0.5 - centre) / reach);
    });
    const sum = row.reduce((a, b) => a + b, 0);
    return row.map((weight) => weight / sum);
  });
}

function resize(grey, width, height) {
  const across = resizeMatrix(grey.width, width);
  const down = resizeMatrix(grey.height, height);
  const narrow = new Grey(width, grey.height);
  const result = new Grey(width, height);
  for (let i = 0; i < grey.height; i++) {
    across.forEach((row, j) => {
      let sum = 0;
      row.forEach((weight, k) => weight && (sum += weight * grey.values[i * grey.width + k]));
      narrow.values[i * width + j] = sum;
    });
  }
  down.forEach((column, i) => {
    column.forEach((weight, k) => {
      if (!weight) return;
      for (let j = 0; j < width; j++)
        result.values[i * width + j] += weight * narrow.values[k * width + j];
    });
  });
  return result;
}

// Brightness (ITU-R 601) of the pixels of an ImageData; what is transparent is white. Squares of
// `factor` pixels a side become one.
function brightness({ width, height, data }, factor = 1) {
  const grey = new Grey(Math.ceil(width / factor), Math.ceil(height / factor));
  const counts = new Uint32Array(grey.values.length);
  for (let p = 0; p < width * height; p++) {
    const [r, g, b, a] = data.subarray(4 * p, 4 * p + 4);
    const light = Math.round(0.299 * r + 0.587 * g + 0.114 * b);
    const i = Math.floor(p / width / factor);
    const j = Math.floor((p % width) / factor);
    grey.values[i * grey.width + j] += Math.round((light * a + 255 * (255 - a)) / 255);
    counts[i * grey.width + j]++;
  }
  grey.values = grey.values.map((sum, p) => Math.round(sum / counts[p]));
  return grey;
}

// A half goes to the even neighbour, as in Python.
function round(v) {
  const up = Math.round(v);
  return up - v === 0.5 && up % 2 ? up - 1 : up;
}

// Anybody's picture, made into one like the training pictures, as `python -m nin.predict` does it:
// trimmed, made as large as fits into a frame, put into its middle, and negated where something
// dark lies on a light background. The background is what its edge shows. Throws an Error for a
// picture of one colour.
function prepare(grey, frame) {
  const { width, height, values } = grey;
  const edge = [];
  for (let j = 0; j < width; j++) edge.push(values[j], values[(height - 1) * width + j]);
  for (let i = 0; i < height; i++) edge.push(values[i * width], values[(i + 1) * width - 1]);
  edge.sort((a, b) => a - b);
  const half = edge.length / 2; // a whole number, as there are two of each
  const background = (edge[half - 1] + edge[half]) / 2;
  if (width === frame.width && height === frame.height && background === 0) return grey;

  let ink = values.map((v) => Math.abs(v - background));
  if (background > 127 && values.some((v) => v < background)) {
    ink = values.map((v) => Math.max(0, background - v)); // on paper: only what is darker
  }
  const most = ink.reduce((a, b) => Math.max(a, b), 0);
  if (most < 1) throw new Error("This picture shows nothing: all of it has one colour.");
  const seen = (i, j) => ink[i * width + j] > 0.1 * most; // what is fainter is background, too
  const indices = (n) => Array.from({ length: n }, (_, i) => i);
  const rows = indices(height).filter((i) => indices(width).some((j) => seen(i, j)));
  const columns = indices(width).filter((j) => indices(height).some((i) => seen(i, j)));
  const [top, left] = [rows[0], columns[0]];
  const trimmed = new Grey(columns.at(-1) + 1 - left, rows.at(-1) + 1 - top);
  trimmed.values = trimmed.values.map((_, p) => {
    const i = top + Math.floor(p / trimmed.width);
    const j = left + (p % trimmed.width);
    return Math.round((ink[i * width + j] * 255) / most);
  });

  const scale = Math.min(frame.width / trimmed.width, frame.height / trimmed.height);
  const [w, h] = [trimmed.width, trimmed.height].map((n) => Math.max(1, round(n * scale)));
  const small = resize(trimmed, w, h);
  const result = new Grey(frame.width, frame.height);
  const [x, y] = [Math.floor((frame.width - w) / 2), Math.floor((frame.height - h) / 2)];
  small.values.forEach((v, p) => {
    result.values[(y + Math.floor(p / w)) * frame.width + x + (p % w)] = Math.round(v);
  });
  return result;
}

// A file that a person has chosen, larger ones made smaller first. Throws an Error for a file that
// the browser can't read as a picture, and for a picture that is too large for it.
async function decode(file) {
  let image;
  try {
    image = await createImageBitmap(file); // the right way up, as EXIF says
  } catch {
    throw new Error(`${file.name} is not a picture that this browser can read.`);
  }
  const { width, height } = image;
  if (width * height > 1 << 26)
    throw new Error(`${file.name} is too large: ${width}×${height} pixels.`);
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(image, 0, 0);
  const factor = Math.max(1, Math.floor(Math.max(width, height) / 1024));
  return brightness(context.getImageData(0, 0, width, height), factor);
}

// What the network is given: 0 … 1, resized if it takes another size, (x - mean) / std.
function normalised(grey, { size, mean, std }) {
  const image = new Maps(size, size, 1);
  const values = (size === grey.width && size === grey.height ? grey : resize(grey, size, size))
    .values;
  values.forEach((v, p) => (image.values[p] = (v / 255 - mean) / std));
  return image;
}
