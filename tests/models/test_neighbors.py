import numpy as np
import pytest

import distspec
from distspec.inference.similarity import find_similar
from distspec.models import neighbors
from distspec.models.neighbors import NeighborIndex
from tests.helpers.plane import publish


@pytest.fixture
def points(rng):
    return rng.normal(size=(300, 4)).astype(np.float32)


def oracle(points, row, n):
    """All distances in double precision, in posterior widths, the spectrum itself left out."""
    apart = np.linalg.norm((points.astype(np.float64) - points[row]) / 0.5, axis=1)
    order = np.argsort(apart, kind="stable")
    order = order[order != row][:n]
    return order, apart[order]


@pytest.mark.parametrize("n_asked", [1, neighbors.MIN_TREE_QUERIES])
def test_the_nearest_are_those_of_all_distances(tmp_path, points, n_asked):
    names = publish(tmp_path, points)
    rows = np.arange(n_asked) * 3
    found = find_similar(str(tmp_path), [names[row] for row in rows], 7)
    assert found["rank"].to_pylist() == [*range(1, 8)] * n_asked
    for i, row in enumerate(rows):
        mine = found.slice(7 * i, 7)
        order, apart = oracle(points, row, 7)
        assert set(mine["query_id"].to_pylist()) == {names[row]}
        assert mine["object_id"].to_pylist() == [names[each] for each in order]
        assert np.allclose(mine["distance"].to_numpy(), apart, rtol=1e-5)


def test_a_repeat_with_the_same_latents_is_a_neighbour_and_the_spectrum_itself_is_not(tmp_path, points):
    points[5] = points[2]
    names = publish(tmp_path, points)
    found = distspec.find_similar(str(tmp_path), names[2], 3)
    assert found["object_id"][0].as_py() == names[5]
    assert found["distance"][0].as_py() == 0.0
    assert names[2] not in found["object_id"].to_pylist()


def test_there_are_no_more_than_there_are(tmp_path, points):
    names = publish(tmp_path, points[:4])
    assert len(find_similar(str(tmp_path), names[0], 10)) == 3
    with pytest.raises(ValueError, match="n = 0"):
        find_similar(str(tmp_path), names[0], 0)


def test_the_unit_is_in_the_field(tmp_path, points):
    names = publish(tmp_path, points)
    field = find_similar(str(tmp_path), names[0]).schema.field("distance")
    assert b"posterior widths" in field.metadata[b"description"]


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("0042", "field-0042.spec.fits"),  # a part of it
        ("FIELD-0042", "field-0042.spec.fits"),
        ("field-0042.spec.fit", "field-0042.spec.fits"),
        ("feild-0042.spec.fits", "field-0042.spec.fits"),  # wrong from its second letter on
        ("xield-0042.spec.fits", "field-0042.spec.fits"),
    ],
)
def test_an_unknown_name_is_answered_with_near_ones(tmp_path, points, asked, near):
    publish(tmp_path, points)
    with pytest.raises(ValueError, match=f"no spectrum '{asked}' .*near it: .*{near}"):
        find_similar(str(tmp_path), asked)


def test_a_name_like_none_says_so(tmp_path, points):
    publish(tmp_path, points)
    with pytest.raises(ValueError, match="it holds 300 others"):
        find_similar(str(tmp_path), "§§§")


def test_nothing_published_says_what_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"jobs\.pipeline"):
        find_similar(str(tmp_path), "a")


def test_few_and_many_agree(points, rng):
    spectra = NeighborIndex(None, points)
    asked = rng.normal(size=(neighbors.MIN_TREE_QUERIES, 4)).astype(np.float32)
    distance, index = spectra.query(asked, 5)
    for one, d, i in zip(asked, distance, index, strict=True):
        alone, rows = spectra.query(one[None], 5)
        assert rows[0].tolist() == i.tolist()
        assert np.allclose(alone[0], d, rtol=1e-12)
