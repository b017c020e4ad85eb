"""Enrolling: a request out, an answer in, over MQTT or HTTPS, and what came with it put where it belongs.

The connection need not be trusted: request and answer are authenticated by the token (see `models.contract.identity`),
which never travels. HTTPS is verified all the same, with `--ca` or with the authority that the token names; MQTT with
`--ca`.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import logging
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from edge_agent.config import BrokerSettings
from edge_agent.errors import EnrolmentError, StorageError, TransportError
from edge_agent.identity import Facts, Identity
from edge_agent.storage import prepare_folder, write_atomically
from models.contract import topics
from models.contract.identity import ENROL_PASSWORD, MAX_CHAIN_CHARS, MAX_REPLY_BYTES, Token, enrol_user

_log = logging.getLogger(__name__)
WAIT_S = 30.0
ENROL_PATH = "/api/v1/enroll"
AUTHORITY_PATH = f"{ENROL_PATH}/authority"
_AGAIN_S = 5.0
Ask = Callable[[bytes, str], bytes]


def enrol(identity: Identity, state_dir: Path, gateway: str, fleet: str, token: Token, ask: Ask) -> Facts:
    """Get a certificate with a token, and the root of trust for updates with it.

    Args:   ask: carries a request, under the token's hash, to the hub and brings the answer back.
    Raises: EnrolmentError: refused, or another fleet's hub. TransportError: no answer. StorageError.
    """
    from edge_agent.identity_worker import accept, enrol_request

    prepare_folder(state_dir)
    pending = enrol_request(identity, gateway, token)
    payload = ask(pending.request, pending.keyid)
    issued = accept(identity, pending, payload, gateway, token.root_sha256, time.time(), token.crl_number)
    if issued.fleet != fleet:
        raise EnrolmentError("fleet", f"settings, gateway.fleet: expected {issued.fleet}, as the hub says, got {fleet}")
    if issued.tuf_root is not None:
        keep_root(state_dir / "root.json", issued.tuf_root.encode())
    facts = identity.facts()
    assert facts is not None  # noqa: S101 - `accept` has just written it
    return facts


def keep_root(path: Path, fresh: bytes) -> None:
    """Take the root of trust that came with an enrolment, unless the one that is here is as new.

    Raises: EnrolmentError: `root_conflict`: the one that is here belongs to another repository. StorageError.
    """
    try:
        kept = path.read_bytes()
    except FileNotFoundError:
        write_atomically(path, fresh)
        return
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    old, new = _version(kept), _version(fresh)
    if kept == fresh or new < old:
        return
    if new == old:
        raise EnrolmentError(
            "root_conflict",
            f"{path}: this gateway trusted another hub before (both are version {new}): to change over, remove this "
            f"file and {path.parent / 'metadata'}, and enrol again with a new token",
        )
    write_atomically(path, fresh)


def _version(root: bytes) -> int:
    try:
        return int(json.loads(root)["signed"]["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise EnrolmentError("root_format", f"root of trust: expected root.json: {error!r}") from error


def context_for(ca: Path | None) -> ssl.SSLContext:
    """TLS for asking: verified when there is an authority to verify with. Raises: TransportError."""
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca is not None else None)
    except OSError as error:
        raise TransportError(f"{ca}: {error}") from error
    if ca is None:  # whoever sits in between can withhold an answer, but neither change nor make one
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def pinned_context(url: str, root_sha256: bytes, wait_s: float = WAIT_S) -> ssl.SSLContext:
    """TLS that trusts the one authority whose root certificate the token names. The hub is asked for that certificate
    on a connection which is not verified: it is believed for its digest.

    Raises: TransportError: no answer. EnrolmentError: `authority`: what came is another certificate.
    """
    where = _address(url) + AUTHORITY_PATH
    try:
        with urllib.request.urlopen(where, timeout=wait_s, context=context_for(None)) as answer:  # noqa: S310 - checked
            came = bytes(answer.read(MAX_CHAIN_CHARS + 1))
    except urllib.error.HTTPError as error:
        with error:
            text = f"{where}: {error.code} {error.reason}: has this hub certificate authorities of its own?"
        raise TransportError(f"{text} If it has not, name the one to believe with --ca") from error
    except (OSError, http.client.HTTPException) as error:
        raise TransportError(f"{where}: {error}") from error
    try:
        pem = came.decode("ascii")
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest()
    except ValueError as error:  # UnicodeDecodeError and binascii.Error are such
        raise EnrolmentError("authority", f"{where}: expected a certificate in PEM: {error}") from error
    if digest != root_sha256:
        raise EnrolmentError(
            "authority",
            f"{where}: expected the authority that the token names, {root_sha256.hex()[:16]}..., "
            f"got {digest.hex()[:16]}...: is this the hub that issued the token?",
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=pem)
    return context


def _address(url: str) -> str:
    if not url.startswith(("https://", "http://")):
        raise TransportError(f"--url: expected https://host:port, got {url!r}")
    return url.rstrip("/")


def ask_over_mqtt(host: str, port: int, context: ssl.SSLContext | None, wait_s: float = WAIT_S) -> Ask:
    """Ask on the broker's listener for enrolment. The same request is sent again now and then until it is answered."""

    def ask(request: bytes, token_hash: str) -> bytes:
        from edge_agent.transport import MqttTransport
        from edge_agent.wire import Inbox

        inbox = Inbox("-")
        settings = BrokerSettings(host=host, port=port)
        transport = MqttTransport(settings, "", inbox, tls=context, login=(enrol_user(token_hash), ENROL_PASSWORD))
        answer_topic = topics.topic_of(topics.EnrollReply(token_hash))
        transport.subscribe([answer_topic])
        transport.start()
        deadline, again = time.monotonic() + wait_s, 0.0
        try:
            while time.monotonic() < deadline:
                if transport.connected and time.monotonic() >= again:
                    transport.publish(topics.topic_of(topics.EnrollRequest(token_hash)), request)
                    again = time.monotonic() + _AGAIN_S
                for message in inbox.take(0.1)[0]:
                    if message.topic == answer_topic and not message.retained:
                        return message.payload
        finally:
            transport.close()
        what = "the hub did not answer" if transport.connections else transport.last_problem or "no connection"
        raise TransportError(f"broker {host}:{port}: {what} within {wait_s:g} s; is the hub running?")

    return ask


