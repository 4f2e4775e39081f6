"""Components for images: the stage, the gallery and the drop area."""

from __future__ import annotations

import gradio as gr

from demask.ui.frames import Value
from demask.ui.theme import script

GALLERY = """
<section class="dm-gallery" aria-label="Painted so far" hidden>
  <h2>Painted so far</h2>
  <div class="dm-thumbs"></div>
  <dialog class="dm-dialog" aria-label="Image">
    <img class="dm-large" alt="">
    <p class="dm-about"></p>
    <p class="dm-facts"></p>
    <div class="dm-buttons">
      <a class="dm-button dm-main" download>Download</a>
      <button type="button" class="dm-button" data-do="restore">Use its settings</button>
      <button type="button" class="dm-button" data-do="use">Change it</button>
      <button type="button" class="dm-button" data-do="close">Close</button>
    </div>
  </dialog>
</section>
"""
DROP = """
<div class="dm-drop">
  <p>Images contain their settings. Drop one anywhere on the page to restore them, or
  <button type="button" class="dm-link">open a file</button>.</p>
  <input type="file" accept="image/png" hidden aria-label="An image of Demask">
  <div class="dm-veil" aria-hidden="true">Drop the image to restore its settings</div>
</div>
"""


def stage_part(value: Value, name: str, *, places: int = 4, title: str = "") -> gr.HTML:
    """The component that shows images while they are generated.

    Args:
        value: a value of `demask.ui.frames.stage`.
        name: the element id.
        places: the number of empty places before the first image.
        title: the heading.
    """
    return gr.HTML(
        value,
        html_template='<div class="dm-stage"></div>',
        js_on_load=script("stage.js"),
        elem_id=name,
        apply_default_css=False,
        title=title,
        places=places,
    )


def gallery_part() -> gr.HTML:
    """The images generated so far, which are kept in the browser."""
    return html_part("gallery", GALLERY)


def drop_part() -> gr.HTML:
    """The area that restores the settings of a dropped image file."""
    return html_part("drop", DROP)


def html_part(name: str, template: str) -> gr.HTML:
    """A component with a template, and with the script and the element id of its name."""
    return gr.HTML(
        "",
        html_template=template,
        js_on_load=script(f"{name}.js"),
        elem_id=name,
        apply_default_css=False,
    )
