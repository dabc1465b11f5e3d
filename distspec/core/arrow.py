"""Arrow's compute functions, which pyarrow creates at run time and type checkers therefore do not see."""

from __future__ import annotations

from typing import Any

import pyarrow.compute

pc: Any = pyarrow.compute
