"""Gateways, bundles, wants, captures, sites, and who may come in."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from pathlib import Path

from cloud_hub.api.answers import CertificateBody, CommandSent, NewEnrolToken, RetireAnswer, RevokeAnswer
from cloud_hub.client.wire import Pages, Part, at
from cloud_hub.store import views as v
from cloud_hub.store.inventory_views import InventoryView
from cloud_hub.store.overview_views import Overview
from cloud_hub.store.rollout_views import SiteView
from cloud_hub.store.sorts import BundleSort, GatewaySort


class Fleet(Part):
    """What there is on the floor. Lists are iterators; `limit` is the size of a page."""

    def overview(self, *, since: float | None = None) -> Overview:
        """The fleet at a glance, and what has changed since, by default in the last 24 hours."""
        return self.wire.get(Overview, "/overview", {"since": since})

    def gateways(
        self,
        *,
        online: bool | None = None,
        retired: bool | None = None,
        sort: GatewaySort | None = None,
        limit: int | None = None,
    ) -> Pages[v.GatewayView]:
        """Gateways by id; `retired`: those that were taken out of the fleet, which are in no other list."""
        query = {"online": online, "retired": retired, "sort": sort, "limit": limit}
        return self.wire.pages(v.GatewayView, "/gateways", query)

    def gateway(self, gateway: str) -> v.GatewayDetail:
        """One gateway with slots, points, counters, latest health and current want."""
        return self.wire.get(v.GatewayDetail, at("gateways", gateway))

    def health(self, gateway: str, *, limit: int | None = None) -> Pages[v.HealthView]:
        """The health of a gateway's agent over time, newest first."""
        return self.wire.pages(v.HealthView, at("gateways", gateway, "health"), {"limit": limit})

    def inventory(self, *, limit: int | None = None) -> Pages[InventoryView]:
        """Every gateway that was seen or labelled, by id: where it is, what it runs, how it does."""
        return self.wire.pages(InventoryView, "/inventory", {"limit": limit})

    def points(
        self,
        *,
        gateway: str | None = None,
        machine: str | None = None,
        verdict: v.Verdict | None = None,
        current: bool | None = None,
        limit: int | None = None,
    ) -> Pages[v.PointView]:
        """Points by gateway, machine and name."""
        query = {"gateway": gateway, "machine": machine, "verdict": verdict, "current": current, "limit": limit}
        return self.wire.pages(v.PointView, "/points", query)

    def bundles(
        self,
        *,
        slot: str | None = None,
        family: str | None = None,
        sort: BundleSort | None = None,
        limit: int | None = None,
    ) -> Pages[v.BundleView]:
        """Published bundles, newest first."""
        query = {"slot": slot, "family": family, "sort": sort, "limit": limit}
        return self.wire.pages(v.BundleView, "/bundles", query)

    def bundle(self, reference: str) -> v.BundleDetail:
        """One bundle, by digest, the beginning of one, or slot/version."""
        return self.wire.get(v.BundleDetail, "/bundles" + at(*reference.split("/", 1)))

    def wants(
        self, *, gateway: str | None = None, current: bool | None = None, limit: int | None = None
    ) -> Pages[v.WantView]:
        """Wants, newest first, with how far each gateway has come."""
        return self.wire.pages(v.WantView, "/wants", {"gateway": gateway, "current": current, "limit": limit})

    def want(
        self,
        gateway: str,
        *,
        bundles: Sequence[str] = (),
        slot: str | None = None,
        remove: Sequence[str] = (),
        resign: bool = False,
        not_before_s: int = 0,
        jitter_s: int = 0,
        expires_in_s: int | None = None,
        key: str | None = None,
    ) -> v.WantView:
        """Say what a gateway shall run: bundles by digest, the beginning of one, or slot/version; `remove`: slots that
        shall stop. Its other slots stay as they are.
        """
        body: dict[str, object] = {
            "bundles": list(bundles), "slot": slot, "remove": list(remove), "resign": resign,
            "not_before_s": not_before_s, "jitter_s": jitter_s,
        }  # fmt: skip
        if expires_in_s is not None:
            body["expires_in_s"] = expires_in_s
        return self.wire.send("POST", v.WantView, at("gateways", gateway, "wants"), body, key=key, creates=True)

    def acks(
        self,
        *,
        gateway: str | None = None,
        seq: int | None = None,
        phase: v.Phase | None = None,
        limit: int | None = None,
    ) -> Pages[v.AckView]:
        """Every step that gateways took, those received last first."""
        return self.wire.pages(v.AckView, "/acks", {"gateway": gateway, "seq": seq, "phase": phase, "limit": limit})

    def captures(
        self,
        *,
        machine: str | None = None,
        point: str | None = None,
        gateway: str | None = None,
        limit: int | None = None,
    ) -> Pages[v.CaptureView]:
        """Captures, those that began last first."""
        query = {"machine": machine, "point": point, "gateway": gateway, "limit": limit}
        return self.wire.pages(v.CaptureView, "/captures", query)

    def capture(self, capture: str) -> v.CaptureView:
        """One capture."""
        return self.wire.get(v.CaptureView, at("captures", capture))

    def save_capture(self, capture: str, to: Path) -> int:
        """A capture's NumPy file. Returns: its length."""
        return self.wire.save(at("captures", capture, "file"), to)

    def sites(self, *, limit: int | None = None) -> Pages[SiteView]:
        """Time zones and labels of gateways, by gateway."""
        return self.wire.pages(SiteView, "/sites", {"limit": limit})

    def site(self, gateway: str) -> SiteView:
        """Where a gateway is."""
        return self.wire.get(SiteView, at("gateways", gateway, "site"))

    def put_site(
        self, gateway: str, time_zone: str | None, labels: Mapping[str, str], *, revision: int | None = None
    ) -> SiteView:
        """Say where a gateway is and what it is labelled; all that was said before is replaced."""
        body = {"time_zone": time_zone, "labels": dict(labels)}
        return self.wire.send("PUT", SiteView, at("gateways", gateway, "site"), body, revision=revision)

    def certificates(self, gateway: str) -> builtins.list[CertificateBody]:
        """All certificates that were issued to a gateway, newest first."""
        return self.wire.get(list[CertificateBody], at("gateways", gateway, "certificates"))

    def create_enrol_token(self, gateway: str, *, hours: float = 24.0, key: str | None = None) -> NewEnrolToken:
        """A single-use token; shown this once."""
        path = at("gateways", gateway, "enrol-tokens")
        return self.wire.send("POST", NewEnrolToken, path, {"hours": hours}, key=key, creates=True)

    def record(
        self,
        gateway: str,
        machine: str,
        point: str,
        seconds: int,
        *,
        expires_in_s: int | None = None,
        key: str | None = None,
    ) -> CommandSent:
        """Have raw samples of a point sent up, from now on; the capture will have the command's id."""
        what = {"do": "capture", "machine": machine, "point": point, "seconds": seconds}
        return self._command(gateway, what, expires_in_s, key)

    def recalibrate(
        self, gateway: str, machine: str, point: str, *, expires_in_s: int | None = None, key: str | None = None
    ) -> CommandSent:
        """Have a point learn its healthy state anew, for example after a repair."""
        return self._command(gateway, {"do": "recalibrate", "machine": machine, "point": point}, expires_in_s, key)

    def ask_for_report(self, gateway: str, *, expires_in_s: int | None = None, key: str | None = None) -> CommandSent:
        """Have a gateway publish its state at once."""
        return self._command(gateway, {"do": "report"}, expires_in_s, key)

    def _command(self, gateway: str, what: dict[str, object], expires_in_s: int | None, key: str | None) -> CommandSent:
        body = what if expires_in_s is None else {**what, "expires_in_s": expires_in_s}
        return self.wire.send("POST", CommandSent, at("gateways", gateway, "commands"), body, key=key, creates=True)

    def revoke(self, gateway: str, why: str) -> RevokeAnswer:
        """Revoke all certificates and tokens of a gateway, and end its session at the broker."""
        return self.wire.send("POST", RevokeAnswer, at("gateways", gateway, "revoke"), {"why": why})

    def retire(self, gateway: str, why: str) -> RetireAnswer:
        """Take a gateway that was revoked out of the fleet; its history stays."""
        return self.wire.send("POST", RetireAnswer, at("gateways", gateway, "retire"), {"why": why})

    def authority(self) -> bytes:
        """The root certificate, PEM. Needs no token."""
        return self.wire.fetch("/enroll/authority")

    def enrol(self, request: bytes) -> bytes:
        """What a gateway sends to get a certificate, and the signed reply. Needs no token but the one in it."""
        return self.wire.post("/enroll", request)
