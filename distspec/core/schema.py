"""The catalogue's tables: every column with its type, unit and meaning, spelled once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

DIMENSIONLESS = ""
PROVENANCE_KEYS: tuple[str, ...] = ("run_id", "model_id", "snapshot_id", "weights_sha256")
"""What the metadata of every table of a catalogue names: what it was made of."""


class Column(NamedTuple):
    """One column; the unit is in the notation of astropy, "" for none; the UCD is the IVOA's (UCD1+)."""

    name: str
    type: pa.DataType
    unit: str
    description: str
    ucd: str = ""


OBJECT_ID = Column("object_id", pa.string(), "", "archive's unique key of the spectrum", "meta.id;meta.main")
SOURCE_ID = Column("source_id", pa.string(), "", "the thing on the sky; repeats of it share this", "meta.id")
STORE_ROW = Column("store_row", pa.int64(), "", "row of the spectrum in the store; it never moves")
REDSHIFT = Column("z", pa.float64(), "", "redshift from the archive's catalogue; 0 for stars", "src.redshift")
HEALPIX = Column("_healpix_29", pa.int64(), "", "HEALPix cell of ra, dec: order 29, nested", "pos.healpix")
NORM_SNR = Column("norm_snr", pa.float32(), "", "norm / norm_err; a low one leaves the scale uncertain")
SNR = Column("snr", pa.float32(), "", "median signal-to-noise ratio of a valid grid pixel", "stat.snr")
CLUSTER_LABEL = Column("cluster_label", pa.int32(), "", "cluster, 0 the largest; -1 noise", "meta.code.class")
CLASS_ID = Column("class_id", pa.string(), "", "class under the name that lasts from run to run; null: noise")
CLASS_NAME = Column(
    "class_name", pa.string(), "", "kind suggested for the class, and what people call most of its labelled"
)
PREVIOUS_CLASS_ID = Column(
    "previous_class_id", pa.string(), "", "class in the run published before; null: none"
)
HUMAN_LABEL = Column(
    "human_label", pa.string(), "", "what most people call it; null: nobody does, or as many call it another"
)
CLASS_COLUMNS = (CLASS_ID, CLASS_NAME, PREVIOUS_CLASS_ID)
ANOMALY_RANK = Column("anomaly_rank", pa.int32(), "", "1 = oddest of the run", "meta.number")
ANOMALY_SCORE = Column(
    "anomaly_score",
    pa.float32(),
    "dex",
    "larger of recon and line, 0.3 of the mean of the others, less what artefacts explain",
)
AMPLITUDE = Column(
    "amplitude", pa.float32(), "", "factor from the decoded spectrum to the data; 1 where none is fitted"
)
RECON_MSE = Column("recon_mse", pa.float32(), "", "mean over valid pixels of (arcsinh x - model)^2")
RECON_CHI2_RED = Column(
    "recon_chi2_red", pa.float32(), "", "mean over valid pixels of squared residual / error^2"
)
WAVE_REST = Column("wave_rest", pa.float64(), "Angstrom", "rest-frame wavelength, vacuum", "em.wl")
ANOMALY_COMPONENTS = (
    Column("anomaly_recon", pa.float32(), "dex", "part: misfit against spectra of the same S/N and class"),
    Column("anomaly_line", pa.float32(), "dex", "part: largest misfit as wide as a line"),
    Column("anomaly_density", pa.float32(), "dex", "part: density of the latents, against the same S/N"),
    Column(
        "anomaly_neighbours",
        pa.float32(),
        "dex",
        "part: distance to the 10th neighbour in latent space, against the same S/N",
    ),
    Column("anomaly_forest", pa.float32(), "dex", "part: isolation in latent space, against the same S/N"),
)
LOG_PROB = Column("log_prob", pa.float32(), "", "ln density of the latents under a Gaussian mixture")
ANOMALY_COLUMNS = (LOG_PROB, ANOMALY_SCORE, *ANOMALY_COMPONENTS, ANOMALY_RANK)
BAD_PIXEL_COLUMNS = (
    Column(
        "artefact_spikes", pa.float32(), "", "summed heights of spikes sharper than the instrument [sigma]"
    ),
    Column("artefact_negative", pa.float32(), "", "how far below 0 the most negative run lies [sigma]"),
    Column(
        "artefact_edge", pa.float32(), "", "how far either end stands above what is inside [sigma a pixel]"
    ),
    Column("artefact_scatter", pa.float32(), "", "scatter from pixel to pixel over its errors; 1: right"),
    Column("artefact_gaps", pa.float32(), "", "share of the pixels in the instrument's range that is masked"),
    Column(
        "artefact_score", pa.float32(), "", "worst of these over its limit; from 1 on the spectrum is spoilt"
    ),
    Column("n_masked", pa.float32(), "", "valid pixels masked as bad before it was encoded"),
)
GALAXY_TYPE_COLUMNS = (
    Column(
        "galaxy_type", pa.string(), "", "suggested kind of galaxy, by published rules on its measures, or unknown"
    ),
    Column("galaxy_type_confidence", pa.float32(), "", "how likely they hold, and those that come before do not"),
    Column("galaxy_type_reason", pa.string(), "", "what was measured, whose rule it is, what is not covered, in words"),
)
NORM_UNIT = "erg s-1 cm-2 Angstrom-1"


