"""Enrolment tokens and certificates."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Enrolment tokens and certificates."""
    op.create_table(
        "enrol_tokens",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("created_s", sa.Double(), nullable=False),
        sa.Column("expires_s", sa.Double(), nullable=False),
        sa.Column("used_s", sa.Double(), nullable=True),
        sa.Column("csr_sha256", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_enrol_tokens")),
    )
    op.create_index(op.f("ix_enrol_tokens_gateway"), "enrol_tokens", ["gateway"], unique=False)
    op.create_table(
        "certificates",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("key_sha256", sa.String(length=64), nullable=False),
        sa.Column("csr_sha256", sa.String(length=64), nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("issuer_sha256", sa.String(length=64), nullable=False),
        sa.Column("issued_s", sa.Double(), nullable=False),
        sa.Column("not_before_s", sa.Double(), nullable=False),
        sa.Column("not_after_s", sa.Double(), nullable=False),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("revoked_s", sa.Double(), nullable=True),
        sa.Column("revoked_why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_certificates")),
        sa.UniqueConstraint("serial", name=op.f("uq_certificates_serial")),
        sa.UniqueConstraint("key_sha256", name=op.f("uq_certificates_key_sha256")),
        sa.UniqueConstraint("csr_sha256", name=op.f("uq_certificates_csr_sha256")),
    )
    op.create_index(op.f("ix_certificates_gateway_issued_s"), "certificates", ["gateway", "issued_s"], unique=False)
    op.create_index(op.f("ix_certificates_revoked_s"), "certificates", ["revoked_s"], unique=False)


def downgrade() -> None:
    """Remove them."""
    op.drop_table("certificates")
    op.drop_table("enrol_tokens")
