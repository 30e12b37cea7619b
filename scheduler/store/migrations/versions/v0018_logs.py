"""Logs by rank, of each its beginning and its end."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table, columns, key in (
        (
            "logs",
            (sa.Column("end_offset", sa.BigInteger(), nullable=False), sa.Column("complete", sa.Boolean(), nullable=False)),
            (),
        ),
        (
            "log_pieces",
            (sa.Column("size", sa.BigInteger(), nullable=False), sa.Column("text", sa.Text(), nullable=False)),
            ("start",),
        ),
    ):
        op.create_table(
            table,
            sa.Column("attempt_id", sa.String(length=200), nullable=False),
            sa.Column("rank", sa.BigInteger(), autoincrement=False, nullable=False),
            *(sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False) for name in key),
            *columns,
            sa.Column("tenant_id", sa.String(length=200), nullable=False),
            sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f(f"fk_{table}_attempt_id")),
            sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f(f"fk_{table}_tenant_id")),
            sa.PrimaryKeyConstraint("attempt_id", "rank", *key, name=op.f(f"pk_{table}")),
        )
        op.create_index(op.f(f"ix_{table}_tenant_id"), table, ["tenant_id"], unique=False)
    op.execute(
        "INSERT INTO log_pieces (attempt_id, rank, start, size, text, tenant_id) "
        "SELECT attempt_id, 0, start, size, text, tenant_id FROM log_chunks"
    )
    op.execute(
        "INSERT INTO logs (attempt_id, rank, end_offset, complete, tenant_id) "
        "SELECT c.attempt_id, 0, max(c.start + c.size), a.finished_at IS NOT NULL, c.tenant_id "
        "FROM log_chunks c JOIN attempts a ON a.id = c.attempt_id GROUP BY c.attempt_id, c.tenant_id, a.finished_at"
    )
    op.drop_table("log_chunks")
