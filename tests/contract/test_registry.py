"""Who takes part: codes with check digits, dates in order, tokens bound to whom they are for."""

from datetime import date

import pytest
from pydantic import ValidationError

from scheduler.contract.registry import Role, TokenRequest
from tests.builders import USCCS, contract, provider, tenant


@pytest.mark.parametrize("uscc", USCCS)
def test_a_valid_credit_code_is_taken(uscc: str) -> None:
    assert tenant(uscc=uscc).uscc == uscc


@pytest.mark.parametrize("uscc", ["91440300MA5EXAMP0D", "91440300MA5EXAMP0", "", "91440300MA5EXAMP0C0", "I1440300MA5EXAMP0C"])
def test_a_credit_code_with_a_wrong_check_digit_is_refused(uscc: str) -> None:
    with pytest.raises(ValidationError, match="unified social credit code"):
        provider(uscc=uscc)


def test_a_contract_may_last_one_day_but_not_end_before_it_starts() -> None:
    assert contract(start=date(2026, 1, 1), end=date(2026, 1, 1))
    with pytest.raises(ValidationError, match="end may not be before start"):
        contract(start=date(2026, 1, 2), end=date(2026, 1, 1))


@pytest.mark.parametrize("amount", ["-1", "1e6", "1.0000001", "2000000000"])
def test_a_contract_amount_is_a_plain_amount_of_zero_or_more(amount: str) -> None:
    with pytest.raises(ValidationError):
        contract(amount=amount)


@pytest.mark.parametrize("role", list(Role))
def test_a_token_has_a_subject_exactly_where_its_role_is_bound(role: Role) -> None:
    bound = role in (Role.TENANT, Role.AGENT)
    assert TokenRequest(role=role, subject="acme" if bound else None, note="a test")
    with pytest.raises(ValidationError, match="subject is required"):
        TokenRequest(role=role, subject=None if bound else "acme", note="a test")
