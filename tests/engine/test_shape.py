"""What a job asks, read from its spec."""

import pytest

from scheduler.contract.job import JobSpec
from scheduler.domain.hardware import HardwareClass
from scheduler.domain.topology import CLUSTER, LINK_DOMAIN, RACK, SPINE
from scheduler.domain.versions import parse_range
from scheduler.engine.constraints import LabelIn, VersionIn
from scheduler.engine.shape import GIB, shapes_of
from tests.engine.builders import gang


def _spec(hardware: object) -> JobSpec:
    document = {"name": "sft", "entrypoint": ["true"], "max_runtime": "1h", "activity": "finetune", "hardware": hardware}
    return JobSpec.model_validate(document)


def test_every_wish_of_a_spec_is_in_the_shape() -> None:
    (shape,) = shapes_of(
        _spec(
            {
                "class": "domestic",
                "vendors": ["huawei"],
                "models": ["910B3"],
                "nodes": 4,
                "min_nodes": 2,
                "per_node": 8,
                "memory_gib": 64,
                "cpus": 32,
                "host_memory_gib": 256,
                "topology": "rack",
                "labels": {"zone": ["west", "east"], "pool": "training"},
                "toolkit": ">=12.2, <13",
                "driver": ">=535.104",
            }
        )
    )
    assert shape == gang(
        nodes=4,
        min_nodes=2,
        per_node=8,
        hardware_class=HardwareClass.DOMESTIC,
        vendors=frozenset({"huawei"}),
        models=frozenset({"910B3"}),
        card_memory_bytes=64 * GIB,
        cpu_milli=32_000,
        memory_bytes=256 * GIB,
        within=RACK,
        constraints=(
            VersionIn("driver", parse_range(">=535.104")),
            VersionIn("toolkit", parse_range(">=12.2,<13")),
            LabelIn("pool", frozenset({"training"})),
            LabelIn("zone", frozenset({"east", "west"})),
        ),
    )


def test_alternatives_keep_their_order_of_preference() -> None:
    first, second = shapes_of(_spec([{"nodes": 1, "per_node": 8}, {"nodes": 4, "per_node": 4}]))
    assert (first.nodes, first.per_node, second.nodes, second.per_node) == (1, 8, 4, 4)


@pytest.mark.parametrize(
    ("topology", "within", "near"),
    [
        ("any", CLUSTER, CLUSTER),
        ("link_domain", LINK_DOMAIN, CLUSTER),
        ("rack", RACK, CLUSTER),
        ("spine", SPINE, CLUSTER),
        ({"within": "rack"}, RACK, CLUSTER),
        ({"within": "spine", "required": True}, SPINE, CLUSTER),
        ({"within": "rack", "required": False}, CLUSTER, RACK),
        ({"within": "link_domain", "required": False}, CLUSTER, LINK_DOMAIN),
    ],
)
def test_a_level_is_required_or_wished_for(topology: object, within: int, near: int) -> None:
    (shape,) = shapes_of(_spec({"topology": topology}))
    assert (shape.within, shape.near) == (within, near)


def test_a_gang_is_rigid_unless_it_says_otherwise() -> None:
    (shape,) = shapes_of(_spec({"nodes": 3}))
    assert shape.min_nodes == 3


def test_what_names_the_cards_in_a_few_words() -> None:
    wish = gang(hardware_class=HardwareClass.DOMESTIC, models=frozenset({"MXC500", "910B3"}), card_memory_bytes=64 * GIB)
    assert wish.what() == "domestic 910B3/MXC500 ≥64GiB"
    assert gang(per_node=1, card_milli=500).what() == "any-model 500/1000"
    assert gang(per_node=0, cpu_milli=16_000).what() == "16 CPU"
