// The images generated so far: thumbnails, and a dialog with one image and its actions.
const section = element.querySelector(".dm-gallery");
const thumbs = element.querySelector(".dm-thumbs");
const dialog = element.querySelector("dialog");
const large = dialog.querySelector("img");
const link = dialog.querySelector("a");
const MOST = 48;

function add(told) {
  const thumb = document.createElement("button");
  const image = document.createElement("img");
  thumb.type = "button";
  thumb.className = "dm-thumb";
  image.src = told.src;
  image.alt = `${told.title}, seed ${told.seed}`;
  thumb.title = told.title;
  thumb.append(image);
  thumb.addEventListener("click", () => show(told));
  thumbs.prepend(thumb);
  while (thumbs.children.length > MOST) thumbs.lastChild.remove();
  section.hidden = false;
}

function show(told) {
  large.src = told.src;
  large.alt = told.title;
  dialog.querySelector(".dm-about").textContent = told.title;
  dialog.querySelector(".dm-facts").textContent = told.facts;
  link.href = told.src;
  link.download = told.name;
  dialog.showModal();
}

dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
  const wanted = event.target.dataset.do;
  if (!wanted) return;
  dialog.close();
  if (wanted === "restore") trigger("restore", { file: large.src });
  if (wanted === "use") trigger("use", { file: large.src });
});
window.addEventListener("demask:finished", (event) => add(event.detail));
