// SPDX-License-Identifier: Apache-2.0
// Binds who works on a GPU.
#include <stdexcept>

#include "bindings/bind.h"
#include "sensors/nvml_processes.h"

namespace pyenergy {
namespace {

py::typing::Dict<py::str, py::object> use_of(const std::string& uuid, unsigned long long after_us) {
  GpuUse use;
  {
    const Unlocked unlocked;
    use = gpu_use(uuid, after_us);
  }
  py::list samples;
  for (const auto& s : use.samples) {
    samples.append(py::make_tuple(s.pid, s.timeStamp, s.smUtil, s.memUtil));
  }
  py::typing::Dict<py::str, py::object> found;
  found["samples"] = samples;
  found["running"] = use.running;
  found["lists_running"] = use.lists_running;
  found["problem"] = use.problem;
  return found;
}

}  // namespace

void register_processes(py::module_& m) {
  m.def("gpu_use", &use_of, py::arg("uuid"), py::arg("after_us"),
        "What NVML tells of the processes on a GPU: 'samples' later than `after_us` (us of Unix\n"
        "time) as (pid, stamp_us, sm_percent, memory_percent), 'running' pids, 'lists_running',\n"
        "and a 'problem' where there can be no samples. pids are the host's. RuntimeError where\n"
        "NVML does not load or does not know the GPU.");
}

}  // namespace pyenergy
