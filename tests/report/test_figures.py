from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from distspec.core.colors import class_color
from distspec.core.lines import GALAXY_LINES, STAR_FEATURES
from distspec.report import figures
from distspec.report.data import ExampleSpectra
from distspec.report.figures.style import class_marker, spread_labels

WAVE = np.geomspace(1100.0, 8400.0, 64)
WAVE_STARS = np.geomspace(6500.0, 25600.0, 64)
NULL_TESTS = pa.table({"space": ["map"], "k": [3], "silhouette": [0.15]})


def examples(n: int, *, masked: bool = False, name: str = "object") -> ExampleSpectra:
    rng = np.random.default_rng(n)
    flux = rng.normal(1.0, 0.1, (n, 64)).astype("f4")
    ivar = np.zeros_like(flux) if masked else np.full_like(flux, 100.0)
    recon = np.ones_like(flux)
    return ExampleSpectra(
        [f"{name}{i}" for i in range(n)], np.arange(n) + 1.0, flux, ivar, recon, ["caption"] * n
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
    return pa.table({**rows, "selected": [False, True, False], **columns})


def history(n: int, value: float = 1.0) -> pa.Table:
    names = ("train_recon", "val_recon", "train_kl", "val_kl", "lr")
    return pa.table({"epoch": np.arange(n), **{name: np.full(n, value) for name in names}})


def render(figure: Figure) -> np.ndarray:
    """Return the rendered figure, of shape (height, width, 4), after checking that it is not blank."""
    figure.set_dpi(70)  # fast to render
    pixels = imread(io.BytesIO(figures.to_png(figure)))
    assert pixels[..., :3].std() > 0.005
    return pixels


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(mpl.text.Text))


@pytest.mark.parametrize("n", [0, 1, 3, 4])
def test_any_number_of_reconstructions(n):
    render(figures.plot_reconstructions(WAVE, examples(n), 1500.0))


def test_a_fully_masked_spectrum():
    render(figures.plot_reconstructions(WAVE, examples(1, masked=True), 1500.0))


def test_masked_pixels_are_not_drawn():
    shown = examples(1)
    shown.ivar[0, 10:20] = 0
    shown.flux[0, 10:20] = 1e9
    ax = figures.plot_reconstructions(WAVE, shown, 1500.0).axes[0]
    data = next(line for line in ax.lines if line.get_label() == "data").get_ydata()
    assert np.isnan(data[10:20]).all()
    assert np.isfinite(np.delete(data, range(10, 20))).all()


def test_a_spike_does_not_set_the_axis_limits():
    shown = examples(1)
    shown.flux[0, 5] = 1e6
    assert figures.plot_reconstructions(WAVE, shown, 1500.0).axes[0].get_ylim()[1] < 3


def test_residuals_are_in_units_of_sigma():
    shown = examples(1)
    strip = figures.plot_reconstructions(WAVE, shown, 1500.0).axes[1]
    np.testing.assert_allclose(strip.lines[-1].get_ydata(), (shown.flux[0] - 1) * 10, rtol=1e-5)


@pytest.mark.parametrize("name", ["$x_{", "<b>", "a" * 90])
def test_object_ids_are_not_interpreted(name):
    figure = figures.plot_anomalies(WAVE, examples(2, name=name), GALAXY_LINES, 1500.0)
    render(figure)
    assert name[:20] in texts(figure)


def test_at_most_ten_anomalies_are_drawn():
    assert len(figures.plot_anomalies(WAVE, examples(12), GALAXY_LINES, 1500.0).axes) == 10


def test_only_features_in_the_plotted_range_are_named():
    objects = pa.table({"cluster_label": [0, 0, 1], "z": [1.0, 2.0, 3.0]})
    inside = WAVE[(WAVE > 3000) & (WAVE < 6000)]
    figure = figures.plot_class_medians(medians([0, 1], inside), objects, GALAXY_LINES, 1500.0)
    render(figure)
    assert "Hβ" in texts(figure)
    assert "Hα" not in texts(figure)


def test_figures_of_stars_have_no_redshifts_and_use_micrometers():
    objects = pa.table({"cluster_label": [0, 1], "z": [0.0, 0.0]})
    figure = figures.plot_class_medians(medians([0, 1], WAVE_STARS), objects, STAR_FEATURES, 12500.0)
    render(figure)
    assert len(figure.axes) == 2
    assert "µm" in texts(figure)
    assert "redshift" not in texts(figure)


