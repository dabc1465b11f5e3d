from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from distspec.core.lines import GALAXY_LINES, STAR_FEATURES
from distspec.report import figures
from distspec.report.figures.spectra import ExampleSpectra

WAVE = np.geomspace(1100.0, 8400.0, 64)
WAVE_STARS = np.geomspace(6500.0, 25600.0, 64)
NULLS = pa.table({"space": ["map"], "k": [3], "silhouette": [0.15]})


def examples(n: int, *, masked: bool = False, name: str = "object") -> ExampleSpectra:
    rng = np.random.default_rng(n)
    flux = rng.normal(1.0, 0.1, (n, 64)).astype("f4")
    ivar = np.zeros_like(flux) if masked else np.full_like(flux, 100.0)
    recon = np.ones_like(flux)
    return ExampleSpectra(
        [f"{name}{i}" for i in range(n)], np.arange(n) + 1.0, flux, ivar, recon, ["why"] * n
    )


def medians(labels: list[int], wave: np.ndarray, value: float = 1.0) -> pa.Table:
    n = len(labels) * len(wave)
    columns = {
        "cluster_label": np.repeat(labels, len(wave)),
        "wave_rest": np.tile(wave, len(labels)),
    }
    for percentile in (16, 50, 84):
        columns[f"flux_p{percentile}"] = np.full(n, value * percentile)
    return pa.table(columns)


def sweep(**columns: list) -> pa.Table:
    rows = {"space": ["map"] * 3, "algorithm": ["gmm"] * 3, "k": [2, 3, 4], "silhouette": [0.1, 0.3, 0.2]}
    return pa.table({**rows, "chosen": [False, True, False], **columns})


def history(n: int, value: float = 1.0) -> pa.Table:
    names = ("train_recon", "val_recon", "train_kl", "val_kl", "lr")
    return pa.table({"epoch": np.arange(n), **{name: np.full(n, value) for name in names}})


def drawn(figure: Figure) -> np.ndarray:
    """Return the rendered figure, (height, width, 4), having seen that it is not blank."""
    figure.set_dpi(70)  # quick to render
    pixels = imread(io.BytesIO(figures.to_png(figure)))
    assert pixels[..., :3].std() > 0.005
    return pixels


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(mpl.text.Text))


@pytest.mark.parametrize("n", [0, 1, 3, 4])
def test_reconstructions_of_any_count(n):
    drawn(figures.plot_reconstructions(WAVE, examples(n), 1500.0))


def test_a_wholly_masked_spectrum_is_drawn():
    drawn(figures.plot_reconstructions(WAVE, examples(1, masked=True), 1500.0))


def test_masked_pixels_are_not_drawn():
    shown = examples(1)
    shown.ivar[0, 10:20] = 0
    shown.flux[0, 10:20] = 1e9
    ax = figures.plot_reconstructions(WAVE, shown, 1500.0).axes[0]
    data = next(line for line in ax.lines if line.get_label() == "data").get_ydata()
    assert np.isnan(data[10:20]).all()
    assert np.isfinite(np.delete(data, range(10, 20))).all()


def test_one_spike_does_not_set_the_scale():
    shown = examples(1)
    shown.flux[0, 5] = 1e6
    assert figures.plot_reconstructions(WAVE, shown, 1500.0).axes[0].get_ylim()[1] < 3


def test_the_residual_is_in_sigma():
    shown = examples(1)
    strip = figures.plot_reconstructions(WAVE, shown, 1500.0).axes[1]
    np.testing.assert_allclose(strip.lines[-1].get_ydata(), (shown.flux[0] - 1) * 10, rtol=1e-5)


@pytest.mark.parametrize("name", ["$x_{", "<b>", "a" * 90])
def test_any_object_id_is_drawn_as_it_is(name):
    figure = figures.plot_anomalies(WAVE, examples(2, name=name), GALAXY_LINES, 1500.0)
    drawn(figure)
    assert name[:20] in texts(figure)


def test_the_oddest_are_at_most_ten():
    assert len(figures.plot_anomalies(WAVE, examples(12), GALAXY_LINES, 1500.0).axes) == 10


def test_class_spectra_name_only_features_inside():
    objects = pa.table({"cluster_label": [0, 0, 1], "z": [1.0, 2.0, 3.0]})
    inside = WAVE[(WAVE > 3000) & (WAVE < 6000)]
    figure = figures.plot_class_medians(medians([0, 1], inside), objects, GALAXY_LINES, 1500.0)
    drawn(figure)
    assert "Hβ" in texts(figure)
    assert "Hα" not in texts(figure)


def test_stars_have_no_redshift_column_and_micrometres():
    objects = pa.table({"cluster_label": [0, 1], "z": [0.0, 0.0]})
    figure = figures.plot_class_medians(medians([0, 1], WAVE_STARS), objects, STAR_FEATURES, 12500.0)
    drawn(figure)
    assert len(figure.axes) == 2
    assert "µm" in texts(figure)
    assert "redshift" not in texts(figure)


