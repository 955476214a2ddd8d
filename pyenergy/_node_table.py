# SPDX-License-Identifier: Apache-2.0
"""A trace's energy by device and scope, their sum, and what of the node is not in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from ._evaluation import Evaluation

__all__ = ["NOT_MEASURED", "node_table"]

NOT_MEASURED = "not_measured"  # in a recording's provenance

_ROW: dict[str, Any] = {
    "device": "",
    "scope": "",
    "kind": "",
    "energy_j": None,
    "u_j": None,
    "u_same_card_j": None,
    "share": None,
    "note": "",
}


def node_table(evaluated: Evaluation) -> pl.DataFrame:
    """The rows that `Trace.node` describes."""
    import polars as pl

    recorded = evaluated.recorded
    energies = evaluated.energies()
    whole = evaluated.total() if not evaluated.unreadable else None
    rows = []
    for name, device in recorded.devices.items():
        if name not in energies:
            rows.append(_ROW | {"device": name, "kind": "unread",
                                "note": evaluated.unreadable[name]})  # fmt: skip
            continue
        energy = energies[name]
        rows.append(
            _ROW
            | {
                "device": name,
                "scope": energy.scope,
                "kind": "estimated" if device.meta.source == "estimate" else "measured",
                "energy_j": energy.joules,
                "u_j": energy.u,
                "u_same_card_j": energy.u_same_card,
                "share": energy.joules / whole.joules if whole and whole.joules else None,
            }
        )
    total = _ROW | {"device": "(sum)", "kind": "sum"}
    if whole is None:
        total["note"] = "a device gave no energy: a sum without it would be wrong"
    else:
        total |= {
            "scope": whole.scope,
            "energy_j": whole.joules,
            "u_j": whole.u,
            "u_same_card_j": whole.u_same_card,
            "share": 1.0 if whole.joules else None,
        }
    rows.append(total)
    for said in recorded.provenance.get(NOT_MEASURED, ()):
        rows.append(_ROW | {"device": "(not measured)", "kind": "not measured", "note": str(said)})
    floats = ("energy_j", "u_j", "u_same_card_j", "share")
    return pl.DataFrame(rows, schema={n: pl.Float64 if n in floats else pl.String for n in _ROW})
