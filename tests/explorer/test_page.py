"""The page in a headless Chromium, with its content security policy and without console messages."""

from __future__ import annotations

import io
import json
import re
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from astropy.table import Table
from scipy.spatial import cKDTree

import distspec.explorer
from distspec.explorer.columns import list_anomaly_components
from distspec.labels.annotations import current_annotations, read_annotations
from tests.explorer.conftest import EVIL, wait

PAINT = 60_000  # timeout [ms], long for busy machines


def left_icon(request: Any) -> bool:
    """Whether the browser gave up the request of the page's icon, as it does when it leaves a page early."""
    return request.url.endswith("/icon.svg") and request.failure == "net::ERR_ABORTED"


@pytest.fixture
def page(chromium: Any, address: str) -> Iterator[Any]:
    """The open explorer after painting; messages on the console and failed requests fail the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    context.set_default_timeout(PAINT)
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("requestfailed", lambda request: left_icon(request) or problems.append(f"failed: {request.url}"))
    page.on(
        "request", lambda request: request.url.startswith((address, "blob:")) or problems.append(request.url)
    )
    page.goto(address)
    page.locator("#map[data-painted]").wait_for()
    wait(lambda: page.locator("#selected").inner_text() != "")
    yield page
    assert problems == []
    assert page.title() == "distspec explorer", "an identifier was run as a script"
    context.close()


def pixels(page: Any) -> set[tuple[int, ...]]:
    """Return the colors of more than 20 pixels of the map."""
    image = matplotlib.image.imread(io.BytesIO(page.locator("#points").screenshot()))[..., :3]
    counts = Counter(map(tuple, (255 * image).round().astype(int).reshape(-1, 3).tolist()))
    return {color for color, n in counts.items() if n > 20}


def place(page: Any, explorer_data: Any, row: int) -> tuple[float, float]:
    """Return the position of a row on the screen."""
    box = page.locator("#points").bounding_box()
    x, y, scale = (float(page.locator("#map").get_attribute(f"data-{name}")) for name in ("x", "y", "scale"))
    u, v = (float(explorer_data.table[name][row].as_py()) for name in ("umap_0", "umap_1"))
    return box["x"] + box["width"] / 2 + (u - x) * scale, box["y"] + box["height"] / 2 - (v - y) * scale


def most_isolated_row(explorer_data: Any) -> int:
    """Return the row that is farthest from all others on the map."""
    points = np.stack([explorer_data.table[name].to_numpy() for name in ("umap_0", "umap_1")], axis=1)
    return int(np.argmax(cKDTree(points).query(points, k=2)[0][:, 1]))


def find(page: Any, query: str) -> None:
    page.fill("#query", query)
    page.keyboard.press("Enter")


def wait_until_open(page: Any, explorer_data: Any, row: int | str) -> None:
    """Wait until a spectrum, given by row or identifier, is painted."""
    row = explorer_data.find_row(row) if isinstance(row, str) else row
    page.locator(f'#panel[data-painted="{row}"]').wait_for()


def find_measured(explorer_data: Any) -> int:
    """Return the row of the spectrum whose redshift was measured."""
    return int(np.flatnonzero(np.isfinite(explorer_data.table["z_model"].to_numpy()))[0])


def leave_fields(page: Any) -> None:
    """Move the focus away from text fields, so that keys are commands."""
    page.locator("#points").focus()


def lasso(page: Any, explorer_data: Any) -> list[int]:
    """Draw a lasso around the left half of the map; return the rows inside."""
    box = page.locator("#points").bounding_box()
    u = np.sort(explorer_data.table["umap_0"].to_numpy())[150:250]
    gap = int(np.argmax(np.diff(u)))
    edge = float(0.5 * (u[gap] + u[gap + 1]))
    x, scale = (float(page.locator("#map").get_attribute(f"data-{name}")) for name in ("x", "scale"))
    left, middle = box["x"] + 3, box["x"] + 0.5 * box["width"] + (edge - x) * scale
    top, bottom = box["y"] + 3, box["y"] + box["height"] - 3
    corners = [(left, top), (middle, top), (middle, bottom), (left, bottom)]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=5)
    page.mouse.up()
    return np.flatnonzero(explorer_data.table["umap_0"].to_numpy() < edge).tolist()


def line_positions(svg: bytes) -> dict[str, float]:
    """Return the horizontal positions of the dotted lines in a saved plot by the name beside each."""
    elements = list(ElementTree.fromstring(svg).iter())
    dotted = [i for i, element in enumerate(elements) if element.get("stroke-dasharray") == "2 3"]
    return {elements[i + 1].text: float(re.search(r"M([\d.]+)", elements[i].get("d"))[1]) for i in dotted}


def test_the_map_has_the_colors_of_the_legend(page):
    entries = page.locator("#legend .entry")
    assert [text.split("\n") for text in entries.all_inner_texts()] == [
        ["class 0 · unknown", "160"],
        ["class 1 · unknown", "100"],
        ["class 2 · unknown", "100"],
        ["noise (−1)", "40"],
    ]
    assert {(51, 34, 136), (204, 102, 119), (17, 119, 51)} <= pixels(page)


def test_all_modules_are_preloaded_and_requested_once(page):
    urls = page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
    links = page.evaluate(
        "[...document.querySelectorAll('link[rel=modulepreload]')].map((link) => link.href)"
    )
    assert sorted(url for url in urls if url.endswith(".js")) == sorted(links)
    folder = Path(distspec.explorer.__file__).parent / "static"
    assert {url.rpartition("/")[2] for url in links} == {path.name for path in folder.glob("*.js")}


def test_color_by_another_column(page):
    before = pixels(page)
    page.select_option("#color", "z")
    page.locator("#legend .color-bar").wait_for()
    assert "Redshift" in page.locator("#color-description").inner_text()
    wait(lambda: len(pixels(page) - before) > 5)
    page.select_option("#color", "split")
    page.locator("#legend .entry").first.wait_for()
    assert page.locator("#legend .entry").count() == 2


def test_a_measured_redshift_has_its_density_and_solutions_move_the_lines(page, explorer_data):
    name = explorer_data.object_ids[find_measured(explorer_data)]
    find(page, name)
    wait_until_open(page, explorer_data, name)
    assert "Redshift by the model: 2.01 (" in page.locator("#redshift-text").inner_text()
    page.locator("#redshift-density line.density").nth(2).wait_for(state="attached")
    assert page.locator("#redshift-density line.density").count() == 3
    buttons = page.locator("#redshift-solutions button")
    assert [text.partition(":")[0] for text in buttons.all_inner_texts()] == [
        "Lines at z",
        "at the model's",
        "at its second solution",
    ]
    for button, z in ((1, "2.0100"), (2, "7.0000")):
        buttons.nth(button).click()
        assert page.locator("#line-z").input_value() == z
    other = (find_measured(explorer_data) + 1) % len(explorer_data)
    find(page, explorer_data.object_ids[other])
    wait_until_open(page, explorer_data, other)
    assert page.locator("#redshift").is_hidden()


def test_clicks_open_a_spectrum_and_its_neighbor(page, explorer_data):
    row = most_isolated_row(explorer_data)
    name = explorer_data.object_ids[row]

    def has_tooltip() -> bool:
        page.mouse.move(*place(page, explorer_data, row))
        return name in page.locator("#tooltip").inner_text()

    wait(has_tooltip)
    page.mouse.click(*place(page, explorer_data, row))
    wait_until_open(page, explorer_data, row)
    assert page.locator("#name").inner_text() == name
    assert "Spectrum of" in page.locator("#chart").get_attribute("aria-label")
    assert page.locator("#chart canvas").count() == page.locator("#residual canvas").count() == 1
    neighbors = explorer_data.nearest_neighbors(row)
    texts = page.locator("#neighbors .id").all_inner_texts()
    assert texts == [explorer_data.object_ids[i] for i, _ in neighbors]
    page.locator("#neighbors button").first.click()
    wait_until_open(page, explorer_data, neighbors[0][0])


def test_the_error_band_is_drawn_under_the_flux(page, explorer_data):
    """The colors of error band, data and reconstruction are all visible."""
    find(page, "o0005")
    wait_until_open(page, explorer_data, "o0005")
    image = matplotlib.image.imread(io.BytesIO(page.locator("#chart").screenshot()))[..., :3]
    image = (255 * image).round().astype(int)
    for color in ((185, 199, 216), (213, 94, 0)):
        assert np.count_nonzero((image == color).all(axis=-1)) > 50, color
    assert np.count_nonzero((image < 90).all(axis=-1)) > 50


def test_rest_and_observed_frame(page, explorer_data):
    find(page, "o0005")
    wait_until_open(page, explorer_data, "o0005")
    chart = page.locator("#chart")
    assert "rest wavelength [Å]" in chart.get_attribute("aria-label")
    leave_fields(page)
    page.keyboard.press("f")
    wait(lambda: "observed wavelength [µm]" in chart.get_attribute("aria-label"))
    label = chart.get_attribute("aria-label")
    assert "erg s⁻¹ cm⁻² Å⁻¹" in label
    low, high = (float(x) for x in re.search(r"\], ([\d.]+) to ([\d.]+),", label).groups())
    i = explorer_data.find_row("o0005")
    wave = explorer_data.store.config.grid.wave_rest[explorer_data.spectrum(i)[1] > 0]
    stretch = 1e-4 * (1.0 + explorer_data.table["z"][i].as_py())
    assert (low, high) == pytest.approx((wave[0] * stretch, wave[-1] * stretch), rel=1e-3)


def test_search_by_position(page, explorer_data):
    find(page, "150.05 2.0 40")
    wait_until_open(page, explorer_data, "o0005")
    assert "3 spectra: within 40″" in page.locator("#selected").inner_text()
    find(page, "not an identifier")
    wait(lambda: "Nothing found" in page.locator("#status").inner_text())


def test_filters_and_legend_hide_points(page, explorer_data):
    z = explorer_data.table["z"].to_numpy()
    page.click("#filter-add")
    page.get_by_label("z at least").fill("6")
    page.get_by_label("z at least").press("Enter")
    n = int((z.astype("f4") >= 6).sum())
    wait(lambda: page.locator("#shown").inner_text() == f"{n} of 400 shown")
    page.locator("#legend .entry").nth(1).click()
    both = int(((z >= 6) & (explorer_data.table["cluster_label"].to_numpy() == 1)).sum())
    wait(lambda: page.locator("#shown").inner_text() == f"{both} of 400 shown")
    assert (17, 119, 51) not in pixels(page), "class 2 is hidden"
    page.get_by_label("Column to filter by").select_option("object_id")
    page.get_by_label("object_id contains").fill("o001")
    page.get_by_label("object_id contains").press("Enter")
    wait(lambda: page.locator("#shown").inner_text() == "2 of 400 shown")  # o0013 and o0017
    page.get_by_label("Remove this filter").click()
    page.locator("#legend .entry").nth(1).click()
    wait(lambda: page.locator("#shown").inner_text() == "")


def test_lasso_label_undo_and_export(page, explorer_data, root, tmp_path):
    page.click("#names-edit")
    page.fill("#names-text", "LRD\nLAE")
    page.click("#names button")
    wait(lambda: "LAE" in page.locator("#keys").inner_text())
    leave_fields(page)
    page.keyboard.press("l")
    assert page.locator("#lasso").get_attribute("aria-pressed") == "true"
    inside = lasso(page, explorer_data)
    wait(lambda: re.match(r"\d", page.locator("#selected").inner_text()) is not None)
    n = len(inside)
    assert page.locator("#selected").inner_text() == f"{n} spectra"
    leave_fields(page)
    page.keyboard.press("2")
    wait(lambda: f"{n} spectra: LAE" in page.locator("#status").inner_text())
    labels = current_annotations(read_annotations(root))
    assert set(labels["object_id"].to_pylist()) == {explorer_data.object_ids[i] for i in inside}
    assert set(labels["human_label"].to_pylist()) == {"LAE"}
    with page.expect_download() as download:
        page.click("#export")
    download.value.save_as(tmp_path / "chosen.csv")
    table = pa.csv.read_csv(tmp_path / "chosen.csv")
    assert set(table["object_id"].to_pylist()) == set(labels["object_id"].to_pylist())
    assert set(table["human_label"].to_pylist()) == {"LAE"}
    contents = {}
    for kind, ending in (("parquet", "parquet"), ("votable", "vot")):
        page.select_option("#export-format", kind)
        with page.expect_download() as download:
            page.click("#export")
        assert download.value.suggested_filename.endswith(f"-selection.{ending}")
        contents[kind] = Path(download.value.path()).read_bytes()
    page.click("#share")
    status = page.locator("#status", has_text="TOPCAT")
    status.wait_for()
    url = re.search(r"http://127\.0\.0\.1:\d+/\S+\.vot", status.inner_text())[0]
    with urllib.request.urlopen(url, timeout=60) as response:
        contents["address"] = response.read()
    found = pyarrow.parquet.read_table(io.BytesIO(contents["parquet"]))
    assert found["object_id"].to_pylist() == table["object_id"].to_pylist()
    assert found["z"].to_pylist() == explorer_data.table["z"].take(inside).to_pylist()
    assert set(found["human_label"].to_pylist()) == {"LAE"}
    for kind in ("votable", "address"):
        votable = Table.read(io.BytesIO(contents[kind]), format="votable")
        assert list(votable["object_id"]) == table["object_id"].to_pylist()
        assert votable["ra"].tolist() == found["ra"].to_pylist()
    leave_fields(page)
    page.keyboard.press("u")
    wait(lambda: "Undone" in page.locator("#status").inner_text())
    assert len(current_annotations(read_annotations(root))) == 0
    page.keyboard.press("Escape")
    wait(lambda: page.locator("#selected").inner_text().startswith("None"))
    assert page.locator("#export").is_disabled()


def test_keys_mark_the_open_spectrum(page, explorer_data, root):
    find(page, "o0009")
    wait_until_open(page, explorer_data, "o0009")
    leave_fields(page)
    page.keyboard.press("i")
    wait(lambda: page.locator("#annotations").inner_text().startswith("interesting"))
    marks = current_annotations(read_annotations(root), interest=True)
    assert marks.select(["object_id", "human_label", "who"]).to_pylist() == [
        {"object_id": "o0009", "human_label": "interesting", "who": "ann"}
    ]
    page.select_option("#color", "mark")
    wait(lambda: page.locator("#legend .entry").all_inner_texts()[0].split("\n") == ["interesting", "1"])
    page.locator("#points").focus()
    page.keyboard.press("o")
    wait(lambda: page.locator("#legend .entry").all_inner_texts()[0].split("\n") == ["interesting", "0"])


def test_keys_in_text_fields_are_no_commands(page, explorer_data, root):
    find(page, "o0009")
    wait_until_open(page, explorer_data, "o0009")
    page.fill("#query", "")
    page.locator("#query").type("iou123")
    assert page.locator("#query").input_value() == "iou123"
    assert len(read_annotations(root)) == 0


def test_text_is_never_interpreted_as_html(page, explorer_data):
    """Identifier and label are scripts if they are taken for HTML."""
    find(page, EVIL)
    wait_until_open(page, explorer_data, EVIL)
    assert page.locator("#name").inner_text() == EVIL
    page.click("#names-edit")
    page.fill("#names-text", EVIL)
    page.click("#names button")
    wait(lambda: EVIL in page.locator("#keys").inner_text())
    leave_fields(page)
    page.keyboard.press("1")
    wait(lambda: EVIL in page.locator("#annotations").inner_text())
    page.select_option("#color", "human label")
    wait(lambda: EVIL in page.locator("#legend").inner_text())
    page.locator("summary").click()
    assert EVIL in page.locator("#values").inner_text()
    assert page.locator("img").count() == 0


def test_next_and_previous_spectrum_of_a_selection(page, explorer_data):
    rows = sorted(explorer_data.find_row(f"o{i:04d}") for i in range(10, 20))
    find(page, "o001")
    wait_until_open(page, explorer_data, rows[0])
    leave_fields(page)
    for key, then in (("n", 1), ("p", 0), ("p", 9)):
        page.keyboard.press(key)
        wait_until_open(page, explorer_data, rows[then])


def test_the_panel_explains_smooths_overlays_and_saves(page, explorer_data, tmp_path):
    find(page, "o0005")
    wait_until_open(page, explorer_data, "o0005")
    wait(lambda: "largest residual" in page.locator("#reason").inner_text())
    waited = page.evaluate(
        """row => {
          const entries = performance.getEntriesByType("resource");
          const explanation = entries.find((entry) => entry.name.endsWith(`explanation/${row}`));
          return explanation.startTime - performance.getEntriesByName(`spectrum ${row}`)[0].startTime;
        }""",
        explorer_data.find_row("o0005"),
    )
    assert waited > 0, "the explanation is requested after the spectrum is painted"
    titles = page.locator("#bars h3").all_inner_texts()
    assert [title.split()[0] for title in titles] == ["Components", "Bad", "Probability"]
    components = list_anomaly_components(tuple(explorer_data.columns.values()))
    shown = page.locator("#bars section").first.locator(".bar-label").all_inner_texts()
    assert [*shown, "redshift"] == [name.removeprefix("anomaly_") for name in components], "not measured"
    assert page.locator("#bars section").last.locator("li").count() == 3
    page.locator("#smooth").fill("5")
    assert page.locator("#smooth-width").inner_text() == "5 pixels"
    page.select_option("#line-list", "hydrogen")
    page.fill("#line-z", "0")
    page.locator("#line-z").press("Enter")
    leave_fields(page)
    page.keyboard.press("a")
    page.locator("#overlays li").wait_for()
    find(page, "o0009")
    wait_until_open(page, explorer_data, "o0009")
    wait(lambda: "over o0005" in page.locator("#chart").get_attribute("aria-label"))
    saved = {}
    for kind in ("svg", "png", "fits", "csv"):
        with page.expect_download() as download:
            page.click(f"#save button[value={kind}]")
        assert download.value.suggested_filename == f"o0009.{kind}"
        download.value.save_as(tmp_path / f"o0009.{kind}")
        saved[kind] = (tmp_path / f"o0009.{kind}").read_bytes()
    assert all(text in saved["svg"].decode() for text in ("Hβ", "rest wavelength [Å]", "#0072b2"))
    assert ElementTree.fromstring(saved["svg"]).tag.endswith("svg")
    assert matplotlib.image.imread(io.BytesIO(saved["png"])).shape[1] > 1000
    assert saved["fits"].startswith(b"SIMPLE")
    assert saved["csv"].startswith(b"wave,flux,ivar,recon")
    z = explorer_data.table["z"][explorer_data.find_row("o0009")].as_py()
    before = page.locator("#chart").screenshot()
    slider = page.locator("#line-z-slider")
    chosen = -0.01 + 0.0002 * round((np.log1p(z) + 0.03) / 0.0002)  # a step of the slider, 2% above
    slider.fill(f"{chosen:.4f}")
    assert float(page.locator("#line-z").input_value()) == pytest.approx(np.expm1(chosen), abs=1e-4)
    wait(lambda: page.locator("#chart").screenshot() != before)
    with page.expect_download() as download:
        page.click("#save button[value=svg]")
    old, new = (line_positions(svg) for svg in (saved["svg"], Path(download.value.path()).read_bytes()))
    common = sorted(old.keys() & new.keys())
    assert len(common) >= 2
    stretch, _ = np.polyfit([old[name] for name in common], [new[name] for name in common], 1)
    assert stretch == pytest.approx(np.exp(chosen) / (1.0 + z), rel=1e-3)
    page.click("#line-z-reset")
    wait(lambda: page.locator("#chart").screenshot() == before)
    page.locator("summary").click()
    page.fill("#values-search", "right ascension")
    assert page.locator("#values tbody tr:not(.group) th").all_inner_texts() == ["ra"]


def test_axes_histograms_grid_links_and_themes(page, explorer_data, address):
    table = explorer_data.table
    page.locator("#color").locator("xpath=preceding-sibling::input").fill("signal noise")
    assert "snr" in page.locator("#color option").all_inner_texts()
    assert "z" not in page.locator("#color option").all_inner_texts()
    page.keyboard.press("Escape")
    page.select_option("#axes", "columns")
    page.select_option("#axis-y", "dec")
    wait(lambda: page.locator("#map .axis.y").inner_text() == "dec [deg]")
    page.click("#filter-add")
    histogram = page.locator(".histogram")
    box = histogram.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 20, steps=3)
    page.mouse.up()
    low, high = (float(page.get_by_label(f"z {bound}").input_value()) for bound in ("at least", "at most"))
    z = table["z"].to_numpy().astype("f4")
    assert low == pytest.approx(0.5 * (z.min() + z.max()), abs=0.2)
    kept = np.flatnonzero((z >= low) & (z <= high))
    wait(lambda: page.locator("#shown").inner_text() == f"{len(kept)} of 400 shown")
    page.click("#view-grid")
    page.select_option("#grid-source", "shown")
    score = table["anomaly_score"].to_numpy().astype("f4")
    ranked = sorted(kept.tolist(), key=lambda row: -score[row])
    first = ",".join(map(str, ranked[:24]))
    page.locator(f'#grid[data-painted="{first}"]').wait_for()
    page.locator("#grid .cell").nth(1).click()
    wait_until_open(page, explorer_data, ranked[1])
    page.keyboard.press("n")
    wait_until_open(page, explorer_data, ranked[2])
    page.wait_for_url(lambda url: f"id={explorer_data.object_ids[ranked[2]]}" in url)
    link = page.url
    page.goto("about:blank")
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    page.goto(link)
    page.locator(f'#grid[data-painted="{first}"]').wait_for()
    wait_until_open(page, explorer_data, ranked[2])
    assert page.locator("#shown").inner_text() == f"{len(kept)} of 400 shown"
    assert page.input_value("#axis-y") == "dec"
    assert page.evaluate("document.documentElement.scrollWidth") == 390, "nothing is wider than the screen"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(223, 227, 232)"
    page.click("#view-map")
    page.select_option("#axes", "sky")
    wait(lambda: page.locator("#map .axis.x").inner_text() == "right ascension [deg]")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(34, 38, 43)"


def test_help_opens_and_all_controls_have_names(page):
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, textarea, canvas[role]")]
        .filter((e) => !(e.textContent.trim() || e.getAttribute("aria-label") || e.labels?.length))
        .map((e) => e.outerHTML)"""
    )
    assert unnamed == []


