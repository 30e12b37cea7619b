"""The configuration file of a Kubernetes cluster: what is refused, in words that name the file, the field and what is allowed."""

from pathlib import Path

import pytest
import yaml

from agents.cluster.kubernetes.config import Counted, KubernetesConfig, Kueue, Volcano, counted, read_config
from scheduler.domain.hardware import shipped_catalogue

CATALOGUE = shipped_catalogue()

FULL = """
namespace: training
kind: job
gang: {kueue: {queue: team-a}}
image: registry.example.cn/base:1
service_account: trainer
image_pull_secrets: [registry]
scheduler_name: my-scheduler
runtime_classes: {nvidia: nvidia, huawei: ascend}
resources:
  - {vendor: huawei, model: 910B3, name: huawei.com/Ascend910B3, per_card: 10}
  - {vendor: nvidia, mig: 1g.10gb, name: nvidia.com/mig-1g.10gb}
tolerations:
  - {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}
node_selector: {pool: training}
volumes:
  - {name: data, persistentVolumeClaim: {claimName: data}}
volume_mounts:
  - {name: data, mountPath: /data}
template: {metadata: {labels: {team: a}}, spec: {hostNetwork: true}}
checkpoints: {claim: checkpoints, mount_path: /ckpt, local_path: /mnt/ckpt}
termination_grace_seconds: 60
not_placed_seconds: 600
node_lost_seconds: 120
master_port: 23456
inventory: {source: allocatable, labels: {rack: topology.example.cn/rack}}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "cluster.yaml"
    path.write_text(text, "utf-8")
    return path


def test_every_field_is_read(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, FULL), CATALOGUE)
    assert set(yaml.safe_load(FULL)) == set(KubernetesConfig.model_fields)
    assert config.gang == Kueue.model_validate({"kueue": {"queue": "team-a"}})
    assert config.checkpoints is not None
    assert config.checkpoints.local_path == "/mnt/ckpt"


def test_a_namespace_is_enough(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, "namespace: training\n"), CATALOGUE)
    assert (config.kind, config.gang, config.not_placed_seconds) == ("job", "auto", 300)


@pytest.mark.parametrize("gang", ["auto", "scheduler", "suspend"])
def test_ways_to_place_a_gang(gang: str) -> None:
    assert KubernetesConfig(namespace="n", gang=gang).gang == gang
    volcano = KubernetesConfig.model_validate({"namespace": "n", "gang": {"volcano": {"queue": "q"}}}).gang
    assert isinstance(volcano, Volcano)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: job\n", "namespace: Field required"),
        ("namespace: Training\n", "namespace: String should match"),
        ("namespace: n\nqueue: x\n", "queue: Extra inputs are not permitted"),
        ("namespace: n\nkind: pod\n", "kind: Input should be 'job' or 'rayjob'"),
        ("namespace: n\ngang: {kueue: {}}\n", "gang: Value error, auto, scheduler, suspend, {kueue: {queue: NAME}}"),
        ("namespace: n\nkind: rayjob\ngang: scheduler\n", "gang: scheduler works with kind: job"),
        ("namespace: n\ntemplate: {labels: {}}\n", "a pod template has metadata and spec"),
        ("namespace: n\ntemplate: {spec: {nodeName: x}}\n", "the city says on which nodes"),
        ("namespace: n\ntemplate: {spec: {affinity: {nodeAffinity: {}}}}\n", "the city says on which nodes"),
        ("namespace: n\nvolumes: [{hostPath: {path: /}}]\n", "volumes: each needs a name"),
        ("namespace: n\ntolerations: [{value: x}]\n", "key: is needed unless operator is Exists"),
        ("namespace: n\ncheckpoints: {claim: c, mount_path: ckpt}\n", "an absolute path"),
        ("namespace: n\nmaster_port: 80\n", "master_port: Input should be greater than or equal to 1024"),
        ("namespace: n\nresources: [{vendor: huawei, name: huawei.com/Ascend910B3}]\n", "resources.0.per_card: one of"),
        ("namespace: n\nresources: [{vendor: iluvatar, name: iluvatar.com/gpu}]\n", "resources.0.per_card: one of"),
        ("namespace: n\nresources: [{vendor: nvidia, name: nvidia.com/gpucores}]\n", "an amount of memory or cores"),
        ("namespace: n\nresources: [{vendor: huawei, name: nvidia.com/gpu}]\n", "is a resource of nvidia, not of huawei"),
        ("- a\n", "the file: Input should be a valid dictionary"),
        ("a: [\n", "not YAML"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_field(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ValueError, match=r"cluster\.yaml") as caught:
        read_config(path, CATALOGUE)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("vendor", "model", "mig", "expected"),
    [
        ("nvidia", "H100", None, ("nvidia.com/gpu", 1)),
        ("nvidia", "H100", "1g.10gb", ("nvidia.com/mig-1g.10gb", 1)),
        ("nvidia", "H100", "1g.10gb+me", ("nvidia.com/mig-1g.10gb.me", 1)),
        ("huawei", "910B3", None, ("huawei.com/Ascend910", 1)),
        ("huawei", "310P3", None, ("huawei.com/Ascend310P", 1)),
        ("huawei", "910B3", "1g.10gb", None),
        ("cambricon", "MLU370-X8", None, ("cambricon.com/mlu", 1)),
        ("hygon", "K100_AI", None, ("hygon.com/dcu", 1)),
        ("metax", "MXC500", None, ("metax-tech.com/gpu", 1)),
        ("moorethreads", "MTT S4000", None, ("mthreads.com/gpu", 1)),
        ("kunlunxin", "P800", None, ("kunlunxin.com/xpu", 1)),
        ("enflame", "S60", None, ("enflame.com/gcu", 1)),
        ("biren", "BR106", None, ("birentech.com/gpu", 1)),
        ("amd", "MI300X", None, ("amd.com/gpu", 1)),
        ("iluvatar", "BI-V150", None, None),
        ("intel", "Gaudi3", None, None),
    ],
)
def test_cards_are_asked_for_by_their_vendors_resource(
    vendor: str, model: str, mig: str | None, expected: tuple[str, int] | None
) -> None:
    found = counted(KubernetesConfig(namespace="n"), CATALOGUE, vendor, model, mig)
    assert found == (None if expected is None else Counted(*expected))


def test_the_most_particular_row_counts() -> None:
    rows = [
        {"vendor": "huawei", "name": "huawei.com/npu"},
        {"vendor": "huawei", "model": "910B3", "name": "huawei.com/Ascend910B3", "per_card": 10},
    ]
    config = KubernetesConfig.model_validate({"namespace": "n", "resources": rows})
    assert counted(config, CATALOGUE, "huawei", "910B3", None) == Counted("huawei.com/Ascend910B3", 10)
    assert counted(config, CATALOGUE, "huawei", "910C", None) == Counted("huawei.com/npu", 1)
