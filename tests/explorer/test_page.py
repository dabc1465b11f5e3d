"""What a person does, in a headless Chromium: with the policy enforced, and nothing said on the console."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from scipy.spatial import cKDTree

import distspec.explorer
from distspec.labels.annotations import current_annotations, read_annotations
from tests.explorer.conftest import EVIL, wait

PAINT = 60_000  # [ms] a busy machine paints slowly


@pytest.fixture
def page(chromium: Any, address: str) -> Iterator[Any]:
    """The explorer, open and painted; whatever its console or the network says against it ends the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    context.set_default_timeout(PAINT)
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda said: wrong.append(f"{said.type}: {said.text}"))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
    page.on(
        "request", lambda request: request.url.startswith((address, "blob:")) or wrong.append(request.url)
    )
    page.goto(address)
    page.locator("#map[data-painted]").wait_for()
    wait(lambda: page.locator("#selected").inner_text() != "")
    yield page
    assert wrong == []
    assert page.title() == "distspec explorer", "an object's id was run as a script"
    context.close()


def pixels(page: Any) -> set[tuple[int, ...]]:
    """Return the colours on the map, those of more than a few pixels."""
    image = matplotlib.image.imread(io.BytesIO(page.locator("#points").screenshot()))[..., :3]
    counts = Counter(map(tuple, (255 * image).round().astype(int).reshape(-1, 3).tolist()))
    return {colour for colour, n in counts.items() if n > 20}


def place(page: Any, explored: Any, row: int) -> tuple[float, float]:
    """Return where a row is on the screen, from what the page says of its view."""
    box = page.locator("#points").bounding_box()
    x, y, scale = (float(page.locator("#map").get_attribute(f"data-{name}")) for name in ("x", "y", "scale"))
    u, v = (float(explored.table[name][row].as_py()) for name in ("umap_0", "umap_1"))
    return box["x"] + box["width"] / 2 + (u - x) * scale, box["y"] + box["height"] / 2 - (v - y) * scale


def lonely(explored: Any) -> int:
    """Return the row that is farthest from any other on the map: no click can mean another."""
    points = np.stack([explored.table[name].to_numpy() for name in ("umap_0", "umap_1")], axis=1)
    return int(np.argmax(cKDTree(points).query(points, k=2)[0][:, 1]))


def find(page: Any, asked: str) -> None:
    page.fill("#asked", asked)
    page.keyboard.press("Enter")


def opened(page: Any, explored: Any, which: int | str) -> None:
    """Wait until a row, or the object of a name, is painted."""
    row = explored.index(which) if isinstance(which, str) else which
    page.locator(f'#panel[data-painted="{row}"]').wait_for()


def away(page: Any) -> None:
    """Take the focus out of fields: keys then mean what the page says they do."""
    page.locator("#points").focus()


def lasso(page: Any, explored: Any) -> list[int]:
    """Draw around about the map's left half, its edge where no point is; return the rows inside."""
    box = page.locator("#points").bounding_box()
    u = np.sort(explored.table["umap_0"].to_numpy())[150:250]
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
    return np.flatnonzero(explored.table["umap_0"].to_numpy() < edge).tolist()


def test_the_map_is_painted_in_the_colours_of_the_legend(page):
    entries = page.locator("#legend .entry")
    assert [each.split("\n") for each in entries.all_inner_texts()] == [
        ["class 0 · unknown", "160"],
        ["class 1 · unknown", "100"],
        ["class 2 · unknown", "100"],
        ["noise (−1)", "40"],
    ]
    assert {(51, 34, 136), (204, 102, 119), (17, 119, 51)} <= pixels(page)


def test_another_colour(page):
    before = pixels(page)
    page.select_option("#colour", "z")
    page.locator("#legend .ramp").wait_for()
    assert "redshift" in page.locator("#colour-about").inner_text()
    wait(lambda: len(pixels(page) - before) > 5)
    page.select_option("#colour", "split")
    page.locator("#legend .entry").first.wait_for()
    assert page.locator("#legend .entry").count() == 2


