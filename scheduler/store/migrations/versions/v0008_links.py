"""Bandwidth between clusters, each declaration kept."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "links",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("source_id", sa.String(length=200), nullable=False),
        sa.Column("target_id", sa.String(length=200), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["clusters.id"], name=op.f("fk_links_source_id")),
        sa.ForeignKeyConstraint(["target_id"], ["clusters.id"], name=op.f("fk_links_target_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_links")),
    )
    op.create_index("ix_links_pair", "links", ["source_id", "target_id", "id"], unique=False)
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER links_no_{verb.lower()} BEFORE {verb} ON links "
                "BEGIN SELECT RAISE(ABORT, 'links is append-only'); END"
            )
        return
    op.execute(
        "CREATE TRIGGER links_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON links "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
