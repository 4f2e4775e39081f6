"""Captioned images composed of drawings: recoloured, moved and set on backgrounds."""
