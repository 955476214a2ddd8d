// SPDX-License-Identifier: Apache-2.0
#include "bindings/bind.h"

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  m.doc() = "pyenergy's C++ core: sampling, energy curves, sensors and the simulated GPU.";
  m.attr("__version__") = PYENERGY_VERSION;
  pyenergy::register_channel(m);
  pyenergy::register_sensors(m);
  pyenergy::register_core(m);
  pyenergy::register_live(m);
  pyenergy::register_activity(m);
  pyenergy::register_sweepline(m);
  pyenergy::register_sim(m);
}
