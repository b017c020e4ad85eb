"""The rules of telling without a network: where a webhook may go, how it is signed, when it is tried again."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.errors import SettingsError
from cloud_hub.notify.address import AddressError, check_target, check_url, read_networks
from cloud_hub.notify.happenings import Happening, alarm_data, body_of
from cloud_hub.notify.mail import check_address, message_of
from cloud_hub.notify.schedule import DELAYS_S, after, judge
from cloud_hub.notify.signature import headers_of, new_secret

PLANT = read_networks(["10.1.0.0/16", "fd00::/8"])


def names(*addresses: str):
    return lambda _host, _port: list(addresses)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::",
    ],
)  # fmt: skip
def test_nothing_goes_to_an_address_that_is_not_public(address: str) -> None:
    with pytest.raises(AddressError, match="not a public address"):
        check_target("https://innocent.example/", (), names(address))


def test_one_forbidden_address_refuses_the_name_whole() -> None:
    with pytest.raises(AddressError, match=r"10\.0\.0\.1 is not a public address"):
        check_target("https://innocent.example/", (), names("93.184.216.34", "10.0.0.1"))


def test_a_public_address_is_what_is_connected_to() -> None:
    asked = []

    def lookup(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["93.184.216.34"]

    target = check_target("https://cmms.example/hooks?a=b", (), lookup)
    assert (target.ip, target.host, target.port, target.path) == ("93.184.216.34", "cmms.example", 443, "/hooks?a=b")
    assert target.authority == "cmms.example"
    assert asked == [("cmms.example", 443)]


def test_private_networks_are_reached_only_when_they_are_named() -> None:
    assert check_target("http://cmms.plant:8080/x", PLANT, names("10.1.2.3")).authority == "cmms.plant:8080"
    assert check_target("https://cmms.plant/", PLANT, names("fd00::5")).ip == "fd00::5"
    with pytest.raises(AddressError, match="not a public"):
        check_target("http://cmms.plant/", PLANT, names("10.2.0.1"))
    with pytest.raises(AddressError, match="expected https outside"):
        check_target("http://cmms.example/", PLANT, names("93.184.216.34"))
    with pytest.raises(AddressError, match="not a public"):  # loopback in IPv4 clothes is not in fd00::/8
        check_target("http://cmms.plant/", PLANT, names("fd00::5", "::ffff:127.0.0.1"))


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("ftp://a.example/", "expected https://host/path"),
        ("file:///etc/passwd", "expected https://host/path"),
        ("https:///x", "expected https://host/path"),
        ("https://user:pw@a.example/", "no user name or password"),
        ("https://a.example/ x", "without spaces"),
        ("https://a.example/\r\nHost: b", "without spaces"),
        ("https://a.example:99999/", "out of range"),
        ("https://[::1/", "Invalid IPv6"),
        ("https://a.example/" + "x" * 2000, "at most 2000"),
    ],
)
def test_urls_that_are_none(url: str, text: str) -> None:
    with pytest.raises(AddressError, match=text):
        check_url(url)


@given(st.text(max_size=60))
def test_no_text_escapes_the_check(text: str) -> None:
    try:
        scheme, host, port, path = check_url(text)
    except AddressError:
        return
    assert scheme in ("http", "https")
    assert host
    assert 0 < port < 65536
    assert path.startswith("/")


def test_networks_that_are_none() -> None:
    with pytest.raises(AddressError, match="expected a network such as"):
        read_networks(["everything"])


def test_the_signature_is_that_of_standard_webhooks() -> None:
    secrets = [new_secret(), new_secret()]
    headers = headers_of("event:1", 1_700_000_000.9, b'{"a": 1}', secrets)
    assert headers["webhook-timestamp"] == "1700000000"
    wanted = []
    for secret in secrets:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        digest = hmac.new(key, b'event:1.1700000000.{"a": 1}', hashlib.sha256).digest()
        wanted.append("v1," + base64.b64encode(digest).decode())
    assert headers["webhook-signature"].split() == wanted
    with pytest.raises(SettingsError, match="expected whsec_"):
        headers_of("x", 1.0, b"", ["whsec_!!!"])


def test_answers() -> None:
    assert [judge(s) for s in (200, 204, 301, 400, 401, 404, 408, 410, 429, 500, 503)] == [
        "delivered", "delivered", "refused", "refused", "refused", "refused", "retry", "refused", "retry", "retry",
        "retry",
    ]  # fmt: skip


def test_tries_become_rarer_and_end() -> None:
    waits = []
    for attempt in range(1, len(DELAYS_S) + 1):
        then = after("retry", attempt, 0.0, 0.0)
        assert then.state == "waiting"
        waits.append(then.next_s)
    assert waits == sorted(waits)
    assert after("retry", len(DELAYS_S) + 1, 0.0, 0.0).state == "failed"
    assert after("refused", 1, 0.0, 0.0).state == "failed"
    assert after("delivered", 1, 7.0, 0.0) == after("delivered", 9, 7.0, 1.0)
    assert after("retry", 1, 0.0, 1.0).next_s == pytest.approx(DELAYS_S[0] * 1.2)
    assert after("retry", 1, 0.0, 0.0, retry_after_s=50.0).next_s == 50.0
    assert after("retry", 1, 0.0, 0.0, retry_after_s=1e9).next_s == DELAYS_S[-1]


ALARM = {
    "gateway": "gw-1",
    "machine": "P-101",
    "point": "drive-end",
    "alarm": "17",
    "verdict": "alarm",
    "score": 2.5,
    "peak": 3.0,
    "summary": "bearing outer race",
    "diagnosis": {
        "fault": "BPFO",
        "check_first": "lubrication",
        "orders": [{"fault": "BPFO", "confidence": 0.9}, {"fault": "BPFI", "confidence": 0.95}],
    },
    "raised_s": 0.0,
    "cleared_s": None,
}


def test_the_work_order_says_what_a_maintenance_system_asks() -> None:
    order = alarm_data(ALARM, "https://hub/alarms/gw-1.17")["work_order"]
    assert order["external_id"] == "millwright:gw-1.17"
    assert order["equipment"] == "P-101"
    assert order["priority"] == 1
    assert order["failed_part"] == "bearing, outer race"
    assert order["confidence"] == 0.9
    assert order["reported_at"] == "1970-01-01T00:00:00+00:00"
    unknown = alarm_data({**ALARM, "diagnosis": None}, "")["work_order"]
    assert (unknown["failure_mode"], unknown["failed_part"], unknown["confidence"]) == ("UNK", "unknown", None)


def test_a_mail_leads_with_what_a_person_needs() -> None:
    happening = Happening("alarm.raised", "event:1", 0.0, "P-101", alarm_data(ALARM, "https://hub/alarms/gw-1.17"))
    mail = message_of(body_of(happening), happening.key, "hub@plant.example", ["shift@plant.example"])
    assert mail["Subject"] == "[alarm] P-101, drive-end: raised"
    text = mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert text.startswith("bearing outer race\n\nCheck first: lubrication\n")
    assert "https://hub/alarms/gw-1.17" in text
    assert next(mail.iter_attachments()).get_content() == body_of(happening)


def test_what_gateways_say_cannot_write_headers() -> None:
    data = alarm_data({**ALARM, "machine": "P\r\nBcc: x@evil.example"}, "")
    mail = message_of(body_of(Happening("alarm.raised", "k", 0.0, "P", data)), "k", "a@b.example", ["c@d.example"])
    assert mail["Bcc"] is None
    assert "\n" not in mail["Subject"]


@pytest.mark.parametrize(
    "text", ["", "x", "a@", "@b", "a b@c.example", "a@b,c@d", "A <a@b>", "a@b\n", "a" * 300 + "@b"]
)
def test_mail_addresses_that_are_none(text: str) -> None:
    with pytest.raises(SettingsError, match="e-mail: expected"):
        check_address(text)
