"""Columns of the tables about the clustering sweep, and of diagnostics of classes and latents."""

from __future__ import annotations

import pyarrow as pa

from distspec.core.schema.columns import CLUSTER_LABEL, Column

_TRIAL_COLUMNS = (
    Column(
        "model",
        pa.int32(),
        "",
        "Number of the model whose latents were clustered; 0 is the run's own, whose latents are published.",
    ),
    Column("space", pa.string(), "", "Space that was clustered: features, latents or map (UMAP)."),
    Column("n_neighbors", pa.int32(), "", "n_neighbors of UMAP; 0 if the space is no map."),
    Column("dims", pa.int32(), "", "Number of dimensions of the UMAP embedding; 0 if the space is no map."),
    Column("map_seed", pa.int64(), "", "Random seed of the UMAP embedding."),
    Column(
        "algorithm", pa.string(), "", "Algorithm: gmm, bgmm, kmeans, dbscan, optics, hdbscan or hierarchy."
    ),
    Column(
        "k",
        pa.int32(),
        "",
        "Number of clusters requested, or found if the algorithm determines the number itself.",
    ),
    Column("variant", pa.string(), "", "Covariance type of Gaussian mixtures, or linkage of hierarchies."),
    Column(
        "fraction",
        pa.float64(),
        "",
        "Quantile of neighbor distances that sets eps (dbscan), or smallest cluster as a fraction of the "
        "points.",
    ),
    Column("member", pa.int32(), "", "Index of the ensemble member of this setting."),
    Column("seed", pa.int64(), "", "Random seed of the trial."),
    Column("n_clusters", pa.int32(), "", "Number of clusters found."),
    Column("sizes", pa.list_(pa.int64()), "", "Number of spectra in each cluster."),
    Column("noise_fraction", pa.float64(), "", "Fraction of spectra in no cluster."),
    Column("silhouette", pa.float64(), "", "Mean silhouette in the clustered space; noise counts as 0."),
    Column(
        "silhouette_err", pa.float64(), "", "Standard error of silhouette if it was sampled; otherwise 0."
    ),
    Column("silhouette_latents", pa.float64(), "", "Mean silhouette of the labels in latent space."),
    Column("davies_bouldin", pa.float64(), "", "Davies-Bouldin index in the clustered space, without noise."),
    Column(
        "bic", pa.float64(), "", "Bayesian information criterion; null if the algorithm has no likelihood."
    ),
    Column(
        "stability",
        pa.float64(),
        "",
        "Mean adjusted Rand index with the other ensemble members of the same setting; with those of other "
        "models if several were clustered.",
    ),
    Column("seconds", pa.float64(), "s", "Duration of the trial."),
)
SWEEP_SCHEMA = (
    Column("trial", pa.int32(), "", "Number of the trial."),
    *_TRIAL_COLUMNS,
    Column(
        "null_quantile", pa.float64(), "", "Fraction of draws of the null models with a lower silhouette."
    ),
    Column(
        "selected",
        pa.bool_(),
        "",
        "Whether the classes of the run come from this trial, or from the consensus of its setting.",
    ),
)
NULL_TESTS_SCHEMA = (
    Column(
        "null_model",
        pa.string(),
        "",
        "Null model: gaussian (the sample's covariance) or permuted (columns shuffled independently).",
    ),
    Column("draw", pa.int32(), "", "Number of the draw from the null model."),
    *_TRIAL_COLUMNS,
)
CONFUSION_SCHEMA = (
    CLUSTER_LABEL,
    Column("other_label", pa.int32(), "", "Another class."),
    Column("share", pa.float64(), "", "Mean probability of the other class among the members of this class."),
    Column(
        "n_ambiguous",
        pa.int64(),
        "",
        "Number of members whose probability of the other class is more than half that of their own.",
    ),
    Column(
        "examples",
        pa.list_(pa.string()),
        "",
        "object_id of the members with the highest probability of the other class.",
    ),
)
LATENT_PAIRS_SCHEMA = (
    Column("latent", pa.int32(), "", "Index of a latent variable."),
    Column("other_latent", pa.int32(), "", "Index of another latent variable."),
    Column(
        "mutual_information",
        pa.float64(),
        "",
        "Mutual information of the posterior means over the sample [nat].",
    ),
    Column(
        "alignment",
        pa.float64(),
        "",
        "Absolute cosine between the changes of the decoded spectrum along the two latents; 1 if identical.",
    ),
)
