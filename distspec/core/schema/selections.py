"""Columns of lists of spectra: anomalies, bad pixels, quarantine, similar and reranked spectra."""

from __future__ import annotations

import pyarrow as pa

from distspec.core.schema.columns import (
    ANOMALY_RANK,
    ANOMALY_SCORE,
    CLASS_ID,
    CLASS_NAME,
    CLUSTER_LABEL,
    LN_BAYES_FACTOR,
    NORM_SNR,
    OBJECT_ID,
    RECON_CHI2_RED,
    REDSHIFT,
    SNR,
    SOURCE_ID,
    VERSION,
    Column,
)
from distspec.core.schema.objects import ANOMALY_COMPONENTS, BAD_PIXEL_COLUMNS, GALAXY_TYPE_COLUMNS
from distspec.core.schema.redshifts import REDSHIFT_ANOMALY

ANOMALIES_SCHEMA = (
    ANOMALY_RANK,
    OBJECT_ID,
    SOURCE_ID,
    REDSHIFT,
    SNR,
    NORM_SNR,
    ANOMALY_SCORE,
    *ANOMALY_COMPONENTS,
    REDSHIFT_ANOMALY,
    RECON_CHI2_RED,
    CLUSTER_LABEL,
    CLASS_ID,
    Column("reason", pa.string(), "", "Why the spectrum is anomalous."),
)
BAD_PIXELS_SCHEMA = (
    OBJECT_ID,
    SOURCE_ID,
    REDSHIFT,
    SNR,
    *BAD_PIXEL_COLUMNS,
    ANOMALY_SCORE,
    CLUSTER_LABEL,
    CLASS_ID,
    Column("reason", pa.string(), "", "Artefact statistic that exceeds its threshold the most."),
)
QUARANTINE_SCHEMA = (
    OBJECT_ID,
    VERSION,
    Column("uri", pa.string(), "", "Location of the file."),
    Column("reason", pa.string(), "", "Reason code of the quarantine."),
    Column("detail", pa.string(), "", "What was found in the file or during its transfer."),
)
SIMILAR_SPECTRA_SCHEMA = (
    Column("query_id", pa.string(), "", "object_id of the spectrum whose neighbors are listed."),
    Column("rank", pa.int32(), "", "Rank by Bayes factor; 1 is the most similar."),
    OBJECT_ID,
    LN_BAYES_FACTOR,
    REDSHIFT,
    CLUSTER_LABEL,
    CLASS_ID,
    CLASS_NAME,
    *GALAXY_TYPE_COLUMNS[:2],
)
RERANKED_SCHEMA = (
    Column("feedback_rank", pa.int32(), "", "Rank by feedback score; 1 is the most anomalous."),
    OBJECT_ID,
    REDSHIFT,
    Column("mark", pa.string(), "", "Mark given by annotators: interesting or ordinary; empty for none."),
    Column(
        "feedback_score",
        pa.float32(),
        "dex",
        "Anomaly score after feedback: sum of -log10 of the fractions of spectra that are at least as "
        "anomalous by the run's score and by a forest trained on the marks.",
    ),
    ANOMALY_RANK,
    ANOMALY_SCORE,
)
