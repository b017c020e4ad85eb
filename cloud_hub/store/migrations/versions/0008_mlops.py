"""What models are trained on, training jobs, and the bundles that came of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Uploads, labels, data sets, training jobs, candidates."""
    op.create_table(
        "datasets",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.Column("changed_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_datasets")),
    )
    op.create_index(op.f("ix_datasets_changed_s_name"), "datasets", ["changed_s", "name"], unique=False)
    op.create_table(
        "uploads",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("added_s", sa.Double(), nullable=False),
        sa.Column("added_by", sa.String(length=200), nullable=False),
        sa.Column("report", sa.JSON(none_as_null=True), nullable=True),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_uploads")),
    )
    op.create_index(op.f("ix_uploads_added_s_sha256"), "uploads", ["added_s", "sha256"], unique=False)
    op.create_table(
        "dataset_versions",
        sa.Column("dataset", sa.String(length=64), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("test_share", sa.Double(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("made_s", sa.Double(), nullable=False),
        sa.Column("made_by", sa.String(length=200), nullable=False),
        sa.Column("inspection", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.name"], name=op.f("fk_dataset_versions_dataset")),
        sa.PrimaryKeyConstraint("dataset", "version", name=op.f("pk_dataset_versions")),
        sa.UniqueConstraint("dataset", "sha256", name=op.f("uq_dataset_versions_dataset_sha256")),
    )
    op.create_index(op.f("ix_dataset_versions_sha256"), "dataset_versions", ["sha256"], unique=False)
    op.create_table(
        "dataset_sources",
        sa.Column("dataset", sa.String(length=64), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("ref", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("fault", sa.String(length=64), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("train", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("test", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset", "version"],
            ["dataset_versions.dataset", "dataset_versions.version"],
            name=op.f("fk_dataset_sources_dataset_version"),
        ),
        sa.PrimaryKeyConstraint("dataset", "version", "number", name=op.f("pk_dataset_sources")),
    )
    op.create_index(op.f("ix_dataset_sources_sha256"), "dataset_sources", ["sha256"], unique=False)
    op.create_table(
        "labels",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("machine_id", sa.String(length=64), nullable=False),
        sa.Column("point", sa.String(length=64), nullable=False),
        sa.Column("capture_id", sa.String(length=64), nullable=True),
        sa.Column("from_s", sa.Double(), nullable=False),
        sa.Column("to_s", sa.Double(), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("fault", sa.String(length=64), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("said_by", sa.String(length=200), nullable=False),
        sa.Column("said_s", sa.Double(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["capture_id"], ["captures.id"], name=op.f("fk_labels_capture_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labels")),
    )
    op.create_index(op.f("ix_labels_capture_id"), "labels", ["capture_id"], unique=False)
    op.create_index(
        op.f("ix_labels_machine_id_point_from_s"), "labels", ["machine_id", "point", "from_s"], unique=False
    )
    op.create_index(op.f("ix_labels_said_s_id"), "labels", ["said_s", "id"], unique=False)
    op.create_table(
        "training_jobs",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("dataset", sa.String(length=64), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("asked", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("started_s", sa.Double(), nullable=True),
        sa.Column("ended_s", sa.Double(), nullable=True),
        sa.Column("runner", sa.String(length=200), nullable=True),
        sa.Column("process", sa.String(length=64), nullable=True),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("exit_code", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("summary", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["dataset", "version"],
            ["dataset_versions.dataset", "dataset_versions.version"],
            name=op.f("fk_training_jobs_dataset_version"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_training_jobs")),
    )
    op.create_index(op.f("ix_training_jobs_created_s_id"), "training_jobs", ["created_s", "id"], unique=False)
    op.create_index(op.f("ix_training_jobs_dataset_version"), "training_jobs", ["dataset", "version"], unique=False)
    op.create_index(op.f("ix_training_jobs_sha256"), "training_jobs", ["sha256"], unique=False)
    op.create_index(
        op.f("ix_training_jobs_state_created_s_id"), "training_jobs", ["state", "created_s", "id"], unique=False
    )
    op.create_table(
        "candidates",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("job", sa.String(length=64), nullable=False),
        sa.Column("slot", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("family", sa.String(length=64), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.Column("manifest_json", sa.Text(), nullable=False),
        sa.Column("published_s", sa.Double(), nullable=True),
        sa.Column("published_by", sa.String(length=200), nullable=True),
        sa.ForeignKeyConstraint(["job"], ["training_jobs.id"], name=op.f("fk_candidates_job")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_candidates")),
    )
    op.create_index(op.f("ix_candidates_created_s_sha256"), "candidates", ["created_s", "sha256"], unique=False)
    op.create_index(op.f("ix_candidates_job"), "candidates", ["job"], unique=False)


def downgrade() -> None:
    """Take them away again."""
    op.drop_table("candidates")
    op.drop_table("training_jobs")
    op.drop_table("labels")
    op.drop_table("dataset_sources")
    op.drop_table("dataset_versions")
    op.drop_table("uploads")
    op.drop_table("datasets")
