// Images during their generation. The value is that of demask.ui.frames.stage.
const root = element.querySelector(".dm-stage");
const said = make("p", "dm-said");
const complaint = make("p", "dm-complaint");
const heading = make("p", "dm-heading", props.title);
const how = make("span");
const list = make("div", "dm-tiles");
const stop = make("button", "dm-stop", "Stop");
const announced = new Set();
const ICONS = {
  save: "M12 4v11m0 0 4.5-4.5M12 15l-4.5-4.5M5 19.5h14",
  use: "M4 20l1-4L16.5 4.5l3 3L8 19zM14.5 6.5l3 3",
};

said.setAttribute("role", "status");
complaint.setAttribute("role", "alert");
stop.type = "button";
stop.addEventListener("click", () => {
  trigger("stop");
  window.dispatchEvent(new CustomEvent("demask:stop"));
});
window.addEventListener("demask:stop", () => {
  for (const tile of list.children) {
    if (tile.dataset.state !== "done") tile.dataset.state = "stopped";
  }
  stop.hidden = true;
});
heading.append(how);
heading.hidden = !props.title;
root.append(heading, complaint, list, stop, said);

function make(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text) made.textContent = text;
  return made;
}

function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const path = document.createElementNS(space, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

function action(tag, name, label) {
  const made = make(tag, "dm-action");
  made.title = label;
  made.append(icon(name), make("span", "dm-said", label));
  return made;
}

function blankTile() {
  const tile = make("figure", "dm-tile");
  const frame = make("div", "dm-frame");
  const image = make("img", "dm-image");
  const caption = make("figcaption", "dm-caption");
  const save = action("a", "save", "Download");
  const use = action("button", "use", "Change this image");
  use.type = "button";
  use.addEventListener("click", () => trigger("use", { file: image.src }));
  frame.append(image, make("span", "dm-bar"));
  caption.append(make("span", "dm-label"), save, use);
  tile.append(frame, caption);
  return tile;
}

function fill(tile, told, shape) {
  const image = tile.querySelector("img");
  const save = tile.querySelector("a");
  const [width, height] = told.size ? told.size.split("x").map(Number) : [shape.width, shape.height];
  const cell = shape.width / shape.columns;
  tile.dataset.state = told.state;
  tile.style.setProperty("--columns", width / cell);
  tile.style.setProperty("--rows", height / cell);
  tile.style.setProperty("--progress", told.steps ? told.step / told.steps : 0);
  tile.querySelector(".dm-frame").style.aspectRatio = `${width} / ${height}`;
  tile.querySelector(".dm-label").textContent = told.state === "failed" ? "failed" : `seed ${told.seed}`;
  tile.title = told.facts;
  image.alt = told.src ? `${told.title}, seed ${told.seed}` : "";
  image.hidden = !told.src;
  if (told.src && image.src !== told.src) image.src = told.src;
  if (told.state !== "done") return;
  save.href = told.src;
  save.download = `${(told.title || "image").replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 40)}-${told.seed}.png`;
  if (!announced.has(told.src)) {
    announced.add(told.src);
    window.dispatchEvent(new CustomEvent("demask:finished", { detail: { ...told, name: save.download } }));
  }
}

function draw() {
  const value = props.value || {};
  const tiles = value.tiles || [];
  const nothing = { seed: "", state: "empty", src: "", facts: "", steps: 0 };
  const shown = tiles.length ? tiles : Array(props.places || 1).fill(nothing);
  while (list.children.length > shown.length) list.lastChild.remove();
  while (list.children.length < shown.length) list.append(blankTile());
  shown.forEach((told, index) => fill(list.children[index], told, value));
  list.dataset.count = shown.length;
  how.textContent = tiles.length ? ` \u00b7 ${tiles[0].how}` : "";
  complaint.textContent = value.message || "";
  complaint.hidden = !value.message;
  const busy = tiles.some((told) => told.state === "waiting" || told.state === "painting");
  stop.hidden = !busy;
  list.setAttribute("aria-busy", busy);
  const finished = tiles.length && !busy ? `Finished: ${tiles.length} of ${tiles[0].title}` : "";
  const words = busy ? "Painting" : finished;
  if (said.textContent !== words) said.textContent = words;
}

watch("value", draw);
draw();
