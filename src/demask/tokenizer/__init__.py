"""Tokenizers: pixels <-> ids."""
