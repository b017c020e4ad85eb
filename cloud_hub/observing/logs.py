"""Logs for people and for machines: the same records as text or as one JSON object a line.

What a record is about (request, gateway, bundle, rollout, ...) is bound where it becomes known, once, and stands in
every record that is written underneath, also by modules that know nothing of it:

    with about(request="9f2c", gateway="gw-7"):
        ...
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal, TextIO

import msgspec

LogFormat = Literal["text", "json"]
IDS = ("request", "gateway", "machine", "bundle", "rollout", "job", "who")
_about: ContextVar[Mapping[str, str]] = ContextVar("about", default={})  # noqa: B039 - never changed in place


@contextmanager
def about(**ids: str) -> Iterator[None]:
    """What the records written inside the block are about. Raises: TypeError: not one of `IDS`."""
    unknown = set(ids) - set(IDS)
    if unknown:
        raise TypeError(f"about: expected {', '.join(IDS)}, got {', '.join(sorted(unknown))}")
    token = _about.set({**_about.get(), **ids})
    try:
        yield
    finally:
        _about.reset(token)


def bound(name: str) -> str | None:
    """The id that is bound here; None: there is none."""
    return _about.get().get(name)


class _Context(logging.Filter):
    """Gives every record the ids that are bound when it is written (in that thread or task)."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.about = dict(_about.get())
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object: time, level, logger, text, the ids, and the traceback when there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Never fails on what it is given: an argument that does not fit its text is shown beside it."""
        try:
            text = record.getMessage()
        except (TypeError, ValueError) as error:
            text = f"{record.msg!r} % {record.args!r} ({error})"
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "text": text,
            **getattr(record, "about", {}),
        }
        if record.exc_info is not None and record.exc_info[0] is not None:
            line["trace"] = "".join(traceback.format_exception(*record.exc_info))
        return msgspec.json.encode(line).decode()


class TextFormatter(logging.Formatter):
    """A line for people, the ids at its end."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Line breaks in what others sent cannot make a second line that looks like one of ours."""
        record.message = record.message.replace("\r", "\\r").replace("\n", "\\n")
        ids = " ".join(f"{name}={value}" for name, value in getattr(record, "about", {}).items())
        return super().formatMessage(record) + (f" [{ids}]" if ids else "")


def set_up(level: int, form: LogFormat = "text", stream: TextIO | None = None) -> None:
    """Send all records of this process to `stream` (default: standard error). Replaces what was set up before."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    handler.addFilter(_Context())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel(max(level, logging.WARNING))
