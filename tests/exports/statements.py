"""A statement to render: that of the small city of the billing tests, with names nobody should trust."""

from datetime import UTC, datetime, timedelta

from scheduler.billing.months import Month, MonthOfAccount
from scheduler.billing.statement import Register, StatementBooks
from scheduler.contract.statement import Detail, Party, Statement
from tests import builders
from tests.billing.postings import body, bought, chained, tag, taken_back

NOVEMBER = Month(2026, 11)
EVIL = '</td><script>alert("1")</script>&amp;'
FORMULA = "=1+1"

REGISTER = Register(
    tenants={
        "acme": Party(id="acme", name=EVIL, uscc=builders.USCCS[0]),
        "uni": Party(id="uni", name="@uni", uscc=builders.USCCS[3]),
    },
    providers={"p-sz": Party(id="p-sz", name="深圳算力", uscc=builders.USCCS[1])},
    contracts={"C-1": builders.contract()},
    jobs={"j-1": EVIL, "j-2": FORMULA},
    programmes={("shenzhen-training", "2024"): ("深圳市训力券", "Shenzhen training voucher")},
)


def november() -> Statement:
    """Days of a job, one put right, a corpus, a late line for October, one of another tenant that has to be reviewed."""
    first = datetime(2026, 11, 2, 14, 0, tzinfo=UTC)
    hour = timedelta(hours=1)
    review = [tag("80.000056", status="needs_review", reason_codes=["facts_missing"])]
    bodies = [
        body(first, first + hour),
        body(first + hour, first + 2 * hour),
        body(first + 2 * hour, first + 3 * hour),
        bought(first, first, 1_500_000_000),
        body(datetime(2026, 10, 20, tzinfo=UTC), datetime(2026, 11, 5, tzinfo=UTC)),
        body(first, first, tenant="uni", contract=None, job="j-2", eligibility=review, model="-H800"),
    ]
    lost = chained(bodies)[1][1]
    replaced = body(first + hour, first, unit_seconds=4 * 3600, replaces=lost["id"])
    free = body(first + hour, first, unit_seconds=4 * 3600, kind="unbilled", replaces=lost["id"])
    books = StatementBooks(NOVEMBER, Detail.JOB)
    for record in chained([*bodies, taken_back(lost, first + timedelta(days=1)), replaced, free])[1]:
        assert MonthOfAccount(NOVEMBER).has(record)
        books.add(record)
    return Statement(
        month=str(NOVEMBER),
        state="open",
        starts_at=NOVEMBER.start,
        ends_at=NOVEMBER.end,
        closes_at=NOVEMBER.closes_at,
        tenant=None,
        provider=REGISTER.providers["p-sz"],
        detail=Detail.JOB,
        accounts=books.accounts(REGISTER),
        vouchers=books.vouchers(REGISTER),
        totals=books.totals(),
        journal=books.extent(9, "f" * 64),
    )
