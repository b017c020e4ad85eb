"""Sends one e-mail about a happening, by the plant's own mail server."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Any, Literal

import msgspec

from cloud_hub.errors import SettingsError
from cloud_hub.notify.post import Sent

Security = Literal["none", "starttls", "tls"]
_TIMEOUT_S = 15.0
_TRANSIENT = range(400, 500)
_MAX_ADDRESS = 254


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed in."""

    host: str
    port: int
    security: Security
    sender: str
    username: str | None = None
    password: str | None = None
    ca_file: str | None = None


def check_address(text: str) -> str:
    """A mail address. Raises: SettingsError."""
    _, address = parseaddr(text)
    local, at, domain = address.rpartition("@")
    if address != text or not (local and at and domain) or len(text) > _MAX_ADDRESS or not text.isprintable():
        raise SettingsError(f"e-mail: expected an address such as shift@plant.example, got {text[:300]!r}")
    if any(c.isspace() or c in ",;<>" for c in text):
        raise SettingsError(f"e-mail: expected one address, got {text[:300]!r}")
    return text


def message_of(body: bytes, message_id: str, sender: str, addresses: Sequence[str]) -> EmailMessage:
    """The mail for a happening: what a person needs first, in plain text; the whole of it attached as JSON."""
    happening: dict[str, Any] = msgspec.json.decode(body)
    data: dict[str, Any] = happening["data"]
    mail = EmailMessage()
    mail["Subject"] = _one_line(_subject(happening["type"], data))
    mail["From"] = sender
    mail["To"] = ", ".join(addresses)
    mail["Date"] = format_datetime(datetime.fromisoformat(happening["time"]).astimezone(UTC))
    mail["Message-ID"] = f"<{''.join(c if c.isalnum() else '.' for c in message_id)}@millwright>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("\n".join(_lines(happening, data)) + "\n")
    mail.add_attachment(body, maintype="application", subtype="json", filename="happening.json")
    return mail


def send_mail(server: MailServer, body: bytes, message_id: str, addresses: Sequence[str]) -> Sent:
    """One try. Never raises for what the server or the network does."""
    try:
        mail = message_of(body, message_id, server.sender, addresses)
        with _connect(server) as link:
            if server.username is not None:
                link.login(server.username, server.password or "")
            refused = link.send_message(mail)
    except smtplib.SMTPResponseException as error:
        result = "retry" if error.smtp_code in _TRANSIENT or error.smtp_code < 0 else "refused"
        return Sent("retry" if result == "retry" else "refused", error.smtp_code, _text(error.smtp_error))
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        text = "; ".join(f"{to}: {code} {_text(why)}" for to, (code, why) in error.recipients.items())
        return Sent("retry" if any(c in _TRANSIENT for c in codes) else "refused", max(codes), text)
    except (OSError, smtplib.SMTPException) as error:
        return Sent("retry", None, f"{type(error).__name__}: {error}")
    if refused:  # some had it; sending again would bring those a second one
        text = "; ".join(f"{to}: {code} {_text(why)}" for to, (code, why) in refused.items())
        return Sent("delivered", None, f"not to {text}")
    return Sent("delivered", None, None)


def _connect(server: MailServer) -> smtplib.SMTP:
    context = ssl.create_default_context(cafile=server.ca_file)
    if server.security == "tls":
        return smtplib.SMTP_SSL(server.host, server.port, timeout=_TIMEOUT_S, context=context)
    link = smtplib.SMTP(server.host, server.port, timeout=_TIMEOUT_S)
    if server.security == "starttls":
        try:
            link.starttls(context=context)
        except BaseException:
            link.close()
            raise
    return link


def _subject(kind: str, data: dict[str, Any]) -> str:
    if kind.startswith("alarm."):
        return f"[{data['verdict']}] {data['machine']}, {data['point']}: {kind.partition('.')[2]}"
    if kind == "rollout.changed":
        return f"Rollout {data['rollout']}: {data['event']}"
    if kind.startswith("gateway."):
        return f"Gateway {data['gateway']} is {kind.partition('.')[2]}"
    return "Millwright: a test"


def _lines(happening: dict[str, Any], data: dict[str, Any]) -> list[str]:
    lines = [data.get("summary") or data.get("text") or _subject(happening["type"], data), ""]
    check = (data.get("diagnosis") or {}).get("check_first")
    if check:
        lines += [f"Check first: {check}", ""]
    for name in ("machine", "point", "verdict", "score", "peak", "gateway", "rollout", "event", "by"):
        if data.get(name) is not None:
            value = data[name]
            lines.append(f"{name}: {value:.2f}" if isinstance(value, float) else f"{name}: {value}")
    return [*lines, f"time: {happening['time']}", "", data.get("link", "")]


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]


def _text(raw: bytes | str) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
