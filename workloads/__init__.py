# SPDX-License-Identifier: Apache-2.0
"""Models to measure, one file per family; each imports its libraries only when used."""
