// Pictures before the network sees them: bytes from 0 to 255, as the data set's own are.
//
// `values` holds the channels of a pixel side by side, one for grey and three for colours. Clothes,
// digits and letters are light on dark, so that 0 is their paper and 255 the most ink.
"use strict";

class Picture {
  constructor(width, height, channels, values) {
    Object.assign(this, { width, height, channels });
    this.values = values ?? new Float64Array(width * height * channels);
  }
}

// How much of each pixel a stroke covers, 0 … 1: one of a brush of this radius, whose segments are
// added one after another. What they cover twice is covered no more than once.
class Stroke {
  constructor(picture, colour, radius) {
    Object.assign(this, { picture, colour, radius });
    this.before = picture.values.slice();
    this.cover = new Float64Array(picture.width * picture.height);
  }

  // A segment from (x0, y0) to (x1, y1), in pixels. A pixel at the brush's edge is covered in part.
  add(x0, y0, x1, y1) {
    const { picture, colour, radius, before, cover } = this;
    const { width, height, channels, values } = picture;
    const [dx, dy] = [x1 - x0, y1 - y0];
    const length = dx * dx + dy * dy;
    const reach = radius + 1;
    const first = (a, b) => Math.max(0, Math.floor(Math.min(a, b) - reach));
    const last = (a, b, n) => Math.min(n - 1, Math.ceil(Math.max(a, b) + reach));
    for (let i = first(y0, y1); i <= last(y0, y1, height); i++) {
      for (let j = first(x0, x1); j <= last(x0, x1, width); j++) {
        const px = j + 0.5 - x0;
        const py = i + 0.5 - y0;
        const along = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
        const distance = Math.hypot(px - along * dx, py - along * dy);
        const p = i * width + j;
        cover[p] = Math.max(cover[p], Math.min(1, Math.max(0, radius + 0.5 - distance)));
        for (let c = 0; c < channels; c++) {
          const was = before[p * channels + c];
          values[p * channels + c] = was + cover[p] * (colour[c] - was);
        }
      }
    }
  }
}

// --- another size --------------------------------------------------------------------------------

// The matrix (target, source) of bilinear interpolation, as minicnn's Resize and Pillow have it:
// output pixel i looks at the place (i + ½) · length / target - ½ of the `length` pixels from `start`
// on, and mixes its neighbours by their distance; when shrinking, its reach is longer by that
// factor, so that no pixel is passed over.
function resizeMatrix(source, target, start = 0, length = source) {
  const scale = length / target;
  const reach = Math.max(scale, 1);
  return Array.from({ length: target }, (_, i) => {
    const centre = start + (i + 0.5) * scale;
    const row = Array.from({ length: source }, (_, j) => {
      return Math.max(0, 1 - Math.abs(j + 0.5 - centre) / reach);
    });
    const sum = row.reduce((a, b) => a + b, 0);
    return row.map((weight) => weight / sum);
  });
}

// A picture of another size: of the part from (left, top) on that is w by h pixels large, if given.
function resize(picture, width, height, [left, top, w, h] = [0, 0, picture.width, picture.height]) {
  const c = picture.channels;
  const narrow = new Picture(width, picture.height, c);
  const result = new Picture(width, height, c);
  resizeMatrix(picture.width, width, left, w).forEach((row, j) => {
    row.forEach((weight, k) => {
      if (!weight) return;
      for (let i = 0; i < picture.height; i++)
        for (let l = 0; l < c; l++)
          narrow.values[(i * width + j) * c + l] +=
            weight * picture.values[(i * picture.width + k) * c + l];
    });
  });
  resizeMatrix(picture.height, height, top, h).forEach((row, i) => {
    row.forEach((weight, k) => {
      if (!weight) return;
      for (let p = 0; p < width * c; p++)
        result.values[i * width * c + p] += weight * narrow.values[k * width * c + p];
    });
  });
  return result;
}

// What the network is given: 0 … 1, resized if it takes another size, (x - mean) / std.
function normalised(picture, { size, mean, std }) {
  const [height, width] = size;
  const { channels } = picture;
  const same = width === picture.width && height === picture.height;
  const { values } = same ? picture : resize(picture, width, height);
  const image = new Maps(height, width, channels);
  values.forEach((v, p) => {
    image.values[p] = (v / 255 - mean[p % channels]) / std[p % channels];
  });
  return image;
}

// --- a file that a person has chosen -------------------------------------------------------------

const MOST = 1 << 26; // pixels, as in nin.predict

