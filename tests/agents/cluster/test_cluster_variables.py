"""What a program is told of itself and of its gang, whoever launches it."""

from agents.cluster.variables import rendezvous_variables, run_variables
from tests.agents.cluster.doubles import desired


def test_a_program_knows_its_attempt_and_its_checkpoints() -> None:
    assert run_variables(desired(token=7, number=2), "/ckpt/job-1") == {
        "SUANWANG_JOB": "job-1",
        "SUANWANG_ATTEMPT": "2",
        "SUANWANG_FENCING_TOKEN": "7",
        "SUANWANG_CHECKPOINT_DIR": "/ckpt/job-1",
    }


def test_a_task_of_an_array_knows_which_it_is() -> None:
    told = run_variables(desired(array={"index": 7, "size": 100}), "/ckpt")
    assert (told["SUANWANG_ARRAY_INDEX"], told["SUANWANG_ARRAY_SIZE"]) == ("7", "100")


def test_ranks_count_nodes_and_torchrun_gets_a_process_per_card() -> None:
    told = rendezvous_variables(rank=2, nodes=4, per_node=8, address="10.0.0.1", port=29500)
    assert (told["RANK"], told["WORLD_SIZE"], told["NODE_RANK"], told["NNODES"]) == ("2", "4", "2", "4")
    assert (told["MASTER_ADDR"], told["MASTER_PORT"]) == ("10.0.0.1", "29500")
    torchrun = {name.removeprefix("PET_"): value for name, value in told.items() if name.startswith("PET_")}
    assert torchrun == {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500", "NNODES": "4", "NODE_RANK": "2", "NPROC_PER_NODE": "8"}


def test_a_gang_without_cards_has_one_process_per_node() -> None:
    assert rendezvous_variables(rank=0, nodes=1, per_node=0, address="a", port="1")["PET_NPROC_PER_NODE"] == "1"
