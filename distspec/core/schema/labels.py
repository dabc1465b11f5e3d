"""Columns of the tables about labels: annotations, predicted labels, and scores of the label classifier."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from distspec.core.schema.columns import HUMAN_LABEL, OBJECT_ID, Column


def build_label_prediction_schema(label_names: Sequence[str]) -> tuple[Column, ...]:
    """Return the columns of ``predictions``, the predicted label of every spectrum.

    Parameters
    ----------
    label_names : sequence of str
        Labels that the classifier was trained on.

    Returns
    -------
    tuple of Column
    """
    f32 = pa.float32()
    return (
        OBJECT_ID,
        HUMAN_LABEL,
        Column(
            "label",
            pa.string(),
            "",
            "Most probable label; for a labelled source, predicted by classifiers trained without that "
            "source.",
        ),
        Column("label_prob", f32, "", "Probability of label, if all labels were equally common."),
        Column(
            "label_set",
            pa.list_(pa.string()),
            "",
            "Conformal prediction set: all labels that are not rejected at level catalog.alpha; empty if "
            "none fits.",
        ),
        Column(
            "suggestion_rank",
            pa.int32(),
            "",
            "Rank of the spectrum among those to label next; 1 is the most useful; null if not suggested.",
        ),
        *(Column(f"p_{name}", f32, "", f"Probability of the label {name}.") for name in label_names),
    )


LABEL_SCORES_SCHEMA = (
    Column("human_label", pa.string(), "", "Label given by annotators."),
    Column("n_spectra", pa.int64(), "", "Number of spectra with this label."),
    Column(
        "n_sources",
        pa.int64(),
        "",
        "Number of sources with this label; sources with conflicting labels are not counted.",
    ),
    Column(
        "n_needed",
        pa.int64(),
        "",
        "Number of labelled sources needed before a prediction set can exclude the label.",
    ),
    Column(
        "recall",
        pa.float64(),
        "",
        "Fraction of the spectra with this label that classifiers trained without their source recover.",
    ),
    Column(
        "coverage",
        pa.float64(),
        "",
        "Fraction of the spectra with this label whose prediction set, made without their source, contains "
        "it.",
    ),
    Column(
        "n_singleton_sets",
        pa.int64(),
        "",
        "Number of unlabelled spectra whose prediction set contains this label alone.",
    ),
    Column("status", pa.string(), "", "Whether there are enough labelled sources, and how many are missing."),
)
ANNOTATIONS_SCHEMA = (
    OBJECT_ID,
    Column(
        "human_label",
        pa.string(),
        "",
        "Label or mark given by the annotator; empty to withdraw the last one.",
    ),
    Column("who", pa.string(), "", "Name of the annotator."),
    Column("when", pa.timestamp("us", "UTC"), "", "Time of the annotation."),
    Column("note", pa.string(), "", "Comment of the annotator."),
)
