"""The job spec: DESIGN's example is read as it stands, and what is wrong is refused with the field that is wrong."""

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from scheduler.contract.job import MAX_CARDS_PER_NODE, MAX_NODES, JobSpec
from tests.builders import spec

DESIGN_EXAMPLE = """
name: qwen-sft
entrypoint: ["python", "train.py", "--epochs", "1"]
image: registry.example.cn/train:1          # Kubernetes clusters
working_dir: ./src                          # Ray clusters: local folder or URI
hardware: {class: domestic, models: [910B3, MXC500], nodes: 4, per_node: 8, min_nodes: 4, memory_gib: 64, topology: rack}
max_runtime: 24h                            # required: backfill, holds and quotes depend on it
priority: normal                            # low | normal | high | 0..100
preemptible: true
checkpoint: {path: /ckpt, every: 30m}
data: [{uri: s3://corpus/a, size_gib: 2000, cluster: sz-nanshan}]
contract: C-2026-0001
activity: finetune                          # pretrain | finetune | rl | inference | development
voucher: {programme: shenzhen-training, application: A-77}   # optional; all programmes are evaluated anyway
retries: {node_lost: 3, failed: 0}
depends_on: []                              # afterok
"""


def test_the_example_of_the_design_is_read() -> None:
    job = JobSpec.model_validate(yaml.safe_load(DESIGN_EXAMPLE))
    assert (job.alternatives[0].nodes, job.alternatives[0].per_node) == (4, 8)
    assert (job.max_runtime_seconds, job.priority_value, job.declines_vouchers) == (86_400, 50, False)


def test_what_is_stored_reads_back_as_the_same_job() -> None:
    job = JobSpec.model_validate(yaml.safe_load(DESIGN_EXAMPLE))
    assert JobSpec.model_validate(job.model_dump(mode="json", by_alias=True, exclude_defaults=True)) == job


def test_alternatives_are_kept_in_order_of_preference() -> None:
    job = spec(hardware=[{"models": ["910B3"], "per_node": 8}, {"models": ["H800"], "nodes": 2, "per_node": 4}])
    assert [shape.models for shape in job.alternatives] == [("910B3",), ("H800",)]


@pytest.mark.parametrize(("priority", "value"), [("low", 25), ("high", 75), (0, 0), (100, 100)])
def test_a_priority_is_a_word_or_a_number(priority: object, value: int) -> None:
    assert spec(priority=priority).priority_value == value


def test_declining_every_voucher_is_said_with_none() -> None:
    assert spec(voucher={"programme": "none"}).declines_vouchers


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"nam": "x"}, "nam"),
        ({"name": "Train"}, "name"),
        ({"name": "-train"}, "name"),
        ({"name": "a" * 64}, "name"),
        ({"name": "a\n"}, "name"),
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"entrypoint": []}, "entrypoint"),
        ({"entrypoint": "python train.py"}, "entrypoint"),
        ({"entrypoint": ["x"] * 257}, "entrypoint"),
        ({"entrypoint": ["x" * 4097]}, "entrypoint"),
        ({"max_runtime": None}, "max_runtime"),
        ({"max_runtime": "0s"}, "max_runtime"),
        ({"max_runtime": "forever"}, "max_runtime"),
        ({"max_runtime": 3600}, "max_runtime"),
        ({"max_runtime": "91d"}, "max_runtime"),
        ({"priority": 101}, "priority"),
        ({"priority": -1}, "priority"),
        ({"priority": "urgent"}, "priority"),
        ({"activity": "mining"}, "activity"),
        ({"checkpoint": {"path": "/ckpt/../../etc", "every": "30m"}}, "checkpoint"),
        ({"checkpoint": {"path": "..", "every": "30m"}}, "checkpoint"),
        ({"checkpoint": {"path": "/ckpt", "every": "0s"}}, "checkpoint"),
        ({"data": [{"uri": "s3://a", "size_gib": 1}] * 65}, "data"),
        ({"data": [{"uri": "s3://a", "size_gib": -1}]}, "data"),
        ({"data": [{"uri": "", "size_gib": 1}]}, "data"),
        ({"contract": "C 1"}, "contract"),
        ({"retries": {"node_lost": 11}}, "retries"),
        ({"retries": {"failed": -1}}, "retries"),
        ({"depends_on": ["job-1"] * 65}, "depends_on"),
        ({"voucher": {"programme": "no such|thing"}}, "voucher"),
    ],
)
def test_a_wrong_field_is_refused_by_name(changes: dict[str, Any], field: str) -> None:
    assert field in {error["loc"][0] for error in _errors(changes)}


@pytest.mark.parametrize(
    "hardware",
    [
        {"nodes": 0},
        {"nodes": -1},
        {"nodes": MAX_NODES + 1},
        {"nodes": 10**30},
        {"nodes": 1.5},
        {"per_node": -1},
        {"per_node": MAX_CARDS_PER_NODE + 1},
        {"per_node": 0},
        {"per_node": 0, "cpus": 0},
        {"per_node": 0, "cpus": 4, "models": ["H800"]},
        {"per_node": 0, "cpus": 4, "class": "foreign"},
        {"nodes": 2, "min_nodes": 3},
        {"nodes": 2, "min_nodes": 0},
        {"memory_gib": 0},
        {"memory_gib": 4097},
        {"cpus": -1},
        {"cpus": 4097},
        {"host_memory_gib": 65_537},
        {"class": "alien"},
        {"models": ["m"] * 17},
        {"models": ["a|b"]},
        {"models": [""]},
        {"vendors": [""]},
        {"topology": "galaxy"},
        {"topology": "node"},
        {"topology": {"within": "any"}},
        {"topology": {"within": "rack", "required": False, "level": 2}},
        {"topology": {"required": False}},
        {"topology": "link_domain", "per_node": 0, "cpus": 4},
        {"topology": {"within": "link_domain", "required": False}, "per_node": 0, "cpus": 4},
        {"labels": {"zone": []}},
        {"labels": {"zone": ""}},
        {"labels": {"a zone": "east"}},
        {"labels": {f"k{number}": "v" for number in range(17)}},
        {"mig": "whole"},
        {"mig": "3g.40gb", "per_node": 0, "cpus": 4},
        {"driver": "550"},
        {"toolkit": ">=twelve"},
        {"per_node": 0, "cpus": 4, "driver": ">=550"},
        {"gpus": 8},
        [],
        [{"per_node": 1}] * 9,
    ],
)
def test_impossible_hardware_is_refused(hardware: object) -> None:
    assert {error["loc"][0] for error in _errors({"hardware": hardware})} == {"hardware"}


def test_a_job_without_accelerators_says_how_many_cpus() -> None:
    assert spec(hardware={"per_node": 0, "cpus": 4}).alternatives[0].cpus == 4


def _errors(changes: dict[str, Any]) -> list[Any]:
    with pytest.raises(ValidationError) as refused:
        spec(**changes)
    return list(refused.value.errors())
