"""The loop of the leader: expire, look, decide, commit, meter. What it keeps between turns is a mirror of the store, which it drops
whenever it may be wrong: when the lead was lost, or a commit failed.

The engine runs outside any transaction. Its decisions are committed guarded: by the leadership epoch, and per job by the job
still being where the snapshot saw it. A decision that no longer fits is dropped, and the next round decides anew.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from secrets import token_bytes
from threading import Event
from time import perf_counter

from redis import RedisError
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from scheduler.billing.reserve import reserve
from scheduler.contract.job import JobSpec
from scheduler.contract.sync import Placement
from scheduler.contract.window import WindowKind
from scheduler.domain.clock import to_micros
from scheduler.domain.hardware import Catalogue
from scheduler.domain.ids import RANDOM_BYTES, new_id
from scheduler.domain.reasons import Reason
from scheduler.domain.states import ATTEMPT_ACTIVE, AttemptState, JobState
from scheduler.domain.tasks import index_of, job_of
from scheduler.engine.cycle import Served
from scheduler.engine.fleet import NO_KIND, Allocation, Fleet, Kind
from scheduler.engine.place import Place
from scheduler.engine.shape import GIB, WHOLE_CARD_MILLI
from scheduler.engine.snapshot import Grant, Preemption, Verdict
from scheduler.service.account import held_by
from scheduler.service.budgets import HELD as HELD_FOR_BUDGET
from scheduler.service.budgets import Commitments
from scheduler.service.expiry import Patience, expire
from scheduler.service.leadership import DeposedError, Lease, acquire, confirm, resign
from scheduler.service.lifecycle import NotWaitingError, as_json, ask_to_stop, give_up, hold, lock_job, record, start_attempt
from scheduler.service.meter import is_due, post_due
from scheduler.service.metrics import RoundMetrics
from scheduler.service.mirror import Mirror
from scheduler.service.moves import moves_to
from scheduler.service.registry import Registry
from scheduler.service.tags import claim_day
from scheduler.service.tasks import active_tasks, may_wait, task_of, waits
from scheduler.store.database import CITY, Database
from scheduler.store.live import Live, NodeKey
from scheduler.store.tables import AttemptRow, CounterRow, JobRow, NodeRow

log = logging.getLogger(__name__)

_FENCING = "fencing_token"

NOTES = 1000
"""Verdicts written in one transaction."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often what happens."""

    turn: timedelta = timedelta(seconds=0.5)
    meter: timedelta = timedelta(hours=1)
    """The longest a running attempt goes without a cost line."""
    patience: Patience = field(default_factory=Patience)


class Dispatcher:
    """One candidate for leadership. `holder` names the process; two dispatchers never share one."""

    def __init__(
        self,
        database: Database,
        live: Live,
        holder: str,
        pace: Pace,
        clock: Callable[[], datetime],
        metrics: RoundMetrics | None = None,
        catalogue: Catalogue | None = None,
    ) -> None:
        """`catalogue` instead of the shipped one."""
        self._database = database
        self._live = live
        self._holder = holder
        self._pace = pace
        self._clock = clock
        self._metrics = metrics or RoundMetrics()
        self._mirror = Mirror(catalogue)

    def run(self, stop: Event, beat: Callable[[bool], None]) -> None:
        """Take turns until told to stop; then give the lead back. Trouble with a store is logged and the next turn tries again.

        `beat` is told after each turn whether the stores answered: that of one who does not lead is a turn too.
        """
        while not stop.wait(self._pace.turn.total_seconds()):
            answered = True
            try:
                self.turn()
            except DeposedError as error:
                log.warning("no longer leading: %s", error)
            except (OperationalError, RedisError) as error:
                answered = False
                log.warning("a store is not answering, trying again: %s", error.__class__.__name__)
            beat(answered)
        with self._database.write(CITY) as session:
            lease = acquire(session, self._holder, self._clock())
            if lease is not None:
                resign(session, lease, self._clock())

    def turn(self) -> Served | None:
        """One turn as leader; None if another leads. Raises DeposedError when the lead was lost on the way."""
        now = self._clock()
        with self._database.write(CITY) as session:
            lease = acquire(session, self._holder, now)
            self._metrics.leads(lease is not None)
            if lease is None:
                self._mirror.forget()
                return None
            expire(session, self._pace.patience, now)
        heard_at = self._live.heard_at()
        try:
            served = self._decide(lease, heard_at)
        except BaseException:
            self._mirror.forget()  # it may have gone ahead of the store
            raise
        self._meter(lease)
        return served

    def _decide(self, lease: Lease, heard_at: Mapping[NodeKey, datetime]) -> Served:
        """A round on the city as it is, committed as far as it still fits."""
        mirror = self._mirror
        with self._database.read(CITY) as session:
            mirror.refresh(session, heard_at, self._clock())
        now = self._clock()  # what was read came before it: a grant is no older than its job
        state = mirror.state
        began = perf_counter()
        served = state.round(to_micros(now))
        self._metrics.round(served, state, perf_counter() - began)
        if served.grants or served.preemptions:
            with self._database.write(CITY) as session:
                confirm(session, lease)
                for preemption in served.preemptions:
                    _preempt(session, state.fleet, preemption, now)
                commitments = Commitments(session)
                dropped = [
                    grant.job
                    for grant in served.grants
                    if not _grant(session, mirror.registry, state.fleet, grant, commitments, now)
                ]
                commitments.close()
            mirror.touch([*dropped, *(run.job for run in served.stopping)])
        verdicts = mirror.unnoted(served)
        for start in range(0, len(verdicts), NOTES):
            batch = dict(islice(verdicts.items(), start, start + NOTES))
            with self._database.write(CITY) as session:
                confirm(session, lease)
                _note(session, batch, now)
        mirror.noted(verdicts)
        return served

    def _meter(self, lease: Lease) -> None:
        while self._meter_batch(lease, self._clock()):
            pass

    def _meter_batch(self, lease: Lease, now: datetime) -> int:
        with self._database.read(CITY) as session:
            if not is_due(session, self._pace.meter, now):
                return 0
        with self._database.write(CITY) as session:
            confirm(session, lease)
            return post_due(session, self._pace.meter, now, nonce(now))


