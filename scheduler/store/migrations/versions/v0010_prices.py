"""Prices by tier and by time of day; CPU and memory beside cards only where their price says so."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("prices", sa.Column("preferential_micros", sa.BigInteger(), nullable=True))
    op.add_column("prices", sa.Column("sme_micros", sa.BigInteger(), nullable=True))
    op.add_column("prices", sa.Column("off_peak", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("prices", sa.Column("beside_cards", sa.Boolean(), nullable=False, server_default=sa.false()))
