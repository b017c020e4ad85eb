"""What `cloud-hub train` trains on and how: what was given, completed by an inspection."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cloud_hub.data.load import load
from cloud_hub.data.recording import Recording
from cloud_hub.errors import DataError
from cloud_hub.inspecting.inspect import first_stop, inspect_data, options_of
from cloud_hub.inspecting.propose import UNKNOWN, Given
from cloud_hub.inspecting.result import Inspection, Proposal
from models.families import family_named


@dataclass(frozen=True, slots=True)
class Settled:
    """Everything that training needs to be told. `title`: one line for people."""

    inspection: Inspection
    proposal: Proposal
    healthy: list[Recording]
    faulty: list[Recording]
    title: str


def settle(data: list[str], faulty: list[str], given: Given) -> Settled:
    """Inspect healthy data, and read the faulty ones in the same way.

    Raises: DataError: the data will not do, or contradict what is given.
    """
    inspection, healthy = inspect_data(data, given)
    stop = first_stop(inspection)
    if stop is not None:
        raise stop
    proposal = inspection.proposal
    if proposal is None:
        raise DataError("data: nothing to train on")
    title = f"{family_named(proposal.family).title}, {proposal.rate_hz:g} Hz"
    title += ", unit unknown" if proposal.units == UNKNOWN else ""
    options = replace(options_of(proposal, given), mend_time=given.mend_time is not False)
    broken = load(faulty, options) if faulty else []
    return Settled(inspection, proposal, healthy, broken, title)
