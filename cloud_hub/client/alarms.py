"""Alarms: find them, look into them, do something about them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from cloud_hub.api.answers import EvidenceBody, SpectrumBody, WaveformBody
from cloud_hub.client.wire import Pages, Part, at
from cloud_hub.store import views as v
from cloud_hub.store.alarm_views import AlarmMetrics, BulkOutcome
from cloud_hub.store.sorts import AlarmSort


class Alarms(Part):
    """An alarm's name is "gateway.alarm"; `revision` is that of the `AlarmView` that was seen."""

    def list(
        self,
        *,
        state: Collection[v.AlarmState] = (),
        machine: str | None = None,
        point: str | None = None,
        gateway: str | None = None,
        slot: str | None = None,
        status: v.AlarmStatus | None = None,
        assignee: str | None = None,
        review: Literal["true", "false", "unsure", ""] | None = None,
        since: float | None = None,
        until: float | None = None,
        text: str | None = None,
        sort: AlarmSort | None = None,
        limit: int | None = None,
    ) -> Pages[v.AlarmView]:
        """Alarms, those raised last first; `state`: any of these."""
        query = {
            "state": sorted(state), "machine": machine, "point": point, "gateway": gateway, "slot": slot,
            "status": status, "assignee": assignee, "review": review, "since": since, "until": until, "text": text,
            "sort": sort, "limit": limit,
        }  # fmt: skip
        return self.wire.pages(v.AlarmView, "/alarms", query)

    def save(
        self,
        to: Path,
        *,
        format: Literal["csv", "parquet"] = "csv",  # noqa: A002 - the API's name
        **wanted: Any,  # noqa: ANN401 - the filters of `list`
    ) -> int:
        """Alarms as a file, with the filters of `list`. Returns: its length."""
        return self.wire.save("/exports/alarms", to, {**wanted, "format": format})

    def counts(self, *, machine: str | None = None, gateway: str | None = None) -> v.AlarmCounts:
        """How many there are in each state."""
        return self.wire.get(v.AlarmCounts, "/alarms/counts", {"machine": machine, "gateway": gateway})

    def metrics(
        self, *, since: float | None = None, until: float | None = None, gateway: str | None = None
    ) -> AlarmMetrics:
        """The figures of ISA-18.2, by default of the last 24 hours."""
        return self.wire.get(AlarmMetrics, "/alarms/metrics", {"since": since, "until": until, "gateway": gateway})

    def labels(
        self, *, machine: str | None = None, slot: str | None = None, limit: int | None = None
    ) -> Pages[v.LabelView]:
        """What people say that alarms were."""
        return self.wire.pages(v.LabelView, "/alarms/labels", {"machine": machine, "slot": slot, "limit": limit})

    def suppressions(self, *, machine: str | None = None, limit: int | None = None) -> Pages[v.SuppressionView]:
        """What is shelved or out of service now, newest first."""
        return self.wire.pages(v.SuppressionView, "/suppressions", {"machine": machine, "limit": limit})

    def get(self, alarm: str) -> v.AlarmDetail:
        """One alarm with its diagnosis and its newest events."""
        return self.wire.get(v.AlarmDetail, at("alarms", alarm))

    def actions(self, alarm: str, *, limit: int | None = None) -> Pages[v.AlarmActionView]:
        """What people, and the hub's clock, have done about it, newest first."""
        return self.wire.pages(v.AlarmActionView, at("alarms", alarm, "actions"), {"limit": limit})

    def evidence(self, alarm: str, event: int | None = None) -> EvidenceBody:
        """The raw window behind it; of the highest score unless an event is named."""
        return self.wire.get(EvidenceBody, at("alarms", alarm, "evidence"), {"event": event})

    def save_evidence(self, alarm: str, to: Path, event: int | None = None) -> int:
        """The same as a NumPy file. Returns: its length."""
        return self.wire.save(at("alarms", alarm, "evidence"), to, {"event": event, "format": "npz"})

    def spectrum(self, alarm: str, *, event: int | None = None, axis: str | None = None) -> SpectrumBody:
        """Amplitude and envelope spectrum of that window, with the orders of the machine's faults."""
        return self.wire.get(SpectrumBody, at("alarms", alarm, "spectrum"), {"event": event, "axis": axis})

    def waveform(self, alarm: str, *, event: int | None = None, columns: int | None = None) -> WaveformBody:
        """That window thinned for a picture."""
        return self.wire.get(WaveformBody, at("alarms", alarm, "waveform"), {"event": event, "columns": columns})

    # ------------------------------------------------------------------------------------------------ doing

    def acknowledge(self, alarm: str, text: str = "", *, revision: int | None = None) -> v.AlarmView:
        """Say that somebody has seen it and takes care of it."""
        return self._do("POST", alarm, "acknowledge", {"text": text}, revision)

    def shelve(self, alarm: str, duration_s: float, reason: str, *, revision: int | None = None) -> v.AlarmView:
        """Put the alarms of its point in its slot aside, for a day at most."""
        return self._do("POST", alarm, "shelve", {"duration_s": duration_s, "reason": reason}, revision)

    def unshelve(self, alarm: str, *, revision: int | None = None) -> v.AlarmView:
        """Take them from the shelf before its time is up."""
        return self._do("POST", alarm, "unshelve", {}, revision)

    def comment(self, alarm: str, text: str, *, revision: int | None = None, key: str | None = None) -> v.AlarmView:
        """Say something about it."""
        path = at("alarms", alarm, "comments")
        return self.wire.send("POST", v.AlarmView, path, {"text": text}, revision=revision, key=key, creates=True)

    def assign(self, alarm: str, assignee: str | None, *, revision: int | None = None) -> v.AlarmView:
        """Say whose job it is; None: nobody's."""
        return self._do("PUT", alarm, "assignee", {"assignee": assignee}, revision)

    def review(
        self, alarm: str, review: v.Review, *, fault: str | None = None, text: str = "", revision: int | None = None
    ) -> v.AlarmView:
        """Say what it turned out to be; `fault`: only with "true"."""
        body = {"review": review, "fault": fault, "text": text}
        return self._do("PUT", alarm, "review", body, revision)

    def act_on_many(
        self, alarms: Mapping[str, int | None], do: str, *, key: str | None = None, **what: object
    ) -> BulkOutcome:
        """The same about many: `do` is acknowledge, shelve, unshelve, comment, assign or review, with what that takes.

        Args: alarms: name -> the revision that was seen, or None.
        """
        targets = [{"alarm": alarm, "revision": revision} for alarm, revision in alarms.items()]
        body = {"alarms": targets, "action": {"do": do, **what}}
        return self.wire.send("POST", BulkOutcome, "/alarms/bulk", body, key=key, creates=True)

    def _do(
        self, method: Literal["POST", "PUT"], alarm: str, what: str, body: object, revision: int | None
    ) -> v.AlarmView:
        return self.wire.send(method, v.AlarmView, at("alarms", alarm, what), body, revision=revision)
