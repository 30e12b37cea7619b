"""Job arrays: tasks that have begun, and which task an attempt or an event is of."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("tasks", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("jobs", sa.Column("tasks_begun", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_table(
        "tasks",
        sa.Column("job_id", sa.String(length=200), nullable=False),
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("losses", sa.BigInteger(), nullable=False),
        sa.Column("tenant_id", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_tasks_job_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_tasks_tenant_id")),
        sa.PrimaryKeyConstraint("job_id", "index", name=op.f("pk_tasks")),
    )
    op.create_index("ix_tasks_job_state", "tasks", ["job_id", "state"], unique=False)
    op.create_index(op.f("ix_tasks_tenant_id"), "tasks", ["tenant_id"], unique=False)
    op.add_column("attempts", sa.Column("task", sa.BigInteger(), nullable=True))
    op.add_column("attempts", sa.Column("tries", sa.BigInteger(), nullable=False, server_default="1"))
    op.execute("UPDATE attempts SET tries = number")
    op.create_index("ix_attempts_task", "attempts", ["job_id", "task"], unique=False)
    op.add_column("job_events", sa.Column("task", sa.BigInteger(), nullable=True))
