"""What the outbox lets go of when it is full. Pure: items in, a plan out.

The order of loss, gentlest first: neighbouring trend rows that were never sent are merged to averages; then the oldest
trends go; then `updated` events, the oldest first; then the oldest of the rest. What was sent is not merged: the hub
may have it already, and would count it twice.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from models.contract.messages import MAX_ROW_SPAN_S


class Rank(enum.IntEnum):
    """How dear an item is: the lowest goes first."""

    TREND = 0
    UPDATE = 1
    ALARM = 2


@dataclass(frozen=True, slots=True)
class Held:
    """One item in the outbox. `key`: its row. `group`: trend rows of one group may be merged; "" never. `span_s`: of a
    trend row, the time that it is about.
    """

    key: int
    rank: Rank
    size: int
    group: str = ""
    span_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """`merge`: groups of keys, oldest first, to become one row each. `drop`: keys to be dropped."""

    merge: tuple[tuple[int, ...], ...] = ()
    drop: tuple[int, ...] = ()


def plan_merge(items: Iterable[Held], excess: int) -> Plan:
    """Which trend rows to merge in pairs, oldest first, to spare at least `excess` bytes; fewer when there are no more.

    Args: items: in the order of time; no more of them are taken than are needed. A merged row is taken to be as large
          as the larger of the two. Two that would be about more time than a row may are left as they are: the hub would
          refuse the batch that holds them, and the rows beside them, for ever.
    """
    pairs: list[tuple[int, ...]] = []
    waiting: dict[str, Held] = {}
    spared = 0
    for item in items:
        if spared >= excess:
            break
        if not item.group:
            continue
        first = waiting.pop(item.group, None)
        if first is None or first.span_s + item.span_s > MAX_ROW_SPAN_S:
            waiting[item.group] = item
            continue
        pairs.append((first.key, item.key))
        spared += min(first.size, item.size)
    return Plan(merge=tuple(pairs))


def plan_drop(items: Sequence[Held], excess: int) -> Plan:
    """Which items to drop, the lowest rank first and the oldest first within it, to spare at least `excess` bytes."""
    drop: list[int] = []
    spared = 0
    for item in sorted(items, key=lambda item: item.rank):
        if spared >= excess:
            break
        drop.append(item.key)
        spared += item.size
    return Plan(drop=tuple(drop))
