"""The theme of the page: one accent colour and system fonts."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

HERE = Path(__file__).parent
FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")
CSS = HERE / "page.css"

COLORS = {
    "body_background_fill": "#fbfaf8",
    "body_background_fill_dark": "#161514",
    "body_text_color": "#1f1d1b",
    "body_text_color_dark": "#ece9e4",
    "body_text_color_subdued": "#6b6660",
    "body_text_color_subdued_dark": "#a39d95",
    "background_fill_primary": "#ffffff",
    "background_fill_primary_dark": "#1f1d1c",
    "background_fill_secondary": "#f3f1ed",
    "background_fill_secondary_dark": "#272523",
    "border_color_primary": "#e3dfd8",
    "border_color_primary_dark": "#3a3734",
    "block_background_fill": "transparent",
    "block_background_fill_dark": "transparent",
    "block_border_width": "0px",
    "block_shadow": "none",
    "block_padding": "0px",
    "block_label_background_fill": "transparent",
    "block_label_background_fill_dark": "transparent",
    "block_title_text_color": "*body_text_color_subdued",
    "block_title_text_color_dark": "*body_text_color_subdued",
    "block_title_text_weight": "500",
    "input_background_fill": "#ffffff",
    "input_background_fill_dark": "#1f1d1c",
    "input_border_color": "#d9d4cc",
    "input_border_color_dark": "#45413d",
    "input_border_color_focus": "#0f766e",
    "input_border_color_focus_dark": "#2dd4bf",
    "button_primary_background_fill": "#0f766e",
    "button_primary_background_fill_hover": "#115e59",
    "button_primary_background_fill_dark": "#2dd4bf",
    "button_primary_background_fill_hover_dark": "#5eead4",
    "button_primary_text_color": "#ffffff",
    "button_primary_text_color_dark": "#042f2e",
    "button_secondary_background_fill": "#f3f1ed",
    "button_secondary_background_fill_dark": "#2c2a27",
    "button_secondary_border_color": "#e3dfd8",
    "button_secondary_border_color_dark": "#3a3734",
    "color_accent": "#0f766e",
    "slider_color": "#0f766e",
    "slider_color_dark": "#2dd4bf",
}
"""Variables of the theme; a name that ends in ``_dark`` is used in dark mode."""


def theme() -> gr.themes.Base:
    """The theme, light and dark."""
    base = gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.stone,
        radius_size=gr.themes.sizes.radius_lg,
        text_size=gr.themes.sizes.text_md,
        font=FONTS,
        font_mono=MONO,
    )
    return base.set(**COLORS)


def script(*names: str) -> str:
    """The concatenated scripts of a component."""
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in names)
