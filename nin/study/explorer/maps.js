// Maps side by side on a canvas, each a tile, of which a pixel can be pointed at and chosen: with
// the mouse, a finger, or the arrow keys and Enter.
"use strict";

// An element with properties, attributes (those with a dash, and `role`), and children.
function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else if (name === "style") Object.assign(element.style, value);
    else element[name] = value;
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

const MOVES = {
  ArrowLeft: ({ c, i, j, width }) => (j ? [c, i, j - 1] : [c - 1, i, width - 1]),
  ArrowRight: ({ c, i, j, width }) => (j + 1 < width ? [c, i, j + 1] : [c + 1, i, 0]),
  ArrowUp: ({ c, i, j, height, columns }) => (i ? [c, i - 1, j] : [c - columns, height - 1, j]),
  ArrowDown: ({ c, i, j, height, columns }) =>
    i + 1 < height ? [c, i + 1, j] : [c + columns, 0, j],
  PageUp: ({ c, i, j }) => [c - 1, i, j],
  PageDown: ({ c, i, j }) => [c + 1, i, j],
  Home: ({ i, j }) => [0, i, j],
  End: ({ i, j, channels }) => [channels - 1, i, j],
};

class MapGrid {
  // `tile` is how wide a map is to be, about, in pixels of the screen; `onPoint(c, i, j)` is called
  // for the pixel that is pointed at, and `onPick(c, i, j)` for the one that is chosen. `names(c)`
  // gives short lines to stand under map c.
  constructor({ label, tile = 44, names = null, onPoint = () => {}, onPick = () => {} }) {
    Object.assign(this, { tile, names, onPoint, onPick });
    this.cursor = [0, 0, 0];
    this.canvas = h("canvas");
    this.overlay = h("canvas", { className: "overlay" });
    const help =
      "Arrow keys move over the pixels, Page Up and Page Down over the maps; Enter explains one.";
    this.element = h(
      "div",
      {
        className: names ? "maps named" : "maps",
        tabIndex: 0,
        role: "application",
        "aria-label": `${label}. ${help}`,
      },
      this.canvas,
      this.overlay,
    );
    this.element.addEventListener("pointermove", (event) => this.point(event, false));
    this.element.addEventListener("click", (event) => this.point(event, true));
    this.element.addEventListener("keydown", (event) => this.key(event));
    for (const event of ["focus", "blur"])
      this.element.addEventListener(event, () => this.maps && this.draw());
  }

  // Show maps in these colours, strongest at ±limit; those in the set `dead` are hatched.
  show(maps, colours, limit, dead = new Set()) {
    this.maps = maps;
    this.layout();
    const { canvas, columns, gap, below } = this;
    const { height, width, channels, values } = maps;
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(canvas.width, canvas.height);
    const data = new Uint32Array(pixels.data.buffer);
    for (let c = 0; c < channels; c++) {
      const top = Math.floor(c / columns) * (height + below);
      const left = (c % columns) * (width + gap);
      for (let i = 0; i < height; i++) {
        for (let j = 0; j < width; j++) {
          const hatched = dead.has(c) && (i + j) % 3 === 0;
          const value = values[(i * width + j) * channels + c];
          data[(top + i) * canvas.width + left + j] = hatched ? 0 : colours[entry(value, limit)];
        }
      }
    }
    context.putImageData(pixels, 0, 0);
    this.draw();
  }

  // How many maps stand in a row, and how many pixels of the screen one of theirs takes.
  layout() {
    const { height, width, channels } = this.maps;
    const room = this.element.parentElement?.clientWidth || 640;
    this.scale = Math.max(1, Math.round(this.tile / width));
    while (this.scale > 1 && width * this.scale > room) this.scale--;
    this.scale = Math.min(this.scale, room / width);
    this.gap = Math.ceil((this.names ? 10 : 3) / this.scale);
    this.below = this.names ? Math.ceil((10 + 14 * this.names(0).length) / this.scale) : this.gap;
    const last = this.names ? 0 : this.gap; // which has no gap behind it, but where names stand
    const fit = Math.floor((room / this.scale + last) / (width + this.gap));
    this.columns = Math.max(1, Math.min(channels, fit));
    const rows = Math.ceil(channels / this.columns);
    this.columns = Math.ceil(channels / rows); // rows that are about equally long
    const size = [this.columns * (width + this.gap) - last, rows * (height + this.below) - last];
    if (this.canvas.width !== size[0] || this.canvas.height !== size[1])
      [this.canvas.width, this.canvas.height] = size;
    const dots = window.devicePixelRatio || 1;
    [this.overlay.width, this.overlay.height] = size.map((n) => Math.round(n * this.scale * dots));
    for (const canvas of [this.canvas, this.overlay]) {
      canvas.style.width = `${size[0] * this.scale}px`;
      canvas.style.height = `${size[1] * this.scale}px`;
    }
  }

