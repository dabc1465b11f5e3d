"""The type `Column`, the columns that several tables share, and the construction of tables from columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

PROVENANCE_KEYS: tuple[str, ...] = ("run_id", "model_id", "snapshot_id", "weights_sha256")
"""Keys of the metadata of every published table: the inputs of the table."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    name : str
        Name of the column.
    type : DataType
        Arrow type.
    unit : str
        Unit in astropy's notation; empty for none.
    description : str
        Meaning, one sentence.
    ucd : str
        Unified Content Descriptor of the IVOA (UCD1+); empty for none.
    """

    name: str
    type: pa.DataType
    unit: str
    description: str
    ucd: str = ""


OBJECT_ID = Column(
    "object_id", pa.string(), "", "Unique identifier of the spectrum in its archive.", "meta.id;meta.main"
)
SOURCE_ID = Column(
    "source_id",
    pa.string(),
    "",
    "Identifier of the source on the sky; repeated observations of a source share it.",
    "meta.id",
)
STORE_ROW = Column("store_row", pa.int64(), "", "Row of the spectrum in the store; it never changes.")
VERSION = Column(
    "version", pa.string(), "", "Version of the input; it changes when the file or its redshift changes."
)
REDSHIFT = Column(
    "z", pa.float64(), "", "Redshift at which the spectrum is used; 0 for stars.", "src.redshift"
)
REDSHIFT_SOURCE = Column(
    "z_source", pa.string(), "", "Where z comes from: archive, or model where it was measured."
)
HEALPIX = Column(
    "_healpix_29",
    pa.int64(),
    "",
    "HEALPix cell of the position, order 29, nested numbering; null if there is no position.",
    "pos.healpix",
)
NORM_SNR = Column(
    "norm_snr",
    pa.float32(),
    "",
    "Signal-to-noise ratio of the normalization, norm / norm_err; the flux scale is uncertain where it is "
    "low.",
)
SNR = Column("snr", pa.float32(), "", "Median signal-to-noise ratio per valid pixel of the grid.", "stat.snr")
CLUSTER_LABEL = Column(
    "cluster_label",
    pa.int32(),
    "",
    "Class in this run, numbered by size from 0 for the largest; -1 for noise.",
    "meta.code.class",
)
CLASS_ID = Column(
    "class_id", pa.string(), "", "Identifier of the class, which persists from run to run; null for noise."
)
CLASS_NAME = Column(
    "class_name",
    pa.string(),
    "",
    "Name of the class: its suggested galaxy type, the majority label of its annotated spectra, and what "
    "sets it apart most from other classes of the same name.",
)
PREVIOUS_CLASS_ID = Column(
    "previous_class_id", pa.string(), "", "Class in the previously published run; null if there was none."
)
HUMAN_LABEL = Column(
    "human_label",
    pa.string(),
    "",
    "Label given by the majority of annotators; null if unlabelled or tied.",
)
ANOMALY_RANK = Column(
    "anomaly_rank",
    pa.int32(),
    "",
    "Rank by anomaly score within the run; 1 is the most anomalous.",
    "meta.number",
)
ANOMALY_SCORE = Column(
    "anomaly_score",
    pa.float32(),
    "dex",
    "Anomaly score: the larger of anomaly_recon and anomaly_line, minus penalties for bad pixels and for a "
    "doubtful redshift; higher is more anomalous.",
)
LN_BAYES_FACTOR = Column(
    "ln_bayes_factor",
    pa.float32(),
    "",
    "Natural logarithm of the Bayes factor: of how many times more probable one spectrum is if it has the "
    "latents of the other than if nothing is known of them.",
)
RECON_CHI2_RED = Column(
    "recon_chi2_red",
    pa.float32(),
    "",
    "Reduced chi-squared of the reconstruction: mean over valid pixels of (residual / error)^2.",
)
WAVE_REST = Column("wave_rest", pa.float64(), "Angstrom", "Rest-frame vacuum wavelength.", "em.wl")


def build_table(
    values: Mapping[str, Any], columns: Sequence[Column], metadata: Mapping[str, str]
) -> pa.Table:
    """Build a table whose fields carry units and descriptions.

    Parameters
    ----------
    values : mapping of str to array-like
        Values by column name; names that are not in `columns` are ignored.
    columns : sequence of Column
        Columns of the table, in order.
    metadata : mapping of str to str
        Metadata of the table, such as its `PROVENANCE_KEYS`.

    Returns
    -------
    Table
        Table with ``unit``, ``description`` and ``ucd`` in the metadata of its fields.

    Examples
    --------
    >>> values = {"cluster_label": [0, 1], "wave_rest": [1.0, 2.0]}
    >>> table = build_table(values, [CLUSTER_LABEL, WAVE_REST], {})
    >>> table.schema.field("wave_rest").metadata[b"unit"]
    b'Angstrom'
    """
    schema = pa.schema(
        [pa.field(c.name, c.type, metadata=_field_metadata(c)) for c in columns],
        metadata=dict(metadata),
    )
    arrays = [
        value.cast(column.type)
        if isinstance(value := values[column.name], pa.Array | pa.ChunkedArray)
        else pa.array(value, column.type)
        for column in columns
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _field_metadata(column: Column) -> dict[str, str]:
    metadata = {"unit": column.unit, "description": column.description}
    return metadata | {"ucd": column.ucd} if column.ucd else metadata


def build_data_dictionary(schema: pa.Schema) -> pa.Table:
    """Return a data dictionary of a table: one row per column with its name, type, unit and description.

    Parameters
    ----------
    schema : pyarrow.Schema
        Schema of a published table.

    Returns
    -------
    pyarrow.Table
        Columns name, type, unit and description.
    """
    fields = [(field, field.metadata or {}) for field in schema]
    return pa.table(
        {
            "column": [field.name for field, _ in fields],
            "type": [str(field.type) for field, _ in fields],
            "unit": [metadata.get(b"unit", b"").decode() for _, metadata in fields],
            "description": [metadata.get(b"description", b"").decode() for _, metadata in fields],
        }
    )
