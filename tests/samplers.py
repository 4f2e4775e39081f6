"""Samplers that the laws are held to: every row of the tables, and rows with other options."""

from __future__ import annotations

from demask.sampling.correction import CORRECTIONS, Differential, Informed, Momentum, Remask, Zigzag
from demask.sampling.filter import Filter
from demask.sampling.sampler import Sampler
from demask.sampling.schedule import SCHEDULES
from demask.sampling.select import ORDERS, Entropy, Halton
from tiny import order_of

SAMPLERS = {
    **{f"schedule {n}": Sampler(steps=6, schedule=SCHEDULES[n]) for n in SCHEDULES},
    **{f"order {n}": Sampler(steps=6, order=order_of(n)) for n in ORDERS},
    **{f"correction {n}": Sampler(steps=6, corrections=(CORRECTIONS[n](),)) for n in CORRECTIONS},
    "halton without roll": Sampler(steps=6, order=Halton(roll=False)),
    "bounded entropy": Sampler(steps=6, order=Entropy(bound=2.0)),
    "rescaled remasking": Sampler(steps=6, corrections=(Remask(0.9, rescale=True),)),
    "improbable remasked": Sampler(steps=6, corrections=(Remask(0.9, confidence_based=True),)),
    "informed of its own step": Sampler(steps=6, corrections=(Informed(0.5, reuse_forward=True),)),
    "differential of masked tokens": Sampler(
        steps=6, corrections=(Differential(previous="modified", among="masked"),)
    ),
    "averaged": Sampler(steps=6, corrections=(Momentum(0.5, "average"),)),
    "half a zigzag": Sampler(steps=6, corrections=(Zigzag(0.5, scale=1.0, stop=0.7),)),
    "filtered": Sampler(steps=6, filter=Filter(top_k=4, top_p=0.9)),
}