def ask_over_https(url: str, context: ssl.SSLContext, wait_s: float = WAIT_S) -> Ask:
    """Ask the hub's API: `url` is its address, such as https://hub.plant:8443."""

    def ask(request: bytes, _token_hash: str) -> bytes:
        where = _address(url) + ENROL_PATH
        post = urllib.request.Request(  # noqa: S310 - checked above
            where, data=request, method="POST", headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(post, timeout=wait_s, context=context) as answer:  # noqa: S310
                return bytes(answer.read(MAX_REPLY_BYTES + 1))
        except urllib.error.HTTPError as error:
            with error:
                body = error.read(2 * MAX_REPLY_BYTES)
            return _refusal(where, error, body)
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise _not_verified(where, error.reason) from error
            raise TransportError(f"{where}: {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            raise TransportError(f"{where}: {error}") from error

    return ask


def _not_verified(where: str, error: ssl.SSLCertVerificationError) -> TransportError:
    return TransportError(
        f"{where}: the server's certificate is not good: {error.verify_message}; expected one for this name, by the "
        "authority that the token names (api_names in the hub's hub.toml), or by the one in --ca"
    )


def _refusal(where: str, error: urllib.error.HTTPError, body: bytes) -> bytes:
    """The signed answer inside a problem document; one without is not the hub's last word."""
    try:
        problem = json.loads(body)
        reply, detail = problem.get("reply"), str(problem.get("detail", ""))
    except (ValueError, AttributeError):
        reply, detail = None, ""
    if isinstance(reply, str):
        return reply.encode()
    raise TransportError(f"{where}: {error.code} {error.reason}: {detail[:300]}")
