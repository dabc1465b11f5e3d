"""Labels that people give to spectra, and the predictions of a classifier for all others.

`annotations` stores labels and marks, `consensus` takes the majority, and `importing` reads files of labels;
`classifier`, `conformal` and `active` provide probabilities, prediction sets and suggestions, which `predict`
writes to tables. The package may import `distspec.clustering`, `measurements`, `models`, `io` and `core`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distspec.labels.active import margin_uncertainty, suggest_spectra
    from distspec.labels.annotations import (
        Annotation,
        add_annotations,
        compact_annotations,
        current_annotations,
        read_annotations,
    )
    from distspec.labels.classifier import IsotropicScaler, LabelClassifier, LabelPrediction
    from distspec.labels.conformal import conformal_p_values, min_sources_to_exclude, prediction_sets
    from distspec.labels.consensus import consensus_labels, read_marks
    from distspec.labels.importing import ImportedLabels, UnknownSpectrum, read_labels
    from distspec.labels.predict import LabelScores, predict_labels

__all__ = [
    "Annotation",
    "ImportedLabels",
    "IsotropicScaler",
    "LabelClassifier",
    "LabelPrediction",
    "LabelScores",
    "UnknownSpectrum",
    "add_annotations",
    "compact_annotations",
    "conformal_p_values",
    "consensus_labels",
    "current_annotations",
    "margin_uncertainty",
    "min_sources_to_exclude",
    "predict_labels",
    "prediction_sets",
    "read_annotations",
    "read_labels",
    "read_marks",
    "suggest_spectra",
]

_MODULES = {
    "Annotation": "annotations",
    "ImportedLabels": "importing",
    "IsotropicScaler": "classifier",
    "LabelClassifier": "classifier",
    "LabelPrediction": "classifier",
    "LabelScores": "predict",
    "UnknownSpectrum": "importing",
    "add_annotations": "annotations",
    "compact_annotations": "annotations",
    "conformal_p_values": "conformal",
    "consensus_labels": "consensus",
    "current_annotations": "annotations",
    "margin_uncertainty": "active",
    "min_sources_to_exclude": "conformal",
    "predict_labels": "predict",
    "prediction_sets": "conformal",
    "read_annotations": "annotations",
    "read_labels": "importing",
    "read_marks": "consensus",
    "suggest_spectra": "active",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: the classifier imports scikit-learn."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
