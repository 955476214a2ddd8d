# SPDX-License-Identifier: Apache-2.0
"""Whether the spans of one label draw alike, where there are too few of them for their scatter."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from .estimate import ActivityModel
from .identify import FEW_EDGES

if TYPE_CHECKING:
    from ..recording.series import Runs
    from .catalog import SensorPrior
    from .response import Response
    from .spans import Spans

__all__ = ["activity_model"]

_FEW_SPANS = 12  # of more, those that differ show as the scatter of their class
_BY_CHANCE = 0.1  # of alike ones: then each is known by itself, which is right but less certain


def activity_model(
    runs: Runs,
    spans: Spans,
    prior: SensorPrior,
    limits_w: tuple[float, float],
    bounds_ns: tuple[int, int],
    response: Response | None = None,
) -> ActivityModel:
    """`ActivityModel` of spans that draw alike by their labels; where they do not, of each.

    One label over two powers is a contradiction that few readings do not show: another response,
    and other powers of what runs beside it, explain them as well.

    Raises
    ------
    NoReadingsError
        As `ActivityModel` does.
    """
    together = ActivityModel(runs, spans, prior, limits_w, bounds_ns, response)
    if not spans.labelled or not len(spans.names) < len(spans) <= _FEW_SPANS:
        return together
    if together.fitted.edge_readings >= FEW_EDGES:
        return together
    each = ActivityModel(runs, spans.each(), prior, limits_w, bounds_ns, response)
    label = together.fitted.beta[spans.classes]
    unsure = np.sqrt(np.diag(each.fitted.beta_cov))
    off = np.abs(each.fitted.beta - label) / np.maximum(unsure, 1e-12)
    if off.max() < NormalDist().inv_cdf(1 - _BY_CHANCE / 2 / len(spans)):
        return together
    several = np.bincount(spans.classes)[spans.classes] > 1  # others are off for their sake
    each.unlike = spans.names[int(spans.classes[np.argmax(np.where(several, off, -1.0))])]
    return each
