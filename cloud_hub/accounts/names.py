"""Names of accounts: lower case, so that no two look alike, and never used for somebody else later."""

from __future__ import annotations

import re

from cloud_hub.accounts.errors import AccountError

NAME_PATTERN = r"[a-z0-9][a-z0-9._@+-]{0,63}"
_NAME = re.compile(NAME_PATTERN)
MAX_LABEL = 100


def plain_name(text: str) -> str:
    """As names are compared: no spaces around, lower case. What people type at the login form goes through this."""
    return text.strip().lower()


def check_name(text: str) -> str:
    """The name, when an account may have it.

    Raises: AccountError.
    """
    name = plain_name(text)
    if _NAME.fullmatch(name) is None:
        raise AccountError(
            f"account name: expected 1 to 64 of a-z 0-9 . _ @ + -, beginning with a letter or digit, got {text[:80]!r}"
        )
    return name


def check_label(text: str, what: str) -> str:
    """What people call a thing: 1 to 100 printable characters. Raises: AccountError."""
    label = text.strip()
    if not 1 <= len(label) <= MAX_LABEL or not label.isprintable():
        raise AccountError(f"{what}: expected 1 to {MAX_LABEL} printable characters, got {text[:120]!r}")
    return label
