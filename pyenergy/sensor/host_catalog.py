# SPDX-License-Identifier: Apache-2.0
"""What is known of the host's sensors (RAPL, hwmon, IIO) before anything is measured.

None of their makers states an accuracy. The figures are type B (GUM 4.3), judged from what
comparisons with reference meters found, and wide on purpose:

Intel packages from Haswell on are measured by their voltage regulators, where their predecessors
were modelled: Hackenberg, Schöne, Ilsche, Molka, Schuchart, Geyer, "An Energy Efficiency Feature
Survey of the Intel Haswell Processor", IPDPSW 2015 (doi 10.1109/IPDPSW.2015.70). Readings follow
plug power closely on servers: Khan, Hirki, Niemi, Nurminen, Ou, "RAPL in Action", ACM TOMPECS 3(2),
2018.
AMD's are modelled, and do not see all that a load changes: Schöne, Ilsche, Bielert, Velten,
Schmidl, Hackenberg, "Energy Efficiency Aspects of the AMD Zen 2 Architecture", CLUSTER 2021
(arXiv 2108.00808).
DRAM follows the real energy with an offset that differs between machines, best where memory is
busy and on servers: Desrochers, Paradis, Weaver, "A Validation of DRAM RAPL Power Measurements",
MEMSYS 2016 (doi 10.1145/2989081.2989088).
The platform's counter is a board maker's sensor of unknown make.
INA3221: gain 0.25 % and shunt offset 80 uV at most (Texas Instruments, SBOS576), which behind the
5 mOhm of a Jetson's shunt are 16 mA, or 0.3 W at 19 V; shunts are 1 % parts.

The figures themselves are in csrc/sensors/catalog.cpp, for C++ and Python alike.
"""

from __future__ import annotations

from .. import _core

__all__ = ["host_gain"]

_HOST = ("rapl.", "hwmon.", "iio.")


def host_gain(source: str, architecture: str) -> tuple[float, float, str] | None:
    """(gain_u, offset_u_w, origin) of a channel of the host; None: it is none of these.

    >>> host_gain("rapl.powercap.package", "intel")
    (0.05, 0.0, 'doi 10.1109/IPDPSW.2015.70, type B')
    """
    if not source.startswith(_HOST):
        return None
    prior = _core.sensor_prior(architecture, source)
    return prior.gain_u, prior.offset_u_w, prior.origin
