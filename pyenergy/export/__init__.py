# SPDX-License-Identifier: Apache-2.0
"""Recordings in other people's formats."""
