# SPDX-License-Identifier: Apache-2.0
"""Energies of windows with the terms of their uncertainty, apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CARD_TERMS", "MISFIT", "TERMS", "WindowTerms"]

MISFIT = 1.5  # readings left out of a fit, over what it predicts of them: below it is chance

# What each term is, in the order of a budget. Those of the card are the same in every measurement
# on it; the others are of the window.
CARD_TERMS = {
    "gain": "the card's unknown scale",
    "offset": "the card's unknown zero",
}
TERMS = {
    **CARD_TERMS,
    "fit": "powers of the activity classes, with the response's window and delay",
    "drift": "level that no class explains, between the readings",
    "clock": "when the work began and ended, as the readings see it",
    "edges": "what lies between the readings at the window's edges",
    "inside": "what the sensor does not look at, and changes between polls",
    "gaps": "time in which nothing was read",
    "misfit": "readings that the model does not explain",
    "counter": "the energy counter says otherwise",
}


@dataclass(frozen=True)
class WindowTerms:
    """Energies of windows and their standard uncertainties by term, arrays of one shape.

    Attributes
    ----------
    joules : ndarray of float64, shape (n,)
        Energies, J.
    terms : dict of str to ndarray of float64, shape (n,)
        Standard uncertainty that each of `TERMS` contributes, J; terms that are absent are zero.
    """

    joules: NDArray[np.float64]
    terms: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def _norm(self, names: set[str]) -> NDArray[np.float64]:
        total = np.zeros_like(self.joules)
        for name, value in self.terms.items():
            if name in names:
                total = total + value**2
        return np.asarray(np.sqrt(total))

    @property
    def u(self) -> NDArray[np.float64]:
        """Standard uncertainty, J: every term."""
        return self._norm(set(self.terms))

    @property
    def u_same_card(self) -> NDArray[np.float64]:
        """Without what is the same in every measurement on the card (`CARD_TERMS`), J."""
        return self._norm(set(self.terms) - set(CARD_TERMS))

    @property
    def unseen(self) -> NDArray[np.float64]:
        """Without the card's terms and what the counter says, J."""
        return self._norm(set(self.terms) - set(CARD_TERMS) - {"counter"})
