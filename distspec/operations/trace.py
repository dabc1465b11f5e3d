"""Where a row of a catalogue came from: edition, run, model, snapshot, file; and proof that none was altered.

    catalog/<run>/<edition>.json   vouches for its tables, and for run.json
    runs/<run>/run.json            vouches for its tables, for each model.json, and for a data set
    models/<model>/model.json      vouches for its weights and learning curves, and for a data set

A record vouches for a file by its SHA-256, for another record by that one's seal (`distspec.core.records.add_checksum`),
and for what stands in a snapshot of the store by `distspec.store.store.Store.dataset_checksum`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from distspec.catalog.editions import (
    EditionRecord,
    find_record,
    open_parquet_dataset,
    read_current_record,
)
from distspec.core import schema
from distspec.core.arrow import pc
from distspec.core.records import has_valid_checksum
from distspec.io.files import compute_sha256, list_files, read_json
from distspec.io.paths import catalog_url, join_url, model_url, run_url, store_url
from distspec.models.latents import VECTOR_COLUMNS, read_latents
from distspec.models.registry import read_promoted
from distspec.models.serialization import CHECKSUM_FILES, read_model_record
from distspec.store.snapshots import model_tag
from distspec.store.store import Store, open_repository, open_store

N_READER_THREADS = 4
"""Files read at a time."""


@dataclass(frozen=True)
class ProvenanceEntity:
    """A link of the chain from a row to its file.

    Attributes
    ----------
    entity_type : str
    name : str
    attributes : mapping
    """

    entity_type: str
    name: str
    attributes: Mapping[str, Any]


def trace_spectrum(root: str, object_id: str, run: str = "") -> list[ProvenanceEntity]:
    """Return where a row of a catalogue came from, link by link, from the row to the file.

    Parameters
    ----------
    root : str
    object_id : str
    run : str
        A published run's id, or <run_id>/<edition>; empty: what is current.

    Raises
    ------
    FileNotFoundError
        Before anything was published, or where a link is gone.
    ValueError
        When that run was not published, or does not hold that spectrum.
    """
    edition = find_record(root, run)
    objects = open_parquet_dataset(join_url(catalog_url(root), edition.files["objects"]))
    columns = ["object_id", "source_id", "store_row", "class_id", "cluster_label", "anomaly_rank", "split"]
    rows = objects.to_table(columns, filter=pc.field("object_id") == object_id).to_pylist()
    if not rows:
        raise ValueError(
            f"{edition.name} holds no spectrum {object_id}: "
            "look for it with `distspec query \"SELECT object_id FROM objects WHERE object_id LIKE '%…%'\"` "
            "or in `distspec quarantine`"
        )
    made = read_json(join_url(run_url(root, edition.run_id), "run.json"))
    store = open_store(store_url(root), edition.snapshot_id)
    row = rows[0]["store_row"]
    kept = {
        name: np.asarray(store.open_array(name)[row : row + 1]).tolist()[0] for name in SOURCE_FILE_COLUMNS
    }
    return [
        ProvenanceEntity(
            "row", object_id, {name: value for name, value in rows[0].items() if name != "object_id"}
        ),
        ProvenanceEntity("edition", edition.name, _edition_attributes(edition)),
        ProvenanceEntity("run", str(made["run_id"]), _run_attributes(made)),
        *(ProvenanceEntity("model", name, _model_attributes(root, name)) for name in made["models"]),
        ProvenanceEntity("snapshot", store.snapshot_id, _snapshot_attributes(store)),
        ProvenanceEntity("file", kept.pop("uri"), {**kept, "checksum": f"{kept['checksum']:016x}"}),
    ]


SOURCE_FILE_COLUMNS = ("uri", "version", "ra", "dec", "z", "norm", "checksum", "ingest_commit")


def _edition_attributes(edition: EditionRecord) -> dict[str, Any]:
    facts = {name: getattr(edition, name) for name in ("published", "inputs", "checksum")}
    return {**facts, "objects": edition.files["objects"], "objects_sha256": edition.sha256["objects"]}


def _run_attributes(made: Mapping[str, Any]) -> dict[str, Any]:
    named = ("created", "recipe", "seed", "checksum", "data_digest", "versions", "config")
    return {name: made[name] for name in named}


def _model_attributes(root: str, name: str) -> dict[str, Any]:
    record = read_model_record(model_url(root, name))
    named = ("created", "weights_sha256", "checksum", "parent", "snapshot_id", "data_digest", "seed", "metrics")
    facts = {each: record[each] for each in named}
    now = read_promoted(root)
    if now is not None and now.model_id == name:
        facts["serves"] = now.reason
    return {**facts, "versions": record["versions"], "vae": record["vae"], "training": record["training"]}


def _snapshot_attributes(store: Store) -> dict[str, Any]:
    info = next(iter(open_repository(store.url).ancestry(snapshot_id=store.snapshot_id)))
    return {
        "written": info.written_at.isoformat(timespec="seconds"),
        "message": info.message,
        "rows": store.n_rows,
        "current_rows": len(store.current_rows()),
        "grid": asdict(store.config.grid),
        "preprocessing": dict(store.config.preprocessing),
    }


def find_integrity_problems(root: str) -> list[str]:
    """Find what was altered, or is gone, of what was published and of all that it came from.

    Parameters
    ----------
    root : str

    Returns
    -------
    list of str
        What is wrong, in words that name files and records; empty where nothing is.
    """
    known, found = _read_records(root)
    digests, seen = _DigestCache(root), set[str]()
    for file, record in known.items():
        found += [f"{file}: {problem}" for problem in _check_record(root, file, record, known, digests, seen)]
    found += _check_current_edition(root, known)
    if found or (newest := read_current_record(root)) is None:
        return found
    try:
        return list(_check_catalog_rows(root, newest))
    except Exception as error:  # a damaged chunk breaks its decoder in as many ways as there are codecs
        said = " ".join(str(error).split())[:200]
        return [f"latents of {newest.name} cannot be read: {type(error).__name__}: {said}"]


RecordsByPath = Mapping[str, Mapping[str, Any]]
"""By their files, relative to the root: models, runs, editions."""


def _read_records(root: str) -> tuple[RecordsByPath, list[str]]:
    """Return the records of a root that are what was sealed, and what is wrong with the others."""
    found: dict[str, Mapping[str, Any]] = {}
    problems: list[str] = []
    for folder, name in (("models", "model.json"), ("runs", "run.json"), ("catalog", "")):
        for file in list_files(join_url(root, folder)):
            if file.count("/") != 1 or not (file.endswith(f"/{name}") if name else file.endswith(".json")):
                continue
            try:
                record = read_json(join_url(root, folder, file))
            except ValueError as error:
                problems.append(f"{folder}/{file} is no JSON: {error}")
                continue
            if has_valid_checksum(record):
                found[f"{folder}/{file}"] = record
            else:
                problems.append(f"{folder}/{file} was altered: it is not what was sealed")
    return found, problems


class _DigestCache:
    """Digests of the data sets of snapshots, each computed once."""

    def __init__(self, root: str) -> None:
        self._url = store_url(root)
        self._known: dict[str, str | None] = {}
        self.tags = open_repository(self._url).list_tags()

    def digest(self, snapshot_id: str) -> str | None:
        """Return a snapshot's digest; None where there is no such snapshot."""
        if snapshot_id not in self._known:
            try:
                self._known[snapshot_id] = open_store(self._url, snapshot_id).dataset_checksum()
            except (ValueError, FileNotFoundError):
                self._known[snapshot_id] = None
        return self._known[snapshot_id]


