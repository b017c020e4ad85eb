"""Secrets that the hub gives out: session ids, API tokens, one-time links. Each has 256 random bits and is stored only
as its SHA-256: there is nothing to guess, so a slow hash would protect nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

TOKEN_PREFIX = "mw_"  # noqa: S105 - what makes leaked tokens easy to find, not a token
_BYTES = 32
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")


def new_secret() -> str:
    """43 characters of the URL-safe alphabet."""
    return secrets.token_urlsafe(_BYTES)


def new_api_token() -> str:
    """`mw_` and 43 characters."""
    return TOKEN_PREFIX + new_secret()


def is_secret(text: str) -> bool:
    """Whether it has the form of `new_secret`; anything else need not be looked up."""
    return _SECRET.fullmatch(text) is not None


def is_api_token(text: str) -> bool:
    """Whether it has the form of `new_api_token`."""
    return text.startswith(TOKEN_PREFIX) and is_secret(text.removeprefix(TOKEN_PREFIX))


def digest(secret: str) -> str:
    """What is stored: 64 hexadecimal digits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def csrf_token(session_secret: str) -> str:
    """The token that forms of this session carry.

    It is derived (HMAC-SHA-256) from the session's secret, which scripts cannot read and which changes at every
    sign-in, so it needs no column and cannot outlive its session.
    """
    return hmac.new(session_secret.encode(), b"millwright csrf", hashlib.sha256).hexdigest()


def csrf_matches(session_secret: str, token: str) -> bool:
    """Whether a form's token is this session's, in constant time."""
    return hmac.compare_digest(csrf_token(session_secret).encode(), token.encode())
