"""HTTPS of the API: which certificate, from when on, and what is said when it cannot be used."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509

from cloud_hub.api.tls import ServerTls
from cloud_hub.errors import KeysError, SettingsError
from cloud_hub.identity.api_certificate import API_DAYS, renew_api
from cloud_hub.identity.authority import DAY_S, key_pem, load_certificate, make_root, new_key, pem
from cloud_hub.identity.folder import IdentityFolder
from cloud_hub.settings import Settings

NOW_S = 1_800_000_000.0
PASSPHRASE = b"correct horse battery"


@pytest.fixture
def folder(tmp_path: Path) -> IdentityFolder:
    made = IdentityFolder(tmp_path / "identity", "plant")
    made.create(tmp_path / "safe", PASSPHRASE, NOW_S)
    return made


def serial(path: Path) -> int:
    return load_certificate(path).serial_number


def write_pair(certificate: Path, key: Path | None = None, name: str = "hub") -> int:
    secret = new_key()
    made = make_root("plant", NOW_S, 3650).issue_server(secret.public_key(), [name], NOW_S, 365)
    certificate.write_bytes((key_pem(secret) if key is None else b"") + pem(made).encode())
    if key is not None:
        key.write_bytes(key_pem(secret))
    return made.serial_number


def presented(tls: ServerTls) -> int:
    """The serial number that a client sees."""
    here, there = socket.socketpair()
    server_done = threading.Event()

    def serve() -> None:
        with tls.context.wrap_socket(there, server_side=True):
            server_done.wait(10)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(here) as client:
            der = client.getpeercert(binary_form=True)
            server_done.set()
    finally:
        server_done.set()
        thread.join(10)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def test_issued_once_then_renewed_in_time_or_when_names_or_authority_change(
    folder: IdentityFolder, tmp_path: Path
) -> None:
    assert renew_api(folder, ["hub.plant", "10.0.0.5"], NOW_S)
    first = serial(folder.api_pem)
    assert not renew_api(folder, ["10.0.0.5", "hub.plant"], NOW_S + 0.6 * API_DAYS * DAY_S)
    assert renew_api(folder, ["hub.plant", "10.0.0.5"], NOW_S + 0.7 * API_DAYS * DAY_S)
    assert serial(folder.api_pem) != first
    assert renew_api(folder, ["hub.plant"], NOW_S + 0.7 * API_DAYS * DAY_S)
    assert not renew_api(folder, ["hub.plant"], NOW_S + 0.7 * API_DAYS * DAY_S)
    folder.reissue(tmp_path / "safe", PASSPHRASE, NOW_S + 0.7 * API_DAYS * DAY_S)
    assert renew_api(folder, ["hub.plant"], NOW_S + 0.7 * API_DAYS * DAY_S)
    with pytest.raises(KeysError, match="expected a DNS name in ASCII or an IP address, got 'füllwerk'"):
        renew_api(folder, ["füllwerk"], NOW_S)


def test_a_renewed_certificate_is_used_from_the_next_connection_on(tmp_path: Path) -> None:
    path = tmp_path / "api.pem"
    first = write_pair(path)
    tls = ServerTls(path)
    assert presented(tls) == first
    second = write_pair(path)
    assert presented(tls) == second != first


def test_half_of_a_new_pair_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    certificate, key = tmp_path / "api.crt", tmp_path / "api.key"
    first = write_pair(certificate, key)
    tls = ServerTls(certificate, key)
    kept = key.read_bytes()
    second = write_pair(certificate, key)
    fresh = key.read_bytes()
    key.write_bytes(kept)
    assert presented(tls) == first
    assert "cannot be used, the certificate before it stays" in caplog.text
    key.write_bytes(fresh)
    assert presented(tls) == second


@pytest.mark.parametrize("what", ["missing", "no key", "no certificate", "passphrase"])
def test_what_cannot_be_used_is_said_so(tmp_path: Path, what: str) -> None:
    path = tmp_path / "api.pem"
    if what != "missing":
        write_pair(path)
    if what == "no key":
        path.write_text(path.read_text().split("-----END PRIVATE KEY-----\n")[1])
    elif what == "no certificate":
        path.write_text("hello")
    elif what == "passphrase":
        path.write_bytes(key_pem(new_key(), b"secret words"))
    with pytest.raises(SettingsError, match=rf"{path}: cannot be used for HTTPS: "):
        ServerTls(path)


def test_settings_that_contradict_each_other(tmp_path: Path) -> None:
    assert Settings(home=tmp_path).api_tls is None
    assert Settings(home=tmp_path, api_names=("hub",)).api_tls == (tmp_path / "identity" / "api.pem", None)
    assert Settings(home=tmp_path, api_cert_file=tmp_path / "a").api_tls == (tmp_path / "a", None)
    with pytest.raises(SettingsError, match="expected one of them, got both"):
        _ = Settings(home=tmp_path, api_names=("hub",), api_cert_file=tmp_path / "a").api_tls
    with pytest.raises(SettingsError, match="api_key_file: expected api_cert_file beside it"):
        _ = Settings(home=tmp_path, api_key_file=tmp_path / "a").api_tls
