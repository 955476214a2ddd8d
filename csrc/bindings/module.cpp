// SPDX-License-Identifier: Apache-2.0
#include "bindings/bind.h"

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  // Samplers, streams and what is registered at exit belong to the process. Python 3.12 and newer
  // ask the module's slots; a legacy subinterpreter asks nobody.
  if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
    throw py::import_error(
        "pyenergy cannot be imported in a subinterpreter: its samplers belong to the process; "
        "import it in the main interpreter, or measure in a process of its own");
  }
  m.doc() = "pyenergy's C++ core: sampling, energy curves, sensors and the simulated GPU.";
  m.attr("__version__") = PYENERGY_VERSION;
  pyenergy::register_channel(m);
  pyenergy::register_sensors(m);
  pyenergy::register_processes(m);
  pyenergy::register_core(m);
  pyenergy::register_live(m);
  pyenergy::register_activity(m);
  pyenergy::register_sweepline(m);
  pyenergy::register_sim(m);
}
