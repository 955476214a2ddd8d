// SPDX-License-Identifier: Apache-2.0
// The functions of include/pyenergy.h for other extensions of this process.
#include "bindings/bind.h"
#include "include/pyenergy.h"

namespace pyenergy {

void register_c_api(py::module_& m) {
  // Taken by name from C (pyenergy_import); nothing writes through it.
  auto* const table = const_cast<pyenergy_api*>(pyenergy_get_api(PYENERGY_ABI_VERSION));
  m.attr("_C_API") = py::capsule(static_cast<void*>(table), PYENERGY_CAPSULE);
}

}  // namespace pyenergy
