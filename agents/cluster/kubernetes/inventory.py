"""What a node of Kubernetes has, from its `Node` object: resources its device plugins publish, labels its operators and tools set.

Pure. Only what is a count of cards is counted (the catalogue says what one of a resource is); a count that may be something else
is left out and said, because a card that is not there costs a job its start.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Literal, Protocol

from kubernetes.utils import parse_quantity
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from agents.cluster.kubernetes.client import Object
from scheduler.contract.base import Key
from scheduler.contract.inventory import MAX_ACCELERATORS, Accelerator, MigInstance, MigPartition
from scheduler.domain.hardware import Catalogue, Health, ResourceUnit
from scheduler.domain.mig import MAX_SLICES, compute_slices, is_profile, memory_gb

GIB = 2**30
MIB = 2**20
MAX_LABELS = 32
MAX_COUNT = 1_000
"""What a node says it has more of than that is not counted further."""

SEVERITY = (Health.HEALTHY, Health.DEGRADED, Health.LOST)


class Inventory(BaseModel):
    """Who reports this cluster's nodes: node agents on them, or the cluster agent from what Kubernetes says can be allocated.

    `labels` gives the city's labels (`rack`, `spine`, `link_domain`, any other) by the nodes' own (`topology.example.cn/rack`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Literal["node-agents", "allocatable"] = "node-agents"
    labels: Annotated[
        dict[Key, Annotated[str, StringConstraints(min_length=1, max_length=317)]], Field(max_length=MAX_LABELS - 4)
    ] = Field(default_factory=dict)


class ResourceRow(Protocol):
    """What an operator says of a resource: whose cards, and how many of it are one card or one instance of `mig`."""

    @property
    def name(self) -> str: ...
    @property
    def vendor(self) -> str: ...
    @property
    def model(self) -> str | None: ...
    @property
    def mig(self) -> str | None: ...
    @property
    def per_card(self) -> int | None: ...


class Tolerated(Protocol):
    """A toleration that runs have, as Kubernetes writes one."""

    @property
    def key(self) -> str | None: ...
    @property
    def operator(self) -> str: ...
    @property
    def value(self) -> str | None: ...
    @property
    def effect(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """How nodes are read: by the catalogue, by what the operator says of resources, for runs with these tolerations.

    Only nodes with the labels of `node_selector` are the city's; `labels` gives the city's labels by theirs.
    """

    cluster: str
    catalogue: Catalogue
    resources: Sequence[ResourceRow] = ()
    tolerations: Sequence[Tolerated] = ()
    node_selector: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _VendorLabels:
    """The labels in which a vendor's tools say what a node's cards are; a version may be in parts."""

    model: tuple[str, ...] = ()
    memory: tuple[str, ...] = ()
    driver: tuple[tuple[str, ...], ...] = ()
    toolkit: tuple[tuple[str, ...], ...] = ()


LABELS = {
    "nvidia": _VendorLabels(
        model=("nvidia.com/gpu.product",),
        memory=("nvidia.com/gpu.memory",),
        driver=(
            ("nvidia.com/cuda.driver-version.full",),
            tuple(f"nvidia.com/cuda.driver.{part}" for part in ("major", "minor", "rev")),
        ),
        toolkit=(("nvidia.com/cuda.runtime-version.full",), ("nvidia.com/cuda.runtime.major", "nvidia.com/cuda.runtime.minor")),
    ),
    "amd": _VendorLabels(
        model=("amd.com/gpu.product-name", "beta.amd.com/gpu.product-name"), memory=("amd.com/gpu.vram", "beta.amd.com/gpu.vram")
    ),
    "huawei": _VendorLabels(model=("node.kubernetes.io/npu.chip.name",)),
    "cambricon": _VendorLabels(model=("Model",), driver=(("DriverVersion",),)),
    "hygon": _VendorLabels(model=("hygon.com/dcu.name",), memory=("hygon.com/dcu.vram",)),
    "metax": _VendorLabels(
        model=("metax-tech.com/gpu.product",),
        memory=("metax-tech.com/gpu.memory",),
        driver=(tuple(f"metax-tech.com/gpu.driver.{part}" for part in ("major", "minor", "patch")),),
    ),
}
"""By the vendors' own tools: GPU feature discovery, Ascend device plugin, Cambricon labeller, DCU labeller, MetaX operator."""

PLACES = {"zone": "topology.kubernetes.io/zone", "region": "topology.kubernetes.io/region", "arch": "kubernetes.io/arch"}
"""What every node may say of itself, by the city's word for it."""

RESOLD = {"nvidia.com/gpu": "hami.io/node-nvidia-register", "huawei.com/Ascend310P": "hami.io/node-register-Ascend310P"}
"""Resources that HAMi publishes under a vendor's own name, many for each card, and the annotation by which it is known."""

_OWN_TAINTS = ("node.kubernetes.io/unschedulable", "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
"""Taints that only repeat what the node says elsewhere."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a node stands as a whole: its cards are no better. `reasons` are codes."""

    health: Health = Health.HEALTHY
    reasons: tuple[str, ...] = ()

    def worse(self, health: Health, reason: str) -> "Standing":
        return Standing(max(self.health, health, key=SEVERITY.index), (*self.reasons, reason))


@dataclass(frozen=True, slots=True)
class Cards:
    """The cards of a node, and what could not be counted, for people."""

    cards: tuple[Accelerator, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Group:
    """So many of one resource: `offered` of `total`. Instances are of a MIG `profile`."""

    vendor: str
    name: str
    total: int
    offered: int
    model: str | None = None
    profile: str | None = None


def standing(node: Object, tolerations: Iterable[Tolerated]) -> Standing:
    """Whether new work may go to a node, and if not, why."""
    found = Standing()
    ready = [each.get("status") for each in node["status"].get("conditions") or () if each.get("type") == "Ready"]
    if ready == ["False"]:
        found = found.worse(Health.DEGRADED, "node_not_ready")
    elif ready != ["True"]:
        found = found.worse(Health.LOST, "node_silent")
    if node["spec"].get("unschedulable"):
        found = found.worse(Health.DEGRADED, "node_cordoned")
    bars = [taint for taint in node["spec"].get("taints") or () if taint["effect"] != "PreferNoSchedule"]
    for taint in bars:
        if taint["key"] not in _OWN_TAINTS and not any(_tolerates(each, taint) for each in tolerations):
            found = found.worse(Health.DEGRADED, f"node_tainted:{taint['key']}"[:200])
    return replace(found, reasons=found.reasons[:8])


def is_ours(node: Object, rules: Rules) -> bool:
    """Whether runs may go to a node at all, by its labels."""
    labels = node["metadata"].get("labels") or {}
    return all(labels.get(name) == value for name, value in rules.node_selector.items())


def cards_of(node: Object, rules: Rules) -> Cards:
    """The node's cards, whose ids are made of cluster, node and number and so never change."""
    groups, problems = _counted(node, rules)
    groups, doubled = _once_per_vendor(groups)
    stands = standing(node, rules.tolerations)
    cards: list[Accelerator] = []
    said = [*problems, *doubled]
    for vendor in sorted({group.vendor for group in groups}):
        own = [group for group in groups if group.vendor == vendor]
        made = [card for group in own if not group.profile for card in _cards(node, rules, group)]
        made += _instances(node, rules, [group for group in own if group.profile])
        if any("memory_size_unknown" in card.health_reasons for card in made):
            said.append(f"{own[0].name}: no label says which model it is, and the configuration (resources) names none")
        cards += made
    if len(cards) > MAX_ACCELERATORS:
        said.append(f"{len(cards)} cards; a report carries {MAX_ACCELERATORS}")
    numbered = [
        _standing_as(card.model_copy(update={"index": index}), stands) for index, card in enumerate(cards[:MAX_ACCELERATORS])
    ]
    return Cards(tuple(numbered), tuple(said))


def versions_of(node: Object, rules: Rules) -> tuple[str | None, str | None]:
    """Driver and toolkit, as far as labels say; of several vendors' cards all."""
    labels = node["metadata"].get("labels") or {}
    vendors = [vendor for vendor in LABELS if any(group.vendor == vendor for group in _counted(node, rules)[0])]
    driver = [_version(labels, LABELS[vendor].driver) for vendor in vendors]
    toolkit = [_version(labels, LABELS[vendor].toolkit) for vendor in vendors]
    return ", ".join(filter(None, driver))[:200] or None, ", ".join(filter(None, toolkit))[:200] or None


def labels_of(node: Object, rules: Rules) -> dict[str, str]:
    """The city's labels of the node: where it is, and what the operator named."""
    own = node["metadata"].get("labels") or {}
    named = {**PLACES, **rules.labels}
    return {label: own[theirs][:200] for label, theirs in named.items() if own.get(theirs)}


def quantity(resources: Mapping[str, object], name: str) -> Decimal:
    """An amount of a resource; 0 where there is none, or none that can be read."""
    try:
        found = Decimal(parse_quantity(resources.get(name) or 0))
    except ValueError:
        return Decimal(0)
    return found if found.is_finite() and found > 0 else Decimal(0)


def _tolerates(toleration: Tolerated, taint: Mapping[str, str]) -> bool:
    if toleration.effect not in (None, taint["effect"]) or toleration.key not in (None, taint["key"]):
        return False
    return toleration.operator == "Exists" or (toleration.value or "") == taint.get("value", "")


def _counted(node: Object, rules: Rules) -> tuple[list[_Group], list[str]]:
    """What there is of cards and instances by resource, and what is left out."""
    status = node["status"]
    capacity, allocatable = status.get("capacity") or {}, status.get("allocatable") or {}
    groups, problems = [], []
    for name in sorted({*capacity, *allocatable}):
        offered = min(int(quantity(allocatable, name)), MAX_COUNT)
        total = max(offered, min(int(quantity(capacity, name)), MAX_COUNT))
        if total <= 0 or "/" not in name:
            continue
        found = _group(node, rules, name, total, offered)
        if isinstance(found, str):
            problems.append(f"{name}: {found}")
        elif found is not None:
            groups.append(found)
    return groups, problems


def _group(node: Object, rules: Rules, name: str, total: int, offered: int) -> _Group | str | None:
    """A resource as cards, or why it is none, or None for what has nothing to do with cards."""
    said = next((row for row in rules.resources if row.name == name), None)
    if said is not None:
        each = said.per_card or 1
        return _Group(said.vendor, name, total // each, offered // each, model=said.model, profile=said.mig)
    known = rules.catalogue.kubernetes_resource(name)
    if known is None or known.unit is ResourceUnit.SHARE:
        return None
    if known.unit is None:
        return "what one of it is its plugin decides; say it in the cluster's configuration (resources)"
    if known.unit is ResourceUnit.TOKEN:
        return f"{total} shares of cards, which are no count of cards"
    if known.unit is ResourceUnit.INSTANCE:
        profile = name.partition("/mig-")[2].replace(".me", "+me")
        return (
            _Group(known.vendor, name, total, offered, profile=profile)
            if is_profile(profile)
            else "instances the city has no word for"
        )
    shared = _shared(node, name)
    return shared if shared else _Group(known.vendor, name, total, offered)


def _shared(node: Object, name: str) -> str:
    """Why a vendor's own resource counts something else than cards on this node; empty where it counts cards."""
    labels, annotations = node["metadata"].get("labels") or {}, node["metadata"].get("annotations") or {}
    if RESOLD.get(name) in annotations:
        return "HAMi sells shares of cards under this name"
    if name != "nvidia.com/gpu":
        return ""
    product = labels.get("nvidia.com/gpu.product", "")
    if labels.get("nvidia.com/gpu.sharing-strategy", "none") != "none" or product.endswith("-SHARED"):
        return "its plugin shares each card among several pods"
    if "-MIG-" in product:
        return "its plugin counts instances under this name (MIG strategy single); with strategy mixed they are reported"
    return ""


def _once_per_vendor(groups: list[_Group]) -> tuple[list[_Group], list[str]]:
    """One name for a vendor's cards, the one with the most of them: another may be the same cards once more."""
    kept, problems = [group for group in groups if group.profile], []
    whole = [group for group in groups if not group.profile]
    for vendor in sorted({group.vendor for group in whole}):
        most, *others = sorted((group for group in whole if group.vendor == vendor), key=lambda group: (-group.total, group.name))
        kept.append(most)
        problems += [f"{other.name}: not added to {most.name}, they may be the same cards" for other in others]
    return sorted(kept, key=lambda group: (group.vendor, bool(group.profile), group.name)), problems


def _cards(node: Object, rules: Rules, group: _Group) -> list[Accelerator]:
    """Whole cards. Which of them a plugin does not offer it does not say: the last ones."""
    plain = _card(node, rules, group)
    cards = [plain.model_copy(update={"uuid": _id(node, rules, group.vendor, number)}) for number in range(group.total)]
    for number in range(group.offered, group.total):
        cards[number] = _standing_as(cards[number], Standing(Health.DEGRADED, ("not_allocatable",)))
    return cards


def _instances(node: Object, rules: Rules, groups: list[_Group]) -> list[Accelerator]:
    """A vendor's cards that are cut: which instance is on which Kubernetes does not say, so as few cards as can hold them."""
    if not groups:
        return []
    vendor, plain = groups[0].vendor, _card(node, rules, groups[0])
    slices = 4 if "a30" in re.split(r"[^a-z0-9]", plain.model.casefold()) else 7
    pieces = [(group.profile or "", number) for group in groups for number in range(group.offered)]
    pieces.sort(key=lambda piece: (-compute_slices(piece[0]), piece))
    holds: list[list[tuple[str, int]]] = []
    for piece in pieces:
        size = compute_slices(piece[0])
        fitting = (
            held for held in holds if sum(compute_slices(each[0]) for each in held) + size <= slices and len(held) < MAX_SLICES
        )
        held = next(fitting, None)
        if held is None:
            holds.append(held := [])
        held.append(piece)
    return [
        plain.model_copy(
            update={
                "uuid": _id(node, rules, f"{vendor}-mig", number),
                "mig": MigPartition(
                    slices=slices,
                    instances=[
                        MigInstance(
                            uuid=_id(node, rules, profile.replace("+", "."), each),
                            profile=profile,
                            memory_bytes=memory_gb(profile) * GIB,
                        )
                        for profile, each in held
                    ],
                ),
            }
        )
        for number, held in enumerate(holds)
    ]


def _card(node: Object, rules: Rules, group: _Group) -> Accelerator:
    """One card of a vendor as labels and catalogue describe it, without a number yet."""
    vendor, labels = group.vendor, node["metadata"].get("labels") or {}
    known = LABELS.get(vendor, _VendorLabels())
    reported = (
        next((labels[name] for name in known.model if labels.get(name)), None) or group.model or _hinted(node, vendor) or group.name
    )
    identity = rules.catalogue.identify(vendor, _canonical(rules.catalogue, vendor, reported))
    memory = next((size for name in known.memory if (size := _bytes(labels.get(name, "")))), None)
    memory = memory or rules.catalogue.nominal_memory_bytes(identity.vendor, identity.model)
    return Accelerator(
        index=0,
        vendor=identity.vendor,
        model=identity.model[:200],
        hardware_class=identity.hardware_class,
        uuid="-",
        memory_bytes=memory or 0,
        # Nobody may plan with a zero: such a card is not given out, and says why.
        health=Health.HEALTHY if memory else Health.DEGRADED,
        health_reasons=[] if memory else ["memory_size_unknown"],
    )


def _hinted(node: Object, vendor: str) -> str | None:
    """The model in the name of a resource that HAMi publishes beside the vendor's own: `huawei.com/Ascend910B3`."""
    if vendor != "huawei":
        return None
    names = sorted(
        name.partition("/")[2] for name in node["status"].get("capacity") or {} if name.startswith("huawei.com/Ascend910B")
    )
    return next((name for name in names if re.fullmatch(r"Ascend910B\d(-\d)?", name)), None)


def _canonical(catalogue: Catalogue, vendor: str, reported: str) -> str:
    """The catalogue's name for what a label says: labels cannot hold spaces, so only letters and digits are compared."""
    wanted = re.sub(r"[^a-z0-9]", "", reported.casefold())
    names = ((name, entry.model) for (whose, name), entry in catalogue.by_name.items() if whose == vendor.casefold())
    return next((model for name, model in names if re.sub(r"[^a-z0-9]", "", name) == wanted), reported)


def _bytes(text: str) -> int | None:
    """A card's memory as labels have it: `81559` (MiB), `64G`, `64GB`, `192GiB`: all of them in powers of two."""
    found = re.fullmatch(r"(\d{1,7})\s*(?:([MG])(?:i?B)?)?", text)
    return int(found[1]) * (GIB if found[2] == "G" else MIB) if found else None


def _version(labels: Mapping[str, str], forms: Iterable[tuple[str, ...]]) -> str | None:
    return next((".".join(labels[name] for name in form) for form in forms if all(labels.get(name) for name in form)), None)


def _id(node: Object, rules: Rules, what: str, number: int) -> str:
    """`cluster:node:vendor:number`; shortened in the middle by a digest where it would be too long to be an id."""
    whole = f"{rules.cluster}:{node['metadata']['name']}:{what}:{number}"
    if len(whole) <= 128:
        return whole
    return f"{sha256(whole.encode()).hexdigest()[:32]}:{what[-64:]}:{number}"


def _standing_as(card: Accelerator, stands: Standing) -> Accelerator:
    health = max(card.health, stands.health, key=SEVERITY.index)
    return card.model_copy(update={"health": health, "health_reasons": [*card.health_reasons, *stands.reasons]})
