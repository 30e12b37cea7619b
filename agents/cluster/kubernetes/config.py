"""How runs become objects of one Kubernetes cluster, as its operator writes it down in a file (docs/kubernetes.md)."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from agents.cluster.kubernetes.inventory import Inventory
from scheduler.contract.base import Name, Text
from scheduler.contract.inventory import MigProfile
from scheduler.domain.hardware import Catalogue, ResourceUnit

MAX_FILE_BYTES = 1_048_576
MAX_SECONDS = 86_400

_QUALIFIED = r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"

Subdomain = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
"""How most objects of Kubernetes are named: lower-case letters, digits, inner hyphens and dots."""

Qualified = Annotated[str, StringConstraints(pattern=_QUALIFIED, max_length=317)]
"""A name with an optional prefix: `nvidia.com/gpu`."""

Seconds = Annotated[int, Field(ge=1, le=MAX_SECONDS)]


def _absolute(path: str) -> str:
    if not PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or ":" in path:
        raise ValueError("an absolute path without '..' and ':' is needed")
    return path


MountPath = Annotated[str, StringConstraints(max_length=1024), AfterValidator(_absolute)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Queue(_Part):
    queue: Subdomain


class Kueue(_Part):
    """Kueue starts a run when its queue has room (`queue`: a LocalQueue of the namespace)."""

    kueue: Queue


class Volcano(_Part):
    """Volcano places a run's pods together or not at all (`queue`: a Queue of the cluster)."""

    volcano: Queue


def _way(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """One sentence for all that may stand there, where pydantic would say what each of the three is not."""
    try:
        return handler(value)
    except ValidationError:
        raise ValueError(
            "auto, scheduler, suspend, {kueue: {queue: NAME}} or {volcano: {queue: NAME}} is allowed, NAME in small letters"
        ) from None


class Resource(_Part):
    """What a vendor's cards are called where it is not what the catalogue says. The most particular row that fits counts.

    `per_card`: how many of the resource are one card of the city's, or one instance of `mig`.
    """

    vendor: Text
    model: Text | None = None
    mig: MigProfile | None = None
    name: Qualified
    per_card: Annotated[int, Field(ge=1, le=1_000)] | None = None


class Toleration(_Part):
    key: Qualified | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    tolerationSeconds: int | None = None  # as Kubernetes spells it

    @model_validator(mode="after")
    def _says_what_it_tolerates(self) -> Self:
        if self.operator == "Equal" and self.key is None:
            raise ValueError("key: is needed unless operator is Exists")
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("value: may not stand beside operator: Exists")
        return self


class Checkpoints(_Part):
    """Where checkpoints are kept: a claim of the namespace that all nodes can mount, of which a run sees its own job's folder.

    `local_path`: where the same volume is mounted in the agent, if it is; then the age of checkpoints is reported.
    """

    claim: Subdomain
    mount_path: MountPath = "/checkpoints"
    local_path: MountPath | None = None


class KubernetesConfig(_Part):
    """One cluster's configuration. Objects of Kubernetes in it (`volumes`, `template`, …) are written as the API takes them."""

    namespace: Name
    kind: Literal["job", "rayjob"] = "job"
    gang: Annotated[Literal["auto", "scheduler", "suspend"] | Kueue | Volcano, WrapValidator(_way)] = "auto"
    image: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    service_account: Subdomain | None = None
    image_pull_secrets: Annotated[tuple[Subdomain, ...], Field(max_length=16)] = ()
    scheduler_name: Subdomain | None = None
    runtime_classes: Annotated[dict[Text, Subdomain], Field(max_length=32)] = Field(default_factory=dict)
    resources: Annotated[tuple[Resource, ...], Field(max_length=64)] = ()
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=32)] = ()
    node_selector: Annotated[dict[Qualified, str], Field(max_length=32)] = Field(default_factory=dict)
    volumes: Annotated[tuple[dict[str, Any], ...], Field(max_length=32)] = ()
    volume_mounts: Annotated[tuple[dict[str, Any], ...], Field(max_length=32)] = ()
    template: dict[str, Any] = Field(default_factory=dict)
    checkpoints: Checkpoints | None = None
    termination_grace_seconds: Annotated[int, Field(ge=0, le=3_600)] = 30
    not_placed_seconds: Seconds = 300
    node_lost_seconds: Seconds = 300
    master_port: Annotated[int, Field(ge=1024, le=65_535)] = 29_500
    inventory: Inventory = Inventory()

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.kind == "rayjob" and self.gang == "scheduler":
            raise ValueError("gang: scheduler works with kind: job; KubeRay does not pass a pod's scheduling group on")
        unknown = set(self.template) - {"metadata", "spec"}
        if unknown:
            raise ValueError(f"template: {', '.join(sorted(unknown))}: a pod template has metadata and spec")
        spec = self.template.get("spec") or {}
        if "nodeName" in spec or "nodeAffinity" in (spec.get("affinity") or {}):
            raise ValueError("template: the city says on which nodes a run runs: nodeName and nodeAffinity may not stand here")
        for field, found in (("volumes", self.volumes), ("volume_mounts", self.volume_mounts)):
            if not all(isinstance(each.get("name"), str) for each in found):
                raise ValueError(f"{field}: each needs a name")
        return self


@dataclass(frozen=True, slots=True)
class Counted:
    """What a pod asks for to get one card: `per_card` of the resource `name`."""

    name: str
    per_card: int


def read_config(path: Path, catalogue: Catalogue) -> KubernetesConfig:
    """Raises ValueError naming the file, the field and what is allowed, OSError when it cannot be read."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"{path}: a configuration may have at most {MAX_FILE_BYTES} bytes")
    try:
        config = KubernetesConfig.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ValueError(f"{path}: {field}: {first['msg']}") from error
    for number, row in enumerate(config.resources):
        if (trouble := _miscounted(row, catalogue)) is not None:
            raise ValueError(f"{path}: resources.{number}.{trouble}")
    return config


def counted(config: KubernetesConfig, catalogue: Catalogue, vendor: str, model: str, mig: str | None) -> Counted | None:
    """How cards of a model, or its instances of a MIG profile, are asked for. None where neither file nor catalogue says it."""
    fitting = [row for row in config.resources if row.vendor == vendor and row.model in (None, model) and row.mig == mig]
    if fitting:
        row = max(fitting, key=lambda row: row.model is not None)
        return Counted(name=row.name, per_card=row.per_card or 1)
    known = catalogue.card_resource(vendor, model) if mig is None else catalogue.instance_resource(vendor, mig)
    return None if known is None else Counted(name=known.name, per_card=1)


def _miscounted(row: Resource, catalogue: Catalogue) -> str | None:
    """What is wrong with a row, by what the catalogue knows of the resource's unit."""
    known = catalogue.kubernetes_resource(row.name)
    if known is None:
        return None
    if known.vendor != row.vendor:
        return f"name: {row.name} is a resource of {known.vendor}, not of {row.vendor}"
    if known.unit is ResourceUnit.SHARE:
        return f"name: {row.name} is an amount of memory or cores, no count of cards"
    if known.unit in (ResourceUnit.TOKEN, None) and row.per_card is None:
        return f"per_card: one of {row.name} is not one card; say how many of them are"
    return None