def build_clustering_columns(n_classes: int) -> tuple[Column, ...]:
    """Columns of what a run says of every spectrum."""
    f32 = pa.float32()
    return (
        Column("umap_0", f32, "", "map, first axis"),
        Column("umap_1", f32, "", "map, second axis"),
        CLUSTER_LABEL,
        Column("cluster_prob", f32, "", "probability of that cluster"),
        Column("cluster_entropy", f32, "", "entropy of the memberships: 0 sure, 1 torn between all"),
        Column(
            "cluster_stability",
            f32,
            "",
            "share of its cluster's members with it in the mean repeat; 0 of noise",
        ),
        *(Column(f"cluster_prob_{k:02d}", f32, "", f"probability of cluster {k}") for k in range(n_classes)),
    )


def build_objects_schema(
    n_latents: int, measurements: Sequence[Column] = (), n_classes: int = 0
) -> tuple[Column, ...]:
    """Columns of ``objects``: a row a spectrum; `measurements`: of it and of its reconstruction."""
    f32, i32, text = pa.float32(), pa.int32(), pa.string()
    return (
        OBJECT_ID,
        SOURCE_ID,
        STORE_ROW,
        Column("version", text, "", "what changes when the file or its redshift does"),
        Column("root", text, "", "archive's field or programme folder"),
        Column("srcid", text, "", "archive's source number within root"),
        Column("grating", text, "", "disperser"),
        Column("filter", text, "", "blocking filter"),
        Column("grade", pa.int8(), "", "redshift grade: 3 robust ... 0 bad, -1 not graded"),
        Column("ra", pa.float64(), "deg", "right ascension, ICRS", "pos.eq.ra;meta.main"),
        Column("dec", pa.float64(), "deg", "declination, ICRS", "pos.eq.dec;meta.main"),
        HEALPIX,
        REDSHIFT,
        Column("norm", pa.float64(), NORM_UNIT, "rest-frame flux density divided out, (1+z) x observed"),
        Column(
            "norm_err",
            pa.float64(),
            NORM_UNIT,
            "1 sigma uncertainty of norm; both null where the file names no unit",
        ),
        NORM_SNR,
        Column("norm_window", pa.int8(), "", "which normalisation window served, 0 the first choice"),
        Column(
            "slope", f32, "", "fitted beta of f_lambda ~ lambda^beta; null where the sample's median stood in"
        ),
        SNR,
        Column("n_valid", i32, "", "valid pixels on the grid"),
        Column("split", text, "", "train or validation; none of a spectrum that the model has not seen"),
        *measurements,
        *GALAXY_TYPE_COLUMNS,
        HUMAN_LABEL,
        *(Column(f"z_mean_{i:02d}", f32, "", f"latent {i}: posterior mean") for i in range(n_latents)),
        *(
            Column(f"z_log_var_{i:02d}", f32, "", f"latent {i}: ln posterior variance")
            for i in range(n_latents)
        ),
        AMPLITUDE,
        RECON_MSE,
        RECON_CHI2_RED,
        *BAD_PIXEL_COLUMNS,
        *build_clustering_columns(n_classes),
        *CLASS_COLUMNS,
        *ANOMALY_COLUMNS,
    )


