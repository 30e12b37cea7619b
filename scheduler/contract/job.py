"""What a tenant submits, and how the city shows it back."""

from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from scheduler.contract.base import Count, Duration, EventView, Key, Moment, Money, Name, Page, ReasonView, Text, Wire
from scheduler.contract.inventory import MigProfile
from scheduler.domain.clock import parse_duration_seconds
from scheduler.domain.hardware import HardwareClass
from scheduler.domain.states import AttemptState, JobState
from scheduler.domain.tasks import MAX_TASKS
from scheduler.domain.versions import parse_range

MAX_NODES = 10_000
MAX_CARDS_PER_NODE = 64
MAX_RUNTIME_SECONDS = 90 * 86_400
MAX_DATASET_GIB = 10**9
"""An exbibyte."""

PRIORITIES = {"low": 25, "normal": 50, "high": 75}
DECLINED = "none"


class Activity(StrEnum):
    PRETRAIN = "pretrain"
    FINETUNE = "finetune"
    RL = "rl"
    INFERENCE = "inference"
    DEVELOPMENT = "development"


class Profile(StrEnum):
    """How a job chooses among the places where it fits: what it costs after voucher, when it is done, or whose cards they are."""

    CHEAPEST_NET = "cheapest-net"
    FASTEST = "fastest"
    DOMESTIC_FIRST = "domestic-first"


def _runtime(text: str) -> str:
    if parse_duration_seconds(text) > MAX_RUNTIME_SECONDS:
        raise ValueError(f"at most {MAX_RUNTIME_SECONDS // 86_400}d is allowed")
    return text


def _relative_or_absolute(path: str) -> str:
    if ".." in PurePosixPath(path).parts:
        raise ValueError("a path may not contain '..'")
    return path


Argument = Annotated[str, StringConstraints(max_length=4096)]
Path = Annotated[str, StringConstraints(min_length=1, max_length=1024), AfterValidator(_relative_or_absolute)]
Model = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}$")]
Versions = Annotated[str, AfterValidator(lambda text: parse_range(text).text)]
"""A range such as `>=12.2,<13`, compared as version numbers (`scheduler.domain.versions`)."""


class Topology(Wire):
    """All nodes within one link domain (NVLink, HCCS), rack or spine; where that is not `required`, over as few as there are at
    the best price."""

    within: Literal["link_domain", "rack", "spine"]
    required: bool = True


_OF_ACCELERATORS = ("hardware_class", "vendors", "models", "memory_gib", "mig", "driver", "toolkit")


class Hardware(Wire):
    """One alternative: `nodes × per_node` accelerators on distinct nodes of one cluster, all of one model, all or nothing.

    `memory_gib` is the least memory of each accelerator; `cpus` and `host_memory_gib` are what each node must have beside
    them. A job without accelerators says `per_node: 0` and how many `cpus`. With `min_nodes` below `nodes` the job starts
    on as many nodes as fit, at least `min_nodes`. Of each node, `labels` names the value or values it must have, `driver` and
    `toolkit` (CUDA, CANN, …) the versions. `topology: rack` is short for `{within: rack}`.
    With `mig` it asks for instances of that profile instead of whole cards.
    """

    hardware_class: HardwareClass | None = Field(default=None, alias="class")
    vendors: Annotated[tuple[Text, ...], Field(max_length=16)] = ()
    models: Annotated[tuple[Model, ...], Field(max_length=16)] = ()
    nodes: Annotated[int, Field(ge=1, le=MAX_NODES)] = 1
    per_node: Annotated[int, Field(ge=0, le=MAX_CARDS_PER_NODE)] = 1
    min_nodes: Annotated[int, Field(ge=1, le=MAX_NODES)] | None = None
    memory_gib: Annotated[int, Field(ge=1, le=4096)] | None = None
    cpus: Annotated[int, Field(ge=0, le=4096)] = 0
    host_memory_gib: Annotated[int, Field(ge=0, le=65_536)] = 0
    topology: Literal["any", "link_domain", "rack", "spine"] | Topology = "any"
    labels: Annotated[dict[Key, Text | Annotated[tuple[Text, ...], Field(min_length=1, max_length=16)]], Field(max_length=16)] = (
        Field(default_factory=dict)
    )
    mig: MigProfile | None = None
    driver: Versions | None = None
    toolkit: Versions | None = None

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if self.per_node == 0 and self.cpus == 0:
            raise ValueError("per_node: 0 asks for no accelerators, so cpus must be at least 1")
        if self.per_node == 0 and any(getattr(self, name) for name in _OF_ACCELERATORS):
            names = ", ".join(_OF_ACCELERATORS).replace("hardware_class", "class")
            raise ValueError(f"{names} describe accelerators: they need per_node of at least 1")
        if self.per_node == 0 and "link_domain" in (self.topology, getattr(self.topology, "within", None)):
            raise ValueError("topology: link_domain is about accelerators: it needs per_node of at least 1")
        if self.min_nodes is not None and self.min_nodes > self.nodes:
            raise ValueError(f"min_nodes may be at most nodes ({self.nodes})")
        return self

    def label_values(self, key: str) -> tuple[str, ...]:
        """The values of a label that will do."""
        values = self.labels[key]
        return (values,) if isinstance(values, str) else values


class Checkpoint(Wire):
    """Where a job saves its progress and how often: what a preemption loses is what came after the last one."""

    path: Path
    every: Duration


