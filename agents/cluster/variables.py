"""The environment variables every launcher gives a program, so that a job runs unchanged on Ray and on Kubernetes."""

from scheduler.contract.sync import DesiredRun


def run_variables(run: DesiredRun, checkpoint_folder: str) -> dict[str, str]:
    """Which attempt of which job a program is, and where the checkpoints of all its attempts lie."""
    variables = {
        "SUANWANG_JOB": run.job,
        "SUANWANG_ATTEMPT": str(run.number),
        "SUANWANG_FENCING_TOKEN": str(run.fencing_token),
        "SUANWANG_CHECKPOINT_DIR": checkpoint_folder,
    }
    if run.array is not None:
        variables |= {"SUANWANG_ARRAY_INDEX": str(run.array.index), "SUANWANG_ARRAY_SIZE": str(run.array.size)}
    return variables


def rendezvous_variables(*, rank: int | str, nodes: int, per_node: int, address: str, port: int | str) -> dict[str, str]:
    """How the programs of a gang find each other, one on each node, `address` being that of rank 0's node.

    RANK and WORLD_SIZE count nodes, as Kubeflow's PyTorchJob sets them. `torchrun` reads PET_* as the defaults of its options, and
    then gives each of its workers a RANK and WORLD_SIZE of their own. `rank` and `port` may be text that the cluster fills in.
    """
    return {
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
        "NNODES": str(nodes),
        "NODE_RANK": str(rank),
        "WORLD_SIZE": str(nodes),
        "RANK": str(rank),
        "NPROC_PER_NODE": str(max(1, per_node)),
        "PET_MASTER_ADDR": address,
        "PET_MASTER_PORT": str(port),
        "PET_NNODES": str(nodes),
        "PET_NODE_RANK": str(rank),
        "PET_NPROC_PER_NODE": str(max(1, per_node)),
    }
