// SPDX-License-Identifier: Apache-2.0
#include "bindings/bind.h"

PYBIND11_MODULE(_core_in_main, m, py::mod_gil_not_used()) {
  m.doc() = "pyenergy's C++ core: sampling, energy curves, sensors and the simulated GPU.";
  m.attr("__version__") = PYENERGY_VERSION;
  pyenergy::register_channel(m);
  pyenergy::register_sensors(m);
  pyenergy::register_processes(m);
  pyenergy::register_core(m);
  pyenergy::register_plain(m);
  pyenergy::register_c_api(m);
  pyenergy::register_live(m);
  pyenergy::register_activity(m);
  pyenergy::register_sweepline(m);
  pyenergy::register_sim(m);
}

// Samplers, their streams and what is registered at exit belong to the process. Refused here,
// before pybind11 has its turn: on Python before 3.12 it waits for ever for a GIL that this thread
// holds.
extern "C" PYBIND11_EXPORT PyObject* PyInit__core() {
  if (PyInterpreterState_Get() == PyInterpreterState_Main()) return PyInit__core_in_main();
  PyErr_SetString(PyExc_ImportError,
                  "pyenergy cannot be imported in a subinterpreter: its samplers belong to the "
                  "process; import it in the main interpreter, or measure in another process");
  return nullptr;
}
