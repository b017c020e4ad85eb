"""Configuration, access rules and keys for a Mosquitto that lets in whom this hub has certified.

Three listeners, told apart because a broker cannot tell roles apart on one:

    gateways    a certificate below the root; its common name is user *and* client id, so that no gateway can throw
                another one out by taking its client id; the access rules name the user
    hub         a certificate below `services`
    strangers   no certificate; nothing but enrolment. They log in with public names, which become their client ids,
                so that they can throw nobody out but each other

The rules are made from `models.contract.topics.ACCESS`: a new topic cannot be forgotten. Mosquitto acknowledges a
publish that the rules forbid as if it had taken it, so a gateway that oversteps sees nothing; nobody gets the message.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from cloud_hub.errors import SettingsError
from cloud_hub.identity.authority import key_pem, load_certificate, load_key, new_key, pem
from cloud_hub.identity.folder import IdentityFolder, renewal_due_s
from cloud_hub.trust.files import PRIVATE, write_atomic
from models.contract.identity import ENROL_PASSWORD, ENROL_USERS, enrol_user
from models.contract.messages import MAX_JSON_BYTES
from models.contract.topics import ACCESS, Access, filter_of

_PASSWORD_ROUNDS = 101  # Mosquitto's own; the password is public
_SERVER_DAYS = 730
_GATEWAY_RULE = {
    Access.FLEET_READS: "read",
    Access.OWNER_READS: "read",
    Access.OWNER_WRITES: "write",
}
_STRANGER_RULE = {Access.STRANGER_READS: "read", Access.STRANGER_WRITES: "write"}


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the three listeners are. `hub_host`: the hub's may stay on one machine."""

    gateways: int = 8883
    hub: int = 8884
    strangers: int = 8885
    host: str = "0.0.0.0"  # noqa: S104 - that is what a plant's broker is for; every listener has TLS
    hub_host: str = "127.0.0.1"


def gateway_rules(fleet: str) -> str:
    """What a gateway may do. `%u` is its name, from its certificate."""
    rules = [
        f"pattern {_GATEWAY_RULE[access]} {filter_of(kind, gateway='%u', fleet=fleet)}"
        for kind, access in ACCESS.items()
        if access in _GATEWAY_RULE
    ]
    return "\n".join(rules) + "\n"


def hub_rules(name: str) -> str:
    """What the hub may do: everything that is for the plant's broker at all."""
    rules = [f"topic readwrite {filter_of(kind)}" for kind, access in ACCESS.items() if access is not Access.SITE_ONLY]
    return "\n".join([f"user {name}", *rules]) + "\n"


def stranger_rules() -> str:
    """What somebody without a certificate may do."""
    rules = [
        f"pattern {_STRANGER_RULE[access]} {filter_of(kind)}"
        for kind, access in ACCESS.items()
        if access in _STRANGER_RULE
    ]
    return "\n".join(rules) + "\n"


def stranger_passwords() -> str:
    """Mosquitto's password file for the public users, PBKDF2 with SHA-512."""
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", ENROL_PASSWORD.encode(), salt, _PASSWORD_ROUNDS)
    secret = f"$7${_PASSWORD_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"
    return "".join(f"{enrol_user(f'{number:02x}')}:{secret}\n" for number in range(ENROL_USERS))


def mosquitto_config(folder: Path, ports: Ports, user: str | None = None) -> str:
    """The configuration, with absolute paths into `folder`. `user`: whom the broker becomes when root starts it."""
    at = folder.resolve()
    tls = [f"certfile {at}/server.pem", f"keyfile {at}/server.key"]
    lines = [
        *([f"user {user}"] if user is not None else []),
        "per_listener_settings true",
        "set_tcp_nodelay true",
        f"pid_file {at}/mosquitto.pid",
        "persistence true",
        f"persistence_location {at}/data/",
        "autosave_interval 60",
        "persistent_client_expiration 7d",
        # Events with evidence are the largest messages; the default of 1000 queued ones loses more than that silently.
        f"max_packet_size {MAX_JSON_BYTES + 65_536}",
        "max_queued_messages 100000",
        "max_queued_bytes 268435456",
        "max_inflight_messages 100",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "",
        "# gateways",
        f"listener {ports.gateways} {ports.host}",
        *tls,
        f"cafile {at}/root.crt",
        f"crlfile {at}/crl.pem",
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        "allow_anonymous false",
        f"acl_file {at}/gateways.acl",
        "",
        "# the hub",
        f"listener {ports.hub} {ports.hub_host}",
        *tls,
        f"cafile {at}/services.crt",
        "require_certificate true",
        "use_identity_as_username true",
        "allow_anonymous false",
        f"acl_file {at}/hub.acl",
        "",
        "# who has no certificate yet",
        f"listener {ports.strangers} {ports.host}",
        *tls,
        "max_connections 200",
        "use_username_as_clientid true",
        "allow_anonymous false",
        f"password_file {at}/strangers.passwords",
        f"acl_file {at}/strangers.acl",
    ]
    return "\n".join(lines) + "\n"


