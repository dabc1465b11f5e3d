from __future__ import annotations

import dataclasses
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.image import imread

from distspec.anomaly.feedback import DiscoveryCurve
from distspec.catalog.run_record import NullTestRecord, RunRecord, SelectionRecord
from distspec.core import schema
from distspec.core.lines import GALAXY_LINES
from distspec.core.listing import RowCounts
from distspec.core.schema import Column
from distspec.io.stage_log import StageRecord
from distspec.report.data import ChosenSpace, DoubtfulRedshift, ExampleSpectra, MapColumn, ReportData
from distspec.report.figures import to_png
from distspec.report.figures.draw import draw_figures
from distspec.report.odd_features import OddFeature
from distspec.report.page import render_html, write_report
from distspec.report.tables import build_summary
from distspec.report.truth import AnomalyRecall, LabelScore, TruthScores, TypeRecall

WAVE = np.geomspace(1100.0, 8400.0, 48)
EVIL = '<script>alert("$x_{")</script>'
FIGURES = {
    "sky", "reconstructions", "training", "map", "properties", "classes", "examples", "thumbnails",
    "anomalies", "sweep",
}  # fmt: skip
MEASURES = (Column("uv_slope", pa.float32(), "", EVIL), Column("uv_slope_err", pa.float32(), "", ""))
SCORES = TruthScores(
    labels=(LabelScore("ARI", 0.2134, 0.0, 0.011),),
    anomalies=(AnomalyRecall("top 1 %", 0.41, 0.01, 0.025, n_anomalies=40, n_bad_pixel_spectra=7),),
    by_type=(TypeRecall("blend", 4, {"top 1 %": float("nan")}),),
)
RUN = RunRecord(
    run_id="r1",
    recipe="dja",
    model_id="m1",
    models={"m1": ""},
    weights_sha256="",
    snapshot_id="",
    dataset_checksum="",
    seed=0,
    created="2026-01-01T00:00:00+00:00",
    versions={"numpy": "2"},
    clustering=SelectionRecord(
        "consensus",
        n_trials=2,
        min_core_stability=0.9,
        core_fraction=0.8,
        reason=EVIL,
        beats_null=False,
        setting="map: gmm, k = 2",
        alpha=0.05,
        silhouette_test=NullTestRecord(quantile=0.4, null_mean=0.25, z_score=-0.3, p_value=0.6),
    ),
    config={"model": {"latents": 10}, "name": EVIL},
    adaptations=(f"Adapted: {EVIL}",),
)


def examples(n: int) -> ExampleSpectra:
    flux = np.random.default_rng(n).normal(1, 0.1, (n, 48)).astype("f4")
    return ExampleSpectra([EVIL] * n, np.ones(n), flux, np.full_like(flux, 99), flux * 0 + 1, [EVIL] * n)


ROW_COUNTS = RowCounts(160).deselect("no redshift", 35).quarantine("bad_row", 5)


def quarantine(n: int) -> pa.Table:
    reason = ["not_found" if i % 3 else "bad_wave" for i in range(n)]
    words = pa.array([EVIL] * n, "string")
    return pa.table({"object_id": words, "uri": words, "reason": pa.array(reason, "string"), "detail": words})


def classes(labels: np.ndarray) -> pa.Table:
    numbers = (
        "n_spectra",
        "n_sources",
        "share",
        "z_p16",
        "z_p50",
        "z_p84",
        "snr_p50",
        "recon_mse_p50",
        "stability_p50",
        "core_share",
        "galaxy_type_confidence",
        "uv_slope",
        "uv_slope_err",
    )
    known = np.unique(labels)
    words = {
        name: pa.array([EVIL] * len(known), "string")
        for name in ("class_name", "galaxy_type", "galaxy_type_reason")
    }
    return pa.table({"cluster_label": known, **{name: np.ones(len(known)) for name in numbers}, **words})


def groups(n: int) -> pa.Table:
    values = {
        "property": ["program", "program", "detector"], "value": ["1747", EVIL, "NRS1"],
        "n_spectra": [n] * 3, "n_sources": [n] * 3,
        "n_anomalous": [n] * 3, "anomalous_share": [0.4] * 3, "anomalous_share_low": [0.31] * 3,
        "anomalous_share_high": [0.5] * 3, "anomalous_p_value": [0.002, 1.0, 1.0],
        "n_bad_pixels": [0] * 3, "bad_pixels_share": [0.0] * 3, "bad_pixels_share_low": [0.0] * 3,
        "bad_pixels_share_high": [0.05] * 3, "bad_pixels_p_value": [1.0] * 3,
    }  # fmt: skip
    columns = schema.OBSERVATION_GROUPS_SCHEMA
    return schema.build_table({name: rows if n else [] for name, rows in values.items()}, columns, {})


