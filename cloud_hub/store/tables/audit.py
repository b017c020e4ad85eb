"""Who changed what."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from cloud_hub.store.tables.base import BIG_ID, Base


class AuditEntry(Base):
    """One write by a person or a program, with what it changed. Rows are only ever added."""

    __tablename__ = "audit"
    __table_args__ = (Index(None, "time_s", "id"), Index(None, "target", "id"), Index(None, "who", "id"))

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    time_s: Mapped[float]
    who: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(16))
    action: Mapped[str] = mapped_column(String(64))
    target: Mapped[str] = mapped_column(String(200))
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]
    request_id: Mapped[str | None] = mapped_column(String(64))