class Dataset(Wire):
    """Data the job reads, where it lies now and how large it is. Without `cluster` nobody knows how long it takes to bring it."""

    uri: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    size_gib: Annotated[int, Field(ge=0, le=MAX_DATASET_GIB)]
    cluster: Key | None = None


class Retries(Wire):
    """How often a whole gang is tried again: after its node or cluster was lost, and after the program failed."""

    node_lost: Annotated[int, Field(ge=0, le=10)] = 3
    failed: Annotated[int, Field(ge=0, le=10)] = 0


class Array(Wire):
    """The same program `size` times over as one job: each task has an index from 0, in SUANWANG_ARRAY_INDEX, and is placed, retried
    and charged for itself. At most `parallelism` of them run at a time; without it, as many as find a place."""

    size: Annotated[int, Field(ge=1, le=MAX_TASKS)]
    parallelism: Annotated[int, Field(ge=1, le=MAX_TASKS)] | None = None


class VoucherRequest(Wire):
    """The programme the tenant applied to. All programmes are evaluated anyway; `none` declines every one of them."""

    programme: Key
    application: Key | None = None


class JobSpec(Wire):
    """A training job as its owner writes it. It is wanted finished by `deadline`; without a `profile` that of its queue holds, or
    of the city."""

    name: Name
    entrypoint: Annotated[tuple[Argument, ...], Field(min_length=1, max_length=256)]
    image: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    working_dir: Annotated[str, StringConstraints(min_length=1, max_length=2048)] | None = None
    hardware: Hardware | Annotated[tuple[Hardware, ...], Field(min_length=1, max_length=8)]
    max_runtime: Annotated[Duration, AfterValidator(_runtime)]
    priority: Literal["low", "normal", "high"] | Annotated[int, Field(ge=0, le=100)] = "normal"
    preemptible: bool = False
    checkpoint: Checkpoint | None = None
    data: Annotated[tuple[Dataset, ...], Field(max_length=64)] = ()
    profile: Profile | None = None
    contract: Key | None = None
    activity: Activity
    voucher: VoucherRequest | None = None
    retries: Retries = Retries()
    depends_on: Annotated[tuple[Key, ...], Field(max_length=64)] = ()
    deadline: Moment | None = None
    array: Array | None = None

    @property
    def alternatives(self) -> tuple[Hardware, ...]:
        """The ways to run it, in order of preference."""
        return self.hardware if isinstance(self.hardware, tuple) else (self.hardware,)

    @property
    def priority_value(self) -> int:
        return self.priority if isinstance(self.priority, int) else PRIORITIES[self.priority]

    @property
    def max_runtime_seconds(self) -> int:
        return parse_duration_seconds(self.max_runtime)

    @property
    def tasks(self) -> int:
        """How often its program runs, retries aside."""
        return 1 if self.array is None else self.array.size

    @property
    def declines_vouchers(self) -> bool:
        return self.voucher is not None and self.voucher.programme == DECLINED


class CostSummary(Wire):
    """What a job has cost so far: posted cost lines only, and the selected programme's estimate on them."""

    card_seconds: Count
    core_seconds: Count
    list_amount: Money
    contracted_amount: Money
    voucher_estimate: Money
    net_amount: Money
    programme: str | None = None


class AtRisk(Wire):
    """What a run would lose if it were stopped now: all since its last checkpoint, or since its start where nobody knows of one."""

    checkpoint_at: Moment | None
    seconds: Count
    card_seconds: Count
    reason: ReasonView


class JobView(Wire):
    """A job as the API answers it. An array is in the state of those of its tasks that are furthest on the way; `tasks` counts them
    by state, and `verdict` and `reasons` are of those that wait."""

    id: Key
    tenant: Key
    state: JobState
    verdict: Literal["fit", "wait", "never"] | None = None
    reasons: list[ReasonView] = Field(default_factory=list)
    spec: JobSpec
    submitted_at: Moment
    finished_at: Moment | None = None
    attempts: Count
    cluster: Key | None = None
    recorded: bool = False
    hardware_class: HardwareClass | None = None
    model: str | None = None
    costs: CostSummary
    tasks: dict[JobState, Count] | None = None
    at_risk: AtRisk | None = None
    """Of its latest attempt, while that runs; of an array each attempt says it for itself."""


class TaskView(Wire):
    """A task of an array that has begun. `attempt` is the number of its latest attempt, `tries` how many it has had."""

    index: Count
    state: JobState
    attempt: Count
    tries: Count
    failures: Count
    losses: Count


class TaskPage(Page):
    """Tasks that have begun, by index; those from `begun` on have not."""

    tasks: list[TaskView]
    begun: Count


class AttemptView(Wire):
    """One placement of a job, or of a task of an array. `cards` are cards, or instances of the profile `mig`; `card_milli` is what
    they count as and are charged for, in thousandths of a card."""

    id: Key
    number: Count
    task: Count | None = None
    state: AttemptState
    cluster: Key
    recorded: bool
    fencing_token: Count
    hardware_class: HardwareClass | None
    model: str | None
    mig: str | None = None
    nodes: list[str]
    cards: Count
    card_milli: Count
    granted_at: Moment
    started_at: Moment | None = None
    finished_at: Moment | None = None
    exit_code: int | None = None
    at_risk: AtRisk | None = None
    reasons: list[ReasonView] = Field(default_factory=list)


class JobPage(Page):
    jobs: list[JobView]


class AttemptPage(Page):
    attempts: list[AttemptView]


class EventPage(Page):
    events: list[EventView]
