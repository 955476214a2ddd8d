# SPDX-License-Identifier: Apache-2.0
"""Labels of rows that are none of the operations', and names of a profile that are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .table import Rows

__all__ = ["GAP", "UNATTRIBUTED", "set_apart"]

GAP = "(nothing ran)"
UNATTRIBUTED = "(unattributed)"


def set_apart(rows: Rows) -> None:
    """Put names, layers and operators that are called as our rows are into quotes, and say so."""
    said = {}
    for one, many in (("name", "names"), ("layer", "layers"), ("operator", "operators")):
        texts = getattr(rows, many)
        shown = _quoted(texts)
        if shown == texts:
            continue
        setattr(rows, many, shown)
        for index in np.unique(getattr(rows, one)).tolist():
            if index >= 0 and shown[index] != texts[index]:
                said[texts[index]] = shown[index]
    rows.notes += [
        f"what is named {old} itself is shown as {new}, apart from the row of that label"
        for old, new in said.items()
    ]


def _quoted(texts: Sequence[str]) -> tuple[str, ...]:
    taken = set(texts)
    found = []
    for text in texts:
        shown = text
        if text in (GAP, UNATTRIBUTED):
            while shown in taken:
                shown = f'"{shown}"'
            taken.add(shown)
        found.append(shown)
    return tuple(found)
