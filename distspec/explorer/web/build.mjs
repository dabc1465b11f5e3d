// Bundles the libraries of package-lock.json into one file and collects their licenses: `npm ci && npm run build`.
import { build } from "esbuild";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";

const out = "../static";
const { dependencies } = JSON.parse(readFileSync("package.json", "utf8"));
const named = Object.entries(dependencies).map(([name, version]) => `${name} ${version}`);

await build({
  stdin: {
    contents: 'export { default as KDBush } from "kdbush"; export { default as uPlot } from "uplot";',
    resolveDir: ".",
  },
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "none",
  banner: { js: `/* ${named.join(", ")}: licenses in libraries.txt */` },
  outfile: `${out}/libraries.js`,
});
copyFileSync("node_modules/uplot/dist/uPlot.min.css", `${out}/uplot.css`);
const licenses = Object.entries(dependencies).map(
  ([name, version]) => `${name} ${version}\n\n${readFileSync(`node_modules/${name}/LICENSE`, "utf8").trim()}\n`,
);
writeFileSync(`${out}/libraries.txt`, licenses.join("\n----\n\n"));
