"""A tiny city to test with: two providers, two clusters, two tenants, and every value a test does not care about.

Prices are chosen so that they do not divide evenly: 10.000007 CNY an hour leaves a rest every second.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from itertools import count
from typing import Any

from sqlalchemy.orm import Session

from scheduler.contract.job import JobSpec
from scheduler.contract.price import PriceEntry
from scheduler.contract.registry import (
    Cluster,
    Contract,
    Launcher,
    PricedItem,
    Provider,
    QueueSpec,
    Registration,
    Tenant,
    TenantType,
)
from scheduler.domain.clock import CHINA
from scheduler.domain.states import AttemptState, JobState
from scheduler.service import prices
from scheduler.service.lifecycle import submit
from scheduler.store.database import Database, Scope
from scheduler.store.tables import (
    AttemptRow,
    ClusterRow,
    ContractRow,
    JobRow,
    LinkRow,
    NodeRow,
    PriceRow,
    ProgrammeRow,
    ProviderRow,
    QueueRow,
    SchedulingPolicyRow,
    TenantRow,
)
from scheduler.subsidy.document import load_document

NOW = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
LONG_AGO = datetime(2025, 1, 1, tzinfo=CHINA)
USCCS = ("91440300MA5EXAMP0C", "91440300MA5EXAMP1F", "91440300MA5EXAMP2J", "91440300MA5EXAMP3M")
GIB = 2**30

_numbers = count(1)


def spec(**changes: Any) -> JobSpec:
    """A job of one node with eight 910B3; a change of None leaves a field out."""
    document: dict[str, Any] = {
        "name": "train",
        "entrypoint": ["python", "train.py"],
        "hardware": {"models": ["910B3"], "nodes": 1, "per_node": 8},
        "max_runtime": "24h",
        "activity": "pretrain",
        **changes,
    }
    return JobSpec.model_validate({key: value for key, value in document.items() if value is not None})


def provider(id_: str = "p-sz", city: str = "shenzhen", **changes: Any) -> Provider:
    registration = Registration(programme=f"{city}-training", service_item="gpu-rental", listed_on=date(2024, 12, 20))
    return Provider(**{"id": id_, "name": id_, "uscc": USCCS[0], "city": city, "registrations": [registration], **changes})


def cluster(id_: str = "sz", provider_id: str = "p-sz", **changes: Any) -> Cluster:
    return Cluster(
        **{"id": id_, "name": id_, "provider": provider_id, "city": "shenzhen", "launcher": Launcher.RECORDED, **changes}
    )


def tenant(id_: str = "acme", **changes: Any) -> Tenant:
    """An enterprise of Shenzhen of which everything is known."""
    known = {
        "type": TenantType.ENTERPRISE,
        "city": "shenzhen",
        "industry": "software",
        "established_on": date(2019, 4, 1),
        "startup": False,
        "sme": True,
        "private": True,
        "registered_provider": False,
        "dishonest_record": False,
        "multimodal_base_model": False,
    }
    return Tenant(**{"id": id_, "name": id_, "uscc": USCCS[1], **known, **changes})


def contract(id_: str = "C-1", **changes: Any) -> Contract:
    terms = {
        "tenant": "acme",
        "provider": "p-sz",
        "signed_on": date(2025, 12, 1),
        "start": date(2026, 1, 1),
        "end": date(2026, 12, 31),
        "amount": "10000000",
        "service_item": "gpu-rental",
        "affiliated": False,
        "ordered_on_platform": True,
        "paid": True,
        "other_public_funds": "0",
    }
    return Contract(**{"id": id_, **terms, **changes})


def programme_document(programme: str = "shenzhen-training", version: str = "2024", **changes: Any) -> dict[str, Any]:
    """A shipped policy version's document, JSON-able as the store keeps it, with top-level values replaced."""
    found = files("scheduler.subsidy").joinpath("programmes", programme, f"{version}.yaml").read_bytes()
    return {key: _plain(value) for key, value in {**load_document(found), **changes}.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.isoformat() if isinstance(value, date) else value


def cards(node: str, count_: int, model: str, vendor: str, hardware_class: str, **changes: Any) -> list[dict[str, Any]]:
    shared = {"vendor": vendor, "model": model, "hardware_class": hardware_class, "memory_bytes": 64 * GIB, **changes}
    return [{"index": slot, "uuid": f"{node}/{slot}", "health": "healthy", **shared} for slot in range(count_)]


def node_row(cluster_id: str, hostname: str, accelerators: Iterable[Mapping[str, Any]] = (), cpu_cores: int = 64) -> NodeRow:
    capacity = {"cpu_cores": cpu_cores, "memory_bytes": 512 * GIB, "labels": {}, "accelerators": list(accelerators)}
    return NodeRow(cluster_id=cluster_id, hostname=hostname, capacity=capacity, changed_at=LONG_AGO)


def ascend(hostname: str, **changes: Any) -> list[dict[str, Any]]:
    return cards(hostname, 8, "910B3", "huawei", "domestic", **changes)


def hopper(hostname: str, **changes: Any) -> list[dict[str, Any]]:
    return cards(hostname, 8, "H800", "nvidia", "foreign", **changes)


def price_row(
    cluster_id: str, model: str | None, contracted: str, since: datetime = LONG_AGO, list_price: str | None = None, **changes: Any
) -> PriceRow:
    document = {
        "cluster": cluster_id,
        "item": PricedItem.CPU if model is None else PricedItem.ACCELERATOR,
        "model": model,
        "list_price": list_price or contracted,
        "contracted_price": contracted,
        **changes,
    }
    return prices.price_row(PriceEntry.model_validate(document), f"price-{next(_numbers):06d}", since, since)


def programme_row(document: Mapping[str, Any] | None = None) -> ProgrammeRow:
    body = dict(document or programme_document())
    return ProgrammeRow(programme=body["programme"], version=body["version"], body=body, loaded_at=LONG_AGO)


def provider_row(each: Provider) -> ProviderRow:
    return ProviderRow(id=each.id, body=each.model_dump(mode="json"), created_at=LONG_AGO)


def cluster_row(each: Cluster, heard_at: datetime | None = NOW) -> ClusterRow:
    body = each.model_dump(mode="json")
    return ClusterRow(id=each.id, provider_id=each.provider, body=body, created_at=LONG_AGO, heard_at=heard_at)


def tenant_row(each: Tenant) -> TenantRow:
    return TenantRow(id=each.id, body=each.model_dump(mode="json"), created_at=LONG_AGO)


def contract_row(each: Contract) -> ContractRow:
    body = each.model_dump(mode="json")
    return ContractRow(id=each.id, tenant_id=each.tenant, provider_id=each.provider, body=body, created_at=LONG_AGO)


def add_participants(session: Session) -> None:
    """Cluster `sz` (domestic, two nodes) and `hz` (foreign, one node), tenants `acme` and `uni`; no price, no programme."""
    session.add_all([provider_row(provider()), provider_row(provider("p-hz", "hangzhou", registrations=[], uscc=USCCS[2]))])
    session.add_all([tenant_row(tenant()), tenant_row(tenant("uni", type=TenantType.UNIVERSITY, uscc=USCCS[3]))])
    session.flush()
    session.add_all([cluster_row(cluster()), cluster_row(cluster("hz", "p-hz", launcher=Launcher.RAY))])
    session.flush()
    session.add_all([node_row("sz", name, ascend(name)) for name in ("s1", "s2")])
    session.add(node_row("hz", "h1", hopper("h1")))


def add_city(session: Session) -> None:
    """Everyone, with prices, acme's contract C-1 with p-sz, and the Shenzhen voucher: all that acme needs to be eligible."""
    add_participants(session)
    session.add_all([price_row("sz", "910B3", "10.000007", list_price="12"), price_row("sz", None, "0.100001")])
    session.add(price_row("hz", "H800", "20.5"))
    session.add(contract_row(contract()))
    session.add(programme_row())
    session.add(LinkRow(source_id="sz", target_id="hz", body={"from": "sz", "to": "hz", "gbps": "1"}, created_at=LONG_AGO))
    session.add(QueueRow(name="idle", body=QueueSpec(name="idle").model_dump(mode="json"), created_at=LONG_AGO))
    session.add(SchedulingPolicyRow(body={}, created_at=LONG_AGO))


def city_database(database: Database) -> Database:
    with database.write(Scope()) as session:
        add_city(session)
    return database


def add_job(session: Session, tenant_id: str = "acme", at: datetime = NOW, **changes: Any) -> JobRow:
    return submit(session, f"job-{next(_numbers):06d}", tenant_id, spec(**changes), at)


def add_attempt(session: Session, job: JobRow, state: AttemptState = AttemptState.RUNNING, **changes: Any) -> AttemptRow:
    """The job's next attempt, on the cards of node `s1`, as the dispatcher and the cluster would have brought it to `state`."""
    number = next(_numbers)
    job.attempts += 1
    job.state = JobState(state)
    began = changes.get("granted_at", NOW)
    started = None if state in (AttemptState.GRANTED, AttemptState.STARTING) else began
    placement = {"node": "s1", "devices": [f"s1/{slot}" for slot in range(8)]}
    values: dict[str, Any] = {
        "cluster_id": "sz",
        "placements": [placement],
        "vendor": "huawei",
        "model": "910B3",
        "hardware_class": "domestic",
        "cards": 8,
        "cores": 0,
        "contract_id": "C-1" if job.tenant_id == "acme" else None,
        "granted_at": NOW,
        "started_at": started,
        "observed_at": None if state is AttemptState.GRANTED else began,
        "metered": False,
        **changes,
    }
    identity = {
        "id": f"att-{number:06d}",
        "job_id": job.id,
        "tenant_id": job.tenant_id,
        "number": job.attempts,
        "tries": job.attempts,
    }
    attempt = AttemptRow(**identity, fencing_token=number, state=state, **values)
    session.add(attempt)
    session.flush()
    return attempt


def after(**span: float) -> datetime:
    """A moment so long after NOW."""
    return NOW + timedelta(**span)
