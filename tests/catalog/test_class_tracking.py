from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.catalog.class_tracking import PublishedClasses, track_classes
from distspec.clustering.algorithms import fit_clusterings
from distspec.clustering.config import AlgorithmSpec

N = 400


@dataclass
class Run:
    """Labels and latent positions of spectra that are identified by number."""

    name: str
    labels: np.ndarray
    number: np.ndarray
    points: np.ndarray


def run(name, labels, number=None, points=None):
    labels = np.asarray(labels)
    number = np.arange(len(labels)) if number is None else number
    return Run(name, labels, number, np.zeros((len(labels), 2)) if points is None else points)


def track(*runs):
    """Track classes through consecutive runs; return the result of each."""
    found, last = [], None
    for labeled_run in runs:
        object_id = pa.chunked_array([pa.array([f"o{i}" for i in labeled_run.number])])
        result = track_classes(labeled_run.name, object_id, labeled_run.labels, labeled_run.points, last)
        last = PublishedClasses(
            object_id, pa.chunked_array([result.map_labels(labeled_run.labels)]), result.class_registry
        )
        found.append(result)
    return found


def changed(tracked):
    """Return the number of spectra by (class, previous class, change)."""
    rows = tracked.changes.to_pylist()
    return {(row["class_id"], row["previous_class_id"], row["change"]): row["n_spectra"] for row in rows}


some_labels = st.lists(st.integers(-1, 5), min_size=1, max_size=60).map(
    lambda values: np.unique(np.append(values, -1), return_inverse=True)[1][:-1] - 1
)


@settings(max_examples=50)
@given(some_labels, st.randoms())
def test_permuted_labels_keep_their_identifiers(labels, random):
    order = list(range(labels.max(initial=-1) + 1))
    random.shuffle(order)
    renamed = np.where(labels < 0, -1, np.array([*order, -1])[labels])
    first, second = track(run("r-1", labels), run("r-2", renamed))
    assert second.map_labels(renamed).equals(first.map_labels(labels))
    assert set(second.change_types) <= {"kept"}
    assert {change for *_, change in changed(second)} <= {"kept"}


