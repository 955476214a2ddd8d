# SPDX-License-Identifier: Apache-2.0
"""``python -m pyenergy``."""

from .cli import main

main()
