"""The schema. Money is integer micro-CNY, time integer microseconds (UTC), documents are JSON of `scheduler.contract` models.

Rows that belong to a tenant or a cluster say so by their base (`TenantOwned`, `ClusterOwned`), which is what scoping acts on. The
tables of `APPEND_ONLY` take no UPDATE and no DELETE: the database itself refuses them.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, ForeignKey, Index, Integer, MetaData, String, Text, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from scheduler.store.database import UtcMicros

APPEND_ONLY = (
    "prices",
    "programmes",
    "job_events",
    "silences",
    "budgets",
    "cost_records",
    "cost_contexts",
    "expenses",
    "reversals",
    "settlements",
    "queues",
    "scheduling_policies",
    "links",
)

Json = dict[str, Any]


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - declarative configuration, read once by SQLAlchemy
        str: String(200),
        int: BigInteger,
        bool: Boolean,
        datetime: UtcMicros,
        Json: JSON,
        list[Json]: JSON,
    }


class TenantOwned:
    """Rows of one tenant."""

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)


class ClusterOwned:
    """Rows of one cluster."""

    cluster_id: Mapped[str] = mapped_column(ForeignKey("clusters.id"), index=True)


class ProviderRow(Base):
    __tablename__ = "providers"
    id: Mapped[str] = mapped_column(primary_key=True)
    body: Mapped[Json]
    created_at: Mapped[datetime]


class ClusterRow(Base):
    __tablename__ = "clusters"
    id: Mapped[str] = mapped_column(primary_key=True)
    provider_id: Mapped[str] = mapped_column(ForeignKey("providers.id"))
    body: Mapped[Json]
    created_at: Mapped[datetime]
    heard_at: Mapped[datetime | None]
    """When its agent last synced; written at most every few seconds."""


class NodeRow(ClusterOwned, Base):
    """What a node can do; written only when that changes. That it is alive is known to Redis."""

    __tablename__ = "nodes"
    cluster_id: Mapped[str] = mapped_column(ForeignKey("clusters.id"), primary_key=True)
    hostname: Mapped[str] = mapped_column(String(255), primary_key=True)
    capacity: Mapped[Json]
    changed_at: Mapped[datetime]


class DeviceRow(ClusterOwned, Base):
    """On which node a card is at home: the first that reported its UUID, for as long as it does."""

    __tablename__ = "devices"
    uuid: Mapped[str] = mapped_column(String(128), primary_key=True)
    hostname: Mapped[str] = mapped_column(String(255))


class TenantRow(Base):
    __tablename__ = "tenants"
    id: Mapped[str] = mapped_column(primary_key=True)
    body: Mapped[Json]
    created_at: Mapped[datetime]


class ContractRow(TenantOwned, Base):
    __tablename__ = "contracts"
    id: Mapped[str] = mapped_column(primary_key=True)
    provider_id: Mapped[str] = mapped_column(ForeignKey("providers.id"))
    body: Mapped[Json]
    created_at: Mapped[datetime]


class PriceRow(Base):
    __tablename__ = "prices"
    version: Mapped[str] = mapped_column(primary_key=True)
    cluster_id: Mapped[str] = mapped_column(ForeignKey("clusters.id"), index=True)
    item: Mapped[str] = mapped_column(String(20))
    model: Mapped[str | None]
    list_micros: Mapped[int]
    contracted_micros: Mapped[int]
    effective_from: Mapped[datetime]
    created_at: Mapped[datetime]
    preferential_micros: Mapped[int | None]
    sme_micros: Mapped[int | None]
    off_peak: Mapped[list[Json]] = mapped_column(default=list)
    """`scheduler.contract.price.OffPeak` for each."""
    beside_cards: Mapped[bool] = mapped_column(default=False)


class QueueRow(Base):
    """A declaration of a queue's quota; of those with one name the latest holds."""

    __tablename__ = "queues"
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(index=True)
    body: Mapped[Json]
    created_at: Mapped[datetime]


class SchedulingPolicyRow(Base):
    """A declaration of how the city schedules; the latest holds."""

    __tablename__ = "scheduling_policies"
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)
    body: Mapped[Json]
    created_at: Mapped[datetime]


