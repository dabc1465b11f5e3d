import numpy as np
import pyarrow as pa
import pytest

from distspec.catalog.class_names import distinguish_class_names, standardized_difference
from distspec.measurements.standard_sets import NIRSPEC_PRISM_MEASUREMENTS, SPEX_MEASUREMENTS

N = 40
ORDINARY = {
    "lya_ew": 0.0, "recon_uv_slope": -2.0, "recon_balmer_break": 1.0, "recon_optical_slope": -2.0,
    "recon_ciii_ew": 3.0, "recon_oii_ew": 20.0, "recon_hbeta_ew": 50.0, "recon_oiii_ew": 300.0,
    "recon_halpha_ew": 200.0,
}  # fmt: skip


def build_objects(*classes: dict[str, float], ordinary: dict[str, float] = ORDINARY) -> pa.Table:
    """Return N spectra per class, whose measurements scatter by 10 % around those that are given."""
    rng = np.random.default_rng(0)
    noise = {name: rng.normal(1.0, 0.1, (len(classes), N)) for name in ordinary}
    values = {
        name: np.array([{**ordinary, **one}[name] for one in classes])[:, None] * noise[name]
        for name in ordinary
    }
    labels = np.repeat(np.arange(len(classes)), N)
    return pa.table({"cluster_label": labels, **{name: value.ravel() for name, value in values.items()}})


def distinguish(names: list[str], objects: pa.Table) -> list[str]:
    result = distinguish_class_names(dict(enumerate(names)), objects, NIRSPEC_PRISM_MEASUREMENTS)
    return [result[label] for label in range(len(names))]


def test_classes_of_one_type_are_named_by_what_differs_most():
    objects = build_objects({"recon_halpha_ew": 60.0, "recon_oiii_ew": 290.0}, {}, {"recon_uv_slope": -0.8})
    assert distinguish(["star-forming"] * 3, objects)[::2] == [
        "star-forming, weak Hα",
        "star-forming, red UV continuum",
    ]
    assert distinguish(["star-forming", "star-forming", "LRD"], objects) == [
        "star-forming, weak Hα",
        "star-forming, strong Hα",
        "LRD",
    ]


def test_equal_descriptions_are_told_apart_by_another_measurement():
    weak = {"recon_halpha_ew": 1.0}
    objects = build_objects(weak, weak | {"recon_oii_ew": 22.0}, {"recon_halpha_ew": 2000.0})
    assert distinguish(["star-forming"] * 3, objects) == [
        "star-forming, weak Hα, weak [O II]",
        "star-forming, weak Hα, strong [O II]",
        "star-forming, strong Hα",
    ]


def test_classes_that_hardly_differ_keep_their_names():
    objects = build_objects({"recon_halpha_ew": 199.0}, {})
    assert distinguish(["star-forming"] * 2, objects) == ["star-forming"] * 2
    only_labels = objects.select(["cluster_label"])
    for column in objects.column_names[1:]:
        only_labels = only_labels.append_column(column, pa.nulls(len(objects), "float32"))
    assert distinguish(["star-forming"] * 2, only_labels) == ["star-forming"] * 2


def test_spectra_are_compared_where_reconstructions_were_not_measured():
    ordinary = {measurement.name: 0.5 for measurement in SPEX_MEASUREMENTS.definitions}
    objects = build_objects({"ch4_h": 0.2}, {}, ordinary=ordinary)
    names = distinguish_class_names({0: "", 1: ""}, objects, SPEX_MEASUREMENTS)
    assert names == {0: "strong CH₄ in H", 1: "weak CH₄ in H"}


def test_standardized_difference_does_not_depend_on_the_sizes():
    rng = np.random.default_rng(1)
    small, large = rng.normal(0, 1, 500), rng.normal(2, 3, 50_000)
    assert standardized_difference(large, small) == pytest.approx(2 / np.sqrt(5), abs=0.1)
    assert standardized_difference(small, large) == -standardized_difference(large, small)
    assert standardized_difference(np.array([1.0, np.nan]), small) == 0.0


def test_every_feature_has_names_for_low_and_high_values():
    for measurements in (NIRSPEC_PRISM_MEASUREMENTS, SPEX_MEASUREMENTS):
        features = (*measurements.select("reconstruction"), *measurements.select("spectrum"))
        names = [name for feature in features for name in feature.value_names]
        assert all(names)
        assert len(set(names)) == len(names)
