"""Who takes part: providers, clusters, tenants, contracts, queues, programmes, access tokens.

Everything here is registered by an operator or a finance officer. Facts a voucher rule may ask for are optional where
nobody may have established them yet: absent means unknown, and a rule that needs them answers `needs_review`.
"""

from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from scheduler.contract.base import Key, Moment, Price, Text, Uscc, Wire
from scheduler.contract.job import Profile
from scheduler.contract.scheduling import MinRuntime
from scheduler.domain.faults import Fault

DEFAULT_IN_FLIGHT = 256
"""Grants a cluster may have at a time that it has not taken up yet, where it was registered without saying so."""


class Registration(Wire):
    """A provider's place on a programme's list: eligibility is per service item and from a date on."""

    programme: Key
    service_item: Key
    listed_on: date


class Provider(Wire):
    """算力提供方: who owns clusters and is paid for them.

    `city_facility`: whether it is one of its city's major facilities, whose preferential prices are for the city's own enterprises.
    """

    id: Key
    name: Text
    uscc: Uscc
    city: Key
    capacity_pflops: Annotated[int, Field(ge=0, le=10**9)] | None = None
    facility_domestic: bool | None = None
    city_facility: bool | None = None
    registrations: Annotated[list[Registration], Field(max_length=256)] = Field(default_factory=list)


class Launcher(StrEnum):
    RAY = "ray"
    KUBERNETES = "kubernetes"
    UPSTREAM = "upstream"
    RECORDED = "recorded"


class Cluster(Wire):
    """集群: one cluster of one provider. A `recorded` cluster plays back a recorded inventory and is labelled so everywhere.

    `max_in_flight`: how many grants it may have at a time that its agent has not taken up yet. An agent takes grants up about twice
    a second, so the default lets some hundred jobs a second start there; less protects a cluster that is slow to accept work.
    """

    id: Key
    name: Text
    provider: Key
    city: Key
    launcher: Launcher
    max_in_flight: Annotated[int, Field(ge=1, le=10_000)] = DEFAULT_IN_FLIGHT


class TenantType(StrEnum):
    ENTERPRISE = "enterprise"
    UNIVERSITY = "university"
    INSTITUTE = "institute"


class Tenant(Wire):
    """租户: who submits jobs. Startup and SME status are as asserted, not verified."""

    id: Key
    name: Text
    uscc: Uscc
    type: TenantType
    city: Key
    industry: Literal["software", "manufacturing", "other"] | None = None
    established_on: date | None = None
    startup: bool | None = None
    sme: bool | None = None
    private: bool | None = None
    registered_provider: bool | None = None
    dishonest_record: bool | None = None
    multimodal_base_model: bool | None = None


class Contract(Wire):
    """服务合同: tenant × provider, what a voucher programme subsidises.

    `preferential_price` says whether the provider's preferential prices hold under it; where it is silent, the provider's and the
    tenant's cities say so.
    """

    id: Key
    tenant: Key
    provider: Key
    signed_on: date
    start: date
    end: date
    amount: Price
    service_item: Key
    affiliated: bool | None = None
    ordered_on_platform: bool | None = None
    paid: bool | None = None
    other_public_funds: Price | None = None
    preferential_price: bool | None = None

    @model_validator(mode="after")
    def _dates_in_order(self) -> Self:
        if self.end < self.start:
            raise Fault("dates_reversed", first="start", last="end")
        return self


class PricedItem(StrEnum):
    """What the dispatcher can meter: cards of a model, cores, GiB of host memory. It sees no storage and no network traffic."""

    ACCELERATOR = "accelerator"
    CPU = "cpu"
    MEMORY = "memory"


Resource = Annotated[
    str, StringConstraints(pattern=r"^(cpu|class:(domestic|foreign|unknown)|model:[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63})$")
]
"""What a quota limits: `cpu` in cores, `class:domestic` or `model:910B3` in cards."""

Amounts = Annotated[dict[Resource, Annotated[int, Field(ge=0, le=10**9)]], Field(max_length=64)]


class QueueSpec(Wire):
    """A queue's quota. A tenant's queue bears its id; others group them. What one queue of a tree does not use, others may borrow.

    `nominal` is its own; `borrowing_limit` the most it may use beyond (absent: whatever others leave); `lending_limit` the most
    others may use of it (absent: all). What others borrowed of its own it takes back by stopping them when its jobs need it, or,
    with `reclaims: false`, as they end. A resource nobody in the tree has a nominal for is unlimited. `weight` divides its share.
    `min_runtime` protects its attempts from being stopped for other jobs; absent, it is that of the queue above, or the city's.
    `profile` holds for jobs of it and of the queues below that name none (absent: that of the queue above, else of the city).
    """

    name: Key
    parent: Key | None = None
    nominal: Amounts = Field(default_factory=dict)
    borrowing_limit: Amounts = Field(default_factory=dict)
    lending_limit: Amounts = Field(default_factory=dict)
    reclaims: bool = True
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    max_running: Annotated[int, Field(ge=0, le=10**6)] | None = None
    max_pending: Annotated[int, Field(ge=0, le=10**6)] | None = None
    min_runtime: MinRuntime | None = None
    profile: Profile | None = None


class QueueView(QueueSpec):
    """A queue as it stands: how much of each resource runs in it, in cards and cores (rounded down), and how many jobs wait."""

    used: dict[str, int]
    borrowed: dict[str, int]
    running: int
    pending: int


class ProgrammeDocument(Wire):
    """A policy version to load, as the programme's own document (validated by `scheduler.subsidy`)."""

    document: dict[str, Any]


class ProgrammeView(Wire):
    """A loaded policy version."""

    programme: Key
    version: Key
    name_en: Text
    name_zh: Text
    valid_from: date
    valid_until: date | None
    confidence: str


class Role(StrEnum):
    """What a bearer token may do. `tenant` is bound to one tenant, `agent` to one cluster."""

    TENANT = "tenant"
    OPERATOR = "operator"
    FINANCE = "finance"
    LEDGER = "ledger"
    AGENT = "agent"


class TokenRequest(Wire):
    """A token to issue. `subject` is the tenant's or the cluster's id for the two bound roles."""

    role: Role
    subject: Key | None = None
    note: Text
    expires_at: Moment | None = None

    @model_validator(mode="after")
    def _bound_roles_have_a_subject(self) -> Self:
        if (self.role in (Role.TENANT, Role.AGENT)) != (self.subject is not None):
            raise ValueError("subject is required for tenant and agent tokens and not allowed for the others")
        return self


class TokenIssued(Wire):
    """The only time the secret is shown; the city stores its SHA-256."""

    id: Key
    token: str
    role: Role
    subject: Key | None = None


class ClusterView(Cluster):
    """A cluster with its live standing."""

    recorded: bool
    state: Literal["never_heard", "live", "suspect"]
    heard_seconds_ago: int | None
    nodes: int
    cards: int
    running: int
