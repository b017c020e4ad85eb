"""Numbers and times as people read them: the filters of the templates."""

from __future__ import annotations

from datetime import UTC, datetime

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
MISSING = "\N{EN DASH}"


def ago(seconds: float) -> str:
    """How long ago, for people; clocks that differ make it "just now", not a negative number."""
    if seconds < 5:
        return "just now"
    return f"{span(seconds)} ago"


def span(seconds: float) -> str:
    """A length of time with one unit: 45 s, 12 min, 3 h, 9 days."""
    for limit, unit, name in ((2 * _MINUTE, 1, "s"), (2 * _HOUR, _MINUTE, "min"), (2 * _DAY, _HOUR, "h")):
        if seconds < limit:
            return f"{seconds // unit:.0f} {name}"
    return f"{seconds // _DAY:.0f} days"


def utc(time_s: float) -> str:
    """A time for people, as long as no script makes it theirs."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(time_s: float) -> str:
    """A time for `<time datetime>`."""
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def figure(value: float | None, digits: int = 2, unit: str = "") -> str:
    """A number with so many decimals and its unit, or a dash for what is not known."""
    if value is None:
        return MISSING
    return f"{value:,.{digits}f}\N{NO-BREAK SPACE}{unit}".rstrip("\N{NO-BREAK SPACE}")


def percent(share: float | None, digits: int = 0) -> str:
    """A share of one as percent."""
    return figure(None if share is None else 100 * share, digits, "%")


def words(name: str) -> str:
    """A word of the contract as people write it: `warming_up` is "warming up"."""
    return name.replace("_", " ")


FILTERS = {
    "ago": ago, "span": span, "utc": utc, "iso": iso, "size": size, "figure": figure, "percent": percent,
    "words": words,
}  # fmt: skip