class WindowRow(ClusterOwned, Base):
    """Nodes set aside for maintenance or a reservation."""

    __tablename__ = "windows"
    __table_args__ = (Index("ix_windows_ends_at", "ends_at"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    nodes: Mapped[list[str] | None] = mapped_column(JSON)
    """The nodes that are kept, by name; None: all of the cluster."""
    body: Mapped[Json]
    """`scheduler.contract.window.WindowSpec` as it was asked for."""
    created_at: Mapped[datetime]
    cancelled_at: Mapped[datetime | None]


class LinkRow(Base):
    """A declaration of what can be used of the way between two clusters; of those for one way the latest holds."""

    __tablename__ = "links"
    __table_args__ = (Index("ix_links_pair", "source_id", "target_id", "id"),)
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)
    source_id: Mapped[str] = mapped_column(ForeignKey("clusters.id"))
    target_id: Mapped[str] = mapped_column(ForeignKey("clusters.id"))
    body: Mapped[Json]
    created_at: Mapped[datetime]


class ProgrammeRow(Base):
    __tablename__ = "programmes"
    programme: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)
    body: Mapped[Json]
    loaded_at: Mapped[datetime]


class TokenRow(Base):
    """A bearer token: only its SHA-256 is kept."""

    __tablename__ = "tokens"
    id: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(20))
    subject: Mapped[str | None]
    note: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class JobRow(TenantOwned, Base):
    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_state_submitted", "state", "submitted_at"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(String(20))
    spec: Mapped[Json]
    submitted_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(default=0)
    """Attempts that failed, against `retries.failed`."""
    losses: Mapped[int] = mapped_column(default=0)
    """Attempts lost with their node or cluster, against `retries.node_lost`."""
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    verdict: Mapped[str | None] = mapped_column(String(10))
    reasons: Mapped[list[Json]] = mapped_column(default=list)
    """The latest reasons as `[{code, numbers}]`."""
    tasks: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    """Of an array: how many of its tasks are in which state; None for a job that is none."""
    tasks_begun: Mapped[int] = mapped_column(default=0)
    """Of an array: the tasks before this index have begun, and have a row each; those from it on have not."""


class TaskRow(TenantOwned, Base):
    """A task of an array that has begun: it has had an attempt."""

    __tablename__ = "tasks"
    __table_args__ = (Index("ix_tasks_job_state", "job_id", "state"),)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    state: Mapped[str] = mapped_column(String(20))
    attempt: Mapped[int] = mapped_column(default=0)
    """The number of its latest attempt among those of its job."""
    tries: Mapped[int] = mapped_column(default=0)
    """How many attempts it has had."""
    failures: Mapped[int] = mapped_column(default=0)
    losses: Mapped[int] = mapped_column(default=0)


_DESIRED = text("stop_as IS NULL AND finished_at IS NULL")
"""Of attempts, those that their clusters must run."""


