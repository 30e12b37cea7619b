"""What is claimed of each contract under each programme, from what was posted."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    claims = op.create_table(
        "claim_uses",
        sa.Column("contract_id", sa.String(length=200), nullable=False),
        sa.Column("programme", sa.String(length=200), nullable=False),
        sa.Column("used_micros", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["contract_id"], ["contracts.id"], name=op.f("fk_claim_uses_contract_id")),
        sa.PrimaryKeyConstraint("contract_id", "programme", name=op.f("pk_claim_uses")),
    )
    used: dict[tuple[str, str], int] = {}
    posted = op.get_bind().execute(sa.text("SELECT contract_id, payload FROM cost_records WHERE contract_id IS NOT NULL"))
    for contract, payload in posted:
        for tag in json.loads(payload).get("eligibility", ()):
            if tag["selected"]:
                key = (contract, tag["programme"])
                used[key] = used.get(key, 0) + int(tag["capped"].replace(".", ""))
    rows = [
        {"contract_id": contract, "programme": programme, "used_micros": micros} for (contract, programme), micros in used.items()
    ]
    if rows:
        op.bulk_insert(claims, rows)
