// The image that is edited. A brush marks tokens; the edges are dragged outward.
// The value is that of demask.ui.canvas.blank: image, cells, margins, cell, step, side, most.
const root = element.querySelector(".dm-canvas");
const sheet = element.querySelector(".dm-sheet");
const room = element.querySelector(".dm-room");
const canvas = element.querySelector("canvas");
const hint = element.querySelector(".dm-hint");
const said = element.querySelector(".dm-said");
const input = element.querySelector("input[type=file]");
const size = element.querySelector("[data-tool=size]");
const edges = [...element.querySelectorAll(".dm-edge")];
const HINT = "Mark the part to repaint with the brush; drag an edge outward to paint beyond it. "
  + "By keyboard: arrows move, space marks.";
const TALLEST = 420;
const state = {};

function start() {
  const value = props.value || {};
  Object.assign(state, {
    image: null,
    cells: new Set(value.cells || []),
    margins: { left: 0, top: 0, right: 0, bottom: 0, ...value.margins },
    erase: false,
    cursor: 0,
    stroke: null,
    drag: null,
    sent: value.image,
  });
  root.toggleAttribute("data-empty", !value.image);
  if (!value.image) return draw();
  const image = new Image();
  image.onload = () => {
    state.image = image;
    draw();
  };
  image.src = value.image;
}

const columns = () => Math.ceil(state.image.width / props.value.cell);
const rows = () => Math.ceil(state.image.height / props.value.cell);
const full = () => ({
  width: state.image.width + state.margins.left + state.margins.right,
  height: state.image.height + state.margins.top + state.margins.bottom,
});

function scale() {
  const whole = full();
  const most = Math.min((room.clientWidth - 64) / whole.width, TALLEST / whole.height);
  return most > 1 ? Math.floor(most) : most;
}

function tell() {
  const value = { ...props.value, cells: [...state.cells].sort((a, b) => a - b) };
  value.margins = { ...state.margins };
  props.value = value;
}

function draw() {
  hint.textContent = state.image ? HINT : "";
  sheet.hidden = !state.image;
  if (!state.image) return;
  const whole = full();
  const { cell } = props.value;
  const k = state.drag ? state.drag.k : scale();
  const density = window.devicePixelRatio || 1;
  canvas.width = Math.round(whole.width * k * density);
  canvas.height = Math.round(whole.height * k * density);
  canvas.style.width = `${whole.width * k}px`;
  canvas.style.height = `${whole.height * k}px`;
  const pen = canvas.getContext("2d");
  pen.scale(k * density, k * density);
  const style = getComputedStyle(root);
  const colours = { ground: style.getPropertyValue("--hidden"), dot: style.getPropertyValue("--dot") };
  veil(pen, 0, 0, whole.width, whole.height, cell, colours);
  pen.imageSmoothingEnabled = state.image.width > 256;
  pen.drawImage(state.image, state.margins.left, state.margins.top);
  for (const index of state.cells) {
    const [x, y] = place(index);
    veil(pen, x, y, cell, cell, cell, colours);
  }
  if (document.activeElement === canvas && canvas.matches(":focus-visible")) {
    const [x, y] = place(state.cursor);
    pen.lineWidth = 2 / k;
    pen.strokeStyle = style.getPropertyValue("--accent");
    pen.strokeRect(x + 1 / k, y + 1 / k, cell - 2 / k, cell - 2 / k);
  }
  label();
}

function place(index) {
  const { cell } = props.value;
  const x = (index % columns()) * cell;
  const y = Math.floor(index / columns()) * cell;
  return [state.margins.left + x, state.margins.top + y];
}

function veil(pen, x, y, width, height, cell, colours) {
  pen.fillStyle = colours.ground;
  pen.fillRect(x, y, width, height);
  pen.fillStyle = colours.dot;
  for (let v = y + cell / 2; v < y + height; v += cell) {
    for (let u = x + cell / 2; u < x + width; u += cell) {
      pen.beginPath();
      pen.arc(u, v, cell * 0.17, 0, 2 * Math.PI);
      pen.fill();
    }
  }
}

function label() {
  const { most } = props.value;
  canvas.setAttribute("aria-label", `The image; ${state.cells.size} tokens will be repainted`);
  for (const edge of edges) {
    const { side } = edge.dataset;
    edge.setAttribute("role", "slider");
    edge.setAttribute("aria-label", `Paint beyond the ${side} edge`);
    edge.setAttribute("aria-valuemin", 0);
    edge.setAttribute("aria-valuemax", most);
    edge.setAttribute("aria-valuenow", state.margins[side]);
    edge.setAttribute("aria-valuetext", `${state.margins[side]} pixels`);
    edge.title = `Drag outward to paint beyond: ${state.margins[side]} pixels`;
  }
}

