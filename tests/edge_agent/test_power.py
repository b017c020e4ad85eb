"""The power is cut after every call that changes the disk, in every scene of a gateway's life, in five ways."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_agent import delivery, storage
from edge_agent.update import TRANSITIONS, Event, State
from tests.edge_agent.kit import SLOT
from tests.edge_agent.life import LIFE, Gateway, begin
from tests.edge_agent.power import Tree

SETTLE_TURNS = 40
PARTS = 6  # that may run beside each other

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Cut:
    """The power went in this scene, after this call; the disk then looked like that."""

    scene: int
    after: str
    outcome: str
    tree: Tree
    world: dict
    watched: bool


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without thousands of lines about what is done here on purpose, and with the real disk again afterwards."""
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        storage.disk = storage.Disk()


@pytest.fixture(autouse=True)
def quietly() -> Iterator[None]:
    with quiet():
        yield


def world_of(site: Gateway) -> dict:
    """Everything outside the agent's process and disk."""
    return {
        "retained": {t: p for t, p in site.broker.retained.items() if "/u/" not in t},
        "seq": site.seq,
        "node": copy.copy(site.node),
        "now_s": site.time.now_s,
        "refuse": site.trust.refuse_bundle,
        "broken": set(site.runtime.broken),  # type: ignore[attr-defined]
        "boots": site.boots,
        "hub": list(site.hub),
    }


def resume(folder: Path, cut: Cut) -> Gateway:
    """The gateway after the cut, before it starts."""
    site = begin(folder, cut.tree)
    world = cut.world
    site.broker.retained = dict(world["retained"])
    site.seq, site.node, site.time.now_s = world["seq"], copy.copy(world["node"]), world["now_s"] + 60.0
    site.node.reboot()
    site.trust.refuse_bundle = world["refuse"]
    site.runtime.broken = set(world["broken"])  # type: ignore[attr-defined]
    site.boots, site.hub = world["boots"] + 100, list(world["hub"])
    site.answer_requests(*site.hub)
    return site


@dataclass
class Lived:
    """What a life left behind: every cut, what lay in the slot's folder after each scene, which steps were taken."""

    cuts: list[Cut]
    names: list[set[str]]
    steps: Counter
    calls: int


def live(folder: Path, seed: int) -> Lived:
    """Play the whole life once, uncut, and note what each cut would have left."""
    rng = random.Random(seed)
    site = begin(folder)
    lived = Lived([], [], Counter(), 0)
    real = delivery.SlotDelivery._enact

    def noting(self: delivery.SlotDelivery, event: Event, after: object) -> None:
        lived.steps[(self.record.state, event)] += 1
        real(self, event, after)  # type: ignore[arg-type]

    delivery.SlotDelivery._enact = noting  # type: ignore[method-assign, assignment]
    try:
        for number, scene in enumerate(LIFE):
            if number == 0:
                scene.hub(site)
                note(site, lived, number, rng)
                site.boot()
            else:
                scene.hub(site)
                note(site, lived, number, rng)
            scene.play(site)
            site.disk.after = lambda _what: None
            lived.names.append(site.names())
            site.watched = site.record.active is not None
        site.agent.close()
    finally:
        delivery.SlotDelivery._enact = real  # type: ignore[method-assign]
        site.free()
    lived.calls = site.disk.calls
    return lived


def note(site: Gateway, lived: Lived, number: int, rng: random.Random) -> None:
    world = world_of(site)

    def after(what: str) -> None:
        world["broken"] = set(site.runtime.broken)  # type: ignore[attr-defined]
        now = world | {"now_s": site.time.now_s}
        lived.cuts.extend(
            Cut(number, what, outcome, tree, now, site.watched) for outcome, tree in site.disk.outcomes(rng)
        )

    site.disk.after = after


class PowerCutError(BaseException):
    """Nothing of the agent's may catch this."""


def come_back(folder: Path, cut: Cut, names: set[str]) -> None:
    """After the cut: something runs at once, the scene comes to its end, and nothing is left lying about."""
    site = resume(folder, cut)
    try:
        play_on(site, cut)
        for _ in range(SETTLE_TURNS):  # a refused bundle gets another look at each start, and is refused again
            if site.names() == names:
                break
            site.step()
        assert site.names() == names
        for path in (folder / "slots" / SLOT).glob("*.mwb"):
            assert path.name == f"{digest(path)}.mwb", "a half file under a final name"
    finally:
        site.free()
        site.close_outbox()


