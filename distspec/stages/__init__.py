"""The stages of the pipeline, distributed over a Ray cluster.

Stages start in `simulate`, `ingest`, `promote`, `embed` and `cluster`, which cut the work into tasks or
actors and commit what they return; the calculations themselves are in the packages below. `promote` is the
stage train: it decides whether `train` makes a new model, and compares that with the promoted one. `load`
belongs to the ingest, `sweep` and `assign` to the cluster stage. The other modules connect to Ray, pool
actors, and report progress and metrics. The stages catalog and report do not need Ray: they are in
`distspec.pipeline.runner`. This is the only package that imports Ray; it may import every package but
`pipeline`, `project` and `cli`.
"""

__all__ = ["RayConfig", "StageResult"]

from distspec.stages.config import RayConfig
from distspec.stages.result import StageResult