def make_id(prefix: str, now: datetime) -> str:
    """A new identifier, at the edge where randomness is allowed."""
    return new_id(prefix, now, token_bytes(RANDOM_BYTES))


def nonce(now: datetime) -> str:
    """What sets apart the ids posted in one transaction."""
    return make_id("n", now)[2:]


def utc_now() -> datetime:
    return datetime.now(UTC)


def _note(session: Session, verdicts: Mapping[str, Verdict], now: datetime) -> None:
    waiting = select(JobRow).where(may_wait(), JobRow.id.in_(list(verdicts)))
    for job in session.scalars(waiting.order_by(JobRow.id).with_for_update()).all():
        if waits(job):
            _note_verdict(session, job, verdicts[job.id], now)


def _preempt(session: Session, fleet: Fleet, preemption: Preemption, now: datetime) -> None:
    attempt = session.get_one(AttemptRow, preemption.attempt)
    job = lock_job(session, attempt.job_id)
    session.refresh(attempt)
    if attempt.stop_as is None and attempt.state in ATTEMPT_ACTIVE:
        reason, told = _why_stopped(preemption, attempt.cluster_id)
        if preemption.move is not None:
            attempt.moves_to = moves_to(preemption.move, _placements(fleet, preemption.move.place))
        ask_to_stop(attempt, AttemptState.PREEMPTED, reason)
        record(session, job, told, now, attempt.number, task_of(session, attempt))


def _why_stopped(preemption: Preemption, cluster: str) -> tuple[Reason, Reason]:
    """Why an attempt will have ended, and what is said of it now."""
    window = preemption.window
    if window is not None:
        reason = Reason("maintenance" if window.kind is WindowKind.MAINTENANCE else "reservation", window.numbers())
        return reason, reason
    if preemption.move is not None:
        return Reason("moved", {"cluster": cluster}), Reason("move_requested", {"cluster": cluster})
    # whose job it was is nobody else's business: only its standing is told
    standing: dict[str, str | int] = {"priority": preemption.priority}
    return Reason("preempted", standing), Reason("stop_requested", standing)


