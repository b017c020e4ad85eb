"""Trends in coarser buckets, and the indexes by which old rows are found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_INDEXES = {
    "acks": ["received_s"],
    "alarm_events": ["received_s"],
    "alarms": ["machine_id", "status"],
    "health": ["time_s"],
    "trend_batches": ["received_s"],
}


def upgrade() -> None:
    """Buckets start empty; the hub fills them from the rows that are there."""
    op.create_table(
        "trend_buckets",
        sa.Column("machine_id", sa.String(length=64), nullable=False),
        sa.Column("point", sa.String(length=64), nullable=False),
        sa.Column("resolution_s", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("time_s", sa.Double(), nullable=False),
        sa.Column("gateway_id", sa.String(length=64), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("windows", sa.BigInteger(), nullable=False),
        sa.Column("flagged", sa.BigInteger(), nullable=False),
        sa.Column("scored", sa.BigInteger(), nullable=False),
        sa.Column("score_sum", sa.Double(), nullable=False),
        sa.Column("score_max", sa.Double(), nullable=True),
        sa.Column("weight", sa.BigInteger(), nullable=False),
        sa.Column("rms_sum", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint(
            "machine_id", "point", "resolution_s", "time_s", "gateway_id", name=op.f("pk_trend_buckets")
        ),
    )
    op.create_index(
        op.f("ix_trend_buckets_resolution_s_time_s"), "trend_buckets", ["resolution_s", "time_s"], unique=False
    )
    op.create_table(
        "trend_marks",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("last_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_trend_marks")),
    )
    op.create_table(
        "trend_keeps",
        sa.Column("machine_id", sa.String(length=64), nullable=False),
        sa.Column("point", sa.String(length=64), nullable=False),
        sa.Column("resolution_s", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("days", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("machine_id", "point", "resolution_s", name=op.f("pk_trend_keeps")),
    )
    for table, columns in _INDEXES.items():
        op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, columns, unique=False)


def downgrade() -> None:
    """Take it away again."""
    for table, columns in reversed(_INDEXES.items()):
        op.drop_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table_name=table)
    op.drop_table("trend_keeps")
    op.drop_table("trend_marks")
    op.drop_table("trend_buckets")