def _check_current_edition(root: str, records: RecordsByPath) -> Iterator[str]:
    published = [record for file, record in records.items() if file.startswith("catalog/")]
    now = read_current_record(root)
    if now is not None and now.to_json() not in published:
        yield f"catalog/current.json is the record of no edition: {now.name}"
    if now is None and published:
        last = max(published, key=lambda record: record["number"])
        yield f"catalog/current.json is gone: {last['run_id']}/{last['edition']} was published last"


def _check_record(
    root: str,
    file: str,
    record: Mapping[str, Any],
    records: RecordsByPath,
    digests: _DigestCache,
    checked_files: set[str],
) -> Iterator[str]:
    """Check what a record vouches for; `checked_files`: files that need no second look."""
    kind, folder = file.split("/")[0], file.rpartition("/")[0]
    if kind == "models":
        files = {f"{folder}/{name}": record[digest] for digest, name in CHECKSUM_FILES.items()}
        named: Mapping[str, str] = {}
    elif kind == "runs":
        files = {f"{folder}/{name}": digest for name, digest in record["files"].items()}
        named = {f"models/{model}/model.json": seal for model, seal in record["models"].items()}
    else:
        files = {f"catalog/{name}": record["sha256"][table] for table, name in record["files"].items()}
        named = {f"runs/{record['run_id']}/run.json": record["run_checksum"]}
    fresh = {name: digest for name, digest in files.items() if f"{name} {digest}" not in checked_files}
    checked_files |= {f"{name} {digest}" for name, digest in fresh.items()}
    yield from _check_files(root, fresh)
    for name, seal in named.items():
        if name not in records:
            yield f"what it is made of, {name}, is gone or was altered"
        elif records[name]["checksum"] != seal:
            yield f"it was made of another {name} than is there"
    if kind == "catalog" or (kind == "models" and model_tag(record["model_id"]) not in digests.tags):
        return  # the data are the run's; or the model was trained elsewhere
    digest = digests.digest(record["snapshot_id"])
    if digest is None:
        yield f"its snapshot {record['snapshot_id']} is gone"
    elif digest != record["data_digest"]:
        yield f"its data are not what stands in snapshot {record['snapshot_id']}"