@pytest.mark.parametrize("labels", [[], [0], [-1], [*range(20), -1]])
def test_class_spectra_of_any_count(labels):
    objects = pa.table({"cluster_label": pa.array(labels, "int32"), "z": np.ones(len(labels))})
    drawn(figures.plot_class_medians(medians(labels, WAVE), objects, GALAXY_LINES, 1500.0))


def test_classes_without_a_median_say_so():
    objects = pa.table({"cluster_label": [0], "z": [1.0]})
    figure = figures.plot_class_medians(medians([0], WAVE, np.nan), objects, GALAXY_LINES, 1500.0)
    drawn(figure)
    assert "too few spectra" in texts(figure)


@pytest.mark.parametrize("n", [0, 1, 500])
@pytest.mark.parametrize("z", [0.0, np.nan, 2.0])
def test_map_of_any_size(n, z):
    rng = np.random.default_rng(1)
    labels = rng.integers(-1, 20, n)
    error = np.where(rng.random(n) < 0.1, np.nan, rng.random(n))
    figure = figures.plot_umap(rng.normal(size=(n, 2)), labels, np.full(n, z), error)
    drawn(figure)
    assert ("redshift z" in texts(figure)) == (n > 0 and z == 2.0)


def test_map_without_coordinates_or_errors():
    nothing = np.full(3, np.nan)
    drawn(figures.plot_umap(np.full((3, 2), np.nan), np.array([0, 0, -1]), nothing, nothing))


def test_twenty_classes_are_told_apart():
    seen = {(figures.class_color(i), figures.class_marker(i)) for i in range(-1, 20)}
    assert len(seen) == 21


@pytest.mark.parametrize("value", [1.0, 0.0, -3.0, np.nan])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_training_curves_of_any_length(n, value):
    curves = history(n, value)
    drawn(figures.plot_training_curves(curves, figures.find_best_epoch(curves)))


def test_best_epoch_is_the_lowest_validation_loss():
    curves = history(3).set_column(2, "val_recon", pa.array([0.3, None, 0.4]))
    assert figures.find_best_epoch(curves) == 0
    assert np.isnan(figures.find_best_epoch(history(0)))


def test_sweep_rings_the_chosen_trial_and_shows_what_noise_scores():
    figure = figures.plot_sweep_scores(sweep(), NULLS)
    drawn(figure)
    assert "chosen: gmm, k = 3, silhouette 0.300" in texts(figure)
    assert "structureless data" in texts(figure)


def test_nothing_is_said_of_structureless_data_that_were_not_drawn():
    assert "structureless data" not in texts(figures.plot_sweep_scores(sweep(), NULLS.slice(0, 0)))


def test_sweep_has_a_panel_a_space():
    figure = figures.plot_sweep_scores(sweep(space=["features", "map", "map"]), NULLS)
    drawn(figure)
    assert [ax.get_title() for ax in figure.axes] == ["space: features", "space: map"]


def test_sweep_with_nothing_known_or_nothing_chosen():
    none = NULLS.slice(0, 0)
    drawn(figures.plot_sweep_scores(sweep(silhouette=pa.array([None] * 3, "float64")), none))
    drawn(figures.plot_sweep_scores(sweep(k=pa.array([None, 3, 4]), chosen=[None, False, False]), none))
    drawn(figures.plot_sweep_scores(sweep().slice(0, 0), none))


def test_members_stand_a_row_a_class():
    figure = figures.plot_class_examples(WAVE, examples(4), np.array([-1, 0, 0, 0]), GALAXY_LINES, 1500.0)
    drawn(figure)
    assert {"noise (−1)", "class 0"} <= {ax.get_ylabel() for ax in figure.axes}
    drawn(figures.plot_class_examples(WAVE, examples(0), np.zeros(0, int), GALAXY_LINES, 1500.0))


def test_labels_are_spread_as_little_as_needed():
    at = np.sort(np.random.default_rng(2).random(12))
    placed = figures.spread_labels(at, 0.05, 0.0, 1.0)
    assert np.diff(placed).min() > 0.05 - 1e-9
    assert placed[0] >= 0
    assert placed[-1] <= 1 + 1e-9
    np.testing.assert_array_equal(figures.spread_labels(np.array([0.1, 0.9]), 0.05, 0, 1), [0.1, 0.9])
    crowded = figures.spread_labels(at, 0.5, 0.0, 1.0)
    np.testing.assert_allclose(crowded, np.linspace(0, 1, 12))


def test_matplotlib_is_left_as_it_was():
    before = dict(mpl.rcParams)
    drawn(figures.plot_reconstructions(WAVE, examples(1), 1500.0))
    assert dict(mpl.rcParams) == before
