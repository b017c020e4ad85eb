"""The registry of bundles and wants."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloud_hub.delivery.registry import BundleRecord, BundleRegistry, WantRecord
from cloud_hub.errors import ConflictError, NotFoundError
from cloud_hub.settings import load_settings
from cloud_hub.store.database import Database
from cloud_hub.store.registry import SqlRegistry

RECORD = BundleRecord(
    sha256="ab" * 32,
    slot="pump-vibration",
    version="2026.1",
    family="spectral",
    target="pump-vibration/2026.1.mwb",
    length=280_000,
    created_s=1000.0,
    manifest_json='{"a": 1}\n',
)
OTHER = replace(RECORD, sha256="ab" * 4 + "cd" * 28, version="2026.2", created_s=2000.0)


@pytest.fixture
def registry(database: Database) -> BundleRegistry:
    return SqlRegistry(database)


def test_settings_are_enough_to_open_one(tmp_path) -> None:
    settings = load_settings(tmp_path / "new" / "home")
    with SqlRegistry(settings) as registry:
        registry.add_bundle(RECORD)
    with SqlRegistry(settings) as registry:
        assert registry.list_bundles() == [RECORD]


def test_bundles_come_back_as_they_went_in(registry: BundleRegistry) -> None:
    registry.add_bundle(RECORD)
    registry.add_bundle(OTHER)
    registry.add_bundle(RECORD)
    assert registry.list_bundles() == [OTHER, RECORD]
    for reference in (RECORD.sha256, RECORD.sha256[:9], "pump-vibration/2026.1"):
        assert registry.find_bundle(reference) == RECORD


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("ff" * 32, "none was published under this name"),
        ("pump-vibration/3", "none was published under this name"),
        ("abab", "expected a digest, at least 6 digits of one, or slot/version"),
        ("%", "expected a digest"),
        ("ABABABAB", "expected a digest"),
        ("abababab", "fits more than one"),
    ],
)
def test_references_that_name_no_bundle(registry: BundleRegistry, reference: str, text: str) -> None:
    registry.add_bundle(RECORD)
    registry.add_bundle(OTHER)
    with pytest.raises(NotFoundError, match=text):
        registry.find_bundle(reference)


def test_a_version_names_one_bundle_for_ever(registry: BundleRegistry) -> None:
    registry.add_bundle(RECORD)
    with pytest.raises(ConflictError, match=r"bundle pump-vibration/2026\.1: already published as abab"):
        registry.add_bundle(replace(RECORD, sha256="cd" * 32))
    assert registry.list_bundles() == [RECORD]


def test_wants(registry: BundleRegistry) -> None:
    registry.add_bundle(RECORD)
    assert registry.current_want("gw-1") is None
    first = WantRecord("gw-1", 1, 10.0, 20.0, (("pump-vibration", RECORD.sha256),))
    second = WantRecord("gw-1", 2, 11.0, 21.0, ())
    registry.add_want(first)
    assert registry.current_want("gw-1") == first
    registry.add_want(second)
    assert registry.current_want("gw-1") == second
    assert registry.current_want("gw-2") is None


def test_a_want_that_was_overtaken_is_refused(registry: BundleRegistry) -> None:
    registry.add_want(WantRecord("gw-1", 5, 10.0, 20.0, ()))
    for seq in (4, 5):
        with pytest.raises(ConflictError, match=f"want for gw-1: expected a seq above 5, got {seq}"):
            registry.add_want(WantRecord("gw-1", seq, 10.0, 20.0, ()))


def test_a_want_for_a_bundle_nobody_published_is_refused(registry: BundleRegistry) -> None:
    with pytest.raises(NotFoundError, match="want for gw-1, slot s: no bundle ffff"):
        registry.add_want(WantRecord("gw-1", 1, 10.0, 20.0, (("s", "ff" * 32),)))
    assert registry.current_want("gw-1") is None
