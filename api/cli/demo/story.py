"""The walk: what happens in the demo, in order, told as it happens."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.resources import files
from typing import Any

import yaml

from api.cli.answers import cny, lines
from api.cli.embedded import EmbeddedCity
from api.cli.errors import UsageProblemError
from api.client import ApiProblemError, Client
from scheduler.contract.job import JobView
from scheduler.domain.states import JOB_FINAL
from scheduler.service.dispatcher import utc_now

STEP_SECONDS = 60.0
POLL_SECONDS = 0.25
CHARGEABLE = timedelta(seconds=2)
"""Long enough that a whole second of it is charged."""

Say = Callable[[str], None]


@dataclass
class Story:
    """What the demo has done so far: jobs by name, and the two submissions that were refused, by problem code."""

    city: EmbeddedCity
    say: Say
    jobs: dict[str, JobView] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._specs: Mapping[str, Any] = yaml.safe_load(files("api.cli.demo").joinpath("jobs.yaml").read_text("utf-8"))
        self._clients: dict[str, Client] = {}

    def tenant(self, name: str) -> Client:
        """The client of the tenant who submits a job of this name."""
        tenant = self._specs[name]["tenant"]
        if tenant not in self._clients:
            self._clients[tenant] = self.city.client(f"tenant-{tenant}")
        return self._clients[tenant]

    def spec(self, name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._specs[name]["spec"], **changes}

    def submit(self, name: str, **changes: Any) -> None:
        self.jobs[name] = self.tenant(name).submit(self.spec(name, changes))

    def refuse(self, what: str, like: str, **changes: Any) -> None:
        """Submit what must be refused, and note the problem's code; an acceptance is noted as such."""
        try:
            self.tenant(like).submit(self.spec(like, changes))
            self.refused[what] = "accepted"
        except ApiProblemError as error:
            self.refused[what] = error.problem.code
            self.say(f"refused, nothing stored: {error.problem.detail}")

    def quote(self, name: str, like: str) -> None:
        """One line about what a job would cost at the first place of its quote."""
        quote = self.tenant(like).quote(self.spec(like, {}))
        if quote.options:
            first = quote.options[0]
            amounts = first.whole_run
            voucher = first.voucher
            told = f"{voucher.programme} {voucher.status} {cny(voucher.estimate)}" if voucher and voucher.counted else "no voucher"
            self.say(
                f"quote {name}: {first.cluster} {first.hardware_class} {first.model}, {cny(first.per_hour.net_amount)} CNY/h net; "
                f"whole run {cny(amounts.contracted_amount)}, net {cny(amounts.net_amount)} ({told})"
            )

    def explain(self, name: str) -> None:
        """Everything there is to say of a waiting job, in a few lines."""
        for line in lines(self.tenant(name).explanation(self.jobs[name].id), "en"):
            self.say(f"  {line}")

    def look(self, name: str) -> JobView:
        self.jobs[name] = self.tenant(name).job(self.jobs[name].id)
        return self.jobs[name]

    def wait(self, name: str, until: Callable[[JobView], bool]) -> JobView:
        """Watch a job until something holds. Raises UsageProblemError, with where it got to, if that takes too long."""
        deadline = time.monotonic() + STEP_SECONDS
        while not until(job := self.look(name)):
            for part in self.city.children.restart_dead():
                self.say(f"{part} had died and was started again")
            if time.monotonic() > deadline:
                why = "; ".join(reason.text for reason in job.reasons)
                raise UsageProblemError(
                    f"{name} is still {job.state} after {STEP_SECONDS:.0f} s ({why}): see {self.city.folder.root}/logs"
                )
            time.sleep(POLL_SECONDS)
        return job

    def tell(self, name: str) -> None:
        """One line about where a job stands and why."""
        job = self.jobs[name]
        where = (
            f" in {job.cluster}{' (recorded)' if job.recorded else ''}"
            if job.cluster and job.state not in ("queued", "held")
            else ""
        )
        why = f" — {job.reasons[0].text}" if job.reasons else ""
        self.say(f"{name}: {job.state}{where}{why}")


def walk(story: Story, training_folder: str) -> None:
    """Submit the dozen, watch what the scheduler makes of them, and wait until everything that can end has ended."""
    story.say("a real training job, and one that crashes once, go to Ray on this machine")
    story.submit("train-on-ray", working_dir=training_folder)
    story.submit("retried-on-ray", working_dir=training_folder)

    story.say("gangs that insist on a hardware class")
    for name in ("sft-domestic", "pretrain-foreign"):
        story.submit(name)
    for name in ("sft-domestic", "pretrain-foreign"):
        story.wait(name, _is_running)
        story.tell(name)

    story.say("the same job twice, either class: with its voucher, and declining it")
    story.quote("with voucher", "cheapest-after-voucher")
    story.quote("without", "cheapest-voucher-declined")
    for name in ("cheapest-after-voucher", "cheapest-voucher-declined"):
        story.submit(name)
    for name in ("cheapest-after-voucher", "cheapest-voucher-declined"):
        story.wait(name, _has_started)
        story.tell(name)

    story.say("low priority fills the rest of the H800; a release of high priority takes back what it needs")
    story.submit("background-sweep")
    story.wait("background-sweep", _is_running)
    story.tell("background-sweep")
    story.submit("urgent-release")
    story.wait("urgent-release", _has_started)
    story.tell("urgent-release")
    story.wait("background-sweep", lambda job: job.attempts == 2 and _is_running(job))
    story.tell("background-sweep")

    story.say("one that waits, one that never fits, one that is cancelled, one evaluation without a voucher")
    for name in ("waits-for-the-site", "never-such-memory", "cancelled-by-owner", "eval-on-metax"):
        story.submit(name)
    for name in ("waits-for-the-site", "never-such-memory"):
        story.wait(name, lambda job: job.verdict is not None)
        story.tell(name)
    story.say("and two that are refused")
    story.refuse("larger_than_any_cluster", "waits-for-the-site", name="too-large", hardware={"nodes": 400, "per_node": 8})
    story.refuse("unknown_contract", "pretrain-foreign", name="no-such-contract", contract="C-2026-9999")

    story.wait("cancelled-by-owner", lambda job: _is_running(job) and _has_run(story, "cancelled-by-owner", CHARGEABLE))
    story.tenant("cancelled-by-owner").cancel(story.jobs["cancelled-by-owner"].id)

    for name in story.jobs:
        if name not in ("background-sweep", "waits-for-the-site", "never-such-memory"):
            story.wait(name, lambda job: job.state in JOB_FINAL)
            story.tell(name)
    story.say("the one that still waits, explained")
    story.explain("waits-for-the-site")
    _wait_for_costs(story)


def _wait_for_costs(story: Story) -> None:
    """Until every job that ended has its last cost line, and the one that still runs has its first."""
    deadline = time.monotonic() + STEP_SECONDS
    for name, job in story.jobs.items():
        while time.monotonic() < deadline:
            costs = story.tenant(name).costs(job.id)
            if costs.state == "final" or costs.records or job.state == "queued":
                break
            time.sleep(POLL_SECONDS)
        story.look(name)


def _has_run(story: Story, name: str, at_least: timedelta) -> bool:
    started_at = story.tenant(name).attempts(story.jobs[name].id).attempts[-1].started_at
    return started_at is not None and utc_now() - started_at >= at_least


def _is_running(job: JobView) -> bool:
    return job.state == "running"


def _has_started(job: JobView) -> bool:
    return job.state == "running" or job.state in JOB_FINAL