def build_prediction_schema(
    n_latents: int, measurements: Sequence[Column], n_classes: int
) -> tuple[Column, ...]:
    """Columns of spectra that are not of a run and are told by it: those of ``objects`` that they have."""
    f32 = pa.float32()
    known = {column.name: column for column in build_objects_schema(n_latents, measurements, n_classes)}
    lacking = {"source_id", "version", "root", "srcid", "grating", "filter", "grade", "ra", "dec", "split"}
    lacking |= {HUMAN_LABEL.name, PREVIOUS_CLASS_ID.name, STORE_ROW.name, HEALPIX.name}
    beside = {
        "anomaly_rank": ANOMALY_RANK._replace(
            description="the rank it would have among the run's; 1 = oddest"
        ),
        "reason": Column("reason", pa.string(), "", "what is odd about it, in words"),
        "neighbors": Column("neighbors", pa.list_(pa.string()), "", "object_id of the nearest of the run"),
        "distances": Column("distances", pa.list_(f32), "", f"of those, {LATENT_DISTANCE.description}"),
    }
    return tuple((known | beside)[name] for name in (known | beside) if name not in lacking)


def build_label_prediction_schema(label_names: Sequence[str]) -> tuple[Column, ...]:
    """Columns of what every spectrum is likely called, given the labels that people used."""
    f32 = pa.float32()
    return (
        OBJECT_ID,
        HUMAN_LABEL,
        Column("label", pa.string(), "", "most probable label; of a labelled source, by models without it"),
        Column("label_prob", f32, "", "its probability, as if all labels were equally common"),
        Column(
            "label_set",
            pa.list_(pa.string()),
            "",
            "labels not refuted at the stated error; empty: none of them fits",
        ),
        Column("suggestion_rank", pa.int32(), "", "1 = most useful to label next; null: not suggested"),
        *(Column(f"p_{name}", f32, "", f"probability of {name}") for name in label_names),
    )


_CLASSES_COLUMNS = (
    CLUSTER_LABEL,
    CLASS_ID,
    CLASS_NAME,
    Column("change", pa.string(), "", "since the run before: kept, new, split or merged; null: noise"),
    Column("n_spectra", pa.int64(), "", "spectra in the class"),
    Column("n_sources", pa.int64(), "", "sources in the class"),
    Column("share", pa.float64(), "", "share of all spectra"),
    Column("z_p16", pa.float64(), "", "16th percentile of redshift"),
    Column("z_p50", pa.float64(), "", "median redshift"),
    Column("z_p84", pa.float64(), "", "84th percentile of redshift"),
    Column("snr_p50", pa.float64(), "", "median of snr"),
    Column("recon_mse_p50", pa.float64(), "", "median of recon_mse"),
    Column("stability_p50", pa.float64(), "", "median of cluster_stability"),
    Column(
        "core_share", pa.float64(), "", "share of its spectra whose repeats agree (clustering.core-stability)"
    ),
)


def build_classes_schema(measurements: Sequence[Column] = ()) -> tuple[Column, ...]:
    """Columns of ``classes``; `measurements` and kinds are of a class's median spectrum."""
    of_median = (*GALAXY_TYPE_COLUMNS, *measurements)
    return *_CLASSES_COLUMNS, *(
        c._replace(description=f"{c.description}; of its median spectrum") for c in of_median
    )


