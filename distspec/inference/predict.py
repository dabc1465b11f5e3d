"""New spectra told by a published run, without training: where they lie, of which class, how odd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from distspec.anomaly.residuals import misfit
from distspec.anomaly.score import PARTS, explain
from distspec.archives.base import Archive, Entry
from distspec.archives.external import entries_of, redshifts
from distspec.catalog.editions import record_of, tables_of
from distspec.core import schema
from distspec.core.errors import BadSpectrumError, Rejected
from distspec.core.instruments import DETECTORS
from distspec.core.records import tuples
from distspec.core.spectrum import Floats32, Spectrum, SpectrumBatch
from distspec.inference.run_model import YARDSTICK, Yardstick
from distspec.ingest.read import read
from distspec.ingest.source import recall
from distspec.io.files import exists, get_arrays, get_json
from distspec.io.paths import join, model_url, run_url, store_url
from distspec.io.remote.config import AccessConfig
from distspec.measurements.bad_pixels import COLUMNS as ARTEFACTS
from distspec.measurements.features import measure_reconstructions, space
from distspec.measurements.galaxy_types import suggest
from distspec.measurements.measure import measured, strengths
from distspec.models.embed import embed_spectra
from distspec.models.latents import SCALARS, VECTORS
from distspec.models.model import Model, load_model
from distspec.models.neighbors import Spectra
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.rest_frame import preprocess
from distspec.store.store import Frozen, open_store


def place(
    root: str,
    files: str | Sequence[str],
    *,
    z: float | Sequence[float] = (),
    redshift_table: str = "",
    n: int = 5,
) -> Placed:
    """Tell the spectra in files by the current run of a root, without training.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    files : str or sequence of str
        Paths or URLs, in the format of the archive that the root was last ingested from.
    z : float or sequence of float
        Redshifts, one for all or one a file; empty where the files say.
    redshift_table : str
        Or a table of them, with columns file and z.
    n : int
        Neighbours that are named.

    Returns
    -------
    Placed
        Its ``table`` has a row a spectrum that could be used, its ``rejected`` why others could not.

    Raises
    ------
    ValueError
        When redshifts are neither one nor as many as files.
    FileNotFoundError
        When nothing was ingested or published there.
    """
    names = [files] if isinstance(files, str) else list(files)
    source = recall(root)
    known = np.atleast_1d(np.asarray(z, np.float64))
    if len(known) not in (0, 1, len(names)):
        raise ValueError(f"{len(known)} redshifts for {len(names)} files: give one for all, or one a file")
    if redshift_table:
        known = np.array(redshifts(names, redshift_table, source.access))
    told = np.broadcast_to(known if len(known) else np.nan, len(names)).tolist()
    return place_files(Placer.open(root), source.archive, source.access, names, told, n)


BATCH = 1024
"""Spectra that are read and told at a time."""


@dataclass(frozen=True)
class Placed:
    """What a run says of spectra that are not of it.

    Attributes
    ----------
    table : Table
        A row a spectrum that could be used: the columns of `distspec.core.schema.placed`.
    rejected : list of Rejected
        Those that could not, with the quarantine's reasons.
    """

    table: pa.Table
    rejected: list[Rejected]


@dataclass(frozen=True)
class Placer:
    """A published run, ready to tell other spectra: `open` gives it.

    Attributes
    ----------
    run : mapping
        What run.json says.
    frozen : Frozen
        Grid and scale of the run's store.
    models : sequence of Model
        Those whose latents were clustered, the run's own first.
    yardstick : Yardstick
    spectra : Spectra
        Those of the run.
    """

    run: Mapping[str, Any]
    frozen: Frozen
    models: Sequence[Model]
    yardstick: Yardstick
    spectra: Spectra

    @classmethod
    def open(cls, root: str) -> Placer:
        """Read the current run of a root.

        Raises
        ------
        FileNotFoundError
            Before anything was published, or where its run was made before runs kept what this needs.
        """
        published = record_of(root)
        url = run_url(root, str(published["run_id"]))
        if not exists(join(url, YARDSTICK)):
            raise FileNotFoundError(
                f"{url} has no {YARDSTICK}: it was made before runs kept one; remove that folder and run "
                "`python -m jobs.pipeline` with its settings again"
            )
        run = get_json(join(url, "run.json"))
        names = [str(run["model_id"]), *run["config"]["clustering"]["also"]]
        models = [load_model(model_url(root, name)) for name in names]
        yardstick = Yardstick.from_arrays(get_arrays(join(url, YARDSTICK)))
        return cls(
            run,
            open_store(store_url(root)).frozen,
            models,
            yardstick,
            Spectra.read(tables_of(root, published)["objects"]),
        )

    def place(self, spectra: Sequence[Spectrum], n: int = 5) -> Placed:
        """Tell spectra by the run: each as if it were one more of its archive.

        Parameters
        ----------
        spectra : sequence of Spectrum
            As files hold them.
        n : int
            Neighbours that are named.
        """
        norm = NormConfig(**tuples(self.frozen.settings["norm"]))
        batch, failures = preprocess(spectra, self.frozen.grid, norm, self.frozen.sample_slope)
        rejected = [Rejected(spectra[i].object_id, "", "", e.reason, e.seen) for i, e in failures]
        fitted, n_latents = self.yardstick.fitted, self.models[0].n_latents
        columns = schema.placed(n_latents, measured(self.frozen.kind), fitted.consensus.k)
        said = self._told(batch, n) if len(batch) else {column.name: [] for column in columns}
        origin = {"run_id": str(self.run["run_id"]), "model_id": str(self.run["model_id"])}
        return Placed(schema.conform(said, columns, origin), rejected)

    def _told(self, batch: SpectrumBatch, n: int) -> dict[str, Any]:
        """Return the columns of `distspec.core.schema.placed`."""
        kind, config = self.frozen.kind, self.run["config"]["clustering"]
        said: dict[str, Floats32] = {}
        ivar, samples = batch.ivar, []
        for model, frame in zip(self.models, self.yardstick.frames, strict=True):
            answers, masked = embed_spectra(model, kind, batch.flux, batch.ivar, batch.z)
            if not said:
                said, ivar = answers, masked
            features = np.zeros((len(batch), 0), np.float32)
            if "features" in config["spaces"]:
                of = answers["z_mean"], answers["z_log_var"]
                answers |= measure_reconstructions(kind, model.decode, model.grid, *of, n_draws=0)
                features = space(kind, answers).astype(np.float32)
            beside = strengths(kind, config["measures"], answers)
            samples.append(frame.sample(answers["z_mean"], beside, features))
        found = self.yardstick.fitted.describe(samples)
        recon = said["amplitude"][:, None] * self.models[0].decode(said["z_mean"], batch.z)
        latents = (said["z_mean"] / self.yardstick.widths).astype(np.float32)
        raw = misfit(
            *(batch.flux, ivar, recon, said["artefact_scatter"], self.yardstick.error, batch.z),
            self.frozen.grid,
            DETECTORS.get(kind),
        )
        raw |= self.yardstick.scorer.parts(latents)
        odd = self.yardstick.usual.score(raw, batch.snr, found["label"], said["artefact_score"])
        of_run = np.sort(self.spectra.table["anomaly_score"].to_numpy())
        above = len(of_run) - np.searchsorted(of_run, odd["anomaly_score"].astype(np.float32), "right")
        distance, index = self.spectra.nearest(latents, n)
        names = self.spectra.table["object_id"]
        kinds = suggest(kind, said, len(batch))
        prob, label = found["prob"], found["label"]
        residual = (batch.flux - recon) * np.sqrt(batch.ivar)
        measures = {column.name: said[column.name] for column in measured(kind)}
        return {
            **{name: getattr(batch, name) for name in ("object_id", "z", "norm", "norm_err", "norm_snr")},
            **{name: getattr(batch, name) for name in ("norm_window", "slope", "snr", "n_valid")},
            **{name: said[name] for name in (*SCALARS, *ARTEFACTS)},
            **measures,
            **{f"{name}_{i:02d}": each for name in VECTORS for i, each in enumerate(said[name].T)},
            **dict(zip((column.name for column in schema.KINDS), kinds, strict=True)),
            "umap_0": found["points"][:, 0],
            "umap_1": found["points"][:, 1],
            "cluster_label": label,
            **self._names(label.tolist()),
            "cluster_prob": np.where(label >= 0, prob[np.arange(len(label)), np.maximum(label, 0)], 0.0),
            "cluster_entropy": found["entropy"],
            "cluster_stability": found["stability"],
            **{f"cluster_prob_{k:02d}": each for k, each in enumerate(prob.T)},
            **odd,
            "anomaly_rank": above + 1,
            "why": [
                explain(
                    {name: float(odd[name][i]) for name in PARTS},
                    float(batch.norm_snr[i]),
                    residual[i],
                    batch.ivar[i] > 0,
                    self.frozen.grid.wave_rest,
                )
                for i in range(len(batch))
            ],
            "neighbours": [names.take(pa.array(row)).to_pylist() for row in index],
            "distances": distance.tolist(),
        }

    def _names(self, labels: Sequence[int]) -> dict[str, list[str | None]]:
        """Return the lasting names of clusters, and what they are called."""
        columns = ("class_id", "class_name")
        known = self.spectra.table.select(["cluster_label", *columns]).group_by(["cluster_label", *columns])
        rows = {row["cluster_label"]: row for row in known.aggregate([]).to_pylist()}
        return {name: [rows[label][name] if label in rows else None for label in labels] for name in columns}


def place_files(
    placer: Placer,
    archive: Archive,
    access: AccessConfig,
    files: Sequence[str],
    z: Sequence[float],
    n: int = 5,
) -> Placed:
    """Tell the spectra in files by a run.

    Parameters
    ----------
    placer : Placer
    archive : Archive
        In whose format they are.
    access : AccessConfig
    files : sequence of str
        Paths or URLs.
    z : sequence of float
        Redshifts, one a file; NaN where the file knows.
    n : int
        Neighbours that are named.
    """
    tables: list[pa.Table] = []
    rejected: list[Rejected] = []
    for reader, entries in entries_of(archive, files, z, access):
        for first in range(0, len(entries), BATCH):
            part = entries[first : first + BATCH]
            uri = {entry.object_id: entry.uri for entry in part}
            good, bad = _read(reader, access, part)
            placed = placer.place(good, n)
            tables.append(placed.table)
            rejected += bad
            rejected += [replace(each, uri=uri[each.object_id]) for each in placed.rejected]
    return Placed(pa.concat_tables([*tables, *([] if tables else [placer.place([], n).table])]), rejected)


def _read(
    archive: Archive, access: AccessConfig, entries: Sequence[Entry]
) -> tuple[list[Spectrum], list[Rejected]]:
    good: list[Spectrum] = []
    bad: list[Rejected] = []
    for entry, outcome in zip(entries, read(archive, access, entries, positions=False), strict=True):
        if isinstance(outcome, BadSpectrumError):
            bad.append(Rejected(entry.object_id, "", entry.uri, outcome.reason, outcome.seen))
        else:  # what a file says of its redshift yields to what the user says
            good.append(replace(outcome, z=entry.z) if np.isfinite(entry.z) else outcome)
    return good, bad
