# SPDX-License-Identifier: Apache-2.0
"""Who used the devices: processes watched while a trace runs, and energies shared among them."""
