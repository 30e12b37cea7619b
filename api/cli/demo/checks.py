"""What must hold at the end of the demo. Each check looks at what the API answers, never at what the demo meant to do."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from api.cli.demo.story import Story
from scheduler.billing.reconcile import Books
from scheduler.contract.cost import CostRecord, RecordKind, TagStatus
from scheduler.domain.hardware import HardwareClass
from scheduler.domain.money import parse_cny
from scheduler.domain.states import JobState
from scheduler.subsidy.programme import applicable, shipped_policies

RECORDED = ("hz-binjiang-ascend", "sz-nanshan-nvidia")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold, and what was found."""

    name: str
    held: bool
    found: str


def run(story: Story, books: Books, today: date) -> list[Check]:
    """Every check, in the order of the story."""
    groups: tuple[Callable[[], Iterator[Check]], ...] = (
        lambda: _seen(story),
        lambda: _placed(story),
        lambda: _trained(story),
        lambda: _refused(story),
        lambda: _charged(story, books),
        lambda: _tagged(story, today),
    )
    return [check for group in groups for check in group()]


def _seen(story: Story) -> Iterator[Check]:
    with story.city.client("operator") as operator:
        clusters = {cluster.id: cluster for cluster in operator.clusters()}
        inventory = operator.inventory()
    local = clusters["sz-local"]
    yield Check("this machine is reported by its node agent", local.nodes == 1, f"{local.nodes} node, {local.cards} accelerators")
    classes = {row.hardware_class: row.cards for row in inventory.totals}
    both = classes.get(HardwareClass.DOMESTIC, 0) >= 200 and classes.get(HardwareClass.FOREIGN, 0) >= 200
    yield Check("both hardware classes are in the inventory", both, ", ".join(f"{name} {cards}" for name, cards in classes.items()))
    labelled = all(row.recorded == (row.cluster in RECORDED) for row in inventory.rows)
    yield Check("recorded sites are labelled recorded, and only they", labelled, ", ".join(RECORDED))


def _placed(story: Story) -> Iterator[Check]:
    jobs = story.jobs
    domestic, foreign = jobs["sft-domestic"], jobs["pretrain-foreign"]
    yield Check(
        "a domestic-only gang ran on domestic cards", domestic.hardware_class is HardwareClass.DOMESTIC, f"{domestic.model}"
    )
    gang = story.tenant("sft-domestic").attempts(domestic.id).attempts[-1]
    yield Check(
        "all of it, on distinct nodes",
        len(set(gang.nodes)) == 4 and gang.cards == 32,
        f"{len(gang.nodes)} nodes, {gang.cards} cards",
    )
    yield Check("a foreign-only gang ran on foreign cards", foreign.hardware_class is HardwareClass.FOREIGN, f"{foreign.model}")
    with_voucher, without = jobs["cheapest-after-voucher"], jobs["cheapest-voucher-declined"]
    moved = (with_voucher.hardware_class, without.hardware_class) == (HardwareClass.DOMESTIC, HardwareClass.FOREIGN)
    yield Check("the voucher decides where the cheapest place is", moved, f"{with_voucher.model} with it, {without.model} without")
    swept = story.tenant("background-sweep").attempts(jobs["background-sweep"].id).attempts
    made_room = [attempt.state for attempt in swept] == ["preempted", "running"] and jobs[
        "urgent-release"
    ].state == JobState.SUCCEEDED
    yield Check(
        "high priority preempted low, which runs again",
        made_room,
        " then ".join(f"{a.state} on {len(a.nodes)} nodes" for a in swept),
    )
    waiting, never = jobs["waits-for-the-site"], jobs["never-such-memory"]
    yield Check("a job waits and says why", (waiting.verdict, waiting.state) == ("wait", "queued"), _why(waiting.reasons[0].text))
    yield Check("a job can never fit and says why", never.verdict == "never", _why(never.reasons[0].text))
    yield Check(
        "a running job was cancelled", jobs["cancelled-by-owner"].state == JobState.CANCELLED, jobs["cancelled-by-owner"].state
    )


