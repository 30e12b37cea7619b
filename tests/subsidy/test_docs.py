"""What `docs/programmes.md` says of the programmes is what ships."""

from pathlib import Path

import pytest

from scheduler.subsidy.elsewhere import Elsewhere, routed_elsewhere
from scheduler.subsidy.programme import PolicyVersion, shipped_policies

ROWS = [
    line for line in (Path(__file__).parents[2] / "docs" / "programmes.md").read_text("utf-8").splitlines() if line.startswith("|")
]


@pytest.mark.parametrize("policy", shipped_policies(), ids=lambda policy: f"{policy.programme}-{policy.version}")
def test_every_shipped_version_has_its_row(policy: PolicyVersion) -> None:
    start = next(number for number, row in enumerate(ROWS) if f"`{policy.programme}`" in row)
    row = next(row for row in ROWS[start:] if f"`{policy.version}`" in row)
    assert policy.valid_from.isoformat() in row
    assert policy.valid_until is None or policy.valid_until.isoformat() in row
    assert f"| {policy.confidence} |" in row
    for limit in (policy.cap, policy.pool):
        assert limit is None or f"{limit.amount // 10**12} M" in row
    for rate in policy.rates:
        known = rate.rate is not None and rate.code in ("rate_base", "rate_startup", "rate_domestic", "rate_other")
        assert not known or row.count("the same") or f"{int((rate.rate or 0) * 100)} %" in row


@pytest.mark.parametrize("scheme", routed_elsewhere().values(), ids=lambda scheme: scheme.programme)
def test_everything_routed_elsewhere_is_listed(scheme: Elsewhere) -> None:
    assert any(f"`{scheme.programme}`" in row for row in ROWS)