CLASS_MEDIANS_SCHEMA = (
    CLUSTER_LABEL,
    CLASS_ID,
    WAVE_REST,
    Column("flux_p16", pa.float32(), "", "16th percentile of normalised f_lambda"),
    Column("flux_p50", pa.float32(), "", "median normalised f_lambda"),
    Column("flux_p84", pa.float32(), "", "84th percentile of normalised f_lambda"),
    Column("n_valid", pa.int64(), "", "spectra (of at most 5000 of the class) with this pixel valid"),
)
ANOMALIES_SCHEMA = (
    ANOMALY_RANK,
    OBJECT_ID,
    SOURCE_ID,
    REDSHIFT,
    SNR,
    NORM_SNR,
    ANOMALY_SCORE,
    *ANOMALY_COMPONENTS,
    RECON_CHI2_RED,
    CLUSTER_LABEL,
    CLASS_ID,
    Column("reason", pa.string(), "", "what is odd about it, in words"),
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
    Column("reason", pa.string(), "", "what is worst about it, in words"),
)
QUARANTINE_SCHEMA = (
    OBJECT_ID,
    Column("version", pa.string(), "", "what changes when the file or its redshift does"),
    Column("uri", pa.string(), "", "where the file is"),
    Column("reason", pa.string(), "", "one reason code"),
    Column("detail", pa.string(), "", "what was found"),
)
LATENT_DISTANCE = Column(
    "distance", pa.float32(), "", "in latent space, in posterior widths: 1 is what noise does"
)
SIMILAR_SPECTRA_SCHEMA = (
    Column("query_id", pa.string(), "", "archive's unique key of the spectrum that others are near to"),
    Column("rank", pa.int32(), "", "1 = nearest"),
    OBJECT_ID,
    LATENT_DISTANCE,
    REDSHIFT,
    CLUSTER_LABEL,
    CLASS_ID,
    CLASS_NAME,
    *GALAXY_TYPE_COLUMNS[:2],
)
RERANKED_SCHEMA = (
    Column("feedback_rank", pa.int32(), "", "1 = oddest after what people marked"),
    OBJECT_ID,
    REDSHIFT,
    Column("mark", pa.string(), "", "what people say of it: interesting, ordinary or nothing"),
    Column(
        "feedback_score",
        pa.float32(),
        "dex",
        "-log10 of shares at least as odd: by the run and by the marks",
    ),
    ANOMALY_RANK,
    ANOMALY_SCORE,
)
_TRIAL_COLUMNS = (
    Column("space", pa.string(), "", "where points lie: features, latents, map"),
    Column("n_neighbors", pa.int32(), "", "UMAP's neighbourhood; 0: no map"),
    Column("dims", pa.int32(), "", "UMAP's dimensions; 0: no map"),
    Column("map_seed", pa.int64(), "", "seed of the map"),
    Column("algorithm", pa.string(), "", "gmm, bgmm, kmeans, dbscan, optics, hdbscan or hierarchy"),
    Column("k", pa.int32(), "", "clusters asked for, or found where the algorithm finds them"),
    Column("variant", pa.string(), "", "covariance of Gaussians, linkage of hierarchies"),
    Column(
        "fraction", pa.float64(), "", "share of points that are dense (dbscan) or a cluster's least (others)"
    ),
    Column("member", pa.int32(), "", "number of the repeat of this setting"),
    Column("seed", pa.int64(), "", "seed of the trial"),
    Column("n_clusters", pa.int32(), "", "clusters found"),
    Column("sizes", pa.list_(pa.int64()), "", "spectra in each cluster"),
    Column("noise_share", pa.float64(), "", "share of spectra in no cluster"),
    Column("silhouette", pa.float64(), "", "mean silhouette in its space; noise counts 0"),
    Column("silhouette_err", pa.float64(), "", "its standard error where it was sampled, else 0"),
    Column("silhouette_latents", pa.float64(), "", "mean silhouette of the labels in the latent space"),
    Column("davies_bouldin", pa.float64(), "", "Davies-Bouldin index in its space; noise left out"),
    Column("dbcv", pa.float64(), "", "density-based validity on a sample; null where not asked for"),
    Column("bic", pa.float64(), "", "Bayesian information criterion; null without a likelihood"),
    Column("stability", pa.float64(), "", "mean adjusted Rand index with the setting's other repeats"),
    Column("seconds", pa.float64(), "s", "time the trial took"),
)
SWEEP_SCHEMA = (
    Column("trial", pa.int32(), "", "number of the trial"),
    *_TRIAL_COLUMNS,
    Column("null_percentile", pa.float64(), "", "share of structureless draws whose silhouette is less"),
    Column(
        "chosen", pa.bool_(), "", "whether the classes are this trial's, or of the consensus of its setting"
    ),
)
NULL_TESTS_SCHEMA = (
    Column("null_model", pa.string(), "", "gaussian: the sample's covariance; permuted: columns shuffled"),
    Column("draw", pa.int32(), "", "number of the draw"),
    *_TRIAL_COLUMNS,
)
CONFUSION_SCHEMA = (
    CLUSTER_LABEL,
    Column("other_label", pa.int32(), "", "another cluster"),
    Column("share", pa.float64(), "", "mean probability of the other among this one's members"),
    Column("n_ambiguous", pa.int64(), "", "members at least half as likely of the other"),
    Column("examples", pa.list_(pa.string()), "", "object_id of members most likely of the other"),
)
LATENT_PAIRS_SCHEMA = (
    Column("latent", pa.int32(), "", "number of a latent"),
    Column("other_latent", pa.int32(), "", "number of another"),
    Column("mutual_information", pa.float64(), "", "of their posterior means over the sample [nat]"),
    Column("alignment", pa.float64(), "", "cosine of what moving either does to spectra; 1: the same"),
)
CLASS_IDS_SCHEMA = (
    CLASS_ID,
    Column("run_id", pa.string(), "", "a run that was published"),
    CLUSTER_LABEL,
    Column("n_spectra", pa.int64(), "", "spectra of the class in that run"),
)
CLASS_CHANGES_SCHEMA = (
    CLASS_ID,
    PREVIOUS_CLASS_ID,
    Column(
        "change",
        pa.string(),
        "",
        "kept, split, merged, moved, new, gone, added, withdrawn, from noise or to noise",
    ),
    Column("n_spectra", pa.int64(), "", "spectra that went from the one to the other"),
    Column("jaccard", pa.float64(), "", "shared over all that either holds, of the spectra in both runs"),
    Column("share_of_previous", pa.float64(), "", "share of the previous class that is in this one"),
    Column("share_of_class", pa.float64(), "", "share of this class that is from the previous one"),
    Column(
        "distance", pa.float64(), "", "between their centres, in root mean square radii; inf: nothing left"
    ),
    Column("reason", pa.string(), "", "in words"),
)
LABEL_SCORES_SCHEMA = (
    Column("human_label", pa.string(), "", "what people call spectra"),
    Column("n_spectra", pa.int64(), "", "spectra that most people call so"),
    Column("n_sources", pa.int64(), "", "their sources, those left out that are called otherwise, too"),
    Column("n_needed", pa.int64(), "", "sources that it takes before a set can leave the label out"),
    Column("recall", pa.float64(), "", "share of them that is called so by models without their source"),
    Column("coverage", pa.float64(), "", "share of them whose sets hold it, made without their source"),
    Column("n_singleton_sets", pa.int64(), "", "spectra without a label whose set holds this one alone"),
    Column("status", pa.string(), "", "whether there are enough, and how many are missing, in words"),
)
ANNOTATIONS_SCHEMA = (
    OBJECT_ID,
    Column("human_label", pa.string(), "", "what somebody says it is; empty: the last label is taken back"),
    Column("who", pa.string(), "", "who said so"),
    Column("when", pa.timestamp("us", "UTC"), "", "when"),
    Column("note", pa.string(), "", "in their own words"),
)
HISTORY_COLUMNS: Mapping[str, tuple[str, str]] = {
    "epoch": ("", "number of the epoch, from 0"),
    "lr": ("", "learning rate at its end"),
    "seconds": ("s", "time that the epoch took"),
}
"""Units and descriptions of a model's learning curves, beside those of the terms of its losses."""