def leakage(n: int) -> pa.Table:
    rows = [
        ("z", "R2", n, None, 0.21, 0.04, -0.1, 0.02, 0.005, 0.28, None, None, None),
        (EVIL, "accuracy", n, 3, 0.61, 0.03, 0.4, 0.02, 0.005, 0.35, 0.57, 0.03, 0.1),
    ]
    names = [column.name for column in schema.LEAKAGE_SCHEMA]
    values = dict(zip(names, zip(*rows, strict=True), strict=True)) if n else dict.fromkeys(names, ())
    return schema.build_table(values, schema.LEAKAGE_SCHEMA, {})


def redshifts(n_doubtful: int) -> pa.Table:
    """Return measured redshifts: some doubtful, and one that is not used."""
    if not n_doubtful:
        return schema.build_table({c.name: [] for c in schema.REDSHIFTS_SCHEMA}, schema.REDSHIFTS_SCHEMA, {})
    numbers = {"z_archive": 4.0, "z_model": 2.345, "z_model_p16": 2.3, "z_model_p84": 2.4, "p_outlier": 0.987}
    row = {"object_id": EVIL, "status": "doubtful", "z_class": None, **numbers}
    rows = [row] * n_doubtful + [{"object_id": "b", "status": "not used"}]
    names = [column.name for column in schema.REDSHIFTS_SCHEMA]
    values = {name: [each.get(name) for each in rows] for name in names}
    return schema.build_table(values, schema.REDSHIFTS_SCHEMA, {})


def doubtful(n: int) -> list[DoubtfulRedshift]:
    """Return doubtful redshifts, the first of which cannot be normalized at that of the model."""
    flux = np.ones((2, len(WAVE)), np.float32)
    ivar = np.full_like(flux, 25.0)
    pdf = np.array([2.3, 2.345, 2.4]), np.array([0.2, 0.7, 0.1])
    spectra = [DoubtfulRedshift(EVIL, 4.0, 2.345, 0.987, *pdf, flux, ivar.copy(), flux) for _ in range(n)]
    if n:
        spectra[0].ivar[1] = 0.0
    return spectra


