"""Models and the trainings that make them."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from pathlib import Path

import msgspec

from cloud_hub.api.answers import CardBody, CompareRow, PublishBody
from cloud_hub.client.errors import AnswerError
from cloud_hub.client.events import QUIET_S, parse
from cloud_hub.client.wire import Pages, Part, at
from cloud_hub.jobs.states import OVER, JobState
from cloud_hub.store.job_views import JobDetail, JobView
from cloud_hub.store.model_views import DataOrigin, ModelUse, ModelView
from cloud_hub.store.sorts import JobSort, ModelSort


class Models(Part):
    """Bundles that were published or trained here; named by their digests."""

    def list(
        self,
        *,
        slot: str | None = None,
        family: str | None = None,
        published: bool | None = None,
        sort: ModelSort | None = None,
        limit: int | None = None,
    ) -> Pages[ModelView]:
        """Models, newest first."""
        query = {"slot": slot, "family": family, "published": published, "sort": sort, "limit": limit}
        return self.wire.pages(ModelView, "/models", query)

    def get(self, sha256: str) -> ModelView:
        """One bundle."""
        return self.wire.get(ModelView, at("models", sha256))

    def card(self, sha256: str) -> CardBody:
        """Model card, manifest and evaluation."""
        return self.wire.get(CardBody, at("models", sha256, "card"))

    def report(self, sha256: str) -> bytes:
        """The report of its training, HTML."""
        return self.wire.fetch(at("models", sha256, "report"))

    def use(self, sha256: str) -> ModelUse:
        """The gateways that have it, and the rollouts that brought it."""
        return self.wire.get(ModelUse, at("models", sha256, "use"))

    def origins(self, sha256: str) -> builtins.list[DataOrigin]:
        """The versions of data sets that hold what it was trained on."""
        return self.wire.get(list[DataOrigin], at("models", sha256, "data"))

    def compare(self, sha256: str, other: str) -> builtins.list[CompareRow]:
        """What two bundles have, figure by figure."""
        return self.wire.get(list[CompareRow], at("models", sha256, "compare", other))

    def save_bundle(self, sha256: str, to: Path) -> int:
        """The bundle itself (.mwb). Returns: its length."""
        return self.wire.save(at("models", sha256, "bundle"), to)

    def publish(self, sha256: str, *, key: str | None = None) -> PublishBody:
        """Sign for it and send it: any gateway can fetch it then."""
        return self.wire.send("POST", PublishBody, at("models", sha256, "publish"), key=key, creates=True)


class Jobs(Part):
    """Trainings."""

    def list(
        self,
        *,
        state: JobState | None = None,
        data_set: str | None = None,
        sort: JobSort | None = None,
        limit: int | None = None,
    ) -> Pages[JobView]:
        """Training jobs, newest first."""
        query = {"state": state, "data_set": data_set, "sort": sort, "limit": limit}
        return self.wire.pages(JobView, "/training-jobs", query)

    def get(self, job: str) -> JobDetail:
        """One job: how far it is, why it was refused, what came of it."""
        return self.wire.get(JobDetail, at("training-jobs", job))

    def start(self, data_set: str, *, version: int | None = None, key: str | None = None, **order: object) -> JobView:
        """Queue a training. Args: version: of the data set; None: the newest. order: as `OrderBody` of the API."""
        body = {"data_set": data_set, "data_set_version": version, **order}
        return self.wire.send("POST", JobView, "/training-jobs", body, key=key, creates=True)

    def cancel(self, job: str, *, revision: int | None = None) -> JobView:
        """End a training, or keep it from beginning."""
        return self.wire.send("POST", JobView, at("training-jobs", job, "cancel"), revision=revision)

    def again(self, job: str, *, key: str | None = None) -> JobView:
        """Queue the same training once more."""
        return self.wire.send("POST", JobView, at("training-jobs", job, "again"), key=key, creates=True)

    def log(self, job: str) -> str:
        """What its process said."""
        return self.wire.fetch(at("training-jobs", job, "log")).decode("utf-8", "replace")

    def follow(self, job: str) -> Iterator[JobView]:
        """The job, each time it has changed, until it is over. The hub ends a stream after a while, to ask again who
        follows: then this goes on with the next one.
        """
        seen, over = 0, False
        while not over:
            with self.wire.stream(at("training-jobs", job, "events"), {}, {}, QUIET_S) as answer:
                came = False
                for fields in parse(answer.iter_lines()):
                    try:
                        now = msgspec.json.decode(fields["data"], type=JobView)
                    except msgspec.DecodeError as error:
                        raise AnswerError(f"training job {job}: not of this version of the API: {error}") from error
                    came, over = True, now.state in OVER
                    if now.revision > seen:
                        seen = now.revision
                        yield now
            if not came:
                raise AnswerError(f"training job {job}: expected events of it, the stream ended without any")
