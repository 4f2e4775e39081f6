// An image file that is dropped anywhere on the page, or opened, restores its settings.
const input = element.querySelector("input");
const veil = element.querySelector(".dm-veil");
let depth = 0;

function read(file) {
  if (!file) return;
  const reader = new FileReader();
  reader.onload = () => trigger("restore", { file: reader.result });
  reader.readAsDataURL(file);
}

function cover(shown) {
  depth = shown ? depth : 0;
  veil.classList.toggle("dm-shown", shown);
}

const holdsFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
const elsewhere = (event) => event.target.closest?.(".dm-canvas");

element.querySelector("button").addEventListener("click", () => input.click());
input.addEventListener("change", () => {
  read(input.files[0]);
  input.value = "";
});
window.addEventListener("dragenter", (event) => {
  if (!holdsFiles(event)) return;
  depth += 1;
  cover(!elsewhere(event));
});
window.addEventListener("dragleave", (event) => {
  if (!holdsFiles(event)) return;
  depth -= 1;
  if (depth <= 0) cover(false);
});
window.addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
window.addEventListener("drop", (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  cover(false);
  if (!elsewhere(event)) read(event.dataTransfer.files[0]);
});
