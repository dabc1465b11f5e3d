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
from distspec.report.data import ChosenSpace, ExampleSpectra, MapColumn
from distspec.report.figures.flux_axis import choose_linear_width
from distspec.report.figures.sky import find_fields
from distspec.report.figures.style import class_marker, spread_labels
from distspec.report.odd_features import OddFeature, find_odd_feature

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


@pytest.mark.parametrize(("last", "scale"), [(2e-3, "linear"), (1.94e-3, "linear"), (1e-5, "log")])
def test_learning_rates_have_ticks_of_few_digits(last, scale):
    rates = np.geomspace(2e-3, last, 20)
    table = history(20).set_column(5, "lr", pa.array(rates))
    figure = figures.plot_training_curves(table, 3)
    render(figure)
    axis = figure.axes[2].yaxis
    assert axis.get_scale() == scale
    shown = [label.get_text() for label in axis.get_ticklabels() if label.get_text()]
    assert len(shown) >= 3
    if scale == "linear":
        assert all(float(text) == float(f"{float(text):.2g}") for text in shown)


@pytest.mark.parametrize("n", [0, 1, 3, 4])
def test_any_number_of_reconstructions(n):
    render(figures.plot_reconstructions(WAVE, examples(n), GALAXY_LINES, 1500.0))


def test_a_fully_masked_spectrum():
    render(figures.plot_reconstructions(WAVE, examples(1, masked=True), GALAXY_LINES, 1500.0))


def test_masked_pixels_are_not_drawn():
    shown = examples(1)
    shown.ivar[0, 10:20] = 0
    shown.flux[0, 10:20] = 1e9
    ax = figures.plot_reconstructions(WAVE, shown, GALAXY_LINES, 1500.0).axes[0]
    data = next(line for line in ax.lines if line.get_label() == "data").get_ydata()
    assert np.isnan(data[10:20]).all()
    assert np.isfinite(np.delete(data, range(10, 20))).all()


def test_a_spike_does_not_set_the_axis_limits():
    shown = examples(1)
    shown.flux[0, 5] = 1e6
    assert figures.plot_reconstructions(WAVE, shown, GALAXY_LINES, 1500.0).axes[0].get_ylim()[1] < 3


def test_residuals_are_in_units_of_sigma():
    shown = examples(1)
    strip = figures.plot_reconstructions(WAVE, shown, GALAXY_LINES, 1500.0).axes[1]
    (residual,) = [line for line in strip.lines if line.get_marker() == "."]
    np.testing.assert_allclose(residual.get_ydata(), (shown.flux[0] - 1) * 10, rtol=1e-5)


@pytest.mark.parametrize("name", ["$x_{", "<b>", "a" * 90])
def test_object_ids_are_not_interpreted(name):
    figure = figures.plot_anomalies(WAVE, examples(2, name=name), GALAXY_LINES, 1500.0)
    render(figure)
    assert name[:20] in texts(figure)


def test_at_most_ten_anomalies_are_drawn():
    assert len(figures.plot_anomalies(WAVE, examples(12), GALAXY_LINES, 1500.0).axes) == 20, (
        "flux and residuals"
    )


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
    umap = rng.normal(size=(n, 2))
    figure = figures.plot_property_maps(umap, np.full(n, z), error, error, error)
    render(figure)
    assert ("redshift z" in texts(figure)) == (n > 0 and z == 2.0)
    space = ChosenSpace("measurements", umap, ("PC 1", "PC 2")) if n else None
    figure = figures.plot_class_maps(umap, space, labels, {0: "star-forming, weak Hα"})
    render(figure)
    if n == 500:
        assert {"UMAP of the latents", "Clustered space: measurements"} <= set(texts(figure).split("\n"))
        assert f"0: star-forming, weak Hα ({(labels == 0).sum()})" in texts(figure)


def test_umap_without_coordinates_or_errors():
    nothing = np.full(3, np.nan)
    umap = np.full((3, 2), np.nan)
    render(figures.plot_property_maps(umap, nothing, nothing, nothing, nothing))
    render(figures.plot_class_maps(umap, None, np.array([0, 0, -1])))


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
    assert [ax.get_title() for ax in figure.axes] == ["space: features (measurements)", "space: map (UMAP)"]


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