// The picture in a file, in so many channels; larger ones are made smaller first, as squares of
// pixels become one. Throws an Error for a file that the browser can't read, and for a huge picture.
async function decode(file, channels) {
  let image;
  try {
    image = await createImageBitmap(file, { colorSpaceConversion: "none" }); // upright, as EXIF says
  } catch {
    throw new Error(`${file.name} is not a picture that this browser can read; try a PNG or JPEG.`);
  }
  const { width, height } = image;
  if (width * height > MOST)
    throw new Error(
      `${file.name} is too large: ${width}×${height}, more than ${counted(MOST)} pixels.`,
    );
  const factor = Math.max(1, Math.floor(Math.max(width, height) / 1024));
  const picture = new Picture(Math.ceil(width / factor), Math.ceil(height / factor), channels);
  // A strip of it after another, as all at once would take much memory.
  const canvas = new OffscreenCanvas(width, factor);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  for (let i = 0; i < picture.height; i++) {
    const rows = Math.min(factor, height - i * factor);
    context.clearRect(0, 0, width, factor);
    context.drawImage(image, 0, -i * factor);
    addStrip(context.getImageData(0, 0, width, rows).data, width, factor, picture, i);
  }
  image.close();
  return picture;
}

// Row i of a picture: the means over squares of the strip's RGBA pixels. What is transparent is
// white, and grey is the brightness that ITU-R 601 gives to colours.
function addStrip(data, width, factor, picture, i) {
  const { channels } = picture;
  const rows = data.length / 4 / width;
  for (let j = 0; j < picture.width; j++) {
    const [left, right] = [j * factor, Math.min(width, (j + 1) * factor)];
    let [r, g, b, opacity] = [0, 0, 0, 0];
    for (let row = 0; row < rows; row++) {
      for (let p = 4 * (row * width + left); p < 4 * (row * width + right); p += 4) {
        r += data[p] * data[p + 3];
        g += data[p + 1] * data[p + 3];
        b += data[p + 2] * data[p + 3];
        opacity += data[p + 3];
      }
    }
    const n = rows * (right - left);
    const colours = [r, g, b].map((sum) => (sum / 255 + 255 * n - opacity) / n);
    const grey = 0.299 * colours[0] + 0.587 * colours[1] + 0.114 * colours[2];
    const made = channels === 3 ? colours : [grey];
    made.forEach(
      (v, c) => (picture.values[(i * picture.width + j) * channels + c] = Math.round(v)),
    );
  }
}

// A half goes to the even neighbour, as in Python.
function round(v) {
  const up = Math.round(v);
  return up - v === 0.5 && up % 2 ? up - 1 : up;
}

// Anybody's picture, made into one like those that the network has learnt from, as `python -m
// nin.predict` does it. `frame` is the size that these have, and `box` how long their longer side
// is; without one they are photographs.
function prepare(picture, frame, { box, turned }) {
  if (box === null) return cover(picture, frame);
  const drawn = trim(picture, frame, box);
  return turned ? transposed(drawn) : drawn;
}

// Scaled until it just covers the frame, and the middle of it.
function cover(picture, { width, height }) {
  if (picture.width === width && picture.height === height) return picture;
  const scale = Math.min(picture.width / width, picture.height / height);
  const [w, h] = [width * scale, height * scale];
  const part = [(picture.width - w) / 2, (picture.height - h) / 2, w, h];
  const result = resize(picture, width, height, part);
  result.values = result.values.map(Math.round);
  return result;
}

// Trimmed, its longer side made `box` long, put into the frame's middle, and negated where something
// dark lies on a light background. The background is what its edge shows. Throws an Error for a
// picture of one colour.
function trim(grey, frame, box) {
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
  const trimmed = new Picture(columns.at(-1) + 1 - left, rows.at(-1) + 1 - top, 1);
  trimmed.values = trimmed.values.map((_, p) => {
    const i = top + Math.floor(p / trimmed.width);
    const j = left + (p % trimmed.width);
    return Math.round((ink[i * width + j] * 255) / most);
  });

  const scale = box / Math.max(trimmed.width, trimmed.height);
  const [w, h] = [trimmed.width, trimmed.height].map((n) => Math.max(1, round(n * scale)));
  const small = resize(trimmed, w, h);
  const result = new Picture(frame.width, frame.height, 1);
  const [x, y] = [Math.floor((frame.width - w) / 2), Math.floor((frame.height - h) / 2)];
  small.values.forEach((v, p) => {
    result.values[(y + Math.floor(p / w)) * frame.width + x + (p % w)] = Math.round(v);
  });
  return result;
}

// A grey square picture on its side, as EMNIST's are.
function transposed({ width, height, values }) {
  const turned = values.map((_, p) => values[(p % height) * width + Math.floor(p / height)]);
  return new Picture(height, width, 1, turned);
}
