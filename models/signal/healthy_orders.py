"""What a point's fault orders look like while its machine is healthy, so that later only what has been added counts.

Healthy machines have lines of their own: vanes and teeth pass, an old mark on a race does no harm. A stretch that is
known to be healthy gives, for each order and axis, how far it stands above wrong orders and how deep it modulates the
envelope (`orders.Evidence`); several stretches are averaged, because the standing of an order that is not there is
noise of standard deviation 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from models.errors import SignalError
from models.signal.orders import Evidence


class HealthyOrder(msgspec.Struct, frozen=True):
    """One order of one point over `stretches` healthy stretches: mean `standing` (standard deviations, `Evidence.z`)
    and mean modulation `depth` on each axis, both (axes,).
    """

    standing: list[float]
    depth: list[float]
    stretches: int = 1


def healthy_orders(by_axis: Sequence[Sequence[Evidence]]) -> dict[str, HealthyOrder]:
    """What one healthy stretch shows. `by_axis`: evidence of each axis, the same orders on all."""
    columns = zip(*by_axis, strict=True)
    return {found[0].fault: HealthyOrder([e.z for e in found], [e.depth for e in found]) for found in columns}


def joined(known: Mapping[str, HealthyOrder], more: Mapping[str, HealthyOrder]) -> dict[str, HealthyOrder]:
    """Means over the stretches of both; an order that only one of them has is taken as it is there.

    Raises: SignalError: they have different numbers of axes.
    """
    out = dict(known)
    for fault, new in more.items():
        old = known.get(fault)
        if old is not None and len(old.standing) != len(new.standing):
            raise SignalError(f"healthy {fault}: expected {len(old.standing)} axes as before, got {len(new.standing)}")
        out[fault] = new if old is None else _mean(old, new)
    return out


def _mean(a: HealthyOrder, b: HealthyOrder) -> HealthyOrder:
    total = a.stretches + b.stretches

    def both(x: list[float], y: list[float]) -> list[float]:
        return [(a.stretches * p + b.stretches * q) / total for p, q in zip(x, y, strict=True)]

    return HealthyOrder(both(a.standing, b.standing), both(a.depth, b.depth), total)


def check_healthy(orders: Mapping[str, HealthyOrder], axes: int) -> None:
    """Of what came from a disk. Raises: SignalError: wrong number of axes, or figures that cannot be."""
    for fault, order in orders.items():
        sizes = len(order.standing), len(order.depth)
        if sizes != (axes, axes):
            raise SignalError(f"healthy {fault}: expected {axes} axes, got {sizes[0]} standings and {sizes[1]} depths")
        fine = all(map(math.isfinite, order.standing)) and all(math.isfinite(d) and d >= 0 for d in order.depth)
        if not fine or order.stretches < 1:
            raise SignalError(f"healthy {fault}: expected finite standings and depths of 0 or more, got {order}")
