"""Recipes: files and command-line changes -> the configuration classes of the other packages."""

from demask.config.parse import ConfigError, load_toml, override, parse

__all__ = ["ConfigError", "load_toml", "override", "parse"]
