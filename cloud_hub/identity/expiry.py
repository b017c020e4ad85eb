"""Certificates that only people can renew, told in time: days before each ends, by what it takes to renew it."""

from __future__ import annotations

from datetime import UTC, datetime

from cloud_hub.errors import KeysError
from cloud_hub.identity.authority import DAY_S, load_certificate
from cloud_hub.identity.folder import IdentityFolder
from cloud_hub.settings import Settings

_ROOT_DAYS, _ISSUING_DAYS, _BROKER_DAYS, _OWN_DAYS, _API_DAYS = 730, 365, 60, 30, 30


def concerns(
    folder: IdentityFolder, settings: Settings, broker_ends_s: float | None, own_ends_s: float, now_s: float
) -> list[str]:
    """What to renew, one line each.

    Args: broker_ends_s: end of the certificate that the broker has shown, None when it has not. own_ends_s: of the one
          that this process has connected with.
    """
    told = [
        _line("the root certificate", _end_s(folder, "root"), _ROOT_DAYS, now_s, "plan a new `identity init`"),
        _line("the issuing authority", _end_s(folder, "issuing"), _ISSUING_DAYS, now_s, "`cloud-hub identity reissue`"),
        _line("the authority of the hub's connections", _end_s(folder, "services"), _ROOT_DAYS, now_s,
              "plan a new `identity init`"),
        _line("the hub's certificate in use", own_ends_s, _OWN_DAYS, now_s, "start the hub again: it has a newer one"),
    ]  # fmt: skip
    if broker_ends_s is not None:
        where = f"broker {settings.broker_host}:{settings.broker_port}: its certificate"
        remedy = "make its files anew (`cloud-hub identity broker-files`) and start it again"
        told.append(_line(where, broker_ends_s, _BROKER_DAYS, now_s, remedy))
    if settings.api_cert_file is not None:
        try:
            ends_s = load_certificate(settings.api_cert_file).not_valid_after_utc.timestamp()
            told.append(_line("the API's certificate", ends_s, _API_DAYS, now_s, f"replace {settings.api_cert_file}"))
        except KeysError as error:
            told.append(str(error))
    return [line for line in told if line is not None]


def _end_s(folder: IdentityFolder, name: str) -> float:
    return load_certificate(folder.path / f"{name}.crt").not_valid_after_utc.timestamp()


def _line(what: str, ends_s: float, days: float, now_s: float, remedy: str) -> str | None:
    if now_s < ends_s - days * DAY_S:
        return None
    word = "expires" if now_s < ends_s else "has expired"
    return f"{what} {word} on {datetime.fromtimestamp(ends_s, UTC):%Y-%m-%d}: {remedy}"
