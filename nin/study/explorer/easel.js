// Where the picture comes from: drawn, chosen, or uploaded.
"use strict";

const DRAWN =
  "Drawn by you. The training pictures are filled shapes on an empty background, as large as the " +
  "frame.";
const pen = { x: kind.width / 2, y: kind.height / 2, down: false };

function setPicture(values, source, label) {
  grey.values.set(values);
  state.losses = [];
  if (label !== undefined) state.label = label;
  for (const each of examples) each.classList.toggle("current", each.values === values);
  setText($("seen"), source);
  update();
}

function draw(x, y, from = pen) {
  const ink = Number(document.querySelector("[name=ink]:checked").value);
  grey.stroke(from.x, from.y, x, y, Number($("size").value), ink);
  Object.assign(pen, { x, y });
  setText($("seen"), DRAWN);
  state.losses = [];
  update();
}

function padPlace(event) {
  const box = $("pad").getBoundingClientRect();
  return [
    ((event.clientX - box.left) / box.width) * kind.width,
    ((event.clientY - box.top) / box.height) * kind.height,
  ];
}

function listenToEasel() {
  const pad = $("pad");
  [pad.width, pad.height] = [kind.width, kind.height];
  pad.style.aspectRatio = kind.width / kind.height;
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    const [x, y] = padPlace(event);
    pen.drawing = true;
    draw(x, y, { x, y });
  });
  pad.addEventListener("pointermove", (event) => {
    if (!pen.drawing) return;
    for (const each of event.getCoalescedEvents?.() ?? [event]) draw(...padPlace(each));
  });
  for (const end of ["pointerup", "pointercancel"])
    pad.addEventListener(end, () => (pen.drawing = false));
  pad.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === " ") pen.down = !pen.down;
    else if (!(event.key in moves)) return;
    event.preventDefault();
    const [dx, dy] = moves[event.key] ?? [0, 0];
    const from = { ...pen };
    const x = Math.max(0, Math.min(kind.width, pen.x + dx));
    const y = Math.max(0, Math.min(kind.height, pen.y + dy));
    if (pen.down) draw(x, y, from);
    else Object.assign(pen, { x, y });
    showBrush();
  });
  for (const event of ["focus", "blur"]) pad.addEventListener(event, showBrush);
  $("clear").addEventListener("click", () =>
    setPicture(grey.values.fill(0), "An empty picture. Draw something."),
  );
  $("upload").addEventListener("change", (event) => upload(event.target.files));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    upload(event.dataTransfer.files);
  });
}

function showBrush() {
  const brush = $("brush");
  brush.hidden = document.activeElement !== $("pad");
  brush.classList.toggle("down", pen.down);
  brush.style.left = `${(100 * pen.x) / kind.width}%`;
  brush.style.top = `${(100 * pen.y) / kind.height}%`;
}

function buildExamples() {
  const pictures = decodePictures(contents);
  const buttons = pictures.map(({ label, values }, n) => {
    const canvas = h("canvas", { width: kind.width, height: kind.height });
    const name = `${kind.classes[label]}, test picture ${contents.numbers[n]}`;
    const button = h(
      "button",
      { type: "button", tabIndex: n ? -1 : 0, title: name, "aria-label": name },
      canvas,
    );
    button.addEventListener("click", () => {
      setPicture(values, `${name}. Draw on it, too.`, label);
    });
    button.values = values;
    button.paint = () => paint(canvas, values, 255, state.colours.ink);
    return button;
  });
  $("examples").append(...buttons);
  $("examples").addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10 }[event.key];
    const next = buttons[buttons.indexOf(document.activeElement) + by];
    if (!next) return;
    event.preventDefault();
    document.activeElement.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  return buttons;
}

async function upload([file]) {
  if (!file) return;
  setText($("message"), "");
  try {
    const picture = prepare(await decode(file), kind);
    setPicture(
      picture.values,
      `${file.name}, trimmed, grey, and as large as the frame, as nin.predict makes it.`,
    );
  } catch (error) {
    setText($("message"), error.message);
  }
}
