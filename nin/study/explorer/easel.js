// Where the picture comes from: drawn, chosen, or uploaded.
"use strict";

const COLOURS = {
  black: "#000000",
  white: "#ffffff",
  grey: "#808080",
  red: "#d8271d",
  orange: "#f08a1d",
  yellow: "#f4d93a",
  green: "#2f8f3a",
  blue: "#2462c9",
  "light blue": "#8fc4ec",
  brown: "#7a4a21",
  pink: "#eb9db4",
};
const INKS = isDrawn
  ? { Ink: [255], Grey: [128], Erase: [0] }
  : { Black: [0], Grey: [128], White: [255] };
const EMPTY = isDrawn ? 0 : 255;
// How much longer the picture's longer side is than that of the small data sets' pictures.
const enlarged = Math.max(1, Math.max(kind.width, kind.height) / 28);

// `stroke` is the one that is being drawn, and `x` and `y` where the keyboard's brush is.
const pen = { x: kind.width / 2, y: kind.height / 2, stroke: null };
const earlier = []; // what the picture was before each change, the last one last, to go back to

function remember() {
  earlier.push({ values: picture.values.slice(), seen: $("seen").textContent, label: state.label });
  if (earlier.length > 50) earlier.shift();
}

const shows = (values) => picture.values.every((v, p) => v === values[p]);

function setPicture(values, seen, label = state.label) {
  if (!shows(values)) remember();
  showPicture(values, seen, label);
}

function showPicture(values, seen, label) {
  picture.values.set(values);
  state.label = label;
  markExample();
  changed(seen);
}

function markExample() {
  for (const each of examples) {
    const isShown = shows(each.values);
    each.classList.toggle("current", isShown);
    each.setAttribute("aria-pressed", isShown);
  }
}

// The picture is another, by whatever way.
function changed(seen) {
  setText($("seen"), seen);
  setText($("message"), "");
  $("undo").disabled = !earlier.length;
  forgetSteps();
  paintPicture($("pad"), picture); // at once, however long the network takes
  update();
}

function undo() {
  const last = earlier.pop();
  if (last) showPicture(last.values, last.seen, last.label);
}

// --- drawing -------------------------------------------------------------------------------------

// The colour that is chosen, as the picture's channels.
function inkOf() {
  const { value } = document.querySelector("[name=ink]:checked");
  if (!inColour) return INKS[value];
  const hex = value === "own" ? $("own").value : COLOURS[value];
  return [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
}

function putDown() {
  remember();
  pen.stroke = new Stroke(picture, inkOf(), Number($("size").value) * enlarged);
}

function draw(x, y, from = pen) {
  pen.stroke.add(from.x, from.y, x, y);
  Object.assign(pen, { x, y });
  markExample();
  changed(
    isDrawn
      ? "Drawn by you. The training pictures are filled shapes on an empty background, " +
          (uploads.turned ? "lying on their side." : "as large as the frame.")
      : "Drawn by you. The training pictures are photographs, which fill the whole frame.",
  );
}

function padPlace(event) {
  const box = $("pad").getBoundingClientRect();
  return [
    ((event.clientX - box.left) / box.width) * kind.width,
    ((event.clientY - box.top) / box.height) * kind.height,
  ];
}

function listenToPad() {
  const pad = $("pad");
  [pad.width, pad.height] = [kind.width, kind.height];
  pad.style.aspectRatio = kind.width / kind.height;
  let finger = null; // which one draws; others, and other buttons than the first, don't
  pad.addEventListener("pointerdown", (event) => {
    if (finger !== null || event.button) return;
    finger = event.pointerId;
    pad.setPointerCapture(finger);
    const [x, y] = padPlace(event);
    putDown();
    draw(x, y, { x, y });
  });
  pad.addEventListener("pointermove", (event) => {
    if (event.pointerId !== finger) return;
    for (const each of event.getCoalescedEvents?.() ?? [event]) draw(...padPlace(each));
  });
  for (const end of ["pointerup", "pointercancel"])
    pad.addEventListener(end, (event) => {
      if (event.pointerId === finger) finger = pen.stroke = null;
    });
  pad.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key !== " " && !(event.key in moves)) return;
    event.preventDefault();
    const [dx, dy] = moves[event.key] ?? [0, 0];
    const from = { ...pen };
    const x = Math.max(0, Math.min(kind.width, pen.x + dx * Math.round(enlarged)));
    const y = Math.max(0, Math.min(kind.height, pen.y + dy * Math.round(enlarged)));
    if (event.key === " ") {
      if (pen.stroke) pen.stroke = null;
      else putDown();
    }
    if (pen.stroke) draw(x, y, from);
    else Object.assign(pen, { x, y });
    showBrush();
  });
  pad.addEventListener("focus", showBrush);
  pad.addEventListener("blur", () => {
    pen.stroke = null;
    showBrush();
  });
}

