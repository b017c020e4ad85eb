"""Wants before they expire: issued anew with the same content, but not those that are meant to end, or a rollout's."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from cloud_hub.delivery.registry import Shadow, WantRecord
from cloud_hub.delivery.renew import DAY_S, PERIOD_S, WantKeeper
from cloud_hub.delivery.want import record_of
from cloud_hub.errors import LinkError
from cloud_hub.store import registry
from cloud_hub.store.database import Database
from cloud_hub.store.registry import SqlRegistry
from models.contract import topics
from models.contract.ids import GatewayId
from models.contract.messages import WantBody, decode, encode
from tests.cloud_hub.rollout_kit import NOW, World, add_bundles, fleet_of, plan
from tests.simulators.fleet import NEW, OLD, SLOT


class Broker:
    """What is retained; `fail_after`: messages before the link breaks."""

    def __init__(self) -> None:
        self.retained: dict[str, WantBody] = {}
        self.published: list[str] = []
        self.fail_after: int | None = None

    def publish_all(self, messages: Iterable[tuple[str, bytes]], *, retain: bool = False) -> None:
        assert retain
        for topic, payload in messages:
            if self.fail_after is not None and len(self.published) >= self.fail_after:
                raise LinkError("the link broke")
            self.published.append(topic)
            self.retained[topic] = decode(WantBody, payload, "test")


class Hub:
    def __init__(self, database: Database) -> None:
        self.now_s = NOW
        self.store, self.broker = SqlRegistry(database), Broker()
        self.restart()

    def restart(self, *, renew: bool = True) -> None:
        """A new process: nothing is left but database and broker."""
        self.keeper = WantKeeper(self.store, encode, renew=renew, now_s=lambda: self.now_s)

    def made(self, gateway: str, days: float = 30.0, **fields: object) -> WantRecord:
        return WantRecord(gateway, int(self.now_s), self.now_s, self.now_s + days * DAY_S, ((SLOT, OLD),), **fields)  # type: ignore[arg-type]

    def issue(self, gateway: str = "gw-1", days: float = 30.0, **fields: object) -> WantRecord:
        record = self.made(gateway, days, **fields)
        self.store.add_want(record)
        return record

    def look(self, days: float = 0.0) -> int:
        self.now_s += days * DAY_S
        return self.keeper(self.broker)

    def retained(self, gateway: str = "gw-1") -> WantRecord:
        return record_of(self.broker.retained[topics.topic_of(topics.Want(GatewayId(gateway)))])


@pytest.fixture
def hub(database: Database) -> Hub:
    add_bundles(database)
    return Hub(database)


def test_at_half_of_its_life_with_the_same_content(hub: Hub) -> None:
    first = hub.issue(jitter_s=90, shadow=((SLOT, Shadow(5, True)),))
    assert hub.look(14.9) == 0
    assert hub.look(0.2) == 1
    second = hub.store.current_want("gw-1")
    assert second == hub.retained()
    assert second is not None
    assert second.seq > first.seq
    assert second.expires_s == int(hub.now_s + 30 * DAY_S)
    assert (second.bundles, second.jitter_s, second.shadow) == (first.bundles, 90, first.shadow)
    assert hub.look(0.5) == 0
    assert hub.look(15.0) == 1  # and so on
    assert hub.retained().expires_s > hub.now_s + 29 * DAY_S
    assert hub.keeper.concerns == ()


def test_it_looks_once_an_hour(hub: Hub) -> None:
    assert hub.look() == 0
    hub.issue(days=7.0)
    assert hub.look(4.0) == 1
    hub.now_s += PERIOD_S / 2
    hub.broker.published.clear()
    assert hub.look() == 0
    assert hub.broker.published == []


def test_one_that_expired_while_the_hub_was_off_is_issued_anew(hub: Hub) -> None:
    hub.issue()
    assert hub.look(45.0) == 1
    assert hub.retained().expires_s > hub.now_s


def test_what_was_made_for_a_short_time_ends(hub: Hub) -> None:
    hub.issue(days=2.0)
    assert [hub.look(1.5), hub.look(1.5)] == [0, 0]
    assert hub.keeper.concerns == ()


def test_a_rollouts_wants_are_left_to_it_and_told(database: Database) -> None:
    world = World(database, fleet_of(5))
    hub = Hub(database)
    for i in range(5):
        hub.issue(f"gw-{i}")
    world.create(plan())
    assert hub.look(25.0) == 0
    (concern,) = hub.keeper.concerns
    assert "wants of 5 gateways expire within 7 days or have (gw-0, gw-1, gw-2, gw-3, gw-4)" in concern
    assert "a rollout that is not over holds them" in concern


def test_switched_off_it_is_told(hub: Hub) -> None:
    hub.restart(renew=False)
    hub.issue()
    assert hub.look(24.0) == 0
    (concern,) = hub.keeper.concerns
    assert concern.endswith("want_renewal is off")


def test_a_link_that_breaks_loses_nothing(hub: Hub) -> None:
    hub.store.add_wants([hub.made(f"gw-{i:03}") for i in range(200)])
    hub.now_s += 16 * DAY_S
    hub.broker.fail_after = 70
    with pytest.raises(LinkError):
        hub.look()
    hub.broker.fail_after = None
    hub.look()
    assert len(hub.broker.retained) == 200
    for i in range(200):
        assert hub.retained(f"gw-{i:03}") == hub.store.current_want(f"gw-{i:03}")


def test_a_link_that_breaks_in_the_first_turn_does_not_end_that_turn(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_BATCH", 20)
    hub.store.add_wants([hub.made(f"gw-{i:03}") for i in range(100)])
    hub.broker.fail_after = 30
    with pytest.raises(LinkError):
        hub.look()
    hub.broker.fail_after = None
    assert hub.look() == 0
    assert len(hub.broker.retained) == 100


def test_a_hub_that_was_killed_between_numbering_and_sending_sends_it_when_it_is_back(hub: Hub) -> None:
    hub.issue()
    hub.now_s += 16 * DAY_S
    hub.broker.fail_after = 0
    with pytest.raises(LinkError):
        hub.look()
    numbered = hub.store.current_want("gw-1")
    assert hub.broker.retained == {}
    hub.broker.fail_after = None
    hub.restart()
    assert hub.look() == 0
    assert hub.retained() == numbered


def test_somebody_elses_newer_want_wins(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.issue()
    hub.now_s += 16 * DAY_S
    stale = list(hub.store.standing_wants())
    newer = WantRecord("gw-1", int(hub.now_s) + 5, hub.now_s, hub.now_s + 30 * DAY_S, ((SLOT, NEW),))
    hub.store.add_want(newer)
    monkeypatch.setattr(hub.store, "standing_wants", lambda: iter(stale))
    assert hub.look() == 0
    assert hub.broker.published == []
    monkeypatch.undo()
    hub.now_s += PERIOD_S
    assert hub.look() == 0
    assert hub.store.current_want("gw-1") == newer
