# SPDX-License-Identifier: Apache-2.0
"""What a reader must know of energies that come from activity behind a sensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..units import NS_PER_S
from .terms import MISFIT

if TYPE_CHECKING:
    from .estimate import ActivityModel

__all__ = ["activity_notes"]

_ENOUGH = 8  # spans that were looked into say by their scatter whether they are alike


def activity_notes(model: ActivityModel) -> list[str]:
    """Of any window of a model."""
    found = []
    ceiling = 1.1 * model.fitted.high_w - float(np.median(model.fitted.level))
    if model.fitted.misfit_ratio > MISFIT:
        where = (
            f"in {model.fitted.misfit_class!r}"
            if model.fitted.misfit_class
            else "outside of all spans"
        )
        found.append(
            f"readings miss the model by {model.fitted.misfit_ratio:.1f} times what it "
            f"predicts, most {where}; the uncertainty is widened by as much"
        )
    strange = int(model.fitted.strange.sum())
    if strange > max(3, 0.02 * len(model.fitted.updates)):
        found.append(
            f"{strange} of {len(model.fitted.updates)} readings fit no class: unlabelled "
            "work, or a clock that changed"
        )
    beyond = [n for n, b in zip(model.spans.names, model.fitted.beta, strict=True) if b > ceiling]
    if beyond:
        found.append(
            f"{beyond[0]!r} would draw more than the device can: the work goes on after its "
            "label ends (synchronise inside the mark), or more runs than is labelled"
        )
    if model.unlike is not None:
        found.append(
            f"spans labelled {model.unlike!r} draw different powers: each span is solved for by "
            "itself (give what differs names of its own)"
        )
    if (few := _seen_by_few(model)) is not None:
        name, seen, count = few
        found.append(
            f"readings looked into {seen} of {count} spans labelled {name!r}: that the others draw "
            "the same rests on their label"
        )
    if model.is_late:
        found.append(
            f"readings follow the spans by {model.response.delay_s * 1e3:.0f} ms, more than "
            "this sensor takes: the work begins after its spans do (launched there, or stamped "
            "by another clock), and their edges are as uncertain"
        )
    window_s = model.response.window_s
    if window_s > 2 * model.period_s:
        found.append(
            f"the reading is an average over {window_s:.2g} s: shorter spans are told apart "
            "only where their pattern begins and ends"
        )
    return found


def _seen_by_few(model: ActivityModel) -> tuple[str, int, int] | None:
    """(label, spans that a reading looked into, spans) where those are few and not all."""
    if not model.spans.labelled:
        return None
    until = model.fitted.updates.t_ns - round(model.response.delay_s * NS_PER_S)
    seen = model.spans.seen(until - round(model.response.looks_s * NS_PER_S), until)
    count = np.bincount(model.spans.classes, minlength=len(seen))
    for j in np.flatnonzero((seen > 0) & (seen < count) & (seen < _ENOUGH)).tolist():
        return model.spans.names[j], int(seen[j]), int(count[j])
    return None
