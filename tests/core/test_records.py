"""Test identifiers, versions and JSON records."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import pytest

from distspec.catalog.runs import compute_run_id
from distspec.clustering.config import ClusteringConfig
from distspec.core.errors import StoreError
from distspec.core.records import JsonRecord, add_checksum, collect_versions, has_valid_checksum
from distspec.training.config import TrainingConfig
from distspec.training.record import compute_model_id
from tests.helpers.models import SMALL


def test_identifiers_depend_on_the_settings_that_matter():
    training = TrainingConfig()
    name = compute_model_id("digest", SMALL, training, 0)
    assert name == compute_model_id("digest", SMALL, training, 0)
    assert name == compute_model_id("digest", SMALL, replace(training, threads=4, use_gpu=True), 0), (
        "not a different model"
    )
    others = {
        compute_model_id("other", SMALL, training, 0),
        compute_model_id("digest", replace(SMALL, l2=0.0), training, 0),
        compute_model_id("digest", SMALL, replace(training, patience=9), 0),
        compute_model_id("digest", SMALL, training, 1),
    }
    assert len(others | {name}) == 5
    run = compute_run_id([name], "digest", ClusteringConfig(), 0)
    assert run == compute_run_id([name], "digest", ClusteringConfig(n_actors=7), 0)
    assert run != compute_run_id([name], "digest", ClusteringConfig(n_seeds=7), 0)
    assert run != compute_run_id([name, "m-2"], "digest", ClusteringConfig(), 0)
    assert run != compute_run_id([name], "grown", ClusteringConfig(), 0)
    assert run != compute_run_id([name], "digest", ClusteringConfig(measurements=("lya_ew",)), 0)


def test_versions_are_recorded():
    assert {"distspec", "torch", "icechunk"} <= collect_versions().keys()


class Color(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Line(JsonRecord):
    name: str
    limits: tuple[float, float]


@dataclass(frozen=True)
class LineList(JsonRecord):
    record_name = "lines.json"

    lines: tuple[Line, ...]
    by_name: Mapping[str, Line] = field(default_factory=dict)
    color: Color = Color.RED
    comment: str | None = None
    best: Line | None = None


def test_records_are_rebuilt_from_json():
    line = Line("Lyα", (1200.0, 1230.0))
    for record in (LineList(()), LineList((line, line), {"a": line}, comment="one", best=line)):
        text = json.dumps(add_checksum(record.to_json()))
        assert LineList.from_json(json.loads(text)) == record
        assert has_valid_checksum(json.loads(text))


def test_a_record_that_lacks_a_field_is_refused_with_the_remedy():
    with pytest.raises(StoreError, match=r"lines\.json: no lines: .* use a new --root"):
        LineList.from_json({"color": "red"})
