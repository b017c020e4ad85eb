"""Gateways that were taken out of the fleet."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """So far nobody could be."""
    op.add_column("gateways", sa.Column("retired_s", sa.Double(), nullable=True))


def downgrade() -> None:
    """They are in the lists again."""
    with op.batch_alter_table("gateways") as table:
        table.drop_column("retired_s")
