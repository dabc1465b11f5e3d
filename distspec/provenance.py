"""Where a row of a catalogue came from: edition, run, model, snapshot, file; and proof that none was altered.

    catalog/<run>/<edition>.json   vouches for its tables, and for run.json
    runs/<run>/run.json            vouches for its tables, for each model.json, and for a data set
    models/<model>/model.json      vouches for its weights and learning curves, and for a data set

A record vouches for a file by its SHA-256, for another record by that one's seal (`distspec.lineage.sealed`),
and for what stands in a snapshot of the store by `distspec.store.Store.digest`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from distspec import schema
from distspec.arrow import pc
from distspec.catalog import current, edition_name, editions, open_file, record_of
from distspec.champion import champion
from distspec.latents import VECTORS, read_latents
from distspec.lineage import RUN_TABLES, is_intact
from distspec.places import catalog_url, exists, get_json, join, model_url, names, run_url, sha256, store_url
from distspec.snapshots import model_tag
from distspec.store import Store, open_store, repository
from distspec.weights import VOUCHED, read_record

READERS = 4
"""Files read at a time."""


@dataclass(frozen=True)
class Link:
    """A link of the chain from a row to its file.

    Attributes
    ----------
    what : str
    name : str
    facts : mapping
    """

    what: str
    name: str
    facts: Mapping[str, Any]


def chain(root: str, object_id: str, run: str = "") -> list[Link]:
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
    edition = record_of(root, run)
    objects = open_file(join(catalog_url(root), edition["files"]["objects"]))
    columns = ["object_id", "source_id", "store_row", "class_id", "cluster_label", "anomaly_rank", "split"]
    rows = objects.to_table(columns, filter=pc.field("object_id") == object_id).to_pylist()
    if not rows:
        raise ValueError(
            f"{edition_name(edition)} holds no spectrum {object_id}: "
            "look for it with `distspec query \"SELECT object_id FROM objects WHERE object_id LIKE '%…%'\"` "
            "or in `distspec quarantine`"
        )
    made = get_json(join(run_url(root, edition["run_id"]), "run.json"))
    store = open_store(store_url(root), edition["snapshot_id"])
    row = rows[0]["store_row"]
    kept = {name: np.asarray(store.array(name)[row : row + 1]).tolist()[0] for name in FROM_LEDGER}
    return [
        Link("row", object_id, {name: value for name, value in rows[0].items() if name != "object_id"}),
        Link("edition", edition_name(edition), _edition_facts(edition)),
        Link("run", str(made["run_id"]), _run_facts(made)),
        *(Link("model", name, _model_facts(root, name)) for name in made["models"]),
        Link("snapshot", store.snapshot_id, _snapshot_facts(store)),
        Link("file", kept.pop("uri"), {**kept, "checksum": f"{kept['checksum']:016x}"}),
    ]


FROM_LEDGER = ("uri", "version", "ra", "dec", "z", "norm", "checksum", "batch")


def _edition_facts(edition: Mapping[str, Any]) -> dict[str, Any]:
    facts = {name: edition[name] for name in ("published", "made_with", "seal")}
    return {**facts, "objects": edition["files"]["objects"], "objects_sha256": edition["sha256"]["objects"]}


def _run_facts(made: Mapping[str, Any]) -> dict[str, Any]:
    named = ("created", "recipe", "seed", "seal", "data_digest", "versions", "config")
    return {name: made[name] for name in named}


def _model_facts(root: str, name: str) -> dict[str, Any]:
    record = read_record(model_url(root, name))
    named = ("created", "weights_sha256", "seal", "parent", "snapshot_id", "data_digest", "seed", "metrics")
    facts = {each: record[each] for each in named}
    now = champion(root)
    if now is not None and now.model_id == name:
        facts["serves"] = now.why
    return {**facts, "versions": record["versions"], "vae": record["vae"], "training": record["training"]}


def _snapshot_facts(store: Store) -> dict[str, Any]:
    info = next(iter(repository(store.url).ancestry(snapshot_id=store.snapshot_id)))
    return {
        "written": info.written_at.isoformat(timespec="seconds"),
        "message": info.message,
        "rows": store.n_rows,
        "standing": len(store.standing()),
        "grid": asdict(store.frozen.grid),
        "preprocessing": dict(store.frozen.settings),
    }


def broken(root: str) -> list[str]:
    """Find what was altered, or is gone, of what was published and of all that it came from.

    Parameters
    ----------
    root : str

    Returns
    -------
    list of str
        What is wrong, in words that name files and records; empty where nothing is.
    """
    known, digests = editions(root), _Digests(root)
    checks = [_current(root, known), _models(root, digests), _runs(root, digests)]
    found = [problem for check in checks for problem in check]
    seen: set[str] = set()
    for edition in known:
        found += _edition(root, edition, seen)
    newest = current(root)
    return [*found, *_rows(root, newest)] if newest and not found else found


class _Digests:
    """Digests of the data sets of snapshots, each computed once."""

    def __init__(self, root: str) -> None:
        self._url = store_url(root)
        self._known: dict[str, str | None] = {}

    def of(self, snapshot: str) -> str | None:
        """Return a snapshot's digest; None where there is no such snapshot."""
        if snapshot not in self._known:
            try:
                self._known[snapshot] = open_store(self._url, snapshot).digest()
            except (ValueError, FileNotFoundError):
                self._known[snapshot] = None
        return self._known[snapshot]


def _current(root: str, known: list[dict[str, Any]]) -> Iterator[str]:
    now = current(root)
    if now is not None and now not in known:
        yield f"catalog/current.json is the record of no edition: {edition_name(now)}"
    if now is None and known:
        yield f"catalog/current.json is gone: {edition_name(known[-1])} was published last"


