"""Cases 84–90, faults of machines: an index of the tests, which are in directories of the affected parts."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
TESTS_BY_CASE = {
    "84 disk full": [
        "growth/test_kills.py::test_a_full_disk_is_an_error_without_a_partial_commit",
        "growth/test_kills.py::test_failed_write_on_a_full_disk_keeps_the_old_record",
    ],
    "85 out of memory: the worker is killed": [
        "growth/test_kills.py::test_only_the_file_that_crashes_workers_is_quarantined",
        "stages/test_embed.py::test_dead_actor_is_replaced",
        "stages/test_cluster.py::test_killed_actors_do_not_change_the_results",
    ],
    "a worker aborts": [
        "stages/test_ingest.py::test_an_aborted_read_is_repeated_and_counted",
        "stages/test_cluster.py::test_rerun_runs_only_missing_jobs",
        "faults/test_ray_worker_exit.py::test_workers_that_abort_at_their_exit_lose_nothing",
    ],
    "86 driver killed by SIGKILL": [
        "growth/test_kills.py::test_an_ingest_that_was_killed_is_completed",
        "training/test_kills.py::test_worker_killed_and_then_the_driver_in_a_checkpoint",
        "soak/test_soak.py::test_forty_runs_with_random_faults",
    ],
    "87 driver stopped by SIGTERM": [
        "cluster/test_jobs.py::test_stopped_job_is_resumed_by_the_next",
        "soak/test_soak.py::test_one_run_with_a_stopped_job",
        "pipeline/test_exit.py::test_a_stopped_job_releases_the_root_and_is_resumed",
    ],
    "88 hanging actor": ["stages/test_pool.py::test_hanging_actors_are_restarted"],
    "89 the loss is NaN": [
        "stages/test_train.py::test_bad_value_ends_the_training_and_is_named",
        "stages/test_promote.py::test_diverged_training_leaves_the_promoted_model",
    ],
    "90 a damaged manifest, checkpoint or record": [
        "training/test_checkpoint_files.py::test_damaged_checkpoint_is_skipped_with_a_warning",
        "store/test_verify.py::test_a_damaged_chunk_of_pixels_is_reported",
        "operations/test_integrity.py::test_every_altered_record_is_named",
    ],
    "a raylet is killed": [
        "soak/test_soak.py::test_forty_runs_with_random_faults",
        "growth/test_nodes.py::test_loss_of_a_node_does_not_change_the_store",
        "training/test_nodes.py::test_another_node_replaces_the_lost_one",
    ],
    "a task dies after writing": ["growth/test_kills.py::test_task_that_dies_after_writing_is_repeated"],
    "two jobs at once": ["growth/test_two_at_once.py::test_one_job_works_and_the_other_reports_the_holder"],
    "a reader in a loop": ["soak/test_soak.py::test_forty_runs_with_random_faults"],
}


@pytest.mark.parametrize("case", TESTS_BY_CASE)
def test_each_case_has_a_test(case):
    for test in TESTS_BY_CASE[case]:
        file, _, name = test.partition("::")
        tree = ast.parse((TESTS / file).read_text())
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, test
