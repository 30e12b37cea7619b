"""How the city schedules, each declaration kept."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "scheduling_policies",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scheduling_policies")),
    )
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER scheduling_policies_no_{verb.lower()} BEFORE {verb} ON scheduling_policies "
                "BEGIN SELECT RAISE(ABORT, 'scheduling_policies is append-only'); END"
            )
        return
    op.execute(
        "CREATE TRIGGER scheduling_policies_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON scheduling_policies "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
