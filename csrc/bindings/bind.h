// SPDX-License-Identifier: Apache-2.0
// Shared by every binding file; include it first. One register function per area.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include <unistd.h>

#include <cstdint>

namespace py = pybind11;

namespace pyenergy {

struct Channel;
// From a dict of its fields. TypeError, ValueError for what is no channel.
Channel channel_from(const py::dict& fields);

// The array types that cross the boundary, named once.
using TimeArray = py::array_t<std::int64_t, py::array::c_style>;   // ns of CLOCK_MONOTONIC
using ValueArray = py::array_t<double, py::array::c_style>;        // SI
using FlagArray = py::array_t<std::uint32_t, py::array::c_style>;  // SampleFlag bits, status above

// Lets go of the GIL while it lives. When the interpreter ends meanwhile, Python before 3.14 ends a
// daemon thread that takes the GIL back by unwinding it: py::gil_scoped_release would abort the
// process, and unwinding further would drop references without the GIL. The thread hangs instead,
// as it does from 3.14 on.
class Unlocked {
 public:
  Unlocked() : state_(PyEval_SaveThread()) {}
  ~Unlocked() {
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {
      for (;;) pause();
    }
  }
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

 private:
  PyThreadState* const state_;
};

void register_channel(py::module_& m);    // what a channel measures: needed by all that follow
void register_activity(py::module_& m);   // spans and their overlap with windows
void register_live(py::module_& m);       // recordings that outlive their process
void register_c_api(py::module_& m);      // the C interface's table, as a capsule
void register_core(py::module_& m);       // clock, stream, recording, energy curve
void register_plain(py::module_& m);      // plain energies, catalogue of sensors
void register_sweepline(py::module_& m);  // energy by operation and gap
void register_sim(py::module_& m);        // the simulated GPU's control
void register_sensors(py::module_& m);    // sources, devices, channels
void register_processes(py::module_& m);  // who works on a GPU

}  // namespace pyenergy