@pytest.mark.parametrize("labels", [[], [0], [-1], [*range(20), -1]])
def test_any_number_of_class_medians(labels):
    objects = pa.table({"cluster_label": pa.array(labels, "int32"), "z": np.ones(len(labels))})
    render(figures.plot_class_medians(medians(labels, WAVE), objects, GALAXY_LINES, 1500.0))


def test_classes_without_a_median():
    objects = pa.table({"cluster_label": [0], "z": [1.0]})
    figure = figures.plot_class_medians(medians([0], WAVE, np.nan), objects, GALAXY_LINES, 1500.0)
    render(figure)
    assert "too few spectra" in texts(figure)


@pytest.mark.parametrize("n", [0, 1, 500])
@pytest.mark.parametrize("z", [0.0, np.nan, 2.0])
def test_umap_of_any_size(n, z):
    rng = np.random.default_rng(1)
    labels = rng.integers(-1, 20, n)
    error = np.where(rng.random(n) < 0.1, np.nan, rng.random(n))
    figure = figures.plot_umap(rng.normal(size=(n, 2)), labels, np.full(n, z), error)
    render(figure)
    assert ("redshift z" in texts(figure)) == (n > 0 and z == 2.0)


def test_umap_without_coordinates_or_errors():
    nothing = np.full(3, np.nan)
    render(figures.plot_umap(np.full((3, 2), np.nan), np.array([0, 0, -1]), nothing, nothing))


def test_twenty_classes_have_different_colors_or_markers():
    styles = {(class_color(i), class_marker(i)) for i in range(-1, 20)}
    assert len(styles) == 21


@pytest.mark.parametrize("value", [1.0, 0.0, -3.0, np.nan])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_training_curves_of_any_length(n, value):
    render(figures.plot_training_curves(history(n, value), max(n - 1, 0)))


def test_sweep_marks_the_selected_trial_and_shows_null_data():
    figure = figures.plot_sweep_scores(sweep(), NULL_TESTS)
    render(figure)
    assert "selected: gmm, k = 3, silhouette 0.300" in texts(figure)
    assert "null data" in texts(figure)


def test_sweep_without_null_data():
    assert "null data" not in texts(figures.plot_sweep_scores(sweep(), NULL_TESTS.slice(0, 0)))


def test_sweep_has_one_panel_per_space():
    figure = figures.plot_sweep_scores(sweep(space=["features", "map", "map"]), NULL_TESTS)
    render(figure)
    assert [ax.get_title() for ax in figure.axes] == ["space: features", "space: map"]


def test_sweep_without_scores_or_selection():
    none = NULL_TESTS.slice(0, 0)
    render(figures.plot_sweep_scores(sweep(silhouette=pa.array([None] * 3, "float64")), none))
    render(figures.plot_sweep_scores(sweep(k=pa.array([None, 3, 4]), selected=[None, False, False]), none))
    render(figures.plot_sweep_scores(sweep().slice(0, 0), none))


def test_class_examples_have_one_row_per_class():
    figure = figures.plot_class_examples(WAVE, examples(4), np.array([-1, 0, 0, 0]), GALAXY_LINES, 1500.0)
    render(figure)
    assert {"noise (−1)", "class 0"} <= {ax.get_ylabel() for ax in figure.axes}
    render(figures.plot_class_examples(WAVE, examples(0), np.zeros(0, int), GALAXY_LINES, 1500.0))


def test_labels_are_moved_as_little_as_needed():
    positions = np.sort(np.random.default_rng(2).random(12))
    placed = spread_labels(positions, 0.05, 0.0, 1.0)
    assert np.diff(placed).min() > 0.05 - 1e-9
    assert placed[0] >= 0
    assert placed[-1] <= 1 + 1e-9
    np.testing.assert_array_equal(spread_labels(np.array([0.1, 0.9]), 0.05, 0, 1), [0.1, 0.9])
    crowded = spread_labels(positions, 0.5, 0.0, 1.0)
    np.testing.assert_allclose(crowded, np.linspace(0, 1, 12))


def test_matplotlib_settings_are_unchanged():
    before = dict(mpl.rcParams)
    render(figures.plot_reconstructions(WAVE, examples(1), 1500.0))
    assert dict(mpl.rcParams) == before
