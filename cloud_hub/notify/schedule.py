"""When to try again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Result = Literal["delivered", "retry", "refused"]
DELAYS_S = (5, 30, 120, 600, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600)
_SERVER_ERROR = 500
_SUCCESS = range(200, 300)
_AGAIN = {408, 425, 429}


@dataclass(frozen=True, slots=True)
class Next:
    """`state`: "waiting" (until `next_s`), "delivered" or "failed" for good."""

    state: Literal["waiting", "delivered", "failed"]
    next_s: float


def judge(status: int) -> Result:
    """What an answer means. Redirects are refused: the address that was set up is the one that is meant."""
    if status in _SUCCESS:
        return "delivered"
    return "retry" if status in _AGAIN or status >= _SERVER_ERROR else "refused"


def after(result: Result, attempts: int, now_s: float, spread: float, retry_after_s: float = 0.0) -> Next:
    """What comes after try number `attempts`.

    Args:   spread: 0 to 1, drawn by the caller: up to a fifth is added, so that a receiver which comes back is not
            met by everybody at once. retry_after_s: what the receiver asked for; at most the longest delay.
    """
    if result == "delivered":
        return Next("delivered", now_s)
    if result == "refused" or attempts > len(DELAYS_S):
        return Next("failed", now_s)
    wait_s = max(DELAYS_S[attempts - 1], min(retry_after_s, DELAYS_S[-1]))
    return Next("waiting", now_s + wait_s * (1 + spread / 5))
