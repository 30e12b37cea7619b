"""Which agent speaks for a cluster, and an index of what each cluster must run."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

DESIRED = sa.text("stop_as IS NULL AND finished_at IS NULL")


def upgrade() -> None:
    op.add_column("clusters", sa.Column("agent", sa.String(length=200), nullable=True))
    op.create_index(
        "ix_attempts_desired", "attempts", ["cluster_id", "fencing_token"], sqlite_where=DESIRED, postgresql_where=DESIRED
    )
