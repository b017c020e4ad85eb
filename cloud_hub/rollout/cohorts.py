"""Who is in which cohort. Settled once, when the rollout is created, so that it can be looked at before anything moves;
a gateway that joins the fleet later is not part of it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cloud_hub.errors import PlanError
from cloud_hub.rollout.plan import Plan, share_of


@dataclass(frozen=True, slots=True)
class Site:
    """What a rollout needs to know of a gateway before it begins."""

    gateway: str
    labels: Mapping[str, str] = field(default_factory=dict)
    time_zone: str | None = None


def hash_order(rollout: str, gateways: Iterable[str]) -> list[str]:
    """The gateways in the order of SHA-256 over rollout and gateway: stable, and another one in every rollout, so that
    it is not always the same sites that go first.
    """
    return sorted(gateways, key=lambda gateway: hashlib.sha256(f"{rollout}:{gateway}".encode()).digest())


def matches(selector: str, labels: Mapping[str, str]) -> bool:
    """Whether labels have this name ("name"), or this name and value ("name=value")."""
    name, equals, value = selector.partition("=")
    return name in labels and (not equals or labels[name] == value)


def assign(rollout: str, plan: Plan, sites: Sequence[Site]) -> dict[str, int]:
    """Gateway to index of its cohort; the first cohort that takes a gateway has it.

    Args:   sites: all gateways that report the slot.
    Raises: PlanError: a cohort is empty, or names a gateway that does not report the slot.
    """
    chosen = {s.gateway: s for s in sites if plan.select is None or matches(plan.select, s.labels)}
    if not chosen:
        label = f" with the label {plan.select!r}" if plan.select is not None else ""
        raise PlanError(f"plan: no gateway{label} reports the slot {plan.slot!r}")
    order = hash_order(rollout, chosen)
    cohort_of: dict[str, int] = {}
    for index, cohort in enumerate(plan.cohorts):
        where = f"plan, cohort {cohort.name!r}"
        if cohort.gateways is not None:
            unknown = sorted(set(cohort.gateways) - set(chosen))
            if unknown:
                listed = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
                raise PlanError(f"{where}: no such gateway with the slot {plan.slot!r}: {listed}")
            taken = [g for g in cohort.gateways if g not in cohort_of]
        elif cohort.label is not None:
            taken = [g for g in order if g not in cohort_of and matches(cohort.label, chosen[g].labels)]
        else:
            target = math.ceil(share_of(cohort) * len(order) / 100 - 1e-9)
            taken = [g for g in order if g not in cohort_of][: max(0, target - len(cohort_of))]
        if not taken:
            raise PlanError(f"{where}: it is empty; those before it have {len(cohort_of)} of {len(order)} gateways")
        cohort_of |= dict.fromkeys(taken, index)
    return cohort_of
