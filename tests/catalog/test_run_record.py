from dataclasses import replace

import pytest

from distspec.catalog.run_record import NullTestRecord, SelectionRecord

SELECTION = SelectionRecord("consensus", 9, 0.9, 0.8, "", setting="features: gmm, k = 3", alpha=0.05)


def null_test(p_value: float) -> NullTestRecord:
    return NullTestRecord(quantile=0.5, null_mean=0.2, z_score=1.0, p_value=p_value)


@pytest.mark.parametrize(
    ("beats_null", "p_values", "expected"),
    [
        (None, (), "3 groups, which were not compared with structureless data."),
        (True, (0.4, 0.006), "3 classes, more distinct than structureless data give (p = 0.012)."),
        (True, (1e-5, 0.006), "3 classes, more distinct than structureless data give (p < 0.001)."),
        (
            False,
            (0.8, 0.3),
            "No distinct classes were found: structureless data divide as well as these 3 groups (p = 0.6). "
            "Treat them as a partition.",
        ),
    ],
)
def test_the_verdict_says_whether_there_are_classes(beats_null, p_values, expected):
    tests = dict(zip(("silhouette_test", "stability_test"), map(null_test, p_values), strict=False))
    assert replace(SELECTION, beats_null=beats_null, **tests).describe_verdict(3) == expected


@pytest.mark.parametrize(
    ("stability", "beats_null", "has_classes", "expected"),
    [
        (0.93, True, True, "3 classes, more distinct"),
        (0.93, None, None, "3 groups, which were not compared"),
        (0.81, True, False, "No reproducible classes were found: the members of the ensemble agree on these "
         "3 groups with a mean adjusted Rand index of 0.81, and classes need 0.9."),
        (0.81, None, False, "No reproducible classes were found"),
        (0.81, False, False, "No distinct classes were found"),
        (None, True, True, "3 classes, more distinct"),
        (float("nan"), True, True, "3 classes, more distinct"),
    ],
)  # fmt: skip
def test_what_is_not_reproducible_is_not_called_classes(stability, beats_null, has_classes, expected):
    selection = replace(SELECTION, stability=stability, min_stability=0.9, beats_null=beats_null)
    assert selection.has_classes is has_classes
    assert selection.describe_verdict(3).startswith(expected)


def test_p_value_is_corrected_for_two_tests():
    assert SELECTION.null_p_value is None
    assert replace(SELECTION, stability_test=null_test(0.8)).null_p_value == 1.0


def test_mean_stability_of_null_data_is_a_rand_index():
    assert dict(SELECTION.null_means) == {}
    test = replace(null_test(0.8), null_mean=1.9)
    tested = replace(SELECTION, silhouette_test=null_test(0.8), stability_test=test)
    assert tested.null_means == {"silhouette": 0.2, "stability": pytest.approx(0.956, abs=1e-3)}
