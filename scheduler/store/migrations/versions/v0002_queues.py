"""Quotas of queues, each declaration kept."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "queues",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_queues")),
    )
    op.create_index(op.f("ix_queues_name"), "queues", ["name"], unique=False)
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER queues_no_{verb.lower()} BEFORE {verb} ON queues "
                "BEGIN SELECT RAISE(ABORT, 'queues is append-only'); END"
            )
        return
    op.execute(
        "CREATE TRIGGER queues_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON queues "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
