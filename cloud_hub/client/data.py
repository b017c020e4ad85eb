"""Files that people bring, what they say of data, and data sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from cloud_hub.client.wire import Pages, Part, at
from cloud_hub.data.stretches import Verdict
from cloud_hub.store.data_views import DatasetView, LabelView, LineageView, UploadView, VersionDetail, VersionView
from cloud_hub.store.sorts import DatasetSort

FileKind = Literal["csv", "parquet", "wav", "npz"]
_BLOCK = 2**18


class Data(Part):
    """Uploads, labels, data sets with their versions."""

    def uploads(self, *, kind: FileKind | None = None, limit: int | None = None) -> Pages[UploadView]:
        """Files that people brought, newest first."""
        return self.wire.pages(UploadView, "/uploads", {"kind": kind, "limit": limit})

    def upload(self, sha256: str) -> UploadView:
        """One file."""
        return self.wire.get(UploadView, at("uploads", sha256))

    def add_upload(self, path: Path, name: str | None = None) -> UploadView:
        """Bring a CSV, Parquet, WAV or npz file; the same bytes again are no second file."""

        def content() -> Iterator[bytes]:
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    yield block

        query = {"name": name or path.name}
        return self.wire.send("POST", UploadView, "/uploads", query=query, content=content)

    def remove_upload(self, sha256: str) -> None:
        """Remove a file that no data set holds."""
        self.wire.send("DELETE", type(None), at("uploads", sha256))

    # ------------------------------------------------------------------------------------------------ labels

    def labels(
        self,
        *,
        machine: str | None = None,
        point: str | None = None,
        capture: str | None = None,
        verdict: Verdict | None = None,
        limit: int | None = None,
    ) -> Pages[LabelView]:
        """Labels, those said last first."""
        query = {"machine": machine, "point": point, "capture": capture, "verdict": verdict, "limit": limit}
        return self.wire.pages(LabelView, "/labels", query)

    def label(self, label: int) -> LabelView:
        """One label."""
        return self.wire.get(LabelView, at("labels", label))

    def label_capture(
        self, capture: str, verdict: Verdict, *, fault: str | None = None, note: str = "", key: str | None = None
    ) -> LabelView:
        """Say what a capture is; `fault`: only with the verdict "fault"."""
        body = {"capture": capture, "verdict": verdict, "fault": fault, "note": note}
        return self.wire.send("POST", LabelView, "/labels", body, key=key, creates=True)

    def label_span(
        self,
        machine: str,
        point: str,
        from_s: float,
        to_s: float,
        verdict: Verdict,
        *,
        fault: str | None = None,
        note: str = "",
        key: str | None = None,
    ) -> LabelView:
        """Say what a point was for a while, by the gateway's clock."""
        span = {"machine": machine, "point": point, "from_s": from_s, "to_s": to_s}
        body = {**span, "verdict": verdict, "fault": fault, "note": note}
        return self.wire.send("POST", LabelView, "/labels", body, key=key, creates=True)

    def change_label(
        self, label: int, verdict: Verdict, *, fault: str | None = None, note: str = "", revision: int | None = None
    ) -> LabelView:
        """Say something else about the same span."""
        body = {"verdict": verdict, "fault": fault, "note": note}
        return self.wire.send("PUT", LabelView, at("labels", label), body, revision=revision)

    def remove_label(self, label: int, *, revision: int | None = None) -> None:
        """Take a label away."""
        self.wire.send("DELETE", type(None), at("labels", label), revision=revision)

    # ------------------------------------------------------------------------------------------------ data sets

    def sets(self, *, sort: DatasetSort | None = None, limit: int | None = None) -> Pages[DatasetView]:
        """Data sets, those changed last first."""
        return self.wire.pages(DatasetView, "/data-sets", {"sort": sort, "limit": limit})

    def set(self, name: str) -> DatasetView:
        """One data set; its `version` is what `add_version` wants as `revision`."""
        return self.wire.get(DatasetView, at("data-sets", name))

    def create_set(
        self,
        name: str,
        items: Sequence[dict[str, Any]],
        *,
        test_share: float = 0.2,
        title: str = "",
        note: str = "",
        key: str | None = None,
    ) -> VersionDetail:
        """Make a data set.

        Args: items: as `ItemBody` of the API: kind, role, and ref, or machine, point, from_s and to_s.
        """
        body = {"name": name, "items": list(items), "test_share": test_share, "title": title, "note": note}
        return self.wire.send("POST", VersionDetail, "/data-sets", body, key=key, creates=True)

    def versions(self, name: str, *, limit: int | None = None) -> Pages[VersionView]:
        """Versions of a data set, newest first."""
        return self.wire.pages(VersionView, at("data-sets", name, "versions"), {"limit": limit})

    def add_version(
        self,
        name: str,
        items: Sequence[dict[str, Any]],
        *,
        test_share: float = 0.2,
        title: str = "",
        note: str = "",
        revision: int | None = None,
        key: str | None = None,
    ) -> VersionDetail:
        """Add a version; `revision`: the newest one that was seen."""
        body = {"items": list(items), "test_share": test_share, "title": title, "note": note}
        path = at("data-sets", name, "versions")
        return self.wire.send("POST", VersionDetail, path, body, revision=revision, key=key, creates=True)

    def version(self, name: str, version: int) -> VersionDetail:
        """One version with its files."""
        return self.wire.get(VersionDetail, at("data-sets", name, "versions", version))

    def inspection(self, name: str, version: int) -> dict[str, Any]:
        """What `cloud-hub inspect` says of its healthy training part; the first time this takes a while."""
        return self.wire.get(dict[str, Any], at("data-sets", name, "versions", version, "inspection"))

    def models_from(self, name: str, version: int) -> list[LineageView]:
        """The models that were trained on it."""
        return self.wire.get(list[LineageView], at("data-sets", name, "versions", version, "models"))
