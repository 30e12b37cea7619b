"""Where the job of an attempt goes on that was stopped to be moved."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempts", sa.Column("moves_to", sa.JSON(none_as_null=True), nullable=True))
