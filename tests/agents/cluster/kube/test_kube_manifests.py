"""What a grant becomes: Jobs, RayJobs and what stands beside them."""

import json
import shlex
from typing import Any

import pytest

from agents.cluster.kubernetes import manifests, names
from agents.cluster.kubernetes.config import KubernetesConfig
from agents.cluster.kubernetes.manifests import Gang
from agents.cluster.kubernetes.pods import merged
from agents.cluster.kubernetes.resources import JOBS, POD_GROUPS, RAY_JOBS
from agents.cluster.launcher import LaunchRefusedError
from scheduler.contract.sync import DesiredRun, Placement
from scheduler.domain.hardware import shipped_catalogue
from tests.agents.cluster.doubles import desired

CATALOGUE = shipped_catalogue()
SUSPEND = Gang("suspend")


def gang(nodes: int = 2, devices: int = 8, **changes: Any) -> DesiredRun:
    each = {"devices": [f"d{number}" for number in range(devices)], "cpus": 32, "host_memory_gib": 256, **changes.pop("each", {})}
    placements = [Placement.model_validate({"node": f"node-{number}", **each}) for number in range(nodes)]
    fields: dict[str, Any] = {"vendor": "nvidia", "model": "H100", "per_node": devices, "image": "registry.example.cn/train:1"}
    return desired(placements=placements, **(fields | changes))


def config(**options: Any) -> KubernetesConfig:
    return KubernetesConfig.model_validate({"namespace": "training", **options})


def job(run: DesiredRun, by: Gang = SUSPEND, **options: Any) -> dict[str, Any]:
    return manifests.job("sz-1", run, config(**options), CATALOGUE, by)


def spec_of(found: dict[str, Any]) -> dict[str, Any]:
    return found["spec"]["template"]["spec"]  # type: ignore[no-any-return]


def main(found: dict[str, Any]) -> dict[str, Any]:
    return next(each for each in spec_of(found)["containers"] if each["name"] == "main")


def variables(found: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in main(found)["env"]}