def report_data(
    n: int = 60, n_odd: int = 3, n_bad: int = 60, z: float = 1.0, n_doubtful: int = 0
) -> ReportData:
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 3, n)
    classes_present = np.unique(labels)
    curve = {f"flux_p{p}": np.ones(48 * len(classes_present)) for p in (16, 50, 84)}
    columns = ("umap_0", "umap_1", "recon_mse", "recon_chi2_red", "snr", "anomaly_score")
    return ReportData(
        run=RUN, best_epoch=1, too_few="", wave_rest=WAVE,
        stages=[
            StageRecord("ingest", "2026-01-01T00:00:00+00:00", 1.5, {"used": n, "catalog": str(ROW_COUNTS)})
        ],
        objects=pa.table({
            "object_id": [EVIL] * n, "z": np.full(n, z), "cluster_label": labels,
            "ra": 360 * rng.random(n), "dec": 90 * rng.random(n), "root": [EVIL] * n,
            "split": ["train" if i % 5 else "validation" for i in range(n)],
            **{name: rng.random(n) for name in columns},
        }),
        classes=classes(labels),
        class_medians=pa.table({
            "cluster_label": np.repeat(classes_present, 48),
            "wave_rest": np.tile(WAVE, len(classes_present)), **curve,
        }),
        changes=pa.table({
            "class_id": ["c-0001"], "previous_class_id": ["c-0001"], "change": ["kept"], "n_spectra": [9],
            "reason": [f"90% of it {EVIL}"],
        }),
        anomalies=pa.table({
            "anomaly_rank": np.arange(n_odd) + 1, "object_id": pa.array([EVIL] * n_odd, "string"),
            "z": np.full(n_odd, z), "snr": np.ones(n_odd), "anomaly_score": np.ones(n_odd),
            "cluster_label": np.zeros(n_odd, int), "reason": pa.array([EVIL] * n_odd, "string"),
        }),
        bad_pixels=pa.table({
            "object_id": pa.array([EVIL] * n_odd, "string"), "snr": np.ones(n_odd),
            "artefact_score": np.full(n_odd, 2.5), "reason": pa.array([f"spikes {EVIL}"] * n_odd, "string"),
        }),
        quarantine=quarantine(n_bad),
        sweep=pa.table({
            "trial": [0, 1], "space": ["map", "map"],
            "algorithm": ["gmm", "gmm"], "k": [2, 3], "seed": [0, 0],
            "silhouette": [0.2, 0.3], "selected": [True, False],
        }),
        null_tests=pa.table({"space": ["map"], "k": [2], "silhouette": [0.1]}),
        confusion=pa.table({
            "cluster_label": [0], "other_label": [1], "share": [0.2], "n_ambiguous": [3],
            "examples": [[EVIL]],
        }),
        latent_pairs=pa.table({
            "latent": [1, 2, 2], "other_latent": [0, 0, 1],
            "mutual_information": [0.1, 0.2, 0.0], "alignment": [0.41, 0.87, np.nan],
        }),
        redshifts=redshifts(n_doubtful),
        doubtful_redshifts=doubtful(n_doubtful),
        observation_groups=groups(n),
        leakage=leakage(n),
        history=pa.table({
            "epoch": [0, 1], "train_recon": [2.0, 1.0], "val_recon": [2.0, 1.5],
            "train_kl": [0.1, 1.0], "val_kl": [0.1, 1.1], "lr": [1e-3, 1e-3],
        }),
        quartile_examples=examples(min(n, 4)),
        class_examples=examples(n_members := min(n, 5)),
        class_example_labels=np.arange(n_members) // 3,
        thumbnails=examples(n),
        thumbnail_labels=labels,
        measurement_columns=MEASURES,
        anomaly_examples=examples(n_odd),
        odd_features=[OddFeature(5008.0, -9.0)] * n_odd,
        space=ChosenSpace("latents", rng.random((n, 2)), ("PC 1", EVIL)) if n else None,
        edition=7,
        root="/data/project",
        documentation_url="https://docs.example.org/distspec",
        truth_scores=SCORES,
        lines=GALAXY_LINES,
        norm_wave=1500.0,
        example_query="SELECT count(*) FROM 'objects/*.parquet' WHERE z < 2 AND snr > 3;",
    )  # fmt: skip


