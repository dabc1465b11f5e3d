"""The stages of the pipeline, distributed over a Ray cluster.

One module runs each stage: it cuts the work into tasks or actors, and commits what they return; the
calculations themselves are in the packages below. The other modules connect to Ray, pool actors, and report
progress and metrics. This is the only package that imports Ray; it may import every package but `pipeline`,
`project` and `cli`.
"""

__all__ = ["RayConfig", "StageResult"]

from distspec.stages.config import RayConfig
from distspec.stages.result import StageResult
