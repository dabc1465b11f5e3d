import numpy as np
import pytest

from distspec.anomaly.score import Usual
from distspec.clustering.algorithms import fit
from distspec.clustering.config import Setting, Space
from distspec.clustering.consensus import agree
from distspec.clustering.feature_space import Frame, Sample
from distspec.clustering.labeler import Fitted, Repeat, undivided
from distspec.clustering.umap import Layout, Map, neighbourhood
from distspec.inference.run_model import Yardstick
from distspec.io.files import get_arrays, put_arrays


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(1)
    truth = rng.permutation(np.repeat(np.arange(3), [60, 50, 40]))
    latents = rng.normal(size=(150, 4)) + 7.0 * np.eye(4)[truth]
    return Sample(latents.astype(np.float32), (latents[:, :3] + 1.0).astype(np.float32))


@pytest.fixture(scope="module")
def usual():
    rng = np.random.default_rng(2)
    names = ("recon", "line", "density", "neighbours", "forest")
    raw = {name: rng.random(150).astype(np.float32) for name in names}
    snr, label = rng.random(150).astype(np.float32) * 9, rng.integers(-1, 3, 150).astype(np.int32)
    return Usual.of(raw, snr, label), (raw, snr, label, np.ones(150, np.float32))


def clustered(sample):
    """A repeat of every kind of predictor, in every kind of space."""
    near = neighbourhood(sample.latents, 10)
    drawn = Space("map", 10, 2, 0)
    ways = [
        (Space("latents"), Setting("gmm", 3, "tied")),
        (Space("features"), Setting("kmeans", 3)),
        (Space("latents"), Setting("hdbscan", scale=0.1)),
        (drawn, Setting("gmm", 3, "full")),
    ]
    places = {(0, drawn): Map.of(near, Layout(0))}
    repeats, labels = [], []
    for space, setting in ways:
        x = places[0, drawn].points if space.dims else sample.base(space).astype(np.float64)
        made = fit(x, setting, np.random.default_rng(0))
        repeats.append(Repeat(0, space, made.predictor))
        labels.append(made.labels)
    consensus = agree(labels, 3, np.random.default_rng(0))
    return Fitted(repeats, places, consensus, None, Map.of(near, Layout(1)))


@pytest.mark.parametrize("make", [clustered, lambda s: undivided(s, clustered(s).shown)])
def test_what_is_kept_says_the_same_bit_for_bit(sample, usual, tmp_path, make):
    fitted, latents = make(sample), sample.latents
    frames = [Frame(np.ones(4), np.full(1, 2.0)), Frame(np.full(4, 3.0), np.zeros(0))]
    kept = Yardstick(fitted, frames, np.full(4, 0.5), latents, 7, np.ones(9, np.float32), usual[0])
    put_arrays(str(tmp_path / "y.npz"), kept.to_arrays())
    again = Yardstick.from_arrays(get_arrays(str(tmp_path / "y.npz")))
    others = Sample(latents[::2] + 0.1, sample.features[::2])
    one, two = fitted.describe([others]), again.fitted.describe([others])
    assert one.keys() == two.keys() >= {"label", "prob", "entropy", "stability", "points"}
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert [f.widths.tolist() for f in again.frames] == [f.widths.tolist() for f in frames]
    assert again.seed == 7
    first, second = kept.usual.score(*usual[1]), again.usual.score(*usual[1])
    assert all(np.array_equal(first[name], second[name]) for name in first)
    mine, theirs = kept.scorer.parts(others.latents), again.scorer.parts(others.latents)
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)


def test_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "evil.npz", record=np.array([object()], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        get_arrays(str(tmp_path / "evil.npz"))
