"""What becomes of alarms in the hub."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_INDEXES = (
    ("ix_alarms_open_raised_s_id", ["open", "raised_s", "id"]),
    ("ix_alarms_state_raised_s_id", ["state", "raised_s", "id"]),
    ("ix_alarms_assignee_raised_s_id", ["assignee", "raised_s", "id"]),
    ("ix_alarms_review_raised_s_id", ["review", "raised_s", "id"]),
    ("ix_alarms_changed_s_id", ["changed_s", "id"]),
    ("ix_alarms_peak_id", ["peak", "id"]),
    ("ix_alarms_announced_s", ["announced_s"]),
)


def _columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("state", sa.String(length=16), server_default="normal", nullable=False),
        sa.Column("state_s", sa.Double(), server_default="0", nullable=False),
        sa.Column("open", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("changed_s", sa.Double(), server_default="0", nullable=False),
        sa.Column("announced_s", sa.Double(), nullable=True),
        sa.Column("shelved_until_s", sa.Double(), nullable=True),
        sa.Column("acknowledged_s", sa.Double(), nullable=True),
        sa.Column("acknowledged_by", sa.String(length=200), nullable=True),
        sa.Column("assignee", sa.String(length=200), nullable=True),
        sa.Column("review", sa.String(length=16), nullable=True),
        sa.Column("review_fault", sa.String(length=200), nullable=True),
        sa.Column("reviewed_s", sa.Double(), nullable=True),
        sa.Column("reviewed_by", sa.String(length=200), nullable=True),
    ]


def upgrade() -> None:
    """Alarms that last are unacknowledged. Those that are over are closed: so far nobody could acknowledge one, and a
    list of all that ever happened would hide what happens now.
    """
    for column in _columns():
        op.add_column("alarms", column)
    alarms = sa.table(
        "alarms",
        *(sa.column(name) for name in ("status", "state", "state_s", "raised_s", "cleared_s", "updated_s")),
        *(sa.column(name) for name in ("open", "changed_s", "announced_s")),
    )
    op.execute(
        alarms.update().values(
            changed_s=alarms.c.updated_s,
            announced_s=alarms.c.raised_s,
            state_s=sa.func.coalesce(alarms.c.cleared_s, alarms.c.raised_s),
        )
    )
    op.execute(alarms.update().where(alarms.c.status == "raised").values(state="unacknowledged", open=sa.true()))
    for name, columns in _INDEXES:
        op.create_index(op.f(name), "alarms", columns, unique=False)
    op.create_table(
        "alarm_actions",
        sa.Column("id", _ID, nullable=False),
        sa.Column("alarm_id", _ID, nullable=False),
        sa.Column("time_s", sa.Double(), nullable=False),
        sa.Column("who", sa.String(length=200), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("before", sa.String(length=16), nullable=False),
        sa.Column("after", sa.String(length=16), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("until_s", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["alarm_id"], ["alarms.id"], name=op.f("fk_alarm_actions_alarm_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarm_actions")),
    )
    op.create_index(op.f("ix_alarm_actions_alarm_id_id"), "alarm_actions", ["alarm_id", "id"], unique=False)
    op.create_table(
        "alarm_suppressions",
        sa.Column("id", _ID, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("machine_id", sa.String(length=64), nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("point", sa.String(length=64), nullable=False),
        sa.Column("slot", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("who", sa.String(length=200), nullable=False),
        sa.Column("since_s", sa.Double(), nullable=False),
        sa.Column("until_s", sa.Double(), nullable=True),
        sa.Column("ended_s", sa.Double(), nullable=True),
        sa.Column("ended_by", sa.String(length=200), nullable=True),
        sa.ForeignKeyConstraint(["machine_id"], ["machines.id"], name=op.f("fk_alarm_suppressions_machine_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarm_suppressions")),
    )
    op.create_index(
        op.f("ix_alarm_suppressions_ended_s_machine_id"), "alarm_suppressions", ["ended_s", "machine_id"], unique=False
    )


def downgrade() -> None:
    """Take it away again."""
    op.drop_table("alarm_suppressions")
    op.drop_table("alarm_actions")
    for name, _ in _INDEXES:
        op.drop_index(op.f(name), "alarms")
    for column in _columns():
        op.drop_column("alarms", column.name)
