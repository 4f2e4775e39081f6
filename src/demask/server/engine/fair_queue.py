"""The queue, in which clients take turns by the work that they request.

Start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996): a request's turn begins where its
client's previous one ends, or now. A client that requests a hundred images delays
its own requests, not those of others; requests of one client keep their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from demask.server.engine.worker import QueuedRequest


@dataclass
class FairQueue:
    """The waiting requests; the caller holds a lock.

    Attributes:
        waiting: by their turns.
    """

    waiting: list[QueuedRequest] = field(default_factory=list)
    _clock: float = 0.0  # the latest turn that was taken
    _ends: dict[str, float] = field(default_factory=dict)  # of the clients' latest turns

    def __len__(self) -> int:
        return len(self.waiting)

    def add(self, requests: Iterable[QueuedRequest]) -> None:
        """Queue requests at their turns."""
        self._ends = {name: end for name, end in self._ends.items() if end > self._clock}
        for one in requests:
            client = one.ticket.request.client
            turn = self._ends.get(client, self._clock)
            self._ends[client] = turn + one.work
            self.waiting.append(replace(one, turn=turn))
        self.waiting.sort(key=lambda one: one.turn)  # equal turns keep their order

    def take(self, requests: Sequence[QueuedRequest]) -> None:
        """Remove requests whose turn it is, the first of them by right."""
        self._clock = max(self._clock, requests[0].turn)
        self.remove(requests)

    def remove(self, requests: Iterable[QueuedRequest]) -> None:
        """Remove requests."""
        gone = {id(one) for one in requests}
        self.waiting = [one for one in self.waiting if id(one) not in gone]

    def surplus(self, client: str, count: int, most: int) -> list[QueuedRequest] | None:
        """The latest requests of clients with more places, which ``count`` new ones displace.

        Args:
            client: the client that needs the places.
            count: how many places.
            most: the places in all.

        Returns:
            The requests; None where there is no room and nobody has more places than ``client``.
        """
        kept, displaced = list(self.waiting), []
        while len(kept) + count > most:
            places = Counter(one.ticket.request.client for one in kept)
            largest = max(places, key=lambda name: places[name], default=client)
            if places[largest] <= places[client] + count:
                return None
            last = max(i for i, one in enumerate(kept) if one.ticket.request.client == largest)
            displaced.append(kept.pop(last))
        return displaced