class AttemptRow(TenantOwned, ClusterOwned, Base):
    __tablename__ = "attempts"
    __table_args__ = (
        UniqueConstraint("fencing_token"),
        UniqueConstraint("job_id", "number", name="uq_attempts_job_number"),
        Index("ix_attempts_state", "state"),
        Index("ix_attempts_finished", "finished_at"),
        Index("ix_attempts_metered", "metered"),
        Index("ix_attempts_task", "job_id", "task"),
        Index("ix_attempts_desired", "cluster_id", "fencing_token", sqlite_where=_DESIRED, postgresql_where=_DESIRED),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    number: Mapped[int]
    """Counts the attempts of its job, whichever task of an array they are of."""
    task: Mapped[int | None]
    """The index of the task of an array that it is an attempt of."""
    tries: Mapped[int] = mapped_column(default=1)
    """Which attempt it is of its job, or of its task: anything but the first is a retry."""
    state: Mapped[str] = mapped_column(String(20))
    fencing_token: Mapped[int]
    placements: Mapped[list[Json]]
    """`scheduler.contract.sync.Placement` for each node, rank order."""
    vendor: Mapped[str | None]
    model: Mapped[str | None]
    hardware_class: Mapped[str | None] = mapped_column(String(20))
    catalogue_version: Mapped[str | None]
    """Of the catalogue that said so when it was granted: what its cards are does not change while it runs, nor afterwards."""
    cards: Mapped[int]
    """Cards, or instances of `mig`."""
    cores: Mapped[int]
    """CPU cores, summed over nodes; beside cards they are priced only where their price says so."""
    contract_id: Mapped[str | None] = mapped_column(ForeignKey("contracts.id"))
    granted_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    observed_at: Mapped[datetime | None]
    """When its cluster last reported it alive: no time after this is ever charged."""
    checkpoint_at: Mapped[datetime | None]
    exit_code: Mapped[int | None]
    stop_as: Mapped[str | None] = mapped_column(String(20))
    """Set when it has been asked to stop: the state it ends in once its cluster has stopped it."""
    reason: Mapped[Json | None]
    moves_to: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    """Set when it has been asked to stop to be moved: the placements kept for its job, for which job, and what that loses."""
    accounted_from: Mapped[datetime | None]
    """Set where its time is accounted for from later on than its grant, as before version 15."""
    metered_until: Mapped[datetime | None]
    metered: Mapped[bool] = mapped_column(default=False)
    """Its last cost line has been posted."""

    @property
    def held_from(self) -> datetime:
        """From when on its time is accounted for."""
        return self.accounted_from or self.granted_at

    @property
    def card_milli(self) -> int:
        """What it counts as and is charged for, in thousandths of a card."""
        return sum(len(placement["devices"]) * int(placement.get("card_milli", 1000)) for placement in self.placements)

    @property
    def host_memory_gib(self) -> int:
        return sum(int(placement.get("host_memory_gib", 0)) for placement in self.placements)

    @property
    def mig(self) -> str | None:
        """The MIG profile of the instances it has, None where it has cards or no accelerators."""
        profile = self.placements[0].get("mig")
        return None if profile is None else str(profile)


class SilenceRow(Base):
    """A time in which nobody reported an attempt that was still there after it: its lines say how much of it they hold."""

    __tablename__ = "silences"
    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id"), primary_key=True)
    since: Mapped[datetime] = mapped_column(primary_key=True, autoincrement=False)
    until: Mapped[datetime]


class JobEventRow(TenantOwned, Base):
    __tablename__ = "job_events"
    __table_args__ = (Index("ix_job_events_job", "job_id", "id"),)
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(20))
    attempt: Mapped[int | None]
    task: Mapped[int | None]
    """The task of an array that it happened to; None where it happened to the job."""
    reason: Mapped[Json]


class CostRecordRow(TenantOwned, Base):
    """One posted cost record. `payload` is the canonical JSON that is hashed; whose it is stands beside it for queries only, and is
    checked against it by `suanwang ledger verify`, so that no column can say anything else."""

    __tablename__ = "cost_records"
    __table_args__ = (Index("ix_cost_records_job", "job_id", "sequence"), Index("ix_cost_records_tenant", "tenant_id", "sequence"))
    sequence: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    contract_id: Mapped[str | None] = mapped_column(ForeignKey("contracts.id"))
    payload: Mapped[str] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(String(64))


class CostContextRow(Base):
    """The facts that decided the tags of records, by the SHA-256 of their canonical JSON: one row for all records they decided."""

    __tablename__ = "cost_contexts"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    body: Mapped[str] = mapped_column(Text)


class JobCostRow(TenantOwned, Base):
    """The sums over a job's records. `list_carried` and `contracted_carried` are the micro-CNY × seconds that are counted but do
    not make a whole micro-CNY yet: they go into its next line."""

    __tablename__ = "job_costs"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    unit_seconds: Mapped[int] = mapped_column(default=0)
    card_seconds: Mapped[int] = mapped_column(default=0)
    list_micros: Mapped[int] = mapped_column(default=0)
    contracted_micros: Mapped[int] = mapped_column(default=0)
    voucher_micros: Mapped[int] = mapped_column(default=0)
    """The selected programmes' estimates."""
    list_carried: Mapped[int] = mapped_column(default=0)
    contracted_carried: Mapped[int] = mapped_column(default=0)
    programme: Mapped[str | None]
    """The programme selected last."""


