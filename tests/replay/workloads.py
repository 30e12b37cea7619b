"""Small workload files for the tests, in both formats."""

from pathlib import Path

from scheduler.replay.formats import read_workload
from scheduler.replay.workload import Workload

KUEUE = """
cohorts:
- className: cohort
  count: 2
  queuesSets:
  - className: cq
    count: 2
    nominalQuota: 4
    borrowingLimit: "2"
    reclaimWithinCohort: Any
    withinClusterQueue: LowerPriority
    workloadsSets:
    - count: 3
      creationIntervalMs: 100
      workloads:
      - {className: small, runtimeMs: 200, priority: 50, request: 500m}
      - {className: large, runtimeMs: 1000, priority: 200, request: 4}
"""

TAS = """
topology:
  name: default
  levels:
  - {name: block, count: 2, nodeLabel: block}
  - {name: rack, count: 3, nodeLabel: rack}
  - {name: node, count: 4, nodeLabel: host, capacity: {cpu: "8", memory: 16Gi}}
resourceFlavor: {name: flavor, nodeLabel: group, topologyName: default}
cohorts:
- className: cohort
  count: 1
  queuesSets:
  - className: cq
    count: 1
    nominalQuota: "20"
    workloadsSets:
    - count: 1
      creationIntervalMs: 10
      workloads:
      - {className: w, runtimeMs: 5, priority: 1, request: 500m, podCount: 2, tasConstraint: required, tasLevel: rack}
"""

CITY = """
format: suanwang-workload/1
seed: 7
queues:
- {name: city, nominal: {cpu: 100}}
- {name: lab, parent: city, nominal: {"class:domestic": 16}, borrowing_limit: {cpu: "8.5"}, weight: 2, max_running: 9,
   reclaims: false}
clusters:
- name: sz
  count: 2
  nodes: 4
  racks: 2
  cpus: 64
  memory_gib: 512
  cards: 8
  card: {vendor: huawei, model: 910B3, class: domestic, memory_gib: 64}
- {name: plain, nodes: 1, cpus: 8, memory_gib: 8}
prices:
- {cluster: sz-0, model: 910B3, list: "12.5", contracted: "10", net: "6.4"}
weights: {lab: 3}
jobs:
- class: train
  count: 5
  at_ms: 10
  every_ms: 20
  runtime_ms: 1000
  max_runtime: 2h
  queue: lab
  tenant: lab
  preemptible: true
  hardware: {nodes: 2, per_node: 8, class: domestic, cpus: 4, topology: rack}
- class: mixed
  count: 10
  hardware: {per_node: 1}
  draw: {shapes: 4, nodes: [1, 2], per_node: [1, 2, 4], models: [910B3], tenants: [a, b], priorities: [10, 90], runtime_ms: [5, 9]}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "workload.yaml"
    path.write_text(text)
    return path


def workload(tmp_path: Path, text: str) -> Workload:
    return read_workload(written(tmp_path, text))