class Page(HTMLParser):
    """Tags, loaded resources and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.words += " "
        self.loads += [value for name, value in attrs if name in ("src", "href") and value]
        self.ids |= {value for name, value in attrs if name == "id" and value}

    def handle_data(self, data):
        self.words += data


def text_of(data: ReportData, figures: set[str] = FIGURES) -> str:
    """Return the text of a page without figures, with single spaces."""
    return " ".join(Page(render_html(data, dict.fromkeys(figures, b""))).words.split())


def draw(data: ReportData) -> set[str]:
    """Draw the figures of a report with few pixels, and return their names."""
    drawn = draw_figures(data)
    for figure in drawn.values():
        figure.set_dpi(30)  # fast to render
        assert np.std(imread(io.BytesIO(to_png(figure)))[..., :3]) > 0.005
    return set(drawn)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "report"
    write_report(report_data(), str(folder))
    return folder


@pytest.fixture(scope="module")
def page(folder) -> Page:
    return Page((folder / "index.html").read_text())


def test_every_figure_is_written_and_not_blank(folder):
    assert {path.stem for path in folder.glob("*.png")} == FIGURES
    for path in folder.glob("*.png"):
        pixels = imread(path)
        assert pixels.shape[1] == 2160, "7.2 inches at 300 dpi"
        assert pixels[..., :3].std() > 0.01
        document = path.with_suffix(".pdf").read_bytes()
        assert document.startswith(b"%PDF")
        for content in (document, path.read_bytes()):
            assert b"run r1" in content
            assert b"edition 7" in content


def test_the_page_loads_no_external_resources(page, folder):
    beside = {f"{name}.{suffix}" for name in FIGURES for suffix in ("png", "pdf")}
    links = {"https://docs.example.org/distspec", "../../../catalog/r1/"}
    for url in page.loads:
        assert url.startswith(("data:image/webp;base64,", "#")) or url in beside | links
    assert links | beside <= set(page.loads)
    assert sum(url.startswith("data:") for url in page.loads) == len(FIGURES)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    text = (folder / "index.html").read_text().replace("https://docs.example.org/distspec", "")
    assert not re.search(r"@import|url\(|https?://", text)


def test_figures_are_numbered_in_their_order(folder):
    text = (folder / "index.html").read_text()
    numbers = [int(number) for number in re.findall(r"<figcaption><b>Figure (\d+)\. ", text)]
    assert numbers == list(range(1, len(FIGURES) + 1))


def test_links_inside_the_page_have_targets(page):
    assert {url[1:] for url in page.loads if url.startswith("#")} <= page.ids


def test_text_from_files_is_escaped(page):
    assert "script" not in page.tags
    assert EVIL in page.words


@pytest.mark.parametrize(
    "words",
    [
        "60 spectra, no classes beyond structureless data",
        "structureless data divide as well as these 3 groups (p = 1). Treat them as a partition. Run r1",
        "edition 7",
        "distspec explore --root /data/project",
        "silhouette 0.20 null data: 0.25; gmm, k = 2 stability (ARI)",
        "uv_slope 1.0 ± 1.0",
        "spectra listed 120 used 60",
        "not_found 40 bad_wave 20",
        "ARI 0.213 0.000 0.011",
        "top 1 % 41.0 % 1.0 % 2.5 % 40 7",
        "ingest 1.50 used 60 · catalog 160 rows read: 120 selected, 35 deselected (no redshift 35)",
        '"latents": 10',
        "WHERE z < 2 AND snr > 3;",
        "The first 50 spectra in quarantine",
        "program 120 2 1 detector 60 1 0",
        "program 1747 60 60 60: 40.0 % (31.0 %–50.0 %) 0.0020 0: 0.0 %",
        "z R² 60 – 0.21 ± 0.04 −0.10 ± 0.02 – 0.28",
        'artefact score reason <script>alert("$x_{")</script> 1.0 2.50 spikes',
        "probability of the other class ambiguous members examples 0 1 20.0 % 3",
        "mutual information [nat] 2 0 0.87 0.20 1 0 0.41 0.10 Figure 10. Silhouette by",
    ],
)
def test_the_page_contains_the_results(page, words):
    assert words in " ".join(page.words.split())


def test_a_partition_that_null_data_beat_has_a_warning(page):
    text = " ".join(page.words.split())
    assert text.count("No distinct classes were found") == 2, "headline and sweep"
    assert "Silhouette: 40.0 % of the draws of null data score lower" in text


def test_positions_and_galaxy_types_that_are_unknown_are_left_out():
    data, images = report_data(), dict.fromkeys(FIGURES, b"")
    typed = render_html(data, images)
    unknown = pa.nulls(len(data.classes), pa.float64())
    column = data.classes.column_names.index("galaxy_type_confidence")
    classes_without = data.classes.set_column(column, "galaxy_type_confidence", unknown)
    data = dataclasses.replace(data, classes=classes_without)
    untyped = render_html(data, {name: image for name, image in images.items() if name != "sky"})
    for words in ("#fig-sky", "published criteria"):
        assert words in typed
        assert words not in untyped


def test_summary_counts_the_spectra():
    shown = {item.label: item for item in build_summary(report_data())}
    assert [shown[name].value for name in ("spectra listed", "used", "quarantined")] == [
        "120",
        "60",
        "60",
    ]
    assert shown["silhouette"].value == "0.20", "that of the selected trial, not the best"
    assert "k = 2" in shown["silhouette"].note
    assert shown["groups"].value == "3", "null data score as high"
    assert shown["quarantined"].note == "not_found 40 · bad_wave 20"


def test_report_of_one_spectrum():
    data = report_data(n=1, n_odd=0, n_bad=0)
    assert draw(data) == FIGURES
    words = text_of(data)
    assert "1 spectrum," in words
    assert "No anomalies were found" in words
    assert "All spectra were used" in words


def test_an_edition_without_tables_of_observations_says_so():
    data = report_data()
    data = dataclasses.replace(
        data, observation_groups=data.observation_groups.slice(0, 0), leakage=data.leakage.slice(0, 0)
    )
    words = text_of(data)
    assert "no groups are compared" in words
    assert "was not measured: that needs 50 sources" in words


def test_report_without_spectra():
    data = report_data(n=0, n_odd=0, n_bad=0)
    data = dataclasses.replace(
        data, sweep=data.sweep.slice(0, 0), history=data.history.slice(0, 0), truth_scores=None
    )
    assert draw(data) == FIGURES - {"sky"}
    assert "No truth is known" in text_of(data)


def test_reports_of_stars_have_no_redshifts():
    words = text_of(dataclasses.replace(report_data(z=0.0), truth_scores=None))
    assert "All redshifts are 0" in words
    assert "z, median" not in words


def test_classes_beyond_null_data_are_announced():
    clustering = dataclasses.replace(RUN.clustering, beats_null=True)
    data = dataclasses.replace(report_data(), run=dataclasses.replace(RUN, clustering=clustering))
    assert "60 spectra in 3 classes 3 classes, more distinct than structureless data give" in text_of(data)


def test_a_model_of_too_few_spectra_is_in_the_headline():
    data = dataclasses.replace(report_data(), too_few="40 spectra are too few: `--model NAME`")
    assert "40 spectra are too few: --model NAME. Run r1" in text_of(data)


def test_groups_that_are_not_reproducible_are_not_announced_as_classes():
    clustering = dataclasses.replace(
        RUN.clustering, beats_null=True, stability=0.81, min_stability=0.9, rerun_agreement=0.87
    )
    data = dataclasses.replace(report_data(), run=dataclasses.replace(RUN, clustering=clustering))
    words = text_of(data)
    assert "60 spectra, no reproducible classes No reproducible classes were found" in words
    assert "stability (ARI) 0.81 classes of reruns: 0.87" in words
    clustering = dataclasses.replace(clustering, beats_null=False)
    data = dataclasses.replace(data, run=dataclasses.replace(RUN, clustering=clustering))
    assert "60 spectra, no classes beyond structureless data No distinct classes were found" in text_of(data)


def test_the_kept_epoch_is_not_called_the_lowest_if_it_is_not():
    assert "has, 1, with the lowest validation loss" in text_of(report_data())
    kept = dataclasses.replace(report_data(), best_epoch=0)
    assert "has, 0; the validation loss is lowest in epoch 1" in text_of(kept)


def test_external_columns_color_the_map():
    columns = [MapColumn("mass", np.ones(60), 41), MapColumn(EVIL, np.array(["a", ""] * 30), 41)]
    data = dataclasses.replace(report_data(), map_columns=columns)
    assert "41 of 60 spectra are in the table" in text_of(data, {*FIGURES, "external"})
    assert "external" in draw_figures(data)


def test_doubtful_redshifts_have_a_figure_and_a_table():
    data = report_data(n_doubtful=2)
    words = text_of(data, {*FIGURES, "redshifts"})
    assert "doubtful used at the archive's redshift, which p(z) contradicts 2 not used" in words
    assert "4.000 2.345 2.300–2.400 – – 0.987" in words
    assert "redshifts" in draw_figures(data)
    assert "Redshifts measured" not in text_of(report_data())


def test_changes_since_the_previous_run():
    data = report_data()
    assert "kept c-0001 c-0001 9 90% of it" in text_of(data)
    new = data.changes.set_column(2, "change", pa.array(["new"]))
    assert "All classes are new" in text_of(dataclasses.replace(data, changes=new))


def test_missing_numbers_are_shown_as_dashes():
    data = report_data()
    nothing = pa.nulls(data.classes.num_rows, "float64")
    at = data.classes.column_names.index("z_p50")
    table = data.classes.set_column(at, "z_p50", nothing)
    words = text_of(dataclasses.replace(data, classes=table))
    assert "– – – 1.00" not in words
    assert "– (1.00–1.00)" in words
    assert not re.search(r"\bnan\b", words)


def test_marks_have_a_figure_and_a_sentence():
    curve = DiscoveryCurve.from_marks(np.array([True, False, True]), np.array([9, 1, 2]))
    data = dataclasses.replace(report_data(), discovery_curve=curve)
    text = text_of(data, {*FIGURES, "feedback"})
    assert "3 spectra are marked, 2 of them as interesting" in text
    assert "The first 3 spectra by anomaly rank contain 1 interesting one and 1 unmarked" in text
    assert "feedback" in draw_figures(data)
    assert "Feedback on anomalies" not in text_of(report_data())
