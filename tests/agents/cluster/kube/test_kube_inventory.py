"""What is counted as a card, what it is called, and how it stands: nodes as vendors' tools label them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.cluster.kubernetes.inventory import Cards, Inventory, Rules, cards_of, labels_of, standing, versions_of
from scheduler.contract.inventory import MAX_ACCELERATORS, Accelerator
from scheduler.domain.hardware import HardwareClass, Health, shipped_catalogue
from tests.agents.cluster.kube.store import Object

GIB = 2**30
READY = {"type": "Ready", "status": "True"}


@dataclass(frozen=True)
class Row:
    name: str
    vendor: str
    model: str | None = None
    mig: str | None = None
    per_card: int | None = None


@dataclass(frozen=True)
class Toleration:
    key: str | None = None
    operator: str = "Equal"
    value: str | None = None
    effect: str | None = None


def rules(*rows: Row, tolerations: tuple[Toleration, ...] = (), labels: Mapping[str, str] | None = None) -> Rules:
    return Rules("c1", shipped_catalogue(), rows, tolerations, labels=labels or {})


def node(
    cards: Mapping[str, object],
    labels: Mapping[str, str] | None = None,
    *,
    capacity: Mapping[str, object] | None = None,
    annotations: Mapping[str, str] | None = None,
    name: str = "n1",
    **spec: Any,
) -> Object:
    basic: dict[str, object] = {"cpu": "191500m", "memory": "1031000Mi", "pods": "110", "hugepages-2Mi": "0"}
    return {
        "metadata": {"name": name, "labels": dict(labels or {}), "annotations": dict(annotations or {})},
        "spec": spec,
        "status": {
            "conditions": [READY],
            "capacity": {**basic, **cards, **(capacity or {})},
            "allocatable": {**basic, **cards},
        },
    }


def read(found: Object, *rows: Row) -> Cards:
    return cards_of(found, rules(*rows))


def kinds(found: Cards) -> list[tuple[str, str, HardwareClass, int]]:
    return sorted({(card.vendor, card.model, card.hardware_class, card.memory_bytes // GIB) for card in found.cards})


VENDORS = [
    (
        {"nvidia.com/gpu": "8"},
        {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.memory": "81559"},
        "H100",
        "foreign",
        79,
    ),
    ({"nvidia.com/gpu": "8"}, {"nvidia.com/gpu.product": "NVIDIA-A800-SXM4-80GB"}, "A800-SXM4-80GB", "foreign", 80),
    ({"nvidia.com/gpu": "8"}, {"nvidia.com/gpu.product": "NVIDIA-GeForce-RTX-4090"}, "RTX 4090", "foreign", 24),
    ({"nvidia.com/gpu": "8"}, {"nvidia.com/gpu.product": "NVIDIA-H20", "nvidia.com/gpu.memory": "97871"}, "H20", "foreign", 95),
    (
        {"amd.com/gpu": "8"},
        {"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM", "amd.com/gpu.vram": "192G"},
        "MI300X",
        "foreign",
        192,
    ),
    ({"huawei.com/Ascend910": "8"}, {"node.kubernetes.io/npu.chip.name": "910B3"}, "910B3", "domestic", 64),
    ({"huawei.com/Ascend910": "16"}, {"node.kubernetes.io/npu.chip.name": "Ascend910"}, "910C", "domestic", 64),
    ({"cambricon.com/mlu370": "8"}, {"Model": "MLU370-X8", "DriverVersion": "v5.10.22"}, "MLU370-X8", "domestic", 48),
    ({"hygon.com/dcu": "8"}, {"hygon.com/dcu.name": "K100_AI", "hygon.com/dcu.vram": "64G"}, "K100_AI", "domestic", 64),
    (
        {"metax-tech.com/gpu": "8"},
        {"metax-tech.com/gpu.product": "MXC500", "metax-tech.com/gpu.memory": "64GB"},
        "MXC500",
        "domestic",
        64,
    ),
]


@pytest.mark.parametrize(("resources", "labels", "model", "hardware_class", "memory_gib"), VENDORS)
def test_a_vendors_resource_and_labels_say_what_its_cards_are(
    resources: dict[str, str], labels: dict[str, str], model: str, hardware_class: str, memory_gib: int
) -> None:
    found = read(node(resources, labels))
    assert len(found.cards) == int(next(iter(resources.values())))
    assert [kind[1:] for kind in kinds(found)] == [(model, HardwareClass(hardware_class), memory_gib)]
    assert found.problems == ()
    assert {card.health for card in found.cards} == {Health.HEALTHY}


@pytest.mark.parametrize(
    ("resource", "model"),
    [("mthreads.com/gpu", "MTT S5000"), ("enflame.com/gcu", "S60"), ("kunlunxin.com/xpu", "P800"), ("iluvatar.com/gpu", "BI-V150")],
)
def test_where_no_label_names_the_model_the_configuration_does(resource: str, model: str) -> None:
    vendor = "moorethreads" if "mthreads" in resource else resource.partition(".")[0]
    found = read(node({resource: "8"}), Row(resource, vendor, model, per_card=1))
    assert len(found.cards) == 8
    assert {card.model for card in found.cards} == {model}
    assert {card.hardware_class for card in found.cards} == {HardwareClass.DOMESTIC}
    assert {card.health for card in found.cards} == {Health.HEALTHY}


def test_a_model_nobody_names_is_never_guessed_and_never_given_out() -> None:
    found = read(node({"huawei.com/Ascend910": "8"}))
    assert kinds(found) == [("huawei", "huawei.com/Ascend910", HardwareClass.UNKNOWN, 0)]
    assert {(card.health, *card.health_reasons) for card in found.cards} == {(Health.DEGRADED, "memory_size_unknown")}
    assert "no label says which model it is" in found.problems[0]


def test_the_name_of_a_resource_beside_it_says_the_model_of_an_ascend() -> None:
    found = read(node({"huawei.com/Ascend910": "8", "huawei.com/Ascend910B3": "80", "huawei.com/Ascend910B3-memory": "524288"}))
    assert [kind[1] for kind in kinds(found)] == ["910B3"]
    assert len(found.cards) == 8


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ({"hygon.com/dcunum": "32"}, "32 shares of cards"),
        ({"cambricon.com/vmlu": "80"}, "80 shares"),
        ({"metax-tech.com/sgpu": "16"}, "16 shares"),
        ({"iluvatar.com/gpu": "16"}, "its plugin decides"),
        ({"hygon.com/dcu-mig-2g-15gb": "4"}, "no word for"),
    ],
)
def test_what_is_no_count_of_cards_is_left_out_and_said(resources: dict[str, str], said: str) -> None:
    found = read(node(resources))
    assert found.cards == ()
    assert said in found.problems[0]
    assert next(iter(resources)) in found.problems[0]


@pytest.mark.parametrize(
    ("labels", "annotations", "said"),
    [
        ({"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3-SHARED"}, {}, "shares each card"),
        ({"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.sharing-strategy": "mps"}, {}, "shares each card"),
        ({"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb"}, {}, "strategy single"),
        ({"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}, {"hami.io/node-nvidia-register": "[]"}, "HAMi"),
    ],
)
def test_a_vendors_own_name_may_count_something_else(labels: dict[str, str], annotations: dict[str, str], said: str) -> None:
    found = read(node({"nvidia.com/gpu": "80"}, labels, annotations=annotations))
    assert found.cards == ()
    assert said in found.problems[0]


def test_amounts_and_devices_that_are_no_cards_are_nothing() -> None:
    found = read(node({"nvidia.com/gpumem": "640000", "rdma/hca": "8", "smarter-devices/fuse": "20", "hygon.com/dcunum": "0"}))
    assert found == Cards((), ())


def test_one_vendors_cards_under_two_names_are_not_added_up() -> None:
    found = read(node({"cambricon.com/mlu": "8", "cambricon.com/mlu370": "8"}, {"Model": "MLU370-X8"}))
    assert len(found.cards) == 8
    assert found.problems == ("cambricon.com/mlu370: not added to cambricon.com/mlu, they may be the same cards",)


def test_two_vendors_cards_on_a_node_are_both_there() -> None:
    labels = {"nvidia.com/gpu.product": "NVIDIA-H20", "hygon.com/dcu.name": "K100_AI"}
    found = read(node({"nvidia.com/gpu": "2", "hygon.com/dcu": "3"}, labels))
    assert [card.model for card in found.cards] == ["K100_AI"] * 3 + ["H20"] * 2
    assert [card.index for card in found.cards] == [0, 1, 2, 3, 4]
    assert len({card.uuid for card in found.cards}) == 5


def test_a_resource_of_which_several_are_one_card_is_divided() -> None:
    found = read(node({"iluvatar.com/gpu": "16"}), Row("iluvatar.com/gpu", "iluvatar", "BI-V150", per_card=2))
    assert len(found.cards) == 8


def test_what_the_plugin_does_not_offer_is_degraded() -> None:
    found = read(node({"nvidia.com/gpu": "6"}, {"nvidia.com/gpu.product": "NVIDIA-H20"}, capacity={"nvidia.com/gpu": "8"}))
    assert [card.health for card in found.cards] == [Health.HEALTHY] * 6 + [Health.DEGRADED] * 2
    assert found.cards[7].health_reasons == ["not_allocatable"]


def test_instances_are_put_on_as_few_cards_as_hold_them() -> None:
    resources = {"nvidia.com/mig-3g.40gb": "4", "nvidia.com/mig-1g.10gb": "3", "nvidia.com/gpu": "6"}
    found = read(node(resources, {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}))
    cut = [card for card in found.cards if card.mig]
    assert (len(found.cards), len(cut)) == (9, 3)
    instances = [instance for card in cut if card.mig for instance in card.mig.instances]
    assert sorted(instance.profile for instance in instances) == ["1g.10gb"] * 3 + ["3g.40gb"] * 4
    assert len({instance.uuid for instance in instances}) == 7
    assert {card.model for card in cut} == {"A100-SXM4-80GB"}


def test_an_instance_with_an_engine_keeps_its_profile() -> None:
    found = read(node({"nvidia.com/mig-1g.10gb.me": "1"}, {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}))
    assert [instance.profile for card in found.cards if card.mig for instance in card.mig.instances] == ["1g.10gb+me"]


# How a node stands


@pytest.mark.parametrize(
    ("condition", "spec", "health", "reasons"),
    [
        ("True", {}, Health.HEALTHY, []),
        ("False", {}, Health.DEGRADED, ["node_not_ready"]),
        ("Unknown", {}, Health.LOST, ["node_silent"]),
        (None, {}, Health.LOST, ["node_silent"]),
        ("True", {"unschedulable": True}, Health.DEGRADED, ["node_cordoned"]),
        ("True", {"taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]}, Health.HEALTHY, []),
        ("True", {"taints": [{"key": "only", "value": "us", "effect": "NoSchedule"}]}, Health.DEGRADED, ["node_tainted:only"]),
        ("True", {"taints": [{"key": "soft", "effect": "PreferNoSchedule"}]}, Health.HEALTHY, []),
        ("True", {"taints": [{"key": "ours", "value": "yes", "effect": "NoExecute"}]}, Health.HEALTHY, []),
        ("True", {"taints": [{"key": "ours", "value": "no", "effect": "NoExecute"}]}, Health.DEGRADED, ["node_tainted:ours"]),
        ("Unknown", {"unschedulable": True}, Health.LOST, ["node_silent", "node_cordoned"]),
    ],
)
def test_a_node_that_takes_no_new_work_has_no_healthy_card(
    condition: str | None, spec: dict[str, Any], health: Health, reasons: list[str]
) -> None:
    found = node({"nvidia.com/gpu": "2"}, {"nvidia.com/gpu.product": "NVIDIA-H20"}, **spec)
    found["status"]["conditions"] = [] if condition is None else [{"type": "Ready", "status": condition}]
    ours = rules(tolerations=(Toleration("ours", value="yes"),))
    for card in cards_of(found, ours).cards:
        assert (card.health, card.health_reasons) == (health, reasons)


@pytest.mark.parametrize("toleration", [Toleration(operator="Exists"), Toleration("only", "Exists", effect="NoSchedule")])
def test_a_taint_that_runs_tolerate_bars_nothing(toleration: Toleration) -> None:
    found = node({}, taints=[{"key": "only", "value": "us", "effect": "NoSchedule"}])
    assert standing(found, [toleration]).health is Health.HEALTHY
    assert standing(found, [Toleration("only", "Exists", effect="NoExecute")]).health is Health.DEGRADED


def test_where_a_node_is_and_what_it_runs_is_in_its_labels() -> None:
    labels = {
        "topology.kubernetes.io/zone": "sz-1",
        "topology.example.cn/rack": "r7",
        "nvidia.com/gpu.product": "NVIDIA-H20",
        "nvidia.com/cuda.driver-version.full": "550.107.02",
        "nvidia.com/cuda.runtime.major": "12",
        "nvidia.com/cuda.runtime.minor": "4",
        "hygon.com/dcu.name": "K100_AI",
    }
    found = node({"nvidia.com/gpu": "2"}, labels)
    ours = rules(labels={"rack": "topology.example.cn/rack", "spine": "topology.example.cn/spine"})
    assert labels_of(found, ours) == {"zone": "sz-1", "rack": "r7"}
    assert versions_of(found, ours) == ("550.107.02", "12.4")
    assert versions_of(node({}, labels), ours) == (None, None), "a driver of cards that are not there is none"


def test_who_reports_is_said_in_the_configuration() -> None:
    assert Inventory().source == "node-agents"
    assert Inventory.model_validate({"source": "allocatable", "labels": {"rack": "example.cn/rack"}}).labels
    for wrong in ({"source": "both"}, {"labels": {"": "x"}}, {"rack": "x"}):
        with pytest.raises(ValueError):
            Inventory.model_validate(wrong)


# Ids


def test_ids_are_made_of_cluster_node_and_number() -> None:
    found = read(node({"nvidia.com/gpu": "2"}, {"nvidia.com/gpu.product": "NVIDIA-H20"}))
    assert [card.uuid for card in found.cards] == ["c1:n1:nvidia:0", "c1:n1:nvidia:1"]
    long = [read(node({"nvidia.com/gpu": "2"}, name="n" * 250 + end)).cards for end in "ab"]
    assert len({card.uuid for cards in long for card in cards}) == 4
    assert max(len(card.uuid) for cards in long for card in cards) <= 128


@given(before=st.integers(0, 12), after=st.integers(0, 12), offered=st.integers(0, 12))
def test_a_card_that_is_there_before_and_after_keeps_its_id(before: int, after: int, offered: int) -> None:
    def ids(count: int) -> list[str]:
        cards = read(node({"nvidia.com/gpu": min(offered, count)}, capacity={"nvidia.com/gpu": count})).cards
        assert len(cards) == count
        return [card.uuid for card in cards]

    shared = min(before, after)
    assert ids(before)[:shared] == ids(after)[:shared]


NAMES = [row.name.replace("*", "x") for row in shipped_catalogue().kubernetes_resources] + [
    "nvidia.com/mig-1g.10gb",
    "other.cn/thing",
]
amounts = st.one_of(st.integers(-5, 10**12), st.sampled_from(["8", "1k", "", "eight", "-3", "nan", "inf", "1.5", "9" * 30, "8Gi"]))


@given(
    st.dictionaries(st.sampled_from(NAMES), amounts, max_size=6),
    st.dictionaries(st.sampled_from(NAMES), amounts, max_size=6),
    st.dictionaries(
        st.sampled_from(["nvidia.com/gpu.product", "nvidia.com/gpu.memory", "Model", "x"]), st.text(max_size=80), max_size=3
    ),
)
def test_whatever_a_node_says_its_cards_can_be_reported(
    cards: dict[str, object], capacity: dict[str, object], labels: dict[str, str]
) -> None:
    found = read(node(cards, labels, capacity=capacity))
    assert len(found.cards) <= MAX_ACCELERATORS
    assert len({card.uuid for card in found.cards}) == len(found.cards)
    for card in found.cards:
        assert Accelerator.model_validate(card.model_dump()) == card
