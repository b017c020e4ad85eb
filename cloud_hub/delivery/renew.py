"""Wants that are issued anew before they expire, so that a gateway which was off for a month still follows.

A want that was made for a week or more (30 days unless somebody says otherwise) is issued again, with the same bundles,
when half of its life is over: the same signature over a higher number and a later end. One that was made for less is
meant to end. While a rollout is under way for a gateway, its wants are that rollout's affair. On its first turn the
keeper also sends what a hub that was killed may have numbered and not sent; a gateway passes over a want that it knows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from cloud_hub.delivery.registry import BundleRecord, WantRecord
from cloud_hub.delivery.want import When, body_of, next_want, record_of
from cloud_hub.errors import ConflictError, GateError, NotFoundError
from models.contract.ids import GatewayId
from models.contract.messages import WantBody
from models.contract.topics import Want, topic_of
from models.errors import ContractError

_log = logging.getLogger(__name__)
DAY_S = 86_400.0
MIN_LIFE_S = 7 * DAY_S
WARN_S = 7 * DAY_S
PERIOD_S = 3600.0
_BATCH = 64
_SHOWN = 5


class StandingWants(Protocol):
    """What is needed of the store."""

    def standing_wants(self) -> Iterator[Sequence[WantRecord]]:
        """The newest want of each gateway, some hundred at a time."""

    def gateways_in_rollouts(self) -> set[str]:
        """Gateways whose wants a rollout that is not over issues."""

    def find_bundle(self, reference: str) -> BundleRecord:
        """Raises: NotFoundError."""

    def add_wants(self, records: Sequence[WantRecord]) -> None:
        """Remember new wants, all or none. Raises: ConflictError: a newer one was issued meanwhile."""


class Publisher(Protocol):
    """What is needed of `cloud_hub.transport.Link`."""

    def publish_all(self, messages: Iterable[tuple[str, bytes]], *, retain: bool = False) -> None:
        """Publish and wait until the broker has them all. Raises: LinkError."""


class WantKeeper:
    """Call it often with the link; it looks once an hour. `concerns`: wants that will expire, for people."""

    def __init__(
        self,
        store: StandingWants,
        sign: Callable[[WantBody], bytes],
        *,
        renew: bool = True,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.concerns: tuple[str, ...] = ()
        self._store = store
        self._sign = sign
        self._renew = renew
        self._now_s = now_s
        self._next_s = 0.0
        self._unsent: dict[str, WantRecord] = {}
        self._first = True  # whoever ran before us was perhaps killed with something unsent

    def __call__(self, link: Publisher) -> int:
        """Issue anew what is due.

        Returns: how many wants.
        Raises:  LinkError: what was not sent is sent next time. StoreUnavailableError, KeysError.
        """
        now_s = self._now_s()
        if now_s < self._next_s and not self._unsent:
            return 0
        busy = self._store.gateways_in_rollouts()
        renewed, expiring = 0, []
        for wants in self._store.standing_wants():
            due = [one for one in wants if self._due(one, now_s) and one.gateway not in busy]
            renewed += self._issue(due, now_s)
            if self._first:
                known = {one.gateway for one in due} | busy
                self._unsent |= {
                    one.gateway: one for one in wants if one.gateway not in known and one.expires_s > now_s
                }
            expiring += [w for w in wants if w not in due and _expires_soon(w, now_s)]
            self._send(link)
        self._first = False
        self.concerns = _concerns(expiring, busy, renew=self._renew)
        self._next_s = now_s + PERIOD_S
        if renewed:
            _log.info("%d wants were issued anew, before they expire", renewed)
        return renewed

    def _due(self, want: WantRecord, now_s: float) -> bool:
        return self._renew and _lasting(want) and now_s >= _start_s(want) + _life_s(want) / 2

    def _issue(self, due: Sequence[WantRecord], now_s: float) -> int:
        """Number them, remember them, keep them for sending. A want that somebody else has just replaced is let be."""
        issued = 0
        for start in range(0, len(due), _BATCH):
            made = [one for one in (self._anew(want, now_s) for want in due[start : start + _BATCH]) if one is not None]
            try:
                self._store.add_wants(made)
            except ConflictError as error:
                _log.info("%s; looking again later", error)
                continue
            self._unsent |= {one.gateway: one for one in made}
            issued += len(made)
        return issued

    def _anew(self, want: WantRecord, now_s: float) -> WantRecord | None:
        try:
            when = When(int(now_s + _life_s(want)), jitter_s=want.jitter_s)
            return record_of(next_want(want.gateway, want, {}, self._store.find_bundle, now_s, when))
        except (NotFoundError, GateError, ContractError) as error:
            _log.error("want for %s: cannot be issued anew: %s", want.gateway, error)
            return None

    def _send(self, link: Publisher) -> None:
        while self._unsent:
            some = list(self._unsent.values())[:_BATCH]
            messages = []
            for record in some:
                try:
                    envelope = self._sign(body_of(record, self._store.find_bundle))
                except NotFoundError as error:
                    _log.error("want for %s: cannot be sent: %s", record.gateway, error)
                    continue
                messages.append((topic_of(Want(GatewayId(record.gateway))), envelope))
            link.publish_all(messages, retain=True)
            for record in some:
                del self._unsent[record.gateway]


def _start_s(want: WantRecord) -> float:
    return max(want.issued_s, want.not_before_s)


def _life_s(want: WantRecord) -> float:
    return want.expires_s - _start_s(want)


def _lasting(want: WantRecord) -> bool:
    return _life_s(want) >= MIN_LIFE_S


def _expires_soon(want: WantRecord, now_s: float) -> bool:
    """Or has expired: a gateway that is off may not have followed it. What was made for a short time is meant to."""
    return _lasting(want) and bool(want.bundles) and want.expires_s - now_s < WARN_S


def _concerns(expiring: Sequence[WantRecord], busy: set[str], *, renew: bool) -> tuple[str, ...]:
    told = []
    for who, why in (
        ([w for w in expiring if w.gateway in busy], "a rollout that is not over holds them: let it go on, or end it"),
        ([w for w in expiring if w.gateway not in busy], _NOT_RENEWED if renew else "want_renewal is off"),
    ):
        if who:
            names = ", ".join(sorted(w.gateway for w in who)[:_SHOWN])
            more = f" and {len(who) - _SHOWN} more" if len(who) > _SHOWN else ""
            told.append(
                f"wants of {len(who)} gateways expire within {WARN_S / DAY_S:.0f} days or have ({names}{more}): {why}"
            )
    return tuple(told)


_NOT_RENEWED = "they could not be issued anew, the log says why; `cloud-hub want GATEWAY --resign`"