def _grant(session: Session, registry: Registry, fleet: Fleet, grant: Grant, commitments: Commitments, now: datetime) -> bool:
    """Turn a grant into an attempt and keep back what it may cost, unless the job has left the queue meanwhile, or does not fit a
    budget, for which it is held. Returns whether it did."""
    job = lock_job(session, job_of(grant.job))
    index = index_of(grant.job)
    if not waits(job):
        return False
    spec, place = JobSpec.model_validate(job.spec), grant.place
    placements = _placements(fleet, place)
    cluster = fleet.clusters[place.cluster]
    kind = None if place.kind == NO_KIND else fleet.kinds[place.kind]
    contract = registry.contract_for(job.tenant_id, registry.clusters[cluster].provider, spec.contract, claim_day(now))
    attempt = AttemptRow(
        id=make_id("att", now),
        job_id=job.id,
        tenant_id=job.tenant_id,
        cluster_id=cluster,
        number=job.attempts + 1,
        task=index,
        state=AttemptState.GRANTED,
        placements=[placement.model_dump(mode="json") for placement in placements],
        vendor=kind.vendor if kind else None,
        model=kind.model if kind else None,
        hardware_class=kind.hardware_class if kind else None,
        catalogue_version=_catalogue_version(session, cluster, placements[0].node),
        cards=place.cards(),
        cores=sum(part.cpu_milli for part in place.allocations) // 1000,
        contract_id=contract.id if contract else None,
        granted_at=now,
        metered=False,
    )
    buyer = registry.entitlement(job.tenant_id, registry.clusters[cluster].provider, contract)
    micros = reserve(held_by(attempt), spec.max_runtime_seconds, now, registry.book, buyer)
    refused = commitments.refusal(registry.budgets, attempt, micros)
    if refused is not None:
        hold(session, job, refused, now)
        return False
    try:
        task = start_attempt(session, job, index, grant.reasons)
    except NotWaitingError:
        return False
    attempt.tries = job.attempts if task is None else task.tries
    attempt.fencing_token = _next_fencing_token(session)
    session.add(attempt)
    commitments.reserve(attempt, micros)
    record(session, job, _granted(cluster, grant, kind, spec), now, job.attempts, task)
    return True


def _granted(cluster: str, grant: Grant, kind: Kind | None, spec: JobSpec) -> Reason:
    asked = spec.alternatives[grant.alternative]
    what = "CPU" if kind is None else " ".join(filter(None, (kind.hardware_class, kind.model, kind.mig)))
    per_node = asked.per_node or asked.cpus
    return Reason("granted", {"cluster": cluster, "nodes": grant.place.nodes, "per_node": per_node, "what": what})


def _catalogue_version(session: Session, cluster: str, hostname: str) -> str | None:
    """Of the catalogue by which the city named a node's cards; None for a node that has not reported since it is noted."""
    version = NodeRow.capacity["catalogue_version"].as_string()
    return session.scalar(select(version).where(NodeRow.cluster_id == cluster, NodeRow.hostname == hostname))


def _placements(fleet: Fleet, place: Place) -> list[Placement]:
    kind = None if place.kind == NO_KIND else fleet.kinds[place.kind]
    return [_placement(fleet, kind, part) for part in place.allocations]


def _placement(fleet: Fleet, kind: Kind | None, part: Allocation) -> Placement:
    node = fleet.nodes[part.node]
    return Placement(
        node=node.name,
        devices=[node.cards[slot].device for slot in part.slots],
        card_milli=part.card_milli if kind is None else part.card_milli * kind.card_milli // WHOLE_CARD_MILLI,
        mig=kind.mig or None if kind else None,
        cpus=part.cpu_milli // 1000,
        host_memory_gib=part.memory_bytes // GIB,
    )


def _next_fencing_token(session: Session) -> int:
    found = session.execute(
        update(CounterRow).where(CounterRow.name == _FENCING).values(value=CounterRow.value + 1).returning(CounterRow.value)
    ).scalar_one_or_none()
    if found is None:
        session.add(CounterRow(name=_FENCING, value=1))
        session.flush()
        return 1
    return found


def _note_verdict(session: Session, job: JobRow, verdict: Verdict, now: datetime) -> None:
    """Remember why a job waits; its history gets an entry only when the codes change, not with every change of a number."""
    if verdict.reasons[0].code == "dependency_failed":
        give_up(session, job, verdict.reasons[0], now)
        return
    reasons = [as_json(reason) for reason in verdict.reasons]
    held = verdict.reasons[0].code in ("waiting_for_dependency", "waiting_for_contract", HELD_FOR_BUDGET)
    if (job.verdict, job.reasons) == (verdict.kind, reasons):
        return
    new_codes = [reason["code"] for reason in reasons] != [reason["code"] for reason in job.reasons]
    if not active_tasks(job):
        job.state = JobState.HELD if held else JobState.QUEUED
    job.verdict, job.reasons = verdict.kind, reasons
    if new_codes:
        record(session, job, verdict.reasons[0], now)
