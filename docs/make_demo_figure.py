"""Draw the figure of README: UMAP and median spectra of the classes of recipe ``demo``.

distspec run demo --root out/demo
python docs/make_demo_figure.py out/demo docs/_static/demo.png
"""

from __future__ import annotations

import sys

import matplotlib as mpl
import numpy as np

import distspec
from distspec.core.colors import class_color

mpl.use("Agg")
import matplotlib.pyplot as plt


def main(root: str, path: str) -> None:
    """Draw the figure."""
    project = distspec.open(root)
    objects = project.query("SELECT umap_0, umap_1, cluster_label FROM objects").to_pandas()
    classes = project.query(
        "SELECT cluster_label, n_spectra, class_name FROM classes "
        "WHERE cluster_label >= 0 ORDER BY cluster_label"
    ).to_pandas()
    medians = project.query(
        "SELECT cluster_label, wave_rest, flux_p50 FROM class_medians WHERE n_valid > 0 ORDER BY wave_rest"
    ).to_pandas()
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), width_ratios=(1, 1.5), layout="constrained")
    noise = objects[objects.cluster_label < 0]
    left.scatter(noise.umap_0, noise.umap_1, s=3, color="0.8", lw=0)
    for i, row in enumerate(classes.itertuples()):
        color = class_color(row.cluster_label)
        members = objects[objects.cluster_label == row.cluster_label]
        left.scatter(members.umap_0, members.umap_1, s=4, color=color, lw=0)
        median = medians[medians.cluster_label == row.cluster_label]
        offset = 1.6 * (len(classes) - 1 - i)
        right.plot(median.wave_rest, np.clip(median.flux_p50, 0, 3.2) + offset, color=color, lw=0.9)
        name = f"class {row.cluster_label}\n{row.n_spectra} spectra\n{row.class_name or ''}"
        right.text(8470, offset + 0.1, name, fontsize=8, color=color)
    left.set(xlabel="UMAP 1", ylabel="UMAP 2", xticks=[], yticks=[], title="latent space")
    right.set(
        xlabel="rest wavelength [Å]",
        ylabel="flux / flux at 1500 Å + offset",
        xlim=(1100, 8400),
        yticks=[],
        title="median spectra of the classes",
    )
    figure.savefig(path, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main(*sys.argv[1:3])