// Where the keyboard's brush is, and whether it is down.
function showBrush() {
  const brush = $("brush");
  brush.hidden = !$("pad").matches(":focus-visible");
  brush.classList.toggle("down", pen.stroke !== null);
  brush.style.left = `${(100 * pen.x) / kind.width}%`;
  brush.style.top = `${(100 * pen.y) / kind.height}%`;
}

function buildInks() {
  const inks = inColour ? { ...COLOURS, own: null } : INKS;
  const ink = (name) => {
    const input = h("input", { type: "radio", name: "ink", value: name, autocomplete: "off" });
    if (!inColour) return h("label", {}, input, h("span", {}, name));
    input.setAttribute("aria-label", name);
    if (name !== "own")
      return h("label", { title: name }, input, h("span", { style: { background: inks[name] } }));
    const own = h("input", { type: "color", id: "own", value: "#a050c8", tabIndex: 0 });
    own.setAttribute("aria-label", "A colour of your own");
    own.addEventListener("input", () => (input.checked = true));
    own.addEventListener("click", () => (input.checked = true));
    return h("span", { className: "own", title: "a colour of your own" }, input, own);
  };
  $("inks").className = inColour ? "swatches" : "switch small";
  $("inks").append(...Object.keys(inks).map(ink));
  $("inks").querySelector("input").checked = true;
}

function listenToEasel() {
  buildInks();
  listenToPad();
  $("undo").addEventListener("click", undo);
  $("clear").addEventListener("click", () =>
    setPicture(
      picture.values.map(() => EMPTY),
      "An empty picture. Draw something.",
    ),
  );
  $("upload").addEventListener("change", (event) => {
    upload([...event.target.files]);
    event.target.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    upload([...event.dataTransfer.files]);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    undo();
  });
}

// --- pictures that are there ---------------------------------------------------------------------

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
    button.addEventListener("click", () => setPicture(values, `${name}. Draw on it, too.`, label));
    button.values = values;
    button.paint = () => paintPicture(canvas, { channels: kind.channels, values });
    return button;
  });
  const grid = $("examples");
  grid.style.setProperty("--columns", Math.min(10, kind.classes.length));
  grid.append(...buttons);
  grid.addEventListener("keydown", (event) => {
    const row = buttons.filter((button) => button.offsetTop === buttons[0].offsetTop).length;
    const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: row, ArrowUp: -row }[event.key];
    const next = buttons[buttons.indexOf(document.activeElement) + by];
    if (!next) return;
    event.preventDefault();
    document.activeElement.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  return buttons;
}

async function upload(files) {
  if (!files.length) return;
  const [file] = files;
  setText($("message"), `Reading ${file.name} …`);
  try {
    const { values } = prepare(await decode(file, kind.channels), kind, uploads);
    setPicture(values, `${file.name}, as nin.predict sees it: ${uploads.words}.`);
    if (files.length > 1) setText($("message"), `Of ${files.length} files, this is the first.`);
  } catch (error) {
    setText($("message"), error.message);
  }
}
