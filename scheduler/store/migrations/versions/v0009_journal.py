"""Cost records keep their text and whose they are; the facts that decided them, and the sums per job, are rows of their own.

What was posted before stays as it was hashed: its text loses only the hash, which stood inside it and stands beside it now.
"""

import json
from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

BATCH = 1000
APPEND_ONLY = ("cost_records", "cost_contexts")
SUMS = ("unit_seconds", "card_seconds", "list_micros", "contracted_micros", "voucher_micros")


def upgrade() -> None:
    op.execute("CREATE TABLE posted AS SELECT * FROM cost_records")
    op.drop_table("cost_records")
    records = op.create_table(
        "cost_records",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.String(length=200), nullable=False),
        sa.Column("job_id", sa.String(length=200), nullable=True),
        sa.Column("contract_id", sa.String(length=200), nullable=True),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["contract_id"], ["contracts.id"], name=op.f("fk_cost_records_contract_id")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_cost_records_job_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_cost_records_tenant_id")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_cost_records")),
    )
    op.create_index("ix_cost_records_job", "cost_records", ["job_id", "sequence"], unique=False)
    op.create_index("ix_cost_records_tenant", "cost_records", ["tenant_id", "sequence"], unique=False)
    op.create_table(
        "cost_contexts",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_cost_contexts")),
    )
    op.create_table(
        "job_costs",
        sa.Column("job_id", sa.String(length=200), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in (*SUMS, "list_carried", "contracted_carried")),
        sa.Column("programme", sa.String(length=200), nullable=True),
        sa.Column("tenant_id", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_costs_job_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_job_costs_tenant_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_job_costs")),
    )
    op.create_index(op.f("ix_job_costs_tenant_id"), "job_costs", ["tenant_id"], unique=False)
    sums = ", ".join(f"SUM({name})" for name in SUMS)
    op.execute(
        f"INSERT INTO job_costs (job_id, tenant_id, {', '.join(SUMS)}, list_carried, contracted_carried, programme) "  # noqa: S608
        f"SELECT job_id, tenant_id, {sums}, SUM(unit_seconds * list_price_micros) - 3600 * SUM(list_micros), "
        "SUM(unit_seconds * contracted_price_micros) - 3600 * SUM(contracted_micros), MAX(programme) FROM posted "
        "GROUP BY job_id, tenant_id"
    )
    for batch in _posted():
        op.bulk_insert(records, batch)
    op.drop_table("posted")
    for table in APPEND_ONLY:
        _refuse_change(table)


def _posted() -> Iterator[list[dict[str, object]]]:
    """What was posted, in batches, each text without the hash inside."""
    after = 0
    query = sa.text(
        "SELECT sequence, tenant_id, job_id, contract_id, payload, hash FROM posted "
        "WHERE sequence > :after ORDER BY sequence LIMIT :limit"
    )
    while rows := op.get_bind().execute(query, {"after": after, "limit": BATCH}).mappings().all():
        yield [{**row, "payload": _without_hash(row["payload"])} for row in rows]
        after = rows[-1]["sequence"]


def _without_hash(payload: str) -> str:
    record = json.loads(payload)
    del record["hash"]
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


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
