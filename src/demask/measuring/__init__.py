"""Measure models from Python: `demask.evaluate` and `demask.compare`.

Results are records: frozen dataclasses that write themselves as JSON or CSV.
"""