def build_table(
    values: Mapping[str, Any], columns: Sequence[Column], metadata: Mapping[str, str]
) -> pa.Table:
    """Return a table with these columns, in order, units and descriptions in the fields' metadata.

    Examples
    --------
    >>> table = conform({"cluster_label": [0, 1], "wave_rest": [1.0, 2.0]}, [LABEL, WAVE_REST], {})
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
    said = {"unit": column.unit, "description": column.description}
    return said | {"ucd": column.ucd} if column.ucd else said


def add_history_metadata(history: pa.Table) -> pa.Table:
    """Return a model's learning curves, a row an epoch, with units and descriptions in the fields' metadata.

    Examples
    --------
    >>> table = describe_history(pa.table({"epoch": [0], "val_recon": [3.5], "seconds": [1.0]}))
    >>> dictionary(table.schema).select(["column", "unit", "description"]).to_pylist()[1:]
    [{'column': 'val_recon', 'unit': '', 'description': 'recon: mean a spectrum of those held out'},
     {'column': 'seconds', 'unit': 's', 'description': 'time that the epoch took'}]
    """
    sides = {"train": "mean a spectrum of those trained on", "val": "mean a spectrum of those held out"}
    fields: list[pa.Field] = []
    for field in history.schema:
        side, _, term = field.name.partition("_")
        plain = ("", f"{term}: {sides[side]}") if term and side in sides else ("", field.name)
        unit, description = HISTORY_COLUMNS.get(field.name, plain)
        fields.append(field.with_metadata({"unit": unit, "description": description}))
    return history.cast(pa.schema(fields))


def build_data_dictionary(schema: pa.Schema) -> pa.Table:
    """Return a data dictionary, a row a column: name, type, unit, description."""
    fields = [(field, field.metadata or {}) for field in schema]
    return pa.table(
        {
            "column": [field.name for field, _ in fields],
            "type": [str(field.type) for field, _ in fields],
            "unit": [meta.get(b"unit", b"").decode() for _, meta in fields],
            "description": [meta.get(b"description", b"").decode() for _, meta in fields],
        }
    )
