# SPDX-License-Identifier: Apache-2.0
"""The model of the sensor: what is known of each, and what follows for energies.

`Profile` is a card's calibration, `Response` what one of its readings averages.
"""

from .profile import Profile
from .response import Response

__all__ = ["Profile", "Response"]
