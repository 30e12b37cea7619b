"""What ails a card, in words: every code the agent and the city give has a text in zh and en."""

import re
from pathlib import Path

import pytest
import yaml

from agents.node.probes.nvml import CARD_FAULTS
from api.routers.inventory import UUID_ON_TWO_NODES
from scheduler.domain.health import TEXTS, health_text

NODE = Path(__file__).parents[1] / "agents" / "node"
FIXTURES = [yaml.safe_load(path.read_text("utf-8")) for path in NODE.joinpath("fixtures").glob("*.yaml")]
OF_FIXTURES = {reason for fixture in FIXTURES for card in fixture["cards"] for reason in card.get("reasons", ())}
OF_TESTS = set(re.findall(r'Health\.(?:DEGRADED|LOST), "([a-z_]+)"', NODE.joinpath("test_node_nvml.py").read_text("utf-8")))


@pytest.mark.parametrize(
    "code", sorted({*OF_FIXTURES, *OF_TESTS, *CARD_FAULTS.values(), UUID_ON_TWO_NODES, "probe_failed", "not_read"})
)
def test_a_code_that_is_told_has_texts(code: str) -> None:
    assert code in TEXTS


@pytest.mark.parametrize("code", TEXTS)
def test_texts_are_in_both_languages_and_keep_the_code(code: str) -> None:
    english, chinese = health_text(code, "en"), health_text(code, "zh")
    assert english.endswith(f"[{code}]") and chinese.endswith(f"[{code}]")
    assert re.search(r"[一-鿿]", chinese) and not re.search(r"[一-鿿]", english)


def test_xids_carry_their_number_and_codes_of_newer_agents_are_shown_as_they_are() -> None:
    assert health_text("xid_79", "en") == "Xid error 79"
    assert health_text("xid_79", "zh") == "Xid 错误 79"
    assert health_text("of_2030", "zh") == "of_2030"