def _models(root: str, digests: _Digests) -> Iterator[str]:
    here = {name.split("/")[0] for name in names(join(root, "models")) if name.endswith("/model.json")}
    tags = repository(store_url(root)).list_tags()
    for name in sorted(here):
        record = read_record(model_url(root, name))
        yield from _sealed(f"models/{name}/model.json", record)
        files = {file: str(record.get(vouched)) for vouched, file in VOUCHED.items()}
        yield from _files(root, f"models/{name}", files, f"models/{name}/model.json")
        if model_tag(name) in tags:  # else it was trained elsewhere
            yield from _data(f"models/{name}/model.json", record, digests)


def _runs(root: str, digests: _Digests) -> Iterator[str]:
    here = {name.split("/")[0] for name in names(join(root, "runs")) if name.endswith("/run.json")}
    for name in sorted(here):
        record, url = get_json(join(run_url(root, name), "run.json")), f"runs/{name}/run.json"
        yield from _sealed(url, record)
        files = record.get("files", {})
        if missing := {f"{table}.parquet" for table in RUN_TABLES} - files.keys():
            yield f"{url} does not vouch for {', '.join(sorted(missing))}"
        yield from _files(root, f"runs/{name}", files, url)
        yield from _data(url, record, digests)
        for model, seal in record.get("models", {}).items():
            if not exists(join(model_url(root, model), "model.json")):
                yield f"{url} is of model {model}, which is gone"
            elif read_record(model_url(root, model)).get("seal") != seal:
                yield f"models/{model}/model.json is not the record that {url} was made with"


def _edition(root: str, edition: Mapping[str, Any], seen: set[str]) -> Iterator[str]:
    """Check an edition's record, and those of its files that were not seen with another."""
    url = f"catalog/{edition_name(edition)}.json"
    yield from _sealed(url, edition)
    files = {edition["files"][name]: edition["sha256"].get(name, "") for name in edition["files"]}
    fresh = {file: digest for file, digest in files.items() if f"{file} {digest}" not in seen}
    seen |= {f"{file} {digest}" for file, digest in fresh.items()}
    yield from _files(root, "catalog", fresh, url)
    run = join(run_url(root, edition["run_id"]), "run.json")
    if not exists(run):
        yield f"{url} is of run {edition['run_id']}, which is gone"
    elif get_json(run).get("seal") != edition["run_seal"]:
        yield f"runs/{edition['run_id']}/run.json is not the record that {url} was made with"


def _sealed(url: str, record: Mapping[str, Any]) -> Iterator[str]:
    if not is_intact(record):
        yield f"{url} was altered: it is not what was sealed"


def _files(root: str, folder: str, files: Mapping[str, str], voucher: str) -> Iterator[str]:
    def check(item: tuple[str, str]) -> str | None:
        file, digest = item
        try:
            altered = sha256(join(root, folder, file)) != digest
        except FileNotFoundError:
            return f"{folder}/{file} is gone"
        return f"{folder}/{file} is not what {voucher} vouches for" if altered else None

    with ThreadPoolExecutor(READERS) as pool:
        found = pool.map(check, files.items())
        for problem in tqdm(found, total=len(files), desc=voucher, unit="file", leave=False, disable=None):
            if problem is not None:
                yield problem


def _data(url: str, record: Mapping[str, Any], digests: _Digests) -> Iterator[str]:
    snapshot = str(record.get("snapshot_id"))
    digest = digests.of(snapshot)
    if digest is None:
        yield f"{url} is of snapshot {snapshot}, which is gone"
    elif digest != record.get("data_digest"):
        yield f"{url} is not of what stands in snapshot {snapshot}"


def _rows(root: str, edition: Mapping[str, Any]) -> Iterator[str]:
    """Hold the rows of the current edition against the store: names, positions, redshifts, latents."""
    file = edition["files"]["objects"]
    store, objects = (
        open_store(store_url(root), edition["snapshot_id"]),
        open_file(join(catalog_url(root), file)),
    )
    said = {key.decode(): value.decode() for key, value in (objects.schema.metadata or {}).items()}
    model = str(get_json(join(run_url(root, edition["run_id"]), "run.json"))["model_id"])
    weights = str(read_record(model_url(root, model))["weights_sha256"])
    expected = dict(zip(schema.ORIGIN, (edition["run_id"], model, store.snapshot_id, weights), strict=True))
    if not expected.items() <= said.items():
        yield f"catalog/{file} says of what it was made otherwise than its record"
        return
    rows = objects.to_table(["store_row"])["store_row"].to_numpy()
    if not np.array_equal(np.sort(rows), store.standing()):
        yield f"catalog/{file} has other rows than stand in snapshot {store.snapshot_id}"
        return
    for name, values in _stored(store, model):
        mine, theirs = objects.to_table([name])[name].to_numpy(), values[rows]
        same = mine == theirs
        if theirs.dtype.kind == "f":
            same |= np.isnan(mine) & np.isnan(theirs)
        if n := int(np.count_nonzero(~same)):
            yield f"catalog/{file}: {name} of {n:,} rows is not what the store has"


def _stored(store: Store, model: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield columns of a catalogue with what the store has of them, a value a row of the store."""
    for name in ("object_id", "version", "ra", "dec", "z"):
        yield name, np.asarray(store.array(name)[:])
    for name, values in read_latents(store, model, VECTORS).items():
        for i in range(values.shape[1]):
            yield f"{name}_{i:02d}", values[:, i]
