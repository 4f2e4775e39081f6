// Example prompts; a click generates images of one.
const row = element.querySelector(".dm-examples");

function draw() {
  row.replaceChildren(
    ...(props.value || []).map((text) => {
      const chip = document.createElement("button");
      chip.type = "button";
      chip.className = "dm-chip";
      chip.textContent = text;
      chip.addEventListener("click", () => trigger("pick", { text }));
      return chip;
    }),
  );
}

watch("value", draw);
draw();
