"""Signing keys, metadata and certificates: are they there, and for how long are they good."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cloud_hub.doctor.finding import Finding, ok, problem, warning
from cloud_hub.errors import KeysError
from cloud_hub.settings import Settings

_DAY_S = 86_400.0
_SOON_DAYS = 14.0


def look_at_keys(settings: Settings, now_s: float) -> Iterator[Finding]:
    """What signs bundles and wants."""
    from cloud_hub.trust.keys import hub_repository

    if not settings.keys_dir.is_dir():
        yield warning(
            "signing keys",
            "there are none: this hub watches and signs nothing",
            "if it should: `cloud-hub keys init --root-dir FOLDER` with FOLDER on a medium that is put away",
        )
        return
    repository = hub_repository(settings)
    for role, until_s in sorted(repository.expires_s().items()):
        left = (until_s - now_s) / _DAY_S
        text = f"{role}: expires in {left:.1f} days" if left > 0 else f"{role}: expired {-left:.1f} days ago"
        if repository.online(role):
            mend = "is the hub running? It renews this by itself"
            soon = 0.0
        else:
            mend = f"`cloud-hub keys export {role}`, `sign` where the key is, `import`"
            soon = _SOON_DAYS
        if left <= 0:
            yield problem("metadata", f"{text}: no gateway installs anything", mend)
        elif left < soon:
            yield warning("metadata", text, mend)
        else:
            yield ok("metadata", text)


def look_at_certificates(settings: Settings, now_s: float) -> Iterator[Finding]:
    """The authorities and the hub's own certificate."""
    if not settings.identity_dir.is_dir():
        grade = ok if settings.broker_host in ("127.0.0.1", "::1", "localhost") else None
        if grade is not None:
            yield ok("certificates", "no authority: fine while the broker is on this machine alone")
        else:
            yield warning(
                "certificates",
                "no authority: gateways cannot be enrolled",
                "`cloud-hub identity init --root-dir FOLDER`",
            )
        return
    from cloud_hub.identity.authority import load_certificate

    for path in sorted(settings.identity_dir.rglob("*")):
        if path.suffix not in (".crt", ".pem") or not path.is_file():
            continue
        if path.name == "root-crl.pem":
            continue  # only its number counts, not its date
        if path.name == "crl.pem":
            yield _revocation_list(path, now_s)
            continue
        left = (load_certificate(path).not_valid_after_utc.timestamp() - now_s) / _DAY_S
        name = path.relative_to(settings.identity_dir)
        if left <= 0:
            yield problem("certificates", f"{name}: expired {-left:.0f} days ago", _mend(path.name))
        elif left < _SOON_DAYS:
            yield warning("certificates", f"{name}: ends in {left:.0f} days", _mend(path.name))
        else:
            yield ok("certificates", f"{name}: {left:.0f} days left")


def _revocation_list(path: Path, now_s: float) -> Finding:
    """The current authority's list stands first. A broker whose list is over its date refuses everybody."""
    from cloud_hub.identity.revocation import crl_ends_s

    try:
        left = (crl_ends_s(path) - now_s) / _DAY_S
    except KeysError as error:
        return problem("certificates", str(error), "`cloud-hub identity crl`")
    if left <= 0:
        return problem(
            "certificates",
            f"{path.name}: over its date since {-left:.0f} days: the broker refuses every gateway",
            "`cloud-hub identity crl`, which a running hub does by itself",
        )
    return ok("certificates", f"{path.name}: good for {left:.0f} days")


def _mend(name: str) -> str:
    if name == "hub.pem":
        return "is the hub running? It renews its own certificate"
    return "`cloud-hub identity reissue --root-dir FOLDER`; the root itself needs `identity init` and new enrolments"
