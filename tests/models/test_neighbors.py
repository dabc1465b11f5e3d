"""Nearest neighbors in latent space, compared with all distances in double precision."""

import numpy as np
import pytest

from distspec.core.errors import NotFoundError
from distspec.inference.similarity import find_similar
from distspec.models import neighbors
from distspec.models.neighbors import NeighborIndex
from tests.helpers.plane import publish


@pytest.fixture
def points(rng):
    return rng.normal(size=(300, 4)).astype(np.float32)


def find_nearest_brute_force(points, row, n):
    """Rows and distances, in posterior widths, of the nearest spectra other than the spectrum itself."""
    distance = np.linalg.norm((points.astype(np.float64) - points[row]) / 0.5, axis=1)
    order = np.argsort(distance, kind="stable")
    order = order[order != row][:n]
    return order, distance[order]


@pytest.mark.parametrize("n_queries", [1, neighbors.MIN_TREE_QUERIES])
def test_neighbors_equal_those_of_all_distances(tmp_path, points, n_queries):
    names = publish(tmp_path, points)
    rows = np.arange(n_queries) * 3
    found = find_similar(str(tmp_path), [names[row] for row in rows], 7)
    assert found["rank"].to_pylist() == [*range(1, 8)] * n_queries
    for i, row in enumerate(rows):
        neighbors_of_row = found.slice(7 * i, 7)
        order, distance = find_nearest_brute_force(points, row, 7)
        assert set(neighbors_of_row["query_id"].to_pylist()) == {names[row]}
        assert neighbors_of_row["object_id"].to_pylist() == [names[other] for other in order]
        assert np.allclose(neighbors_of_row["distance"].to_numpy(), distance, rtol=1e-5)


def test_repeat_with_equal_latents_is_a_neighbor_but_the_spectrum_itself_is_not(tmp_path, points):
    points[5] = points[2]
    names = publish(tmp_path, points)
    found = find_similar(str(tmp_path), names[2], 3)
    assert found["object_id"][0].as_py() == names[5]
    assert found["distance"][0].as_py() == 0.0
    assert names[2] not in found["object_id"].to_pylist()


def test_at_most_all_other_spectra_are_returned(tmp_path, points):
    names = publish(tmp_path, points[:4])
    assert len(find_similar(str(tmp_path), names[0], 10)) == 3
    with pytest.raises(ValueError, match="0 neighbors were asked for"):
        find_similar(str(tmp_path), names[0], 0)


def test_distance_column_is_described(tmp_path, points):
    names = publish(tmp_path, points)
    field = find_similar(str(tmp_path), names[0]).schema.field("distance")
    assert b"posterior widths" in field.metadata[b"description"]


@pytest.mark.parametrize(
    ("unknown", "suggested"),
    [
        ("0042", "field-0042.spec.fits"),  # part of a name
        ("FIELD-0042", "field-0042.spec.fits"),
        ("field-0042.spec.fit", "field-0042.spec.fits"),
        ("feild-0042.spec.fits", "field-0042.spec.fits"),  # a typing error near the beginning
        ("xield-0042.spec.fits", "field-0042.spec.fits"),
    ],
)
def test_unknown_name_gets_suggestions(tmp_path, points, unknown, suggested):
    publish(tmp_path, points)
    with pytest.raises(NotFoundError, match=f"no spectrum '{unknown}' .*similar names: .*{suggested}"):
        find_similar(str(tmp_path), unknown)


def test_unknown_name_without_similar_names(tmp_path, points):
    publish(tmp_path, points)
    with pytest.raises(NotFoundError, match="none of its 300 names is similar"):
        find_similar(str(tmp_path), "§§§")


def test_no_catalog_names_the_command(tmp_path):
    with pytest.raises(NotFoundError, match="distspec run"):
        find_similar(str(tmp_path), "a")


def test_tree_and_all_distances_agree(points, rng):
    index = NeighborIndex(None, points)
    queries = rng.normal(size=(neighbors.MIN_TREE_QUERIES, 4)).astype(np.float32)
    distances, rows = index.query(queries, 5)
    for query, distances_of_tree, rows_of_tree in zip(queries, distances, rows, strict=True):
        distances_of_one, rows_of_one = index.query(query[None], 5)
        assert rows_of_one[0].tolist() == rows_of_tree.tolist()
        assert np.allclose(distances_of_one[0], distances_of_tree, rtol=1e-12)
