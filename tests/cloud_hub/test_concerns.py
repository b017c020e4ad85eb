"""What people must renew is told in time, with what to do: in the log at first and once a day, in the API at all times."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud_hub.identity.authority import DAY_S, make_root, new_key, pem
from cloud_hub.identity.expiry import concerns
from cloud_hub.identity.folder import IdentityFolder
from cloud_hub.services.concerns import Concern, Concerns
from cloud_hub.settings import Settings

NOW_S = 1_800_000_000.0
FAR_S = NOW_S + 9000 * DAY_S


@pytest.fixture
def folder(tmp_path: Path) -> IdentityFolder:
    made = IdentityFolder(tmp_path / "identity", "plant")
    made.create(tmp_path / "safe", b"correct horse battery", NOW_S)
    return made


def test_nothing_to_tell_of_a_fresh_plant(folder: IdentityFolder, tmp_path: Path) -> None:
    assert concerns(folder, Settings(home=tmp_path), FAR_S, FAR_S, NOW_S) == []
    assert concerns(folder, Settings(home=tmp_path), None, FAR_S, NOW_S) == []


def test_the_brokers_certificate_in_its_last_two_months(folder: IdentityFolder, tmp_path: Path) -> None:
    settings, ends_s = Settings(home=tmp_path, broker_host="mq.plant", broker_port=8884), NOW_S + 100 * DAY_S
    assert concerns(folder, settings, ends_s, FAR_S, ends_s - 61 * DAY_S) == []
    (told,) = concerns(folder, settings, ends_s, FAR_S, ends_s - 59 * DAY_S)
    assert told == (
        "broker mq.plant:8884: its certificate expires on 2027-04-25: make its files anew "
        "(`cloud-hub identity broker-files`) and start it again"
    )
    (told,) = concerns(folder, settings, ends_s, FAR_S, ends_s + 1)
    assert "has expired on 2027-04-25" in told


def test_each_other_certificate_with_its_remedy(folder: IdentityFolder, tmp_path: Path) -> None:
    key, path = new_key(), tmp_path / "api.crt"
    path.write_text(pem(make_root("plant", NOW_S, 3650).issue_server(key.public_key(), ["hub"], NOW_S, 20)))
    settings = Settings(home=tmp_path, api_cert_file=path)
    told = concerns(folder, settings, None, NOW_S + DAY_S, NOW_S)
    assert [line.partition(":")[0].partition(" expires")[0] for line in told] == [
        "the hub's certificate in use", "the API's certificate",
    ]  # fmt: skip
    later = concerns(folder, Settings(home=tmp_path), None, FAR_S, NOW_S + 1500 * DAY_S)
    assert len(later) == 1
    assert later[0].startswith("the issuing authority expires on ")
    assert later[0].endswith("`cloud-hub identity reissue`")
    path.write_text("no certificate")
    (broken,) = concerns(folder, settings, None, FAR_S, NOW_S)
    assert broken.startswith(f"{path}: expected a certificate in PEM")


def test_the_log_says_it_when_it_is_new_and_once_a_day(caplog: pytest.LogCaptureFixture) -> None:
    now_s = NOW_S
    told = Concerns(lambda: now_s)

    def said() -> list[str]:
        lines = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return lines

    told.set("identity", ["a"])
    told.set("wants", ["b"])
    assert said() == ["identity: a", "wants: b"]
    now_s += 3600
    told.set("identity", ["a", "c"])
    assert said() == ["identity: c"]
    assert told.view() == [Concern("identity", "a"), Concern("identity", "c"), Concern("wants", "b")]
    now_s = NOW_S + DAY_S
    told.set("identity", ["a", "c"])
    assert said() == ["identity: a"]
    told.set("identity", [])
    told.set("identity", ["a"])
    assert said() == ["identity: a"]
    assert told.view() == [Concern("identity", "a"), Concern("wants", "b")]
