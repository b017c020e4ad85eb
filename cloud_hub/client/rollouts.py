"""Rollouts: make, watch, steer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from cloud_hub.client.wire import Pages, Part, at
from cloud_hub.rollout.plan import Plan
from cloud_hub.store.rollout_views import MemberStage, MemberView, NoteView, RolloutDetail, RolloutStatus, RolloutView
from cloud_hub.store.sorts import RolloutSort


class Rollouts(Part):
    """What is asked for is carried out by the hub within seconds."""

    def list(
        self, *, status: RolloutStatus | None = None, sort: RolloutSort | None = None, limit: int | None = None
    ) -> Pages[RolloutView]:
        """Rollouts, newest first."""
        return self.wire.pages(RolloutView, "/rollouts", {"status": status, "sort": sort, "limit": limit})

    def create(self, plan: Plan, *, name: str | None = None, key: str | None = None) -> RolloutDetail:
        """Begin a rollout of a published bundle."""
        body = {**msgspec.to_builtins(plan), "name": name}
        return self.wire.send("POST", RolloutDetail, "/rollouts", body, key=key, creates=True)

    def get(self, rollout: str) -> RolloutDetail:
        """One rollout: progress of each cohort, what the rules say, what it waits for."""
        return self.wire.get(RolloutDetail, at("rollouts", rollout))

    def members(
        self,
        rollout: str,
        *,
        stage: MemberStage | None = None,
        cohort: int | None = None,
        limit: int | None = None,
    ) -> Pages[MemberView]:
        """Its gateways by id, with how far each is and why it failed."""
        query = {"stage": stage, "cohort": cohort, "limit": limit}
        return self.wire.pages(MemberView, at("rollouts", rollout, "gateways"), query)

    def log(self, rollout: str, *, limit: int | None = None) -> Pages[NoteView]:
        """What happened to it and by whose wish, newest first."""
        return self.wire.pages(NoteView, at("rollouts", rollout, "log"), {"limit": limit})

    def approve(self, rollout: str, why: str = "", *, revision: int | None = None) -> RolloutDetail:
        """Let the cohort that waits for approval begin."""
        return self._ask(rollout, "approve", {"why": why}, revision)

    def pause(self, rollout: str, why: str = "", *, revision: int | None = None) -> RolloutDetail:
        """Send nothing forward until it is resumed."""
        return self._ask(rollout, "pause", {"why": why}, revision)

    def resume(self, rollout: str, why: str = "", *, revision: int | None = None) -> RolloutDetail:
        """Go on, in spite of the failures so far and of the rule that stopped it."""
        return self._ask(rollout, "resume", {"why": why}, revision)

    def abort(
        self, rollout: str, why: str = "", *, undo: bool = False, force: bool = False, revision: int | None = None
    ) -> RolloutDetail:
        """End it for good; `undo`: gateways that have come through get their previous bundle back, too; `force`: at
        once, nothing is given back.
        """
        return self._ask(rollout, "abort", {"why": why, "undo": undo, "force": force}, revision)

    def retry(
        self, rollout: str, gateways: Sequence[str] | None = None, why: str = "", *, revision: int | None = None
    ) -> RolloutDetail:
        """Let gateways that have failed try again; None: all of them."""
        body = {"why": why, "gateways": None if gateways is None else [*gateways]}
        return self._ask(rollout, "retry", body, revision)

    def _ask(
        self,
        rollout: str,
        verb: Literal["approve", "pause", "resume", "abort", "retry"],
        body: object,
        revision: int | None,
    ) -> RolloutDetail:
        return self.wire.send("POST", RolloutDetail, at("rollouts", rollout, verb), body, revision=revision)