def test_names_of_classes_are_in_the_panels():
    names = {0: "star-forming, weak Hα", -1: None}
    objects = pa.table({"cluster_label": [0, 0], "z": [1.0, 2.0]})
    figure = figures.plot_class_medians(medians([0], WAVE), objects, GALAXY_LINES, 1500.0, names)
    assert "0: star-forming,\nweak Hα\n2 spectra" in texts(figure)
    labels = np.array([0, 0, -1])
    examples_figure = figures.plot_class_examples(WAVE, examples(3), labels, GALAXY_LINES, 1500.0, names)
    assert "0: star-forming,\nweak Hα" in texts(examples_figure)
    assert "Hα" in texts(examples_figure).split("\n"), "lines are named"
    render(figures.plot_thumbnails(WAVE, examples(3), labels, {0: "a", -1: "noise"}, 8))
    render(figures.plot_thumbnails(WAVE, examples(0), np.zeros(0, int), {}, 8))


def test_a_bright_line_does_not_squash_the_continuum():
    shown = examples(1)
    shown.flux[0, 2] = shown.recon[0, 2] = 200.0
    ax = figures.plot_reconstructions(WAVE, shown, GALAXY_LINES, 1500.0).axes[0]
    assert ax.get_yscale() == "asinh"
    assert ax.get_ylim()[1] > 200.0, "the line is inside"
    bottom, top, continuum = (ax.transScale.transform((0, y))[1] for y in (*ax.get_ylim(), 1.0))
    assert 0.05 < (continuum - bottom) / (top - bottom) < 0.5
    ticks = [text.get_text() for text in ax.get_yticklabels()]
    assert "1" in ticks or "3" in ticks
    assert choose_linear_width([np.array([np.nan])]) is None


def test_the_odd_feature_is_marked_and_named():
    marks = [OddFeature(5008.0, -9.4), OddFeature(3000.0, 4.0), None]
    figure = figures.plot_anomalies(WAVE, examples(3), GALAXY_LINES, 1500.0, marks, [(0, np.ones(64))] * 3)
    render(figure)
    assert {"−9 σ at [O III] 5007", "+4 σ at 3000 Å"} <= set(texts(figure).split("\n"))


def test_a_masked_spectrum_has_no_odd_feature():
    assert find_odd_feature(np.full(4, np.nan), WAVE[:4]) is None
    assert find_odd_feature(np.array([1.0, -7.0, np.nan, 6.0]), WAVE[:4]) == OddFeature(WAVE[1], -7.0)


def test_large_residuals_are_inside_of_their_axis():
    shown = examples(1)
    shown.flux[0, 5] = 1e3
    strip = figures.plot_reconstructions(WAVE, shown, GALAXY_LINES, 1500.0).axes[1]
    assert strip.get_ylim()[1] > (1e3 - 1) * 10


@pytest.mark.parametrize("n", [0, 1, 400])
def test_sky_of_any_size(n):
    rng = np.random.default_rng(0)
    ra, dec = 0.02 * rng.normal(size=n) % 360, -5 + 0.02 * rng.normal(size=n)
    ra[: n // 3] = 150.0
    dec[: n // 4] = np.nan
    figure = figures.plot_sky(ra, dec, rng.integers(-1, 3, n), np.array(["uds"] * n, dtype=np.str_))
    render(figure)
    if n == 400:
        assert "a  uds (267)" in texts(figure)
        assert "b  uds (33)" in texts(figure)
    if not n:
        assert "no position is known" in texts(figure)


def test_fields_do_not_end_at_zero_hours():
    assert find_fields(np.array([359.9, 0.1, 10.0]), np.zeros(3)).tolist() == [0, 0, 1]


def test_external_columns_are_numbers_or_categories():
    umap = np.random.default_rng(0).normal(size=(90, 2))
    texts_column = np.array([f"group {i % 12}" if i % 3 else "" for i in range(90)])
    columns = [MapColumn("mass", np.arange(90.0), 90), MapColumn("program", texts_column, 60)]
    figure = figures.plot_external_maps(umap, columns)
    render(figure)
    assert {"mass", "program", "other or none"} <= set(texts(figure).split("\n"))


def test_the_kept_epoch_is_marked_on_the_validation_curve():
    table = history(4).set_column(2, "val_recon", pa.array([4.0, 1.0, 3.0, 2.0]))
    assert "kept: 1 (lowest" not in texts(figures.plot_training_curves(table, 1))
    assert "kept: 2 (lowest: 1, epoch 1)" in texts(figures.plot_training_curves(table, 3))


def test_equal_figures_give_equal_files_with_their_origin():
    files = [figures.render_figure(figures.plot_sweep_scores(sweep(), NULL_TESTS), "run r") for _ in "ab"]
    assert files[0] == files[1]
    assert imread(io.BytesIO(files[0].png)).shape[1] == 2160
    assert files[0].webp[8:12] == b"WEBP"


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
    render(figures.plot_reconstructions(WAVE, examples(1), GALAXY_LINES, 1500.0))
    assert dict(mpl.rcParams) == before
