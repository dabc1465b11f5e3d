// The page: loads the catalog, draws the map first, and then creates the other parts.

import * as api from "./api.js";
import { $, count } from "./dom.js";
import { Legend } from "./legend.js";
import { ScatterMap } from "./map.js";
import { Page } from "./page.js";
import { WebGLUnavailableError } from "./points.js";
import { Table } from "./table.js";
import { startTheme } from "./theme.js";

const NO_WEBGL = "The map needs WebGL2, which this browser does not provide. Turn on hardware acceleration in its settings, "
  + "or use a current Firefox, Chrome, Edge or Safari. `distspec query` works without it.";

async function start() {
  startTheme();
  const [catalog, coordinates] = await Promise.all([api.json("catalog"), api.floats("map")]);
  const table = new Table(catalog, coordinates);
  $("run").textContent = `${count(catalog.n)} · run ${catalog.run_id} · ${catalog.root}`;
  const map = new ScatterMap($("map"), table.x, table.y);
  const legend = new Legend(table);
  legend.addEventListener("colors", ({ detail }) => map.setColors(detail));
  await legend.refresh();
  const page = new Page(table, map, legend);
  page.filter();
  await new Promise(requestAnimationFrame);
  await map.points.drawn();
  performance.mark("map");
  $("map").dataset.painted = "true";
  await table.refreshAnnotations();
  page.objectIds = await table.objectIds();
  await page.followLinks();
}

start().catch((error) => {
  const isWebGL = error instanceof WebGLUnavailableError;
  $("failure").hidden = false;
  $("failure").textContent = isWebGL
    ? NO_WEBGL
    : `The explorer could not start: ${error.message}. Is \`distspec explore\` still running?`;
  if (!isWebGL) throw error;
});