def _trained(story: Story) -> Iterator[Check]:
    trained, retried = story.jobs["train-on-ray"], story.jobs["retried-on-ray"]
    log = story.tenant("train-on-ray").log(trained.id).text
    learned = trained.state == JobState.SUCCEEDED and "done: loss" in log and "checkpoint" in log
    yield Check(
        "a real model was trained on Ray, its log read through the API",
        learned,
        _why(log.strip().splitlines()[-1] if log else "no log"),
    )
    attempts = story.tenant("retried-on-ray").attempts(retried.id).attempts
    second = story.tenant("retried-on-ray").log(retried.id).text
    resumed = [attempt.state for attempt in attempts] == ["failed", "succeeded"] and "resuming after epoch" in second
    yield Check("a crashed job was retried from its checkpoint", resumed, " then ".join(attempt.state for attempt in attempts))


def _refused(story: Story) -> Iterator[Check]:
    expected = {"larger_than_any_cluster": "job_never_fits", "unknown_contract": "unknown_reference"}
    yield Check("bad submissions are refused by name", story.refused == expected, ", ".join(story.refused.values()))
    stored = sum(len(story.tenant(name).jobs(limit=200).jobs) for name in ("pretrain-foreign", "sft-domestic", "train-on-ray"))
    yield Check("and nothing of them is stored", stored == len(story.jobs), f"{stored} jobs stored")


def _charged(story: Story, books: Books) -> Iterator[Check]:
    known = [(name, job) for name, job in story.jobs.items() if job.id in books.jobs]
    for name, held in books.identities().items():
        yield Check(f"the ledger: {name.replace('_', ' ')}", held, f"{books.head.sequence} records, {books.total()} CNY")
    same = all(_charged_in_api(story, name, books.head.sequence) == books.jobs[job.id].contracted_micros for name, job in known)
    yield Check("every job's costs in the API are the ledger's", same, f"{len(books.jobs)} jobs charged")
    charged = {name for name, _ in known}
    free = {"waits-for-the-site", "never-such-memory"}
    yield Check(
        "whoever ran is charged, and nobody else", charged == set(story.jobs) - free, f"{len(charged)} of {len(story.jobs)}"
    )


def _tagged(story: Story, today: date) -> Iterator[Check]:
    in_force = {policy.programme for policy in applicable(shipped_policies(), today) if policy.in_force(today)}
    for name, programme, rate in (("sft-domestic", "hangzhou-compute", "0.30"), ("pretrain-foreign", "shenzhen-training", "0.60")):
        records = [each for each in story.tenant(name).costs(story.jobs[name].id).records if each.kind is RecordKind.USAGE]
        expected = TagStatus.ELIGIBLE if programme in in_force else TagStatus.INELIGIBLE
        right = bool(records) and all(_has_tag(record, programme, expected, rate) for record in records)
        yield Check(f"{name} is tagged {expected} under {programme}", right, f"{len(records)} lines at {rate}")
    declined = story.jobs["cheapest-voucher-declined"].costs
    yield Check("a declined voucher pays nothing", declined.voucher_estimate == "0.000000", f"net {declined.net_amount}")


def _charged_in_api(story: Story, name: str, head: int) -> int:
    """A job's cost as the API shows it, up to where the ledger has read: what still runs is charged on meanwhile."""
    records = story.tenant(name).costs(story.jobs[name].id).records
    return sum(parse_cny(record.contracted_amount) for record in records if record.sequence <= head)


def _has_tag(record: CostRecord, programme: str, status: TagStatus, rate: str) -> bool:
    """The tag is there, and where it pays, it pays exactly base × rate rounded down."""
    tag = next(tag for tag in record.eligibility if tag.programme == programme)
    if tag.status is not status or status is not TagStatus.ELIGIBLE:
        return tag.status is status
    exact = Decimal(record.contracted_amount) * Decimal(rate)
    return Decimal(tag.rate) == Decimal(rate) and Decimal(0) <= exact - Decimal(tag.uncapped) < Decimal("0.000001")


def _why(text: str) -> str:
    return text if len(text) <= 110 else text[:109] + "…"