def test_a_browser_without_webgl_gets_a_message(chromium, address):
    page = chromium.new_page()
    page.add_init_script(
        "const get = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {"
        "  return kind.startsWith('webgl') ? null : get.call(this, kind, ...rest); }"
    )
    page.goto(address)
    page.locator("#failure:not([hidden])").wait_for()
    assert "WebGL2" in page.locator("#failure").inner_text()
    page.close()


def test_the_content_security_policy_is_enforced(chromium, address):
    """Inline scripts do not run, which the tests above rely on."""
    page = chromium.new_page()
    page.goto(address)
    insert = "document.head.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))"
    with page.expect_event("console", lambda message: "Content Security Policy" in message.text):
        page.evaluate(insert)
    assert page.evaluate("window.ran") is None
    page.close()


def test_libraries_match_the_lock_file():
    folder = Path(distspec.explorer.__file__).parent
    locked = json.loads((folder / "web" / "package-lock.json").read_text())["packages"]
    dependencies = json.loads((folder / "web" / "package.json").read_text())["dependencies"]
    first = (folder / "static" / "libraries.js").read_text().partition("*/")[0]
    licenses = (folder / "static" / "libraries.txt").read_text()
    for name, version in dependencies.items():
        assert locked[f"node_modules/{name}"]["version"] == version
        assert f"{name} {version}" in first
        assert f"{name} {version}" in licenses
