"""Attempts found by when they ended: what a tenant used lately is read from those."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_attempts_finished", "attempts", ["finished_at"], unique=False)
