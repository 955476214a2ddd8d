# SPDX-License-Identifier: Apache-2.0
"""What is known of each sensor, and what follows for the uncertainty of an energy."""
