"""Which agent speaks for a cluster, and an index of what each cluster must run."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

DESIRED = sa.text("stop_as IS NULL AND finished_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "cluster_agents",
        sa.Column("cluster_id", sa.String(length=200), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["cluster_id"], ["clusters.id"], name=op.f("fk_cluster_agents_cluster_id")),
        sa.PrimaryKeyConstraint("cluster_id", name=op.f("pk_cluster_agents")),
    )
    op.create_index(
        "ix_attempts_desired", "attempts", ["cluster_id", "fencing_token"], sqlite_where=DESIRED, postgresql_where=DESIRED
    )
