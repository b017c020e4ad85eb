"""Rollouts, where gateways are, how bundles behave, and wants that hold a bundle in shadow."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables and columns."""
    op.add_column("gateway_slots", sa.Column("champion", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("gateway_slots", sa.Column("candidate", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("wants", sa.Column("not_before_s", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("wants", sa.Column("jitter_s", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("want_bundles", sa.Column("shadow_windows", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("want_bundles", sa.Column("hold", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_table(
        "gateway_sites",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=True),
        sa.Column("labels", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("gateway", name=op.f("pk_gateway_sites")),
    )
    op.create_table(
        "rollouts",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("slot", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("plan_json", sa.Text(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("cohort", sa.BigInteger(), nullable=False),
        sa.Column("resumes", sa.String(length=32), nullable=True),
        sa.Column("cohort_ends_s", sa.Double(), nullable=False),
        sa.Column("ends_s", sa.Double(), nullable=False),
        sa.Column("paused_s", sa.Double(), nullable=True),
        sa.Column("cause", sa.String(length=32), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("waits", sa.Text(), nullable=False),
        sa.Column("accepted", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("checks", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(["sha256"], ["bundles.sha256"], name=op.f("fk_rollouts_sha256")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollouts")),
    )
    op.create_index(op.f("ix_rollouts_created_s_id"), "rollouts", ["created_s", "id"], unique=False)
    op.create_index(op.f("ix_rollouts_status"), "rollouts", ["status"], unique=False)
    op.create_table(
        "rollout_members",
        sa.Column("rollout_id", sa.String(length=64), nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("cohort", sa.BigInteger(), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("due", sa.String(length=16), nullable=True),
        sa.Column("want_seq", sa.BigInteger(), nullable=False),
        sa.Column("try_seq", sa.BigInteger(), nullable=False),
        sa.Column("sent", sa.Boolean(), nullable=False),
        sa.Column("since_s", sa.Double(), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=True),
        sa.Column("was_online", sa.Boolean(), nullable=False),
        sa.Column("windows", sa.BigInteger(), nullable=False),
        sa.Column("ready", sa.Boolean(), nullable=False),
        sa.Column("baseline", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("origin", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("forgiven", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"], name=op.f("fk_rollout_members_rollout_id")),
        sa.PrimaryKeyConstraint("rollout_id", "gateway", name=op.f("pk_rollout_members")),
    )
    op.create_index(
        op.f("ix_rollout_members_gateway_rollout_id"), "rollout_members", ["gateway", "rollout_id"], unique=False
    )
    op.create_table(
        "rollout_notes",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("rollout_id", sa.String(length=64), nullable=False),
        sa.Column("time_s", sa.Double(), nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"], name=op.f("fk_rollout_notes_rollout_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollout_notes")),
    )
    op.create_index(op.f("ix_rollout_notes_rollout_id_id"), "rollout_notes", ["rollout_id", "id"], unique=False)


def downgrade() -> None:
    """Remove them."""
    op.drop_index(op.f("ix_rollout_notes_rollout_id_id"), table_name="rollout_notes")
    op.drop_table("rollout_notes")
    op.drop_index(op.f("ix_rollout_members_gateway_rollout_id"), table_name="rollout_members")
    op.drop_table("rollout_members")
    op.drop_index(op.f("ix_rollouts_status"), table_name="rollouts")
    op.drop_index(op.f("ix_rollouts_created_s_id"), table_name="rollouts")
    op.drop_table("rollouts")
    op.drop_table("gateway_sites")
    with op.batch_alter_table("want_bundles") as batch:
        batch.drop_column("hold")
        batch.drop_column("shadow_windows")
    with op.batch_alter_table("wants") as batch:
        batch.drop_column("jitter_s")
        batch.drop_column("not_before_s")
    with op.batch_alter_table("gateway_slots") as batch:
        batch.drop_column("candidate")
        batch.drop_column("champion")
