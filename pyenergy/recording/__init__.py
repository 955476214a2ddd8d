# SPDX-License-Identifier: Apache-2.0
"""What was measured: series, marks, clock anchors, provenance, and the file that keeps them."""
