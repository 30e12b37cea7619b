"""Objects as tests create them."""

from tests.agents.cluster.kube.store import Object


def pod(name: str, *, node: str | None = None, labels: dict[str, str] | None = None, command: list[str] | None = None) -> Object:
    """A pod of one container for `node`; without one it is left alone by every scheduler."""
    where: Object = (
        {"nodeSelector": {"kubernetes.io/hostname": node}} if node else {"schedulingGates": [{"name": "example.cn/test"}]}
    )
    spec: Object = {
        "restartPolicy": "Never",
        "containers": [{"name": "main", "image": "registry.example.cn/train:1", "command": command or ["true"]}],
        **where,
    }
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": spec}


def job(name: str, node: str, *, completions: int = 1, **spec: object) -> Object:
    """An indexed Job whose pods go to `node`."""
    template = pod("", node=node)
    return {
        "metadata": {"name": name, "labels": {"app": "suanwang"}},
        "spec": {
            "completionMode": "Indexed",
            "completions": completions,
            "parallelism": completions,
            "backoffLimit": 0,
            "template": {"spec": template["spec"]},
            **spec,
        },
    }
