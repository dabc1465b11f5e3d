from dataclasses import replace

import numpy as np
import pyarrow as pa

from distspec.measurements.standard_sets import NIRSPEC_PRISM_MEASUREMENTS
from distspec.report.spaces import build_chosen_space, project_on_principal_components
from tests.report.test_page import RUN

N = 50
RNG = np.random.default_rng(0)
LATENTS = {
    "z_mean_00": RNG.normal(size=N), "z_mean_01": 9 * RNG.normal(size=N),
    "z_log_var_00": np.zeros(N), "z_log_var_01": np.zeros(N),
}  # fmt: skip


def with_space(space: str | None):
    return replace(RUN, clustering=replace(RUN.clustering, space=space))


def test_axes_are_the_directions_of_largest_variance():
    points = np.stack([RNG.normal(size=500), 5 * RNG.normal(size=500), np.zeros(500)], axis=1)
    space = project_on_principal_components(points, ["a", "b", "c"], "space")
    assert space.points[:, 0].std() > 4
    assert space.axis_labels[0].startswith("PC 1 (9")
    assert "+b" in space.axis_labels[0]
    assert "+a" in space.axis_labels[1]


def test_features_are_shown_if_they_were_clustered():
    names = ("uv_slope", "balmer_break", "optical_slope", "ciii_ew", "oii_ew", "hbeta_ew", "oiii_ew")
    columns = {f"recon_{name}": np.ones(N) for name in (*names, "halpha_ew")}
    columns |= {"recon_oiii_ew": 1e3 * RNG.random(N), "lya_ew": np.ones(N), "lya_ew_err": np.ones(N)}
    objects = pa.table(LATENTS | columns)
    space = build_chosen_space(objects, with_space("features"), NIRSPEC_PRISM_MEASUREMENTS)
    assert space is not None
    assert space.name == "measurements of the reconstructions"
    assert "+oiii_ew" in space.axis_labels[0]
    space = build_chosen_space(objects, with_space("map"), NIRSPEC_PRISM_MEASUREMENTS)
    assert space is not None
    assert space.name == "latents, which UMAP embeds"
    assert "latent 1" in space.axis_labels[0]


def test_too_few_spectra_have_no_projection():
    assert build_chosen_space(pa.table(LATENTS).slice(0, 2), RUN, NIRSPEC_PRISM_MEASUREMENTS) is None