  // Frames: `marked` is a window {top, left, height, width} on every map, or on those `only`;
  // `chosen` a pixel; and the pixel that the keyboard is at.
  draw() {
    const context = this.overlay.getContext("2d");
    const dots = (window.devicePixelRatio || 1) * this.scale;
    context.setTransform(dots, 0, 0, dots, 0, 0);
    context.clearRect(0, 0, this.overlay.width, this.overlay.height);
    const style = getComputedStyle(this.element);
    const frame = (c, top, left, height, width, colour, line) => {
      const y = Math.floor(c / this.columns) * (this.maps.height + this.below) + top;
      const x = (c % this.columns) * (this.maps.width + this.gap) + left;
      context.strokeStyle = colour;
      context.lineWidth = line / this.scale;
      context.strokeRect(x, y, width, height);
    };
    const mark = style.getPropertyValue("--mark");
    for (let c = 0; this.names && c < this.maps.channels; c++) {
      const y = Math.floor(c / this.columns) * (this.maps.height + this.below) + this.maps.height;
      const x = (c % this.columns) * (this.maps.width + this.gap);
      frame(c, 0, 0, this.maps.height, this.maps.width, style.getPropertyValue("--line"), 1);
      this.names(c).forEach((line, n) => {
        context.font = `${n ? 600 : 400} ${11 / this.scale}px ${style.fontFamily}`;
        context.fillStyle = style.getPropertyValue("--text");
        context.fillText(
          line,
          x,
          y + (13 + 14 * n) / this.scale,
          this.maps.width + this.gap - 4 / this.scale,
        );
      });
    }
    if (this.marked) {
      const { top, left, height, width, only } = this.marked;
      for (let c = 0; c < this.maps.channels; c++) {
        if (only === undefined || only === c) frame(c, top, left, height, width, mark, 1.5);
      }
    }
    if (this.chosen) frame(...this.chosen, 1, 1, mark, 3);
    if (document.activeElement === this.element)
      frame(...this.cursor, 1, 1, style.getPropertyValue("--text"), 2);
  }

  // The pixel (c, i, j) under the pointer, or nearest to it in the gap beside its map.
  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = (event.clientX - box.left) / this.scale;
    const y = (event.clientY - box.top) / this.scale;
    const { height, width, channels } = this.maps;
    const column = Math.floor(x / (width + this.gap));
    const row = Math.floor(y / (height + this.below));
    const j = Math.min(width - 1, Math.floor(x - column * (width + this.gap)));
    const i = Math.min(height - 1, Math.floor(y - row * (height + this.below)));
    const c = row * this.columns + column;
    const isMap = x >= 0 && y >= 0 && column < this.columns && c < channels;
    return isMap ? [c, i, j] : null;
  }

  point(event, picked) {
    const where = this.maps && this.at(event);
    if (!where) return;
    if (picked) {
      this.cursor = where;
      this.onPick(...where);
    } else {
      this.onPoint(...where);
    }
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const picks = event.key === "Enter" || event.key === " ";
    if (!picks && !(event.key in MOVES)) return;
    event.preventDefault();
    if (picks) {
      this.onPick(...this.cursor);
    } else {
      this.cursor = this.neighbour(event.key, this.cursor);
      this.onPoint(...this.cursor);
      this.draw();
    }
  }

  // The pixel that a key leads to from another; beyond the edge of a map the next one begins.
  neighbour(key, [c, i, j]) {
    const { height, width, channels } = this.maps;
    const to = MOVES[key]({ c, i, j, height, width, channels, columns: this.columns });
    return to[0] < 0 || to[0] >= channels ? [c, i, j] : to;
  }
}

// What colours mean: from the strongest red over paper to the strongest blue, with numbers.
function legend(limit, colours, onlyPositive = false) {
  const first = onlyPositive ? 0 : -1;
  const shares = Array.from({ length: 9 }, (_, k) => first + (k / 8) * (1 - first));
  const stops = shares.map((share) => css(share, 1, colours)).join(", ");
  const negative = onlyPositive ? "" : `red is negative, down to ${digits(-limit)}; `;
  return h(
    "span",
    {
      className: "legend",
      role: "img",
      "aria-label": `Colours: ${negative}blue is positive, up to ${digits(limit)}`,
    },
    h("span", {}, digits(first * limit)),
    h("span", { className: "ramp", style: { background: `linear-gradient(to right, ${stops})` } }),
    h("span", {}, digits(limit)),
  );
}
