"""Transformers: ids and a condition -> logits over the codebook."""
