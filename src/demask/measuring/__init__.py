"""Measure models from Python: `demask.evaluate` and `demask.compare`.

Results are records: frozen dataclasses with methods that write JSON or CSV.
"""