def test_a_job_has_a_pod_for_each_granted_node_and_starts_suspended() -> None:
    found = job(gang(3))
    spec = found["spec"]
    assert (spec["suspend"], spec["completionMode"], spec["completions"], spec["parallelism"]) == (True, "Indexed", 3, 3)
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (0, 3600 + 300 + 3600)
    assert "ttlSecondsAfterFinished" not in spec
    terms = spec_of(found)["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert [term["matchFields"][0]["values"] for term in terms] == [["node-0"], ["node-1"], ["node-2"]]
    assert manifests.granted_nodes(found["spec"]["template"]) == ["node-0", "node-1", "node-2"]
    apart = spec_of(found)["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert apart[0]["topologyKey"] == "kubernetes.io/hostname"
    assert apart[0]["labelSelector"]["matchLabels"][names.RUN] == found["metadata"]["name"]


def test_what_is_asked_for_is_what_was_granted_no_less_and_no_more() -> None:
    wanted = {"cpu": "32", "memory": "256Gi", "nvidia.com/gpu": "8"}
    assert main(job(gang()))["resources"] == {"limits": wanted, "requests": wanted}
    assert main(job(gang(devices=0, vendor=None, model=None)))["resources"]["limits"] == {"cpu": "32", "memory": "256Gi"}
    tokens = [{"vendor": "nvidia", "name": "example.cn/share", "per_card": 10}]
    assert main(job(gang(), resources=tokens))["resources"]["limits"]["example.cn/share"] == "80"
    sliced = gang(1, devices=3, each={"mig": "1g.10gb", "card_milli": 143, "cpus": 0, "host_memory_gib": 0})
    assert main(job(sliced))["resources"]["limits"] == {"nvidia.com/mig-1g.10gb": "3"}


def test_the_ranks_find_each_other() -> None:
    found = job(gang(), master_port=23456)
    name = found["metadata"]["name"]
    told = variables(found)
    assert told["MASTER_ADDR"] == told["PET_MASTER_ADDR"] == f"{name}-0.{name}.training.svc"
    assert (told["MASTER_PORT"], told["WORLD_SIZE"], told["PET_NPROC_PER_NODE"], told["NPROC_PER_NODE"]) == ("23456", "2", "8", "8")
    index = {"fieldRef": {"fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}}
    assert told["RANK"] == told["NODE_RANK"] == told["PET_NODE_RANK"] == index
    assert spec_of(found)["subdomain"] == name


def test_a_command_arrives_as_it_was_written() -> None:
    assert main(job(gang(entrypoint=["sh", "-c", "echo $$ $(HOME) $X"])))["command"] == ["sh", "-c", "echo $$$$ $$(HOME) $$X"]


def test_checkpoints_of_all_attempts_of_a_task_lie_in_one_folder_of_its_own() -> None:
    run = gang(array={"index": 3, "size": 9}, checkpoint_path="/ckpt/a")
    found = job(run, checkpoints={"claim": "ck", "mount_path": "/mnt/ck"})
    mount = next(each for each in main(found)["volumeMounts"] if each["name"] == "checkpoints")
    assert mount == {"name": "checkpoints", "mountPath": "/mnt/ck", "subPath": "job-1/3/ckpt/a"}
    assert variables(found)["SUANWANG_CHECKPOINT_DIR"] == "/mnt/ck"
    assert found["metadata"]["annotations"][names.CHECKPOINT] == "job-1/3/ckpt/a"
    assert {"name": "checkpoints", "persistentVolumeClaim": {"claimName": "ck"}} in spec_of(found)["volumes"]
    assert {"name": "checkpoints", "emptyDir": {}} in spec_of(job(run))["volumes"]


def test_the_operators_template_is_kept_but_for_what_the_grant_says() -> None:
    template = {
        "metadata": {"labels": {"team": "a", names.RUN: "forged"}},
        "spec": {
            "hostNetwork": True,
            "restartPolicy": "Always",
            "automountServiceAccountToken": True,
            "securityContext": {"fsGroup": 100},
            "containers": [
                {"name": "main", "env": [{"name": "HF_HOME", "value": "/hf"}, {"name": "RANK", "value": "9"}],
                 "resources": {"limits": {"rdma/hca": "1", "nvidia.com/gpu": "1"}},
                 "securityContext": {"capabilities": {"add": ["IPC_LOCK"]}}},
                {"name": "sidecar", "image": "x"},
            ],
            "tolerations": [{"operator": "Exists"}],
        },
    }  # fmt: skip
    found = job(gang(), template=template, tolerations=[{"key": "a"}])
    spec, own = spec_of(found), main(found)
    assert found["spec"]["template"]["metadata"]["labels"]["team"] == "a"
    assert found["spec"]["template"]["metadata"]["labels"][names.RUN] == found["metadata"]["name"]
    assert (spec["hostNetwork"], spec["restartPolicy"], spec["automountServiceAccountToken"]) == (True, "Never", True)
    assert spec["securityContext"] == {"fsGroup": 100, "seccompProfile": {"type": "RuntimeDefault"}}
    assert own["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"add": ["IPC_LOCK"]}}
    assert own["resources"]["limits"] == {"rdma/hca": "1", "nvidia.com/gpu": "8", "cpu": "32", "memory": "256Gi"}
    assert variables(found)["HF_HOME"] == "/hf"
    assert variables(found)["RANK"] != "9"
    assert [each["name"] for each in spec["containers"]] == ["main", "sidecar"]
    assert spec["tolerations"] == [{"operator": "Exists"}, {"key": "a", "operator": "Equal"}]


def test_what_the_configuration_says_of_pods() -> None:
    found = spec_of(
        job(
            gang(),
            service_account="trainer",
            image_pull_secrets=["registry"],
            scheduler_name="mine",
            runtime_classes={"nvidia": "nvidia"},
            node_selector={"pool": "a"},
            termination_grace_seconds=90,
        )
    )
    assert (found["serviceAccountName"], found["imagePullSecrets"]) == ("trainer", [{"name": "registry"}])
    assert (found["schedulerName"], found["runtimeClassName"], found["nodeSelector"]) == ("mine", "nvidia", {"pool": "a"})
    assert found["terminationGracePeriodSeconds"] == 90
    assert found["automountServiceAccountToken"] is False


@pytest.mark.parametrize(
    ("run", "options", "said"),
    [
        (gang(image=None), {}, "names no image"),
        (gang(each={"card_milli": 500}), {}, "500/1000 of a card"),
        (gang(vendor="iluvatar", model="BI-V150"), {}, "does not know under which resource"),
        (gang(working_dir="./src"), {}, "working_dir"),
        (
            gang().model_copy(update={"placements": [gang().placements[0], gang(devices=4).placements[0]]}),
            {},
            "unequal shares",
        ),
    ],
)
def test_what_kubernetes_cannot_express_is_refused_in_words(run: DesiredRun, options: dict[str, Any], said: str) -> None:
    with pytest.raises(LaunchRefusedError, match=said):
        job(run, **options)


def test_gangs_by_kueue_volcano_and_the_scheduler() -> None:
    kueue = job(gang(), Gang("kueue", "team-a"))
    assert kueue["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    volcano = job(gang(), Gang("volcano", "default"))
    name = volcano["metadata"]["name"]
    assert spec_of(volcano)["schedulerName"] == "volcano"
    assert volcano["spec"]["template"]["metadata"]["annotations"]["scheduling.k8s.io/group-name"] == name
    own = job(gang(), Gang("scheduler", pod_groups=POD_GROUPS[0]))
    assert spec_of(own)["schedulingGroup"] == {"podGroupName": name}


@pytest.mark.parametrize(
    ("by", "kinds"),
    [
        (SUSPEND, ["Service"]),
        (Gang("kueue", "q"), ["Service"]),
        (Gang("volcano", "q"), ["Service", "PodGroup"]),
        (Gang("scheduler", pod_groups=POD_GROUPS[1]), ["Service", "PodGroup"]),
    ],
)
def test_what_stands_beside_a_job_belongs_to_it(by: Gang, kinds: list[str]) -> None:
    owner = merged(job(gang(5), by), {"metadata": {"uid": "u-1"}})
    found = manifests.beside(JOBS, owner, by)
    assert [each.resource.kind for each in found] == kinds
    for each in found:
        assert each.body["metadata"]["ownerReferences"][0] | {"controller": True} == {
            "apiVersion": "batch/v1", "kind": "Job", "name": owner["metadata"]["name"], "uid": "u-1", "controller": True,
        }  # fmt: skip
        assert names.key_of("sz-1", each.body) == ("att-1", 1)
    service = found[0].body["spec"]
    assert (service["clusterIP"], service["publishNotReadyAddresses"]) == ("None", True)
    if by.way == "volcano":
        assert found[1].body["spec"] == {"minMember": 5, "queue": "q"}
    if by.way == "scheduler":
        assert found[1].body["spec"] == {"schedulingPolicy": {"gang": {"minCount": 5}}}


def test_a_ray_job_is_its_head_and_workers_on_exactly_what_was_granted() -> None:
    run = gang(3, vendor="huawei", model="910B3", entrypoint=["python", "train.py", "it's $HOME"], working_dir="s3://bucket/a.zip")
    found = manifests.ray_job("sz-1", run, config(kind="rayjob"), CATALOGUE, Gang("volcano", "q"))
    spec = found["spec"]
    assert (spec["suspend"], spec["backoffLimit"], spec["shutdownAfterJobFinishes"]) == (True, 0, True)
    assert json.loads(spec["runtimeEnvYAML"]) == {"working_dir": "s3://bucket/a.zip"}
    cluster = spec["rayClusterSpec"]
    head, workers = cluster["headGroupSpec"], cluster["workerGroupSpecs"][0]
    assert (workers["replicas"], workers["minReplicas"], workers["maxReplicas"]) == (2, 2, 2)
    for group, name in ((head, "ray-head"), (workers, "ray-worker")):
        container = group["template"]["spec"]["containers"][0]
        assert container["name"] == name
        assert container["resources"]["limits"]["huawei.com/Ascend910"] == "8"
        assert json.loads(shlex.split(group["rayStartParams"]["resources"])[0]) == {"NPU": 8}
    line = head["template"]["metadata"]["annotations"]["suanwang.io/entrypoint"]
    assert shlex.split(line) == ["exec", "python", "train.py", "it's $HOME"]
    assert spec["entrypoint"] == "sh /etc/suanwang/entrypoint"
    submitter = spec["submitterPodTemplate"]
    assert submitter["metadata"]["labels"][names.ROLE] == "submitter"
    assert "scheduling.k8s.io/group-name" not in submitter["metadata"]["annotations"]
    assert "huawei.com/Ascend910" not in submitter["spec"]["containers"][0]["resources"]["limits"]
    assert manifests.granted_nodes(manifests.pod_template(RAY_JOBS, found)) == ["node-0", "node-1", "node-2"]


def test_a_ray_job_on_one_node_is_a_head_alone() -> None:
    found = manifests.ray_job("sz-1", gang(1), config(kind="rayjob"), CATALOGUE, SUSPEND)
    cluster = found["spec"]["rayClusterSpec"]
    assert cluster["workerGroupSpecs"] == []
    assert cluster["headGroupSpec"]["rayStartParams"]["num-gpus"] == "8"
    owner = merged(found, {"metadata": {"uid": "u"}})
    assert manifests.beside(RAY_JOBS, owner, SUSPEND) == []
    with pytest.raises(LaunchRefusedError, match="working_dir"):
        manifests.ray_job("sz-1", gang(1, working_dir="./src"), config(kind="rayjob"), CATALOGUE, SUSPEND)