def _check_files(root: str, files: Mapping[str, str]) -> Iterator[str]:
    def check(item: tuple[str, str]) -> str | None:
        name, digest = item
        try:
            altered = compute_sha256(join_url(root, name)) != digest
        except FileNotFoundError:
            return f"{name} is gone"
        return f"{name} is not what it vouches for" if altered else None

    with ThreadPoolExecutor(N_READER_THREADS) as pool:
        found = pool.map(check, files.items())
        for problem in tqdm(found, total=len(files), desc="verify", unit="file", leave=False, disable=None):
            if problem is not None:
                yield problem


def _check_catalog_rows(root: str, edition: EditionRecord) -> Iterator[str]:
    """Hold the rows of the current edition against the store: names, positions, redshifts, latents."""
    file = edition.files["objects"]
    store, objects = (
        open_store(store_url(root), edition.snapshot_id),
        open_parquet_dataset(join_url(catalog_url(root), file)),
    )
    said = {key.decode(): value.decode() for key, value in (objects.schema.metadata or {}).items()}
    model = str(read_json(join_url(run_url(root, edition.run_id), "run.json"))["model_id"])
    weights = str(read_model_record(model_url(root, model))["weights_sha256"])
    expected = dict(
        zip(schema.PROVENANCE_KEYS, (edition.run_id, model, store.snapshot_id, weights), strict=True)
    )
    if not expected.items() <= said.items():
        yield f"catalog/{file} says of what it was made otherwise than its record"
        return
    rows = objects.to_table(["store_row"])["store_row"].to_numpy()
    if not np.array_equal(np.sort(rows), store.current_rows()):
        yield f"catalog/{file} has other rows than stand in snapshot {store.snapshot_id}"
        return
    for name, values in _iter_stored_columns(store, model):
        mine, theirs = objects.to_table([name])[name].to_numpy(), values[rows]
        same = mine == theirs
        if theirs.dtype.kind == "f":
            same |= np.isnan(mine) & np.isnan(theirs)
        if n := int(np.count_nonzero(~same)):
            yield f"catalog/{file}: {name} of {n:,} rows is not what the store has"


def _iter_stored_columns(store: Store, model: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield columns of a catalogue with what the store has of them, a value a row of the store."""
    for name in ("object_id", "version", "ra", "dec", "z"):
        yield name, np.asarray(store.open_array(name)[:])
    for name, values in read_latents(store, model, VECTOR_COLUMNS).items():
        for i in range(values.shape[1]):
            yield f"{name}_{i:02d}", values[:, i]