def test_a_click_shows_the_spectrum_and_a_neighbour_the_next(page, explored):
    row = lonely(explored)
    name = explored.names[row]

    def told() -> bool:
        page.mouse.move(*place(page, explored, row))
        return name in page.locator("#tip").inner_text()

    wait(told)
    page.mouse.click(*place(page, explored, row))
    opened(page, explored, row)
    assert page.locator("#name").inner_text() == name
    assert "Spectrum of" in page.locator("#chart").get_attribute("aria-label")
    assert page.locator("#chart canvas").count() == page.locator("#residual canvas").count() == 1
    near = explored.nearest_neighbors(row)
    texts = page.locator("#neighbours .id").all_inner_texts()
    assert texts == [explored.names[i] for i, _ in near]
    page.locator("#neighbours button").first.click()
    opened(page, explored, near[0][0])


def test_the_error_band_lies_under_the_flux(page, explored):
    """Of the band's and the data's colours both are seen, and the reconstruction's on top."""
    find(page, "o0005")
    opened(page, explored, "o0005")
    image = matplotlib.image.imread(io.BytesIO(page.locator("#chart").screenshot()))[..., :3]
    image = (255 * image).round().astype(int)
    for colour in ((185, 199, 216), (213, 94, 0)):
        assert np.count_nonzero((image == colour).all(axis=-1)) > 50, colour
    assert np.count_nonzero((image < 90).all(axis=-1)) > 50


def test_rest_and_observed_frame(page, explored):
    find(page, "o0005")
    opened(page, explored, "o0005")
    chart = page.locator("#chart")
    assert "rest wavelength [Å]" in chart.get_attribute("aria-label")
    away(page)
    page.keyboard.press("f")
    wait(lambda: "observed wavelength [µm]" in chart.get_attribute("aria-label"))
    said = chart.get_attribute("aria-label")
    assert "erg s⁻¹ cm⁻² Å⁻¹" in said
    low, high = (float(x) for x in re.search(r"\], ([\d.]+) to ([\d.]+),", said).groups())
    i = explored.index("o0005")
    wave = explored.store.config.grid.wave_rest[explored.spectrum(i)[1] > 0]
    stretch = 1e-4 * (1.0 + explored.table["z"][i].as_py())
    assert (low, high) == pytest.approx((wave[0] * stretch, wave[-1] * stretch), rel=1e-3)


def test_search_by_position(page, explored):
    find(page, "150.05 2.0 40")
    opened(page, explored, "o0005")
    assert "3 spectra: within 40″" in page.locator("#selected").inner_text()
    find(page, "nobody has this name")
    wait(lambda: "Nothing found" in page.locator("#status").inner_text())


def test_filters_and_the_legend_hide(page, explored):
    z = explored.table["z"].to_numpy()
    page.click("#filter-add")
    page.get_by_label("z at least").fill("6")
    page.get_by_label("z at least").press("Enter")
    n = int((z.astype("f4") >= 6).sum())
    wait(lambda: page.locator("#shown").inner_text() == f"{n} of 400 shown")
    page.locator("#legend .entry").nth(1).click()
    both = int(((z >= 6) & (explored.table["cluster_label"].to_numpy() == 1)).sum())
    wait(lambda: page.locator("#shown").inner_text() == f"{both} of 400 shown")
    assert (17, 119, 51) not in pixels(page), "class 2 is hidden"
    page.get_by_label("Column to filter by").select_option("object_id")
    page.get_by_label("object_id contains").fill("o001")
    page.get_by_label("object_id contains").press("Enter")
    wait(lambda: page.locator("#shown").inner_text() == "2 of 400 shown")  # o0013 and o0017
    page.get_by_label("Remove this filter").click()
    page.locator("#legend .entry").nth(1).click()
    wait(lambda: page.locator("#shown").inner_text() == "")


def test_lasso_label_undo_and_export(page, explored, root, tmp_path):
    page.click("#names-edit")
    page.fill("#names-text", "LRD\nLAE")
    page.click("#names button")
    wait(lambda: "LAE" in page.locator("#keys").inner_text())
    away(page)
    page.keyboard.press("l")
    assert page.locator("#lasso").get_attribute("aria-pressed") == "true"
    inside = lasso(page, explored)
    wait(lambda: re.match(r"\d", page.locator("#selected").inner_text()) is not None)
    n = len(inside)
    assert page.locator("#selected").inner_text() == f"{n} spectra"
    away(page)
    page.keyboard.press("2")
    wait(lambda: f"{n} spectra: LAE" in page.locator("#status").inner_text())
    said = current_annotations(read_annotations(root))
    assert set(said["object_id"].to_pylist()) == {explored.names[i] for i in inside}
    assert set(said["human_label"].to_pylist()) == {"LAE"}
    with page.expect_download() as download:
        page.click("#export")
    download.value.save_as(tmp_path / "chosen.csv")
    table = pa.csv.read_csv(tmp_path / "chosen.csv")
    assert set(table["object_id"].to_pylist()) == set(said["object_id"].to_pylist())
    assert set(table["human_label"].to_pylist()) == {"LAE"}
    away(page)
    page.keyboard.press("u")
    wait(lambda: "Taken back" in page.locator("#status").inner_text())
    assert len(current_annotations(read_annotations(root))) == 0
    page.keyboard.press("Escape")
    wait(lambda: page.locator("#selected").inner_text().startswith("None"))
    assert page.locator("#export").is_disabled()


