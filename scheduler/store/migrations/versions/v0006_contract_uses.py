"""What posted lines have used of each contract, kept as it grows instead of summed up from all records every time."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "contract_uses",
        sa.Column("contract_id", sa.String(length=200), nullable=False),
        sa.Column("used_micros", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["contract_id"], ["contracts.id"], name=op.f("fk_contract_uses_contract_id")),
        sa.PrimaryKeyConstraint("contract_id", name=op.f("pk_contract_uses")),
    )
    op.execute(
        "INSERT INTO contract_uses (contract_id, used_micros) "
        "SELECT contract_id, SUM(contracted_micros) FROM cost_records WHERE contract_id IS NOT NULL GROUP BY contract_id"
    )
