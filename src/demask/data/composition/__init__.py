"""Captioned images composed of drawings, which are recoloured, moved and set on backgrounds."""