def play_on(site: Gateway, cut: Cut) -> None:
    site.watched = cut.watched
    site.boot()
    site.check()
    LIFE[cut.scene].play(site)


def cut_again(folder: Path, cut: Cut, rng: random.Random) -> Cut | None:
    """Come back from a cut, and cut again on the way; None: the way ended before that."""
    site = resume(folder, cut)
    last, again = rng.randint(1, 25), []

    def after(what: str) -> None:
        if site.disk.calls >= last and not again:
            outcome, tree = rng.choice(list(site.disk.outcomes(rng)))
            world = cut.world | {"broken": set(site.runtime.broken), "boots": site.boots}  # type: ignore[attr-defined]
            again.append(
                Cut(cut.scene, f"{cut.after}, then {what}", f"{cut.outcome}, then {outcome}", tree, world, cut.watched)
            )
            raise PowerCutError

    site.disk.after = after
    try:
        play_on(site, cut)
    except PowerCutError:
        pass
    finally:
        site.free()
        site.disk.after = lambda _what: None
        site.close_outbox()
    return again[0] if again else None


def digest(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a place: which writes count is known to the recording disk, not to a real one."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="millwright-power-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """One life, cut by all parts below (each process of a parallel run plays it for itself)."""
    with quiet():
        return live(tmp_path_factory.mktemp("life"), seed=20)


@pytest.mark.parametrize("part", [pytest.param(n, marks=pytest.mark.xdist_group(f"power-{n}")) for n in range(PARTS)])
def test_a_power_cut_after_every_call_in_every_scene(folder: Path, lived: Lived, part: int) -> None:
    distinct = distinct_of(lived.cuts)
    mine = distinct[part::PARTS]
    failed = failures(folder, mine, lived)
    told = (
        f"{len(failed)} of {len(mine)}, this part of {len(distinct)} distinct of {len(lived.cuts)} cuts "
        f"after {lived.calls} calls"
    )
    sys.stdout.write(f"{told}\n")
    assert not failed, f"{told}:\n" + "\n".join(failed[:60])
    assert len(lived.cuts) > 4000, told
    assert len(distinct) > 800, told


@pytest.mark.xdist_group("power-again")
def test_the_power_goes_again_on_the_way_back(folder: Path) -> None:
    lived = live(folder / "life", seed=21)
    rng = random.Random(22)
    sample = rng.sample(distinct_of(lived.cuts), 150)
    twice = [again for cut in sample if (again := cut_again(folder / "first", cut, rng)) is not None]
    failed = failures(folder, twice, lived)
    told = f"{len(failed)} of {len(twice)} that were cut twice"
    sys.stdout.write(f"{told}\n")
    assert not failed, f"{told}:\n" + "\n".join(failed)
    assert len(twice) > 100, told


def distinct_of(cuts: list[Cut]) -> list[Cut]:
    """Many cuts leave the same behind. (The status file is for people: nobody reads it back.)"""
    distinct: dict[int, Cut] = {}
    for cut in cuts:
        tree = frozenset(item for item in cut.tree.items() if not item[0].endswith("status.json"))
        distinct.setdefault(hash((cut.scene, tree)), cut)
    return list(distinct.values())


def failures(folder: Path, cuts: list[Cut], lived: Lived) -> list[str]:
    failed = []
    for at, cut in enumerate(cuts):
        try:
            come_back(folder / "again", cut, lived.names[cut.scene])
        except Exception as error:  # noqa: BLE001 - told by the caller, all of them together
            failed.append(f"{at}: {LIFE[cut.scene].name}, after {cut.after!r}, {cut.outcome}: {error!r}"[:400])
    return failed


def test_the_life_takes_most_steps_of_the_table(folder: Path) -> None:
    lived = live(folder / "life", seed=1)
    assert {state for state, _ in lived.steps} == set(State)
    assert {event for _, event in lived.steps} == set(Event)
    assert all(event in TRANSITIONS[state] for state, event in lived.steps)
