"""Machines and what their points do."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cloud_hub.api.answers import SilencedView, TrendBody
from cloud_hub.client.wire import Pages, Part, at
from cloud_hub.store import views as v
from cloud_hub.store.keep_views import KeptView
from cloud_hub.store.sorts import MachineSort


def _place(machine: str, point: str | None) -> str:
    return at("machines", machine) if point is None else at("machines", machine, "points", point)


class Machines(Part):
    """Machines, trends, outlooks."""

    def list(
        self,
        *,
        gateway: str | None = None,
        verdict: v.Verdict | None = None,
        sort: MachineSort | None = None,
        limit: int | None = None,
    ) -> Pages[v.MachineView]:
        """Machines by id, with the worst verdict and the highest score of their points."""
        query = {"gateway": gateway, "verdict": verdict, "sort": sort, "limit": limit}
        return self.wire.pages(v.MachineView, "/machines", query)

    def get(self, machine: str) -> v.MachineDetail:
        """One machine with its points."""
        return self.wire.get(v.MachineDetail, at("machines", machine))

    def trends(
        self,
        *,
        machine: str | None = None,
        point: str | None = None,
        gateway: str | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int | None = None,
    ) -> Pages[v.TrendView]:
        """Trend rows, newest first, from `since` up to but without `until`."""
        query = {"machine": machine, "point": point, "gateway": gateway, "since": since, "until": until, "limit": limit}
        return self.wire.pages(v.TrendView, "/trends", query)

    def save_trends(
        self,
        to: Path,
        *,
        format: Literal["csv", "parquet"] = "csv",  # noqa: A002 - the API's name
        machine: str | None = None,
        point: str | None = None,
        gateway: str | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> int:
        """Trend rows as a file. Returns: its length."""
        query = {"machine": machine, "point": point, "gateway": gateway, "since": since, "until": until}
        return self.wire.save("/exports/trends", to, {**query, "format": format})

    def trend(
        self,
        machine: str,
        point: str,
        *,
        since: float | None = None,
        until: float | None = None,
        max_points: int | None = None,
    ) -> TrendBody:
        """The trend of a point as columns, at the finest resolution that has at most so many points of it."""
        query = {"since": since, "until": until, "max_points": max_points}
        return self.wire.get(TrendBody, _place(machine, point) + "/trend", query)

    def series(
        self,
        machine: str,
        point: str,
        since: float,
        until: float,
        *,
        max_points: int | None = None,
        gateway: str | None = None,
    ) -> v.TrendSeriesView:
        """A point's trend over a span of time, at the finest resolution that has at most so many points of it."""
        query = {"since": since, "until": until, "max_points": max_points, "gateway": gateway}
        return self.wire.get(v.TrendSeriesView, _place(machine, point) + "/series", query)

    def outlook(
        self,
        machine: str,
        point: str,
        *,
        limit: float | None = None,
        coverage: float | None = None,
        until: float | None = None,
    ) -> v.OutlookView:
        """Where a point's score is heading."""
        query = {"limit": limit, "coverage": coverage, "until": until}
        return self.wire.get(v.OutlookView, _place(machine, point) + "/outlook", query)

    def retention(self, machine: str, point: str) -> KeptView:
        """How long a point's trends are kept."""
        return self.wire.get(KeptView, _place(machine, point) + "/retention")

    def keep(
        self,
        machine: str,
        point: str,
        *,
        rows: float | None = None,
        five_minutes: float | None = None,
        hours: float | None = None,
        revision: int | None = None,
    ) -> KeptView:
        """Say how many days they are kept for each resolution; None: as the hub's settings say."""
        body = {"rows": rows, "five_minutes": five_minutes, "hours": hours}
        return self.wire.send("PUT", KeptView, _place(machine, point) + "/retention", body, revision=revision)

    def take_out_of_service(self, machine: str, reason: str, point: str | None = None) -> SilencedView:
        """No alarm of this machine, or point, asks for attention until it is restored."""
        path = _place(machine, point) + "/out-of-service"
        return self.wire.send("PUT", SilencedView, path, {"reason": reason})

    def restore(self, machine: str, point: str | None = None) -> SilencedView:
        """What still lasts asks for attention again."""
        return self.wire.send("DELETE", SilencedView, _place(machine, point) + "/out-of-service")
