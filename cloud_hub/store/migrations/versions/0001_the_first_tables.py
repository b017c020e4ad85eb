"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The first tables."""
    op.create_table(
        "bundles",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("slot", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("family", sa.String(length=64), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.Column("manifest_json", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_bundles")),
        sa.UniqueConstraint("slot", "version", name=op.f("uq_bundles_slot_version")),
    )
    op.create_index(op.f("ix_bundles_created_s_sha256"), "bundles", ["created_s", "sha256"], unique=False)
    op.create_table(
        "gateways",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("first_seen_s", sa.Double(), nullable=False),
        sa.Column("last_seen_s", sa.Double(), nullable=False),
        sa.Column("online", sa.Boolean(), nullable=False),
        sa.Column("boot_id", sa.String(length=16), nullable=True),
        sa.Column("state_s", sa.Double(), nullable=True),
        sa.Column("agent_version", sa.Text(), nullable=False),
        sa.Column("runtime", sa.Text(), nullable=False),
        sa.Column("want_seq", sa.BigInteger(), nullable=False),
        sa.Column("rss_mb", sa.Double(), nullable=False),
        sa.Column("outbox_bytes", sa.BigInteger(), nullable=False),
        sa.Column("counters", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gateways")),
    )
    op.create_table(
        "health",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("gateway_id", sa.String(length=64), nullable=False),
        sa.Column("boot_id", sa.String(length=16), nullable=False),
        sa.Column("time_s", sa.Double(), nullable=False),
        sa.Column("rss_mb", sa.Double(), nullable=False),
        sa.Column("cpu_s", sa.Double(), nullable=False),
        sa.Column("windows", sa.BigInteger(), nullable=False),
        sa.Column("window_us", sa.Double(), nullable=False),
        sa.Column("outbox_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_health")),
    )
    op.create_index(op.f("ix_health_gateway_id_time_s_id"), "health", ["gateway_id", "time_s", "id"], unique=False)
    op.create_table(
        "machines",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("first_seen_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_machines")),
    )
    op.create_table(
        "trends",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("gateway_id", sa.String(length=64), nullable=False),
        sa.Column("machine_id", sa.String(length=64), nullable=False),
        sa.Column("point", sa.String(length=64), nullable=False),
        sa.Column("time_s", sa.Double(), nullable=False),
        sa.Column("span_s", sa.Double(), nullable=False),
        sa.Column("windows", sa.BigInteger(), nullable=False),
        sa.Column("flagged", sa.BigInteger(), nullable=False),
        sa.Column("score_mean", sa.Double(), nullable=True),
        sa.Column("score_max", sa.Double(), nullable=True),
        sa.Column("rms", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trends")),
    )
    op.create_index(
        op.f("ix_trends_machine_id_point_time_s_id"), "trends", ["machine_id", "point", "time_s", "id"], unique=False
    )
    op.create_index(op.f("ix_trends_machine_id_time_s_id"), "trends", ["machine_id", "time_s", "id"], unique=False)
    op.create_index(op.f("ix_trends_time_s_id"), "trends", ["time_s", "id"], unique=False)
    op.create_table(
        "wants",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("issued_s", sa.Double(), nullable=False),
        sa.Column("expires_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "seq", name=op.f("pk_wants")),
    )
    op.create_index(op.f("ix_wants_issued_s_gateway_seq"), "wants", ["issued_s", "gateway", "seq"], unique=False)
    op.create_table(
        "acks",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("gateway_id", sa.String(length=64), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("slot", sa.String(length=64), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("time_s", sa.Double(), nullable=False),
        sa.Column("received_s", sa.Double(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.id"], name=op.f("fk_acks_gateway_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_acks")),
        sa.UniqueConstraint(
            "gateway_id", "seq", "slot", "phase", "time_s", name=op.f("uq_acks_gateway_id_seq_slot_phase_time_s")
        ),
    )
    op.create_index(op.f("ix_acks_gateway_id_id"), "acks", ["gateway_id", "id"], unique=False)
    op.create_table(
        "alarms",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("gateway_id", sa.String(length=64), nullable=False),
        sa.Column("alarm", sa.String(length=64), nullable=False),
        sa.Column("machine_id", sa.String(length=64), nullable=False),
        sa.Column("point", sa.String(length=64), nullable=False),
        sa.Column("slot", sa.String(length=64), nullable=False),
        sa.Column("bundle_sha256", sa.String(length=64), nullable=False),
        sa.Column("bundle_version", sa.Text(), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("raised_s", sa.Double(), nullable=False),
        sa.Column("cleared_s", sa.Double(), nullable=True),
        sa.Column("updated_s", sa.Double(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("peak", sa.Double(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("diagnosis", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("newest_key", sa.String(length=64), nullable=False),
        sa.Column("diagnosis_key", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.id"], name=op.f("fk_alarms_gateway_id")),
        sa.ForeignKeyConstraint(["machine_id"], ["machines.id"], name=op.f("fk_alarms_machine_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarms")),
        sa.UniqueConstraint("gateway_id", "alarm", name=op.f("uq_alarms_gateway_id_alarm")),
    )
    op.create_index(op.f("ix_alarms_gateway_id_raised_s_id"), "alarms", ["gateway_id", "raised_s", "id"], unique=False)
    op.create_index(op.f("ix_alarms_machine_id_raised_s_id"), "alarms", ["machine_id", "raised_s", "id"], unique=False)
    op.create_index(op.f("ix_alarms_raised_s_id"), "alarms", ["raised_s", "id"], unique=False)
    op.create_index(op.f("ix_alarms_status_raised_s_id"), "alarms", ["status", "raised_s", "id"], unique=False)
    op.create_table(
        "captures",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("gateway_id", sa.String(length=64), nullable=False),
        sa.Column("machine_id", sa.String(length=64), nullable=False),
        sa.Column("point", sa.String(length=64), nullable=False),
        sa.Column("rate_hz", sa.Double(), nullable=False),
        sa.Column("axes", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("units", sa.Text(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("samples", sa.BigInteger(), nullable=False),
        sa.Column("first_s", sa.Double(), nullable=False),
        sa.Column("stored_s", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.id"], name=op.f("fk_captures_gateway_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_captures")),
    )
    op.create_index(op.f("ix_captures_first_s_id"), "captures", ["first_s", "id"], unique=False)
    op.create_table(
        "gateway_slots",
        sa.Column("gateway_id", sa.String(length=64), nullable=False),
        sa.Column("slot", sa.String(length=64), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("active_sha256", sa.String(length=64), nullable=True),
        sa.Column("active_version", sa.Text(), nullable=True),
        sa.Column("candidate_sha256", sa.String(length=64), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.id"], name=op.f("fk_gateway_slots_gateway_id")),
        sa.PrimaryKeyConstraint("gateway_id", "slot", name=op.f("pk_gateway_slots")),
    )
    op.create_table(
        "points",
        sa.Column("gateway_id", sa.String(length=64), nullable=False),
        sa.Column("machine_id", sa.String(length=64), nullable=False),
        sa.Column("point", sa.String(length=64), nullable=False),
        sa.Column("slot", sa.String(length=64), nullable=True),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("windows", sa.BigInteger(), nullable=False),
        sa.Column("warmup_left", sa.BigInteger(), nullable=False),
        sa.Column("last_window_s", sa.Double(), nullable=True),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.id"], name=op.f("fk_points_gateway_id")),
        sa.ForeignKeyConstraint(["machine_id"], ["machines.id"], name=op.f("fk_points_machine_id")),
        sa.PrimaryKeyConstraint("gateway_id", "machine_id", "point", name=op.f("pk_points")),
    )
    op.create_index(op.f("ix_points_machine_id_point"), "points", ["machine_id", "point"], unique=False)
    op.create_table(
        "trend_batches",
        sa.Column("gateway_id", sa.String(length=64), nullable=False),
        sa.Column("boot_id", sa.String(length=16), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("received_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.id"], name=op.f("fk_trend_batches_gateway_id")),
        sa.PrimaryKeyConstraint("gateway_id", "boot_id", "seq", name=op.f("pk_trend_batches")),
    )
    op.create_table(
        "want_bundles",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("slot", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["gateway", "seq"], ["wants.gateway", "wants.seq"], name=op.f("fk_want_bundles_gateway_seq")
        ),
        sa.ForeignKeyConstraint(["sha256"], ["bundles.sha256"], name=op.f("fk_want_bundles_sha256")),
        sa.PrimaryKeyConstraint("gateway", "seq", "slot", name=op.f("pk_want_bundles")),
    )
    op.create_index(op.f("ix_want_bundles_sha256"), "want_bundles", ["sha256"], unique=False)
    op.create_table(
        "alarm_events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("gateway_id", sa.String(length=64), nullable=False),
        sa.Column("boot_id", sa.String(length=16), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("alarm", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("time_s", sa.Double(), nullable=False),
        sa.Column("received_s", sa.Double(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("peak", sa.Double(), nullable=False),
        sa.Column("diagnosis", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["gateway_id", "alarm"],
            ["alarms.gateway_id", "alarms.alarm"],
            name=op.f("fk_alarm_events_gateway_id_alarm"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarm_events")),
        sa.UniqueConstraint("gateway_id", "boot_id", "seq", name=op.f("uq_alarm_events_gateway_id_boot_id_seq")),
    )
    op.create_index(
        op.f("ix_alarm_events_gateway_id_alarm_time_s"), "alarm_events", ["gateway_id", "alarm", "time_s"], unique=False
    )
    op.create_table(
        "capture_chunks",
        sa.Column("capture_id", sa.String(length=64), nullable=False),
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("time_s", sa.Double(), nullable=False),
        sa.Column("gap", sa.Boolean(), nullable=False),
        sa.Column("samples", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["capture_id"], ["captures.id"], name=op.f("fk_capture_chunks_capture_id")),
        sa.PrimaryKeyConstraint("capture_id", "index", name=op.f("pk_capture_chunks")),
    )
    op.create_table(
        "alarm_evidence",
        sa.Column(
            "event_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("bundle_sha256", sa.String(length=64), nullable=False),
        sa.Column("rate_hz", sa.Double(), nullable=False),
        sa.Column("axes", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("units", sa.Text(), nullable=False),
        sa.Column("samples", sa.BigInteger(), nullable=False),
        sa.Column("shift", sa.LargeBinary(), nullable=False),
        sa.Column("raw_score", sa.Double(), nullable=False),
        sa.Column("raw_limit", sa.Double(), nullable=False),
        sa.Column("window", sa.LargeBinary(), nullable=False),
        sa.Column("rescored_s", sa.Double(), nullable=True),
        sa.Column("rescored_raw", sa.Double(), nullable=True),
        sa.Column("rescore_error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["event_id"], ["alarm_events.id"], name=op.f("fk_alarm_evidence_event_id")),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_alarm_evidence")),
    )
    op.create_index(op.f("ix_alarm_evidence_rescored_s"), "alarm_evidence", ["rescored_s"], unique=False)


def downgrade() -> None:
    """Undo it."""
    op.drop_index(op.f("ix_alarm_evidence_rescored_s"), table_name="alarm_evidence")
    op.drop_table("alarm_evidence")
    op.drop_table("capture_chunks")
    op.drop_index(op.f("ix_alarm_events_gateway_id_alarm_time_s"), table_name="alarm_events")
    op.drop_table("alarm_events")
    op.drop_index(op.f("ix_want_bundles_sha256"), table_name="want_bundles")
    op.drop_table("want_bundles")
    op.drop_table("trend_batches")
    op.drop_index(op.f("ix_points_machine_id_point"), table_name="points")
    op.drop_table("points")
    op.drop_table("gateway_slots")
    op.drop_index(op.f("ix_captures_first_s_id"), table_name="captures")
    op.drop_table("captures")
    op.drop_index(op.f("ix_alarms_status_raised_s_id"), table_name="alarms")
    op.drop_index(op.f("ix_alarms_raised_s_id"), table_name="alarms")
    op.drop_index(op.f("ix_alarms_machine_id_raised_s_id"), table_name="alarms")
    op.drop_index(op.f("ix_alarms_gateway_id_raised_s_id"), table_name="alarms")
    op.drop_table("alarms")
    op.drop_index(op.f("ix_acks_gateway_id_id"), table_name="acks")
    op.drop_table("acks")
    op.drop_index(op.f("ix_wants_issued_s_gateway_seq"), table_name="wants")
    op.drop_table("wants")
    op.drop_index(op.f("ix_trends_time_s_id"), table_name="trends")
    op.drop_index(op.f("ix_trends_machine_id_time_s_id"), table_name="trends")
    op.drop_index(op.f("ix_trends_machine_id_point_time_s_id"), table_name="trends")
    op.drop_table("trends")
    op.drop_table("machines")
    op.drop_index(op.f("ix_health_gateway_id_time_s_id"), table_name="health")
    op.drop_table("health")
    op.drop_table("gateways")
    op.drop_index(op.f("ix_bundles_created_s_sha256"), table_name="bundles")
    op.drop_table("bundles")
