# SPDX-License-Identifier: Apache-2.0
"""Numbers as people give them."""

from __future__ import annotations

import math
import numbers

from .errors import OptionError

__all__ = ["real"]


def real(name: str, value: object) -> float:
    """``value`` as a float: any finite real number, NumPy's scalars included, but no bool.

    Raises
    ------
    OptionError
        For what is no number, for NaN, and for what is or becomes infinite.

    >>> import numpy as np
    >>> real("gain", np.float32(0.5)), real("gain", 2)
    (0.5, 2.0)
    """
    if type(value) is not float:  # the usual case, without a look at what a number may be
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise OptionError(f"{name} must be a number, got {value!r}")
        try:
            value = float(value)
        except OverflowError:
            raise OptionError(f"{name} must be finite, got one beyond any float") from None
    if not math.isfinite(value):
        raise OptionError(f"{name} must be finite, got {value!r}")
    return value
