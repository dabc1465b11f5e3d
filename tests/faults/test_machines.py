"""FAULTS 84 to 90, and what goes with them, are proven where the parts are that they hit: which tests do."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PROOFS = {
    "84 disk full": [
        "growth/test_kills.py::test_a_full_disk_is_an_error_and_no_half_commit",
        "growth/test_kills.py::test_a_record_that_found_no_room_leaves_the_old_one",
    ],
    "85 out of memory: the worker is killed": [
        "growth/test_kills.py::test_a_file_that_ends_every_worker_is_quarantined_alone",
        "stages/test_embed.py::test_an_actor_that_dies_is_replaced",
        "stages/test_cluster.py::test_actors_killed_mid_sweep_change_nothing",
    ],
    "86 driver SIGKILLed": [
        "growth/test_kills.py::test_killed_and_run_again",
        "training/test_kills.py::test_a_worker_and_then_the_driver_in_a_checkpoint",
        "soak/test_soak.py::test_forty_nights",
    ],
    "87 driver SIGTERMed": [
        "cluster/test_jobs.py::test_stopped_submitted_again_and_again",
        "soak/test_soak.py::test_a_night",
        "test_endings.py::test_a_stopped_job_lets_go_and_the_next_goes_on",
    ],
    "88 an actor hangs": ["stages/test_crew.py::test_who_hangs_is_started_again"],
    "89 the loss is NaN": [
        "stages/test_train.py::test_a_bad_value_ends_it_at_once_and_by_name",
        "stages/test_serving.py::test_a_training_that_is_not_finite_leaves_the_champion",
    ],
    "90 a torn manifest or checkpoint": [
        "test_checkpoints.py::test_a_torn_one_is_passed_over_and_says_so",
        "test_verification.py::test_a_damaged_chunk_of_pixels_is_named",
        "test_provenance.py::test_every_altered_record_is_named",
    ],
    "a raylet killed": [
        "soak/test_soak.py::test_forty_nights",
        "growth/test_nodes.py::test_a_lost_node_is_no_lost_row",
        "training/test_nodes.py::test_another_node_takes_over",
    ],
    "a task that dies after writing": [
        "growth/test_kills.py::test_a_task_that_dies_after_its_work_is_run_again"
    ],
    "two runs at once": ["growth/test_two_at_once.py::test_one_works_and_the_other_says_who_holds_the_root"],
    "a reader looping": ["soak/test_soak.py::test_forty_nights"],
}


@pytest.mark.parametrize("case", PROOFS)
def test_each_case_has_its_proof(case):
    for proof in PROOFS[case]:
        file, _, name = proof.partition("::")
        tree = ast.parse((TESTS / file).read_text())
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, proof
