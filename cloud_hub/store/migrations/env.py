"""Alembic's entry point. The connection, and the transaction around it all, come from `Database.migrate`."""

from __future__ import annotations

from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from cloud_hub.store.tables import Base, FreeText


def render(kind: str, item: object, _context: AutogenContext) -> str | Literal[False]:
    """Migrations stand for themselves: our own column type is written as what it is in the database."""
    return "sa.Text()" if kind == "type" and isinstance(item, FreeText) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    compare_type=True,
    render_item=render,
)
with context.begin_transaction():
    context.run_migrations()
