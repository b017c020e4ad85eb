"""What is a password and a name, how passwords are kept, and how guessing is slowed down."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.accounts import throttle
from cloud_hub.accounts.errors import AccountError
from cloud_hub.accounts.names import check_name
from cloud_hub.accounts.passwords import Passwords, check_password
from tests.cloud_hub.people import BETTER, GOOD

# ------------------------------------------------------------------------------------------------ passwords, names


@pytest.mark.parametrize(
    "password",
    ["Password1234", "P@ssw0rd2024!", "qwertyuiop12", "Summer2024!!!!", "abcabcabcabcabc1", "letmeinletmein",
     "millwright2026", "annannann1234", "0123456789012", "northplant-north-plant", "Siemens12345!"],
)  # fmt: skip
def test_what_is_guessed_first_is_no_password(password: str) -> None:
    with pytest.raises(AccountError, match="^password: "):
        check_password(password, "ann", "north-plant")


@pytest.mark.parametrize(
    "password", [GOOD, BETTER, "4f6a9c1e7b20", "Grüße aus Oberammergau", "пароль не такой простой"]
)
def test_what_is_not_is_one(password: str) -> None:
    check_password(password, "ann", "plant")


def test_length_counts_in_characters_and_is_bounded() -> None:
    with pytest.raises(AccountError, match="expected 12 to 256 characters, got 11"):
        check_password("kelp brim o")
    with pytest.raises(AccountError, match="got 257"):
        check_password("kelpbrimoxtally!"[:16] * 16 + "x")


@given(st.text(max_size=300))
def test_any_text_is_judged_and_never_breaks(text: str) -> None:
    with contextlib.suppress(AccountError):
        check_password(text, "ann")


def test_hashes_are_argon2id_salted_and_fit_however_a_keyboard_composes() -> None:
    passwords = Passwords()
    first, second = passwords.make("Grüße aus Oberammergau"), passwords.make("Grüße aus Oberammergau")
    assert first != second
    assert first.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert passwords.matches(first, "Gru\u0308ße aus Oberammergau")
    assert not passwords.matches(first, "Grusse aus Oberammergau")
    assert not passwords.matches(None, "nobody has this password, whatever it is compared with")
    with pytest.raises(AccountError, match="no argon2 hash"):
        passwords.matches("plain", "plain")


@pytest.mark.parametrize("name", ["", "-ann", "a b", "ä", "a" * 65, "a/b", "a\n"])
def test_what_is_no_name(name: str) -> None:
    if name != "a\n":  # spaces around are taken away
        with pytest.raises(AccountError, match="account name: expected 1 to 64"):
            check_name(name)
    assert check_name(" Ann.O@plant ") == "ann.o@plant"


# ------------------------------------------------------------------------------------------------ throttle


def test_a_bucket_empties_refills_and_never_locks() -> None:
    buckets = throttle.Throttle()
    keys = throttle.keys_for("ann", "192.0.2.1", None)
    assert [buckets.take(keys, 0.0) for _ in range(8)] == [0.0] * 8
    assert buckets.take(keys, 0.0) == pytest.approx(60.0)
    for second in range(1, 60):  # whoever goes on trying does not make it longer
        assert buckets.take(keys, float(second)) > 0
    assert buckets.take(keys, 60.0) == 0.0


def test_a_browser_that_is_known_is_not_shut_out_by_strangers() -> None:
    buckets = throttle.Throttle()
    for i in range(100):
        buckets.take(throttle.keys_for("ann", f"198.51.100.{i}", None), 0.0)
    assert buckets.take(throttle.keys_for("ann", "203.0.113.9", None), 0.0) > 0
    assert buckets.take(throttle.keys_for("ann", "203.0.113.9", "her laptop"), 0.0) == 0.0


def test_addresses_are_counted_by_who_has_them() -> None:
    assert throttle.network_of("2001:db8:1:2:3::4") == throttle.network_of("2001:db8:1:2:ffff::1")
    assert throttle.network_of("2001:db8:1:3::1") != throttle.network_of("2001:db8:1:2::1")
    assert throttle.network_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert throttle.network_of("unix:/run/hub.sock") == "unix:/run/hub.sock"


def test_one_address_cannot_try_many_accounts() -> None:
    buckets = throttle.Throttle()
    granted = [buckets.take(throttle.keys_for(f"a{i}", "192.0.2.1", None), 0.0) == 0.0 for i in range(60)]
    assert sum(granted) == 40
