"""An attempt keeps the version of the catalogue that named its cards, and each card's UUID is at home on one node."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

ONLY_VERSION_BEFORE = "2026-11-24"
"""Of the catalogue that every attempt until now was granted under."""


def upgrade() -> None:
    op.add_column("attempts", sa.Column("catalogue_version", sa.String(length=200), nullable=True))
    attempts = sa.table("attempts", sa.column("catalogue_version"))
    op.execute(attempts.update().values(catalogue_version=ONLY_VERSION_BEFORE))
    op.create_table(
        "devices",
        sa.Column("uuid", sa.String(length=128), nullable=False),
        sa.Column("hostname", sa.String(length=255), nullable=False),
        sa.Column("cluster_id", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["cluster_id"], ["clusters.id"], name=op.f("fk_devices_cluster_id")),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_devices")),
    )
    op.create_index(op.f("ix_devices_cluster_id"), "devices", ["cluster_id"], unique=False)
