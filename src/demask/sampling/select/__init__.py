"""Selection orders: which of the hidden tokens does a step decide?

An order is a frozen dataclass in a file of its own and a row of the table below.
"""

from demask.registry import Table
from demask.sampling.select.confidence import Confidence
from demask.sampling.select.order import Look, Order

ORDERS: Table[type[Order]] = Table("selection order", {"confidence": Confidence})

__all__ = ["ORDERS", "Confidence", "Look", "Order"]
