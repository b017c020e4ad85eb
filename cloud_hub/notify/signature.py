"""Signs webhooks after the Standard Webhooks specification, so that receivers can use its libraries.

Signed are "<id>.<timestamp>.<body>" with HMAC-SHA256; the header lists "v1,<base64>" for each secret that is valid. The
receiver must refuse what is older than a few minutes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable

from cloud_hub.errors import SettingsError

PREFIX = "whsec_"
_BYTES = 32


def new_secret() -> str:
    """A fresh secret, to be shown once to whoever sets up the receiver."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def headers_of(message_id: str, time_s: float, body: bytes, keys: Iterable[str]) -> dict[str, str]:
    """The three headers of a signed webhook. Raises: SettingsError: a secret that is none."""
    stamp = str(int(time_s))
    signed = f"{message_id}.{stamp}.".encode() + body
    signatures = [f"v1,{base64.b64encode(hmac.new(_key(s), signed, hashlib.sha256).digest()).decode()}" for s in keys]
    return {"webhook-id": message_id, "webhook-timestamp": stamp, "webhook-signature": " ".join(signatures)}


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError as error:
        raise SettingsError("webhook secret: expected whsec_ and base64") from error
