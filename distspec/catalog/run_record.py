"""The record of a run, ``run.json``: its models, its settings, and the clustering that was selected."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isnan
from typing import Any, ClassVar

from distspec.core.errors import NotFoundError
from distspec.core.records import JsonRecord
from distspec.core.text import use_minus_signs
from distspec.io.files import read_json, url_exists
from distspec.io.paths import join_url

RECORD_FILE = "run.json"


@dataclass(frozen=True)
class NullTestRecord(JsonRecord):
    """How a score of the selected setting compares with structureless data.

    Attributes
    ----------
    quantile : float
        Fraction of the null draws that score less.
    null_mean : float
        Mean score of the null draws.
    z_score : float
        Score minus `null_mean`, in standard deviations of the draws.
    p_value : float
        Probability that structureless data reach such a score under any setting of the sweep.
    """

    quantile: float
    null_mean: float
    z_score: float
    p_value: float


@dataclass(frozen=True)
class SelectionRecord(JsonRecord):
    """Which setting of the sweep the classes of a run come from, and why.

    The fields from `setting` on are None where the sample could not be divided.

    Attributes
    ----------
    selection_rule : str
        `ClusteringConfig.selection_rule`.
    n_trials : int
        Number of clusterings of the sample itself.
    min_core_stability : float
        `ClusteringConfig.min_core_stability`.
    core_fraction : float
        Fraction of the spectra whose membership stability reaches `min_core_stability`.
    reason : str
        Why the setting was selected.
    beats_null : bool or None
        Whether the setting scores more than structureless data; None if no null data were drawn.
    setting, space, algorithm : str or None
        The setting as text, its feature space, and its algorithm.
    k : int or None
        Number of clusters asked for; 0 if the algorithm finds it.
    variant : str or None
        Covariance type or linkage.
    fraction : float or None
        `AlgorithmSpec.fraction`.
    stability : float or None
        Mean adjusted Rand index between members of the ensemble; between those of different models if there
        are several.
    min_stability : float or None
        `ClusteringConfig.min_stability`; None in records of earlier versions.
    rerun_agreement : float or None
        Estimate of the adjusted Rand index between the classes of independent runs, from halves of the
        models; None with one model.
    alpha : float or None
        Significance level of `beats_null`, over all settings of the sweep.
    n_null_draws : int or None
        Number of draws of each null model.
    silhouette_test, stability_test : NullTestRecord or None
        Tests of both scores; None if no null data were drawn. The score of `stability_test` is Fisher's
        z-transform of the mean adjusted Rand index.
    """

    selection_rule: str
    n_trials: int
    min_core_stability: float
    core_fraction: float
    reason: str
    beats_null: bool | None = None
    setting: str | None = None
    space: str | None = None
    algorithm: str | None = None
    k: int | None = None
    variant: str | None = None
    fraction: float | None = None
    stability: float | None = None
    min_stability: float | None = None
    rerun_agreement: float | None = None
    alpha: float | None = None
    n_null_draws: int | None = None
    silhouette_test: NullTestRecord | None = None
    stability_test: NullTestRecord | None = None

    @property
    def null_p_value(self) -> float | None:
        """P-value that decides about `beats_null`: the smaller one of both tests, corrected for two tests."""
        tests = [test for test in (self.silhouette_test, self.stability_test) if test is not None]
        return min(1.0, 2.0 * min(test.p_value for test in tests)) if tests else None

    @property
    def is_reproducible(self) -> bool:
        """Whether the members of the ensemble agree enough; True if unknown, as of a single member."""
        if self.stability is None or self.min_stability is None or isnan(self.stability):
            return True
        return self.stability >= self.min_stability

    @property
    def has_classes(self) -> bool | None:
        """Whether the clusters are classes: reproducible and more than structureless data give.

        None if they are reproducible and were not compared with structureless data.
        """
        return self.beats_null if self.is_reproducible else False

    @property
    def null_means(self) -> Mapping[str, float]:
        """Mean silhouette and mean adjusted Rand index of null data, by "silhouette" and "stability".

        The second is averaged as Fisher's z. Empty if no null data were drawn.
        """
        means: dict[str, float] = {}
        if self.silhouette_test is not None:
            means["silhouette"] = self.silhouette_test.null_mean
        if self.stability_test is not None:
            means["stability"] = math.tanh(self.stability_test.null_mean)
        return means

    def describe_verdict(self, n_classes: int) -> str:
        """Return in one or two sentences whether the clusters are classes, and if not, why.

        Parameters
        ----------
        n_classes : int
            Number of classes, without noise.

        Examples
        --------
        >>> SelectionRecord("consensus", 0, 0.9, 1.0, "").describe_verdict(1)
        'The sample could not be divided: all spectra are one class.'
        """
        if self.setting is None:
            return "The sample could not be divided: all spectra are one class."
        is_one = n_classes == 1
        groups = f"{n_classes} {'group' if is_one else 'groups'}"
        p_value = self.null_p_value
        p_text = "" if p_value is None else f" (p {'< 0.001' if p_value < 1e-3 else f'= {p_value:.2g}'})"
        if self.beats_null is False:
            return (
                f"No distinct classes were found: structureless data divide as well as these {groups}"
                f"{p_text}. Treat them as a partition."
            )
        if not self.is_reproducible:
            return use_minus_signs(
                f"No reproducible classes were found: the members of the ensemble agree on these {groups} "
                f"with a mean adjusted Rand index of {self.stability:.2f}, and classes need "
                f"{self.min_stability:g}. Treat them as a partition."
            )
        if self.beats_null is None:
            return f"{groups}, which were not compared with structureless data."
        classes = f"{n_classes} {'class' if is_one else 'classes'}"
        return f"{classes}, more distinct than structureless data give{p_text}."


@dataclass(frozen=True)
class CostRecord(JsonRecord):
    """Duration and memory of a sweep.

    Attributes
    ----------
    seconds : float
        Wall-clock time [s].
    actor_mb, driver_mb : float
        Largest resident set of an actor and of the driver [MB].
    """

    seconds: float
    actor_mb: float
    driver_mb: float


@dataclass(frozen=True)
class RunRecord(JsonRecord):
    """Record of a run of the cluster stage.

    Attributes
    ----------
    run_id : str
        Identifier, a fingerprint of model, data, settings and seed.
    recipe : str
        Name of the recipe.
    model_id : str
        Model whose latents are published.
    models : mapping of str to str
        Identifier of every clustered model and the checksum of its record.
    additional_models : tuple of str
        Clustered models other than `model_id`, in the order of their numbers from 1.
    weights_sha256 : str
        SHA-256 of the weights of `model_id`.
    snapshot_id : str
        Snapshot of the store.
    dataset_checksum : str
        Checksum of the current rows of the store.
    seed : int
        Seed of the run.
    created : str
        Time at which the run was completed (UTC, ISO 8601).
    versions : mapping of str to str
        Versions of the code and of the packages that its numbers depend on.
    clustering : SelectionRecord
        The selected clustering.
    config : mapping
        All settings, as JSON values.
    adaptations : tuple of str
        What was adapted to the number of spectra or to the memory.
    expected_cost, actual_cost : CostRecord or None
        Forecast and measured cost of the sweep.
    files : mapping of str to str
        Name and SHA-256 of the files in the run's folder.
    checksum : str
        SHA-256 of the record without this field; set when the record is written.
    """

    record_name: ClassVar[str] = "run.json"

    run_id: str
    recipe: str
    model_id: str
    models: Mapping[str, str]
    weights_sha256: str
    snapshot_id: str
    dataset_checksum: str
    seed: int
    created: str
    versions: Mapping[str, str]
    clustering: SelectionRecord
    config: Mapping[str, Any]
    adaptations: tuple[str, ...] = ()
    expected_cost: CostRecord | None = None
    actual_cost: CostRecord | None = None
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    checksum: str = ""
    additional_models: tuple[str, ...] = ()

    @property
    def model_ids(self) -> tuple[str, ...]:
        """Clustered models in the order of their numbers; earlier records list others as a setting."""
        earlier = self.config.get("clustering", {}).get("extra_models", ())
        return (self.model_id, *(self.additional_models or earlier))


def has_run(url: str) -> bool:
    """Return whether a folder holds a complete run.

    Parameters
    ----------
    url : str
        Folder of the run.

    Returns
    -------
    bool
    """
    return url_exists(join_url(url, RECORD_FILE))


def read_run_record(url: str) -> RunRecord:
    """Read the record of a run.

    Parameters
    ----------
    url : str
        Folder of the run.

    Raises
    ------
    NotFoundError
        If the folder holds no complete run.
    StoreError
        If another version of distspec wrote the record.
    """
    if not has_run(url):
        raise NotFoundError(f"no run at {url}: `distspec runs` lists the published ones")
    return RunRecord.from_json(read_json(join_url(url, RECORD_FILE)))
