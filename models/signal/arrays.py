"""Array types, with the dtype in the name; shapes stand in the docstrings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int8]
C64 = npt.NDArray[np.complex64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
