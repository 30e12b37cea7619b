"""What tenants bought beside the machines, as they said it; the amount is in the feed."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "expenses",
        sa.Column("record_sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("contract_id", sa.String(length=200), nullable=False),
        sa.Column("evidence_sha256", sa.String(length=64), nullable=True),
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("tenant_id", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["record_sequence"], ["cost_records.sequence"], name=op.f("fk_expenses_record_sequence")),
        sa.ForeignKeyConstraint(["contract_id"], ["contracts.id"], name=op.f("fk_expenses_contract_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_expenses_tenant_id")),
        sa.PrimaryKeyConstraint("record_sequence", name=op.f("pk_expenses")),
        sa.UniqueConstraint("contract_id", "evidence_sha256", name="uq_expenses_evidence"),
    )
    op.create_index(op.f("ix_expenses_tenant_id"), "expenses", ["tenant_id"], unique=False)
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER expenses_no_{verb.lower()} BEFORE {verb} ON expenses "
                "BEGIN SELECT RAISE(ABORT, 'expenses is append-only'); END"
            )
        return
    op.execute(
        "CREATE TRIGGER expenses_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON expenses "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