def test_marks_and_labels_of_the_open_spectrum_by_key(page, explored, root):
    find(page, "o0009")
    opened(page, explored, "o0009")
    away(page)
    page.keyboard.press("i")
    wait(lambda: page.locator("#said").inner_text().startswith("interesting"))
    marks = current_annotations(read_annotations(root), interest=True)
    assert marks.select(["object_id", "human_label", "who"]).to_pylist() == [
        {"object_id": "o0009", "human_label": "interesting", "who": "ann"}
    ]
    page.select_option("#colour", "mark")
    wait(lambda: page.locator("#legend .entry").all_inner_texts()[0].split("\n") == ["interesting", "1"])
    page.locator("#points").focus()
    page.keyboard.press("o")
    wait(lambda: page.locator("#legend .entry").all_inner_texts()[0].split("\n") == ["interesting", "0"])


def test_keys_typed_into_fields_are_only_typed(page, explored, root):
    find(page, "o0009")
    opened(page, explored, "o0009")
    page.fill("#asked", "")
    page.locator("#asked").type("iou123")
    assert page.locator("#asked").input_value() == "iou123"
    assert len(read_annotations(root)) == 0


def test_text_is_never_markup(page, explored):
    """An id, a label and a name of a filter that are scripts to whoever takes them for HTML."""
    find(page, EVIL)
    opened(page, explored, EVIL)
    assert page.locator("#name").inner_text() == EVIL
    page.click("#names-edit")
    page.fill("#names-text", EVIL)
    page.click("#names button")
    wait(lambda: EVIL in page.locator("#keys").inner_text())
    away(page)
    page.keyboard.press("1")
    wait(lambda: EVIL in page.locator("#said").inner_text())
    page.select_option("#colour", "human label")
    wait(lambda: EVIL in page.locator("#legend").inner_text())
    page.locator("summary").click()
    assert EVIL in page.locator("#facts").inner_text()
    assert page.locator("img").count() == 0


def test_next_and_previous_of_a_selection(page, explored):
    rows = sorted(explored.index(f"o{i:04d}") for i in range(10, 20))
    find(page, "o001")
    opened(page, explored, rows[0])
    away(page)
    for key, then in (("n", 1), ("p", 0), ("p", 9)):
        page.keyboard.press(key)
        opened(page, explored, rows[then])


def test_help_and_everything_has_a_name(page):
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, textarea, canvas[role]")]
        .filter((e) => !(e.textContent.trim() || e.getAttribute("aria-label") || e.labels?.length))
        .map((e) => e.outerHTML)"""
    )
    assert unnamed == []


def test_without_webgl_the_page_says_so(chromium, address):
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


def test_the_policy_is_enforced_here(chromium, address):
    """The page ran under a policy that stops other scripts: else the tests above say little."""
    page = chromium.new_page()
    page.goto(address)
    insert = "document.head.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))"
    with page.expect_event("console", lambda said: "Content Security Policy" in said.text):
        page.evaluate(insert)
    assert page.evaluate("window.ran") is None
    page.close()


def test_libraries_are_those_of_the_lock():
    folder = Path(distspec.explorer.__file__).parent
    locked = json.loads((folder / "web" / "package-lock.json").read_text())["packages"]
    wanted = json.loads((folder / "web" / "package.json").read_text())["dependencies"]
    first = (folder / "static" / "libraries.js").read_text().partition("*/")[0]
    licences = (folder / "static" / "libraries.txt").read_text()
    for name, version in wanted.items():
        assert locked[f"node_modules/{name}"]["version"] == version
        assert f"{name} {version}" in first
        assert f"{name} {version}" in licences