def write_broker_files(
    identity: IdentityFolder,
    folder: Path,
    hosts: Sequence[str],
    ports: Ports,
    *,
    user: str | None = None,
    at: Path | None = None,
    keep: bool = False,
) -> list[Path]:
    """Write everything that the broker needs.

    Args:   hosts: DNS names and addresses under which gateways and hub reach the broker. user: gets the key, too.
            at: where the folder will be on the broker's machine, when that is not `folder`. keep: the server's key and
            certificate stay as they are while they are good for these hosts, and only what differs is written.
    Returns: the files that were written.
    Raises: KeysError: there is no authority, or a host's name is none. SettingsError: there is no such user.
    """
    authority = identity.issuing_authority()
    files = {
        "root.crt": (identity.root.read_bytes(), 0o644),
        "services.crt": (identity.services.read_bytes(), 0o644),
        "crl.pem": (identity.crl.read_bytes(), 0o644),
        "gateways.acl": (gateway_rules(identity.fleet).encode(), 0o644),
        "hub.acl": (hub_rules(identity.hub_name).encode(), 0o644),
        "strangers.acl": (stranger_rules().encode(), 0o644),
        "mosquitto.conf": (mosquitto_config(at or folder, ports, user).encode(), 0o644),
    }
    if not keep or not _still_good(folder, authority.certificate, hosts, time.time()):
        key = new_key()
        certificate = authority.issue_server(key.public_key(), hosts, time.time(), _SERVER_DAYS)
        files["server.key"] = (key_pem(key), PRIVATE)
        files["server.pem"] = ((pem(certificate) + pem(authority.certificate)).encode(), 0o644)
    if not keep or not _has_all_strangers(folder / "strangers.passwords"):  # salted: never the same twice
        files["strangers.passwords"] = (stranger_passwords().encode(), 0o644)
    written = [name for name, (data, _) in files.items() if not keep or not _holds(folder / name, data)]
    for name in written:
        data, mode = files[name]
        write_atomic(folder / name, data, mode)
    (folder / "data").mkdir(exist_ok=True, mode=0o700)
    if user is not None and os.geteuid() == 0:
        _hand_over([folder, folder / "data", folder / "server.key"], user)
    return [folder / name for name in written]


def _holds(path: Path, data: bytes) -> bool:
    return path.exists() and path.read_bytes() == data


def _still_good(folder: Path, authority: x509.Certificate, hosts: Sequence[str], now_s: float) -> bool:
    """Whether the server's certificate is by this authority, for these hosts, not to be renewed yet, with its key."""
    if not (folder / "server.pem").exists() or not (folder / "server.key").exists():
        return False
    made = load_certificate(folder / "server.pem")
    given = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    same = {str(name.value) for name in given} == set(hosts) and made.issuer == authority.subject
    return same and now_s < renewal_due_s(made) and load_key(folder / "server.key").public_key() == made.public_key()


def _has_all_strangers(path: Path) -> bool:
    wanted = [enrol_user(f"{number:02x}") for number in range(ENROL_USERS)]
    return path.exists() and [line.partition(":")[0] for line in path.read_text("ascii").splitlines()] == wanted


def _hand_over(paths: Sequence[Path], user: str) -> None:
    try:
        for path in paths:
            shutil.chown(path, user)
    except LookupError as error:
        raise SettingsError(f"broker's user: expected one of this machine, got {user!r}") from error
