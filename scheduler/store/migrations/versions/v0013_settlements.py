"""What the ledger decided, what that changes of the use of caps, and which records were taken back."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

APPEND_ONLY = ("reversals", "settlements")


def upgrade() -> None:
    op.create_table(
        "reversals",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("by_sequence", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["sequence"], ["cost_records.sequence"], name=op.f("fk_reversals_sequence")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_reversals")),
    )
    op.create_table(
        "settlements",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("record_sequence", sa.BigInteger(), nullable=False),
        sa.Column("programme", sa.String(length=200), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("amount_micros", sa.BigInteger(), nullable=False),
        sa.Column("use_change_micros", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["record_sequence"], ["cost_records.sequence"], name=op.f("fk_settlements_record_sequence")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_settlements_tenant_id")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_settlements")),
        sa.UniqueConstraint("id", name=op.f("uq_settlements_id")),
        sa.UniqueConstraint("record_sequence", "programme", "revision", name="uq_settlements_revision"),
    )
    op.create_index(op.f("ix_settlements_tenant_id"), "settlements", ["tenant_id"], unique=False)
    op.create_table(
        "settlement_uses",
        sa.Column("programme", sa.String(length=200), nullable=False),
        sa.Column("year", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.String(length=200), nullable=False),
        sa.Column("change_micros", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_settlement_uses_tenant_id")),
        sa.PrimaryKeyConstraint("programme", "year", "tenant_id", name=op.f("pk_settlement_uses")),
    )
    for table in APPEND_ONLY:
        _refuse_change(table)


def _refuse_change(table: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        return
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
