"""Database, broker, mail, and how the API is reached."""

from __future__ import annotations

import ipaddress
import secrets
import smtplib
import socket
import ssl
from collections.abc import Iterator

from cloud_hub.doctor.finding import Finding, ok, problem, warning
from cloud_hub.settings import Settings

_TIMEOUT_S = 5.0


def look_at_database(settings: Settings) -> Iterator[Finding]:
    """Can it be reached, is it at this release's revision, can it be written, is there anybody who may sign in."""
    from cloud_hub.store.database import Database
    from cloud_hub.store.examine import examine_database

    if not settings.database_url and not (settings.home / "hub.sqlite3").exists():
        yield warning("database", "there is none yet", "`cloud-hub serve` makes it")
        return
    with Database(settings.sqlalchemy_url) as database:
        seen = examine_database(database)
    where = f"{seen.dialect} {seen.server_version}"
    if seen.revision != seen.newest_revision:
        yield problem(
            "database",
            f"{where}: revision {seen.revision}, this release has {seen.newest_revision}",
            "start the hub of this release once: it migrates; back up first with `cloud-hub backup`",
        )
        return
    yield ok("database", f"{where}, revision {seen.revision}, written and read")
    if seen.dialect == "postgresql" and seen.fsync != "on":
        yield problem("database", f"fsync is {seen.fsync}", "set fsync = on: a receipt promises that data survives")
    if seen.administrators == 0:
        yield problem("accounts", "nobody may administer this hub", "`cloud-hub admin-link` makes a one-time link")
    else:
        yield ok("accounts", f"{seen.administrators} administrators")
    if seen.waiting_evidence > 100:
        yield warning("ingest", f"{seen.waiting_evidence} evidence windows wait to be re-scored", "is the hub running?")


def look_at_broker(settings: Settings) -> Iterator[Finding]:
    """Connect as the hub does."""
    from cloud_hub.transport import Link

    with Link(settings, f"hub-doctor-{secrets.token_hex(4)}") as link:
        well = link.connected
    where = f"{settings.broker_host}:{settings.broker_port}"
    if not well:
        yield problem("broker", f"{where}: no connection", "is it running, and does it know the hub's certificate?")
        return
    secure = settings.broker_tls is not None
    if not secure and not _is_loopback(settings.broker_host):
        yield problem(
            "broker",
            f"{where}: connected without TLS",
            "`cloud-hub identity broker-files`, then broker_identity = true",
        )
    else:
        yield ok("broker", f"{where}: connected{' with TLS' if secure else ''}")


def look_at_api(settings: Settings) -> Iterator[Finding]:
    """Passwords must not cross a network in the clear."""
    tls = settings.public_url.startswith("https://") or settings.api_tls is not None
    if tls or _is_loopback(settings.api_host):
        yield ok("API", settings.url)
    else:
        yield problem(
            "API",
            f"listens on {settings.api_host} without TLS: passwords and tokens can be read on the way",
            "give it a certificate (api_cert_file, api_key_file), or put a proxy with TLS before it and set public_url",
        )
    if settings.public_url and settings.trusted_proxies == [] and not _is_loopback(settings.api_host):
        yield warning("API", "public_url is set and no proxy is trusted", "name the proxy in trusted_proxies")


def look_at_mail(settings: Settings) -> Iterator[Finding]:
    """Is there a server that takes mail."""
    if settings.smtp_host is None:
        yield ok("mail", "not set up")
        return
    where = f"{settings.smtp_host}:{settings.smtp_port}"
    context = ssl.create_default_context(cafile=settings.smtp_ca_file)
    try:
        if settings.smtp_security == "tls":
            link: smtplib.SMTP = smtplib.SMTP_SSL(
                settings.smtp_host, settings.smtp_port, timeout=_TIMEOUT_S, context=context
            )
        else:
            link = smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=_TIMEOUT_S)
        with link:
            if settings.smtp_security == "starttls":
                link.starttls(context=context)
            link.noop()
    except (OSError, smtplib.SMTPException) as error:
        yield problem("mail", f"{where}: {error}", "check smtp_host, smtp_port, smtp_security, smtp_ca_file")
        return
    if settings.smtp_security == "none" and not _is_loopback(settings.smtp_host):
        yield warning("mail", f"{where}: takes mail, without TLS", "smtp_security = starttls, if the server can")
    else:
        yield ok("mail", f"{where}: takes mail")


def look_at_clock(now_s: float) -> Iterator[Finding]:
    """Certificates and wants are good from a moment to a moment."""
    built = 1_750_000_000.0  # any clock before this release's year is wrong
    if now_s < built:
        yield problem("clock", "stands before this release was made", "set the clock; run chrony or systemd-timesyncd")
    else:
        yield ok("clock", "plausible")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None)
    except OSError:
        return False
    return all(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_loopback for entry in found)