@settings(max_examples=50)
@given(some_labels, some_labels)
def test_changes_count_every_spectrum_once_and_identifiers_are_unique(one, other):
    n = min(len(one), len(other))
    first, second = track(run("r-1", one), run("r-2", other[: n // 2 + 1], np.arange(len(one))[: n // 2 + 1]))
    labels = other[: n // 2 + 1]
    for label, name in enumerate(second.class_ids):
        rows = second.changes.filter(pc.equal(second.changes["class_id"], name))
        assert pc.sum(rows["n_spectra"]).as_py() == np.sum(labels == label)
    for label, name in enumerate(first.class_ids):
        rows = second.changes.filter(pc.equal(second.changes["previous_class_id"], name))
        assert (pc.sum(rows["n_spectra"]).as_py() or 0) == np.sum(one == label)
    new = set(second.class_ids) - set(first.class_ids)
    assert len(set(second.class_ids)) == len(second.class_ids)
    assert all(labeled_run > max(first.class_ids, default="") for labeled_run in new)


def test_a_first_run_numbers_classes_by_size():
    labels = np.repeat([0, 1, 2, -1], [5, 20, 10, 7])
    (first,) = track(run("r-1", labels))
    assert first.class_ids == ["c-0003", "c-0001", "c-0002"]
    assert set(first.change_types) == {"new"}
    assert first.map_labels(np.array([-1, 1])).to_pylist() == [None, "c-0001"]
    assert first.previous_class_ids.null_count == len(labels)
    assert changed(first)["c-0001", None, "new"] == 20


def test_the_nearer_half_of_a_split_class_keeps_its_identifier():
    points = np.concatenate([np.full((50, 2), 0.4), np.full((50, 2), -1.0), np.full((60, 2), 9.0)])
    points += 0.1 * np.random.default_rng(0).normal(size=points.shape)
    before = np.repeat([0, 0, 1], [50, 50, 60])
    _, second = track(run("r-1", before), run("r-2", np.repeat([2, 1, 0], [50, 50, 60]), points=points))
    assert second.class_ids[0] == "c-0002"
    assert sorted(second.change_types) == ["kept", "kept", "split"]
    rows = {row["change"]: row for row in second.changes.to_pylist() if row["previous_class_id"] == "c-0001"}
    assert rows["kept"]["share_of_previous"] == rows["split"]["share_of_previous"] == 0.5
    assert rows["kept"]["distance"] == rows["split"]["distance"] or (
        rows["kept"]["distance"] < rows["split"]["distance"]
    )
    assert rows["split"]["class_id"] == "c-0003"
    assert "c-0001 continues" in rows["split"]["reason"]


def test_the_nearer_of_two_equal_parts_keeps_the_identifier():
    """Spectra that became noise shift the old center to one side."""
    points = np.concatenate([np.full((40, 1), 0.0), np.full((40, 1), 4.0), np.full((20, 1), 6.0)])
    points += np.random.default_rng(0).normal(size=points.shape)
    before, after = np.zeros(100, int), np.repeat([0, 1, -1], [40, 40, 20])
    _, second = track(run("r-1", before), run("r-2", after, points=points))
    assert second.class_ids == ["c-0002", "c-0001"]
    _, mirrored = track(run("r-1", before), run("r-2", np.where(after < 0, -1, 1 - after), points=points))
    assert mirrored.class_ids == ["c-0001", "c-0002"]
    assert changed(second)[None, "c-0001", "to noise"] == 20


def test_a_class_continues_in_one_of_three_equal_parts_but_not_of_four():
    before = np.zeros(120, int)
    _, three = track(run("r-1", before), run("r-2", np.repeat([0, 1, 2], 40)))
    assert sorted(three.change_types) == ["kept", "split", "split"]
    _, four = track(run("r-1", before), run("r-2", np.repeat([0, 1, 2, 3], 30)))
    assert four.change_types == ["split"] * 4
    assert four.class_ids == ["c-0002", "c-0003", "c-0004", "c-0005"]
    assert "c-0001 ends" in four.changes["reason"][0].as_py()


def test_the_larger_of_two_merged_classes_continues():
    _, second = track(
        run("r-1", np.repeat([0, 1, 2], [60, 40, 50])), run("r-2", np.repeat([0, 1], [100, 50]))
    )
    assert second.class_ids == ["c-0001", "c-0002"]
    assert changed(second) == {
        ("c-0001", "c-0001", "kept"): 60,
        ("c-0001", "c-0003", "merged"): 40,
        ("c-0002", "c-0002", "kept"): 50,
    }


def test_four_equal_classes_merge_into_a_new_one():
    _, second = track(run("r-1", np.repeat([0, 1, 2, 3], 25)), run("r-2", np.zeros(100, int)))
    assert second.class_ids == ["c-0005"]
    assert second.change_types == ["merged"]


def test_a_run_of_other_spectra_has_only_new_identifiers():
    runs = [run(f"r-{k}", np.repeat([0, 1], [30, 20]), 100 * k + np.arange(50)) for k in range(3)]
    _, second, third = track(*runs)
    assert second.class_ids == ["c-0003", "c-0004"]
    assert changed(second) == {
        ("c-0003", None, "new"): 30,
        ("c-0004", None, "new"): 20,
        (None, "c-0001", "gone"): 30,
        (None, "c-0002", "gone"): 20,
    }
    assert third.class_ids == ["c-0005", "c-0006"]


def test_a_class_that_becomes_noise_is_gone():
    _, second = track(run("r-1", np.repeat([0, 1], [50, 50])), run("r-2", np.repeat([0, -1], [50, 50])))
    assert changed(second) == {
        ("c-0001", "c-0001", "kept"): 50,
        (None, "c-0002", "to noise"): 50,
        (None, "c-0002", "gone"): 0,
    }
    _, third = track(run("r-1", np.repeat([0, -1], [50, 50])), run("r-2", np.repeat([0, 1], [50, 50])))
    assert changed(third)["c-0002", None, "from noise"] == 50
    assert third.change_types == ["kept", "new"]


def test_a_run_that_was_published_before_keeps_its_identifiers():
    whole, cut = np.repeat([0, 1], [60, 40]), np.repeat([0, 1, 2, 3, 4], [15, 15, 15, 15, 40])
    first, other, again = track(run("r-1", whole), run("r-2", cut), run("r-1", whole))
    assert again.class_ids == first.class_ids
    assert again.class_registry.equals(other.class_registry)
    assert again.change_types == ["merged", "kept"]
    *_, later = track(run("r-1", whole), run("r-2", cut), run("r-1", whole), run("r-3", np.zeros(100, int)))
    assert later.class_ids == first.class_ids[:1]


@pytest.mark.parametrize("seed", range(5))
def test_spectra_keep_their_classes_when_the_archive_grows(seed):
    """Well separated Gaussians are clustered again in rotated coordinates, as another model would give."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(6, size=2400, p=[0.3, 0.25, 0.2, 0.13, 0.08, 0.04])
    points = rng.normal(size=(2400, 8)) + 6.0 / np.sqrt(2.0) * np.eye(8)[truth]
    turned = points @ np.linalg.qr(rng.normal(size=(8, 8)))[0]
    number = rng.permutation(2400)
    runs = []
    for name, some, where in (("r-1", number[:2000], points), ("r-2", rng.permutation(2400), turned)):
        (fit,) = fit_clusterings(where[some], [AlgorithmSpec("gmm", 6, "tied")], [seed], n_init=10)
        runs.append(run(name, fit.labels, some, where[some]))
    first, second = track(*runs)
    before = dict(zip(runs[0].number.tolist(), first.map_labels(runs[0].labels).to_pylist(), strict=True))
    after = dict(zip(runs[1].number.tolist(), second.map_labels(runs[1].labels).to_pylist(), strict=True))
    kept_fraction = np.mean([before[i] == after[i] for i in before])
    assert kept_fraction >= 0.95
    assert sum(n for (*_, change), n in changed(second).items() if change in ("new", "added")) == 400


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_identifiers_do_not_depend_on_the_order_of_spectra(seed):
    rng = np.random.default_rng(seed)
    labels, later = rng.integers(-1, 4, 50), rng.integers(-1, 5, 50)
    later = np.unique(np.append(later, -1), return_inverse=True)[1][:-1] - 1
    labels = np.unique(np.append(labels, -1), return_inverse=True)[1][:-1] - 1
    points, order = rng.normal(size=(50, 3)), rng.permutation(50)
    _, one = track(run("r-1", labels), run("r-2", later, points=points))
    _, two = track(run("r-1", labels), run("r-2", later[order], order, points[order]))
    assert one.class_ids == two.class_ids
