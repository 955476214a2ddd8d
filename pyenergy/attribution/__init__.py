# SPDX-License-Identifier: Apache-2.0
"""Where the joules went: kernels, layers, tokens."""
