"""The test after a training: data that neither training nor a gate has seen, through the bundle that came of it."""

from __future__ import annotations

import msgspec

from cloud_hub.data.load import load
from cloud_hub.data.recording import Recording
from cloud_hub.errors import DataError
from cloud_hub.evaluate.recordings import RecordingsResult, evaluate_recordings
from cloud_hub.inspecting.inspect import options_of
from cloud_hub.inspecting.propose import Given
from cloud_hub.inspecting.settle import Settled
from models.bundle.archive import Bundle
from models.errors import SignalError


class HeldOutTest(msgspec.Struct, frozen=True, kw_only=True):
    """`result` is None when there was too little to test on; `why` says so."""

    result: RecordingsResult | None
    why: str = ""


def run_held_out(bundle: Bundle, settled: Settled, given: Given, healthy: list[str], faulty: list[str]) -> HeldOutTest:
    """Calibrate each point on the longest of its training recordings, then run what was held out.

    Args: healthy, faulty: sources as for `cloud_hub.data.load.load`.
    """
    options = options_of(settled.proposal, given)
    window = bundle.manifest.input.window
    longest: dict[str, Recording] = {}
    for recording in settled.healthy:
        known = longest.get(recording.point)
        if known is None or len(recording.samples) > len(known.samples):
            longest[recording.point] = recording
    try:
        unseen = [r for r in load(healthy, options) if len(r.samples) >= window] if healthy else []
        broken = [r for r in load(faulty, options) if len(r.samples) >= window] if faulty else []
        if not unseen and not broken:
            return HeldOutTest(result=None, why=f"nothing held out is as long as a window of {window} samples")
        return HeldOutTest(result=evaluate_recordings(bundle, list(longest.values()), unseen, broken))
    except (DataError, SignalError) as error:
        return HeldOutTest(result=None, why=str(error))
