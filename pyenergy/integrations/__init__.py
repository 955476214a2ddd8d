# SPDX-License-Identifier: Apache-2.0
"""Faces of pyenergy for other libraries; each imports its library only when used."""