class ExpenseRow(TenantOwned, Base):
    """What a tenant bought beside the machines, as it said it (`scheduler.contract.expense.Expense`). The amount is in the feed."""

    __tablename__ = "expenses"
    __table_args__ = (UniqueConstraint("contract_id", "evidence_sha256", name="uq_expenses_evidence"),)
    record_sequence: Mapped[int] = mapped_column(ForeignKey("cost_records.sequence"), primary_key=True, autoincrement=False)
    contract_id: Mapped[str] = mapped_column(ForeignKey("contracts.id"))
    evidence_sha256: Mapped[str | None] = mapped_column(String(64))
    id: Mapped[str]
    body: Mapped[Json]
    created_at: Mapped[datetime]


class JournalHeadRow(Base):
    """The end of the chain. One row a feed, locked by whoever posts."""

    __tablename__ = "journal_heads"
    feed: Mapped[str] = mapped_column(primary_key=True)
    sequence: Mapped[int]
    hash: Mapped[str] = mapped_column(String(64))


class SubsidyUseRow(TenantOwned, Base):
    """What the estimates of lines posted so far have used of an applicant's yearly cap; the pool's use is the sum over applicants.
    What settlements change about it is in `SettlementUseRow`."""

    __tablename__ = "subsidy_uses"
    programme: Mapped[str] = mapped_column(primary_key=True)
    year: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    used_micros: Mapped[int]


class ReversalRow(Base):
    """That a record was taken back, and by which: at most once, which the key holds."""

    __tablename__ = "reversals"
    sequence: Mapped[int] = mapped_column(BigInteger, ForeignKey("cost_records.sequence"), primary_key=True, autoincrement=False)
    by_sequence: Mapped[int]


class SettlementRow(TenantOwned, Base):
    """What the ledger decided about a record under a programme. `body` is the settlement as canonical JSON; beside it stands what
    queries need, and what it changed of the use of cap and pool when it came."""

    __tablename__ = "settlements"
    __table_args__ = (
        UniqueConstraint("id"),
        UniqueConstraint("record_sequence", "programme", "revision", name="uq_settlements_revision"),
    )
    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    id: Mapped[str]
    record_sequence: Mapped[int] = mapped_column(BigInteger, ForeignKey("cost_records.sequence"))
    programme: Mapped[str]
    revision: Mapped[int]
    amount_micros: Mapped[int]
    use_change_micros: Mapped[int]
    received_at: Mapped[datetime]
    body: Mapped[str] = mapped_column(Text)


class SettlementUseRow(TenantOwned, Base):
    """What settlements change about an applicant's use of a yearly cap: what was decided less the estimates it replaces."""

    __tablename__ = "settlement_uses"
    programme: Mapped[str] = mapped_column(primary_key=True)
    year: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    change_micros: Mapped[int]


class ContractUseRow(Base):
    """What lines posted so far have used of a contract's amount."""

    __tablename__ = "contract_uses"
    contract_id: Mapped[str] = mapped_column(ForeignKey("contracts.id"), primary_key=True)
    used_micros: Mapped[int]


class ClaimUseRow(Base):
    """What lines posted so far claim of a contract under a programme: who claims on it, and how much of a claim's limit is used."""

    __tablename__ = "claim_uses"
    contract_id: Mapped[str] = mapped_column(ForeignKey("contracts.id"), primary_key=True)
    programme: Mapped[str] = mapped_column(primary_key=True)
    used_micros: Mapped[int]


class IdempotencyRow(Base):
    """The first answer to a keyed request, stored in the transaction of its effect."""

    __tablename__ = "idempotency_keys"
    principal: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    status: Mapped[int]
    answer: Mapped[Json]
    created_at: Mapped[datetime]


class LeadershipRow(Base):
    """Who schedules. A write of the dispatcher carries the epoch it leads with."""

    __tablename__ = "leadership"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    holder: Mapped[str]
    epoch: Mapped[int]
    expires_at: Mapped[datetime]


class CounterRow(Base):
    """Numbers that only grow, such as the fencing token."""

    __tablename__ = "counters"
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int]
