"""Columns of every published table: name, type, unit, description and UCD.

There is one module per group of tables. Every table is built by `build_table`, which writes units and
descriptions into the metadata of its fields. The package may import pyarrow and the rest of ``core``.
"""

from distspec.core.schema.classes import (
    CLASS_CHANGES_SCHEMA,
    CLASS_IDS_SCHEMA,
    CLASS_MEDIANS_SCHEMA,
    build_classes_schema,
)
from distspec.core.schema.columns import (
    HEALPIX,
    LN_BAYES_FACTOR,
    OBJECT_ID,
    PROVENANCE_KEYS,
    Column,
    build_data_dictionary,
    build_table,
)
from distspec.core.schema.history import add_history_metadata
from distspec.core.schema.labels import (
    ANNOTATIONS_SCHEMA,
    LABEL_SCORES_SCHEMA,
    build_label_prediction_schema,
)
from distspec.core.schema.objects import (
    ANOMALY_COLUMNS,
    BAD_PIXEL_COLUMNS,
    GALAXY_TYPE_COLUMNS,
    build_clustering_columns,
    build_objects_schema,
    build_prediction_schema,
)
from distspec.core.schema.observations import LEAKAGE_SCHEMA, OBSERVATION_GROUPS_SCHEMA
from distspec.core.schema.redshifts import (
    MEASURED_REDSHIFT_COLUMNS,
    PREDICTED_REDSHIFT_COLUMNS,
    REDSHIFTS_SCHEMA,
)
from distspec.core.schema.selections import (
    ANOMALIES_SCHEMA,
    BAD_PIXELS_SCHEMA,
    QUARANTINE_SCHEMA,
    RERANKED_SCHEMA,
    SIMILAR_SPECTRA_SCHEMA,
)
from distspec.core.schema.sweep import (
    CONFUSION_SCHEMA,
    LATENT_PAIRS_SCHEMA,
    NULL_TESTS_SCHEMA,
    SWEEP_SCHEMA,
)

__all__ = [
    "ANNOTATIONS_SCHEMA",
    "ANOMALIES_SCHEMA",
    "ANOMALY_COLUMNS",
    "BAD_PIXELS_SCHEMA",
    "BAD_PIXEL_COLUMNS",
    "CLASS_CHANGES_SCHEMA",
    "CLASS_IDS_SCHEMA",
    "CLASS_MEDIANS_SCHEMA",
    "CONFUSION_SCHEMA",
    "GALAXY_TYPE_COLUMNS",
    "HEALPIX",
    "LABEL_SCORES_SCHEMA",
    "LATENT_PAIRS_SCHEMA",
    "LEAKAGE_SCHEMA",
    "LN_BAYES_FACTOR",
    "MEASURED_REDSHIFT_COLUMNS",
    "NULL_TESTS_SCHEMA",
    "OBJECT_ID",
    "OBSERVATION_GROUPS_SCHEMA",
    "PREDICTED_REDSHIFT_COLUMNS",
    "PROVENANCE_KEYS",
    "QUARANTINE_SCHEMA",
    "REDSHIFTS_SCHEMA",
    "RERANKED_SCHEMA",
    "SIMILAR_SPECTRA_SCHEMA",
    "SWEEP_SCHEMA",
    "Column",
    "add_history_metadata",
    "build_classes_schema",
    "build_clustering_columns",
    "build_data_dictionary",
    "build_label_prediction_schema",
    "build_objects_schema",
    "build_prediction_schema",
    "build_table",
]
