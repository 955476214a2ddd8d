# SPDX-License-Identifier: Apache-2.0
"""What tests of tiny models share: the libraries, without which they are skipped, and a card."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
MODELS = [
    pytest.mark.models,
    pytest.mark.filterwarnings("default"),  # other libraries' warnings are theirs
]
SIM = {"devices": "sim:a100"}