function mark(index) {
  const reach = Number(size.value) - 1;
  const [x, y] = [index % columns(), Math.floor(index / columns())];
  for (let dy = -reach; dy <= reach; dy += 1) {
    for (let dx = -reach; dx <= reach; dx += 1) {
      const [u, v] = [x + dx, y + dy];
      if (u < 0 || v < 0 || u >= columns() || v >= rows()) continue;
      if (dx * dx + dy * dy > reach * reach + 0.5) continue;
      state.cells[state.erase ? "delete" : "add"](v * columns() + u);
    }
  }
}

function under(event) {
  const box = canvas.getBoundingClientRect();
  const k = box.width / full().width;
  const x = Math.floor(((event.clientX - box.left) / k - state.margins.left) / props.value.cell);
  const y = Math.floor(((event.clientY - box.top) / k - state.margins.top) / props.value.cell);
  return x < 0 || y < 0 || x >= columns() || y >= rows() ? null : y * columns() + x;
}

function touch(event) {
  const index = under(event);
  if (index === null) return;
  state.cursor = index;
  mark(index);
  draw();
}

canvas.addEventListener("pointerdown", (event) => {
  event.preventDefault();
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  state.stroke = event.pointerId;
  touch(event);
});
canvas.addEventListener("pointermove", (event) => state.stroke === event.pointerId && touch(event));
for (const kind of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(kind, () => {
    if (state.stroke !== null) tell();
    state.stroke = null;
  });
}
canvas.addEventListener("focus", draw);
canvas.addEventListener("blur", draw);
canvas.addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (moves[event.key]) {
    const x = (state.cursor % columns()) + moves[event.key][0];
    const y = Math.floor(state.cursor / columns()) + moves[event.key][1];
    if (x >= 0 && y >= 0 && x < columns() && y < rows()) state.cursor = y * columns() + x;
  } else if (event.key === " ") {
    mark(state.cursor);
    tell();
  } else return;
  event.preventDefault();
  said.textContent = `Row ${Math.floor(state.cursor / columns()) + 1}, column `
    + `${(state.cursor % columns()) + 1}, ${state.cells.has(state.cursor) ? "marked" : "kept"}`;
  draw();
});

function grow(side, pixels) {
  const { step, most } = props.value;
  state.margins[side] = Math.max(0, Math.min(most, Math.round(pixels / step) * step));
  draw();
}

for (const edge of edges) {
  const { side } = edge.dataset;
  const outward = side === "left" || side === "top" ? -1 : 1;
  const along = side === "left" || side === "right" ? "clientX" : "clientY";
  edge.addEventListener("pointerdown", (event) => {
    edge.setPointerCapture(event.pointerId);
    state.drag = { from: event[along], at: state.margins[side], k: scale() };
  });
  edge.addEventListener("pointermove", (event) => {
    if (!state.drag) return;
    grow(side, state.drag.at + (outward * (event[along] - state.drag.from)) / state.drag.k);
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    edge.addEventListener(kind, () => {
      state.drag = null;
      draw();
      tell();
    });
  }
  edge.addEventListener("keydown", (event) => {
    const more = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!more) return;
    event.preventDefault();
    grow(side, state.margins[side] + more * props.value.step);
    tell();
  });
}

function open(file) {
  if (!file) return;
  const image = new Image();
  const source = URL.createObjectURL(file);
  image.onload = () => {
    const shrink = Math.min(1, props.value.side / Math.min(image.width, image.height));
    const copy = document.createElement("canvas");
    copy.width = Math.min(Math.round(image.width * shrink), 3 * props.value.side);
    copy.height = Math.min(Math.round(image.height * shrink), 3 * props.value.side);
    const pen = copy.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(image, 0, 0, Math.round(image.width * shrink), Math.round(image.height * shrink));
    URL.revokeObjectURL(source);
    const margins = { left: 0, top: 0, right: 0, bottom: 0 };
    props.value = { ...props.value, image: copy.toDataURL("image/png"), cells: [], margins };
    start();
  };
  image.onerror = () => {
    URL.revokeObjectURL(source);
    said.textContent = hint.textContent = "This file is not a readable image.";
  };
  image.src = source;
}

root.querySelector(".dm-tools").addEventListener("click", (event) => {
  const { tool } = event.target.dataset;
  if (tool === "brush" || tool === "keep") {
    state.erase = tool === "keep";
    for (const name of ["brush", "keep"]) {
      const pressed = (name === "keep") === state.erase;
      root.querySelector(`[data-tool=${name}]`).setAttribute("aria-pressed", pressed);
    }
  }
  if (tool === "clear" && state.image) {
    state.cells.clear();
    state.margins = { left: 0, top: 0, right: 0, bottom: 0 };
    draw();
    tell();
  }
  if (tool === "open") input.click();
});
input.addEventListener("change", () => {
  open(input.files[0]);
  input.value = "";
});
root.addEventListener("dragover", (event) => event.preventDefault());
root.addEventListener("drop", (event) => {
  event.preventDefault();
  open(event.dataTransfer.files[0]);
});
new ResizeObserver(() => !state.drag && draw()).observe(room);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTimeout(draw, 100));
watch("value", start);
start();
