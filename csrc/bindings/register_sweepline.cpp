// SPDX-License-Identifier: Apache-2.0
// Energy of a window shared among operations and gaps.
#include <optional>

#include "bindings/bind.h"
#include "bindings/numpy_view.h"
#include "core/sweepline.h"

namespace pyenergy {
namespace {

using ResultPtr = std::shared_ptr<SweepResult>;

StaticPolicy policy_of(const std::string& name) {
  if (name == "separate") return StaticPolicy::kSeparate;
  if (name == "busy") return StaticPolicy::kBusy;
  if (name == "all") return StaticPolicy::kAll;
  throw py::value_error("static must be 'separate', 'busy' or 'all', got '" + name + "'");
}

ResultPtr run(const EnergyCurve& curve, const py::array& starts_ns, const py::array& ends_ns,
              const std::optional<py::array>& weights, Ns from_ns, Ns to_ns, double static_w,
              const std::string& policy) {
  const auto starts = typed<Ns>(starts_ns, "starts_ns"), ends = typed<Ns>(ends_ns, "ends_ns");
  ValueArray weight;
  if (weights) {
    weight = typed<double>(*weights, "weights");
    if (weight.size() != starts.size()) {
      throw py::value_error("starts, ends and weights differ in length");
    }
  }
  const SweepOptions options{from_ns, to_ns, static_w, policy_of(policy)};
  const Operations operations{span_of(starts), span_of(ends), span_of(weight)};
  const Unlocked unlocked;
  return std::make_shared<SweepResult>(sweep(curve, operations, options));
}

// A read-only view that keeps the result alive.
template <typename T>
auto column(std::vector<T> SweepResult::* member) {
  return [member](const ResultPtr& result) {
    const std::vector<T>& values = (*result).*member;
    return view(values.data(), values.size(), result);
  };
}

void register_columns(py::class_<SweepResult, ResultPtr>& c) {
  c.def_property_readonly("energy_j", column(&SweepResult::energy_j), "Of each operation.")
      .def_property_readonly("lower_j", column(&SweepResult::lower_j),
                             "Least energy_j: nothing of the dynamic part where it overlapped.")
      .def_property_readonly("upper_j", column(&SweepResult::upper_j),
                             "Most energy_j: all of the dynamic part where it overlapped.")
      .def_property_readonly("alone_s", column(&SweepResult::alone_s),
                             "Seconds in which it alone ran.")
      .def_property_readonly("overlapped_s", column(&SweepResult::overlapped_s),
                             "Seconds in which others ran too.")
      .def_property_readonly("gap_starts_ns", column(&SweepResult::gap_start), "Where nothing ran.")
      .def_property_readonly("gap_ends_ns", column(&SweepResult::gap_end), "Where a gap ends.")
      .def_property_readonly("gap_energy_j", column(&SweepResult::gap_energy_j), "Of each gap.");
}

void register_totals(py::class_<SweepResult, ResultPtr>& c) {
  c.def_readonly("total_j", &SweepResult::total_j, "Energy of the window.")
      .def_readonly("operations_j", &SweepResult::operations_j, "Sum of energy_j.")
      .def_readonly("gaps_j", &SweepResult::gaps_j, "Sum of gap_energy_j.")
      .def_readonly("static_j", &SweepResult::static_j, "Static energy kept apart, else 0.")
      .def_readonly("busy_s", &SweepResult::busy_s, "Seconds in which anything ran.")
      .def_readonly("overlap_s", &SweepResult::overlap_s, "Seconds in which several ran.")
      .def_readonly("outside_s", &SweepResult::outside_s,
                    "Seconds of operations outside the window.")
      .def_readonly("negative_j", &SweepResult::negative_j,
                    "Dynamic energy of the negative segments.")
      .def_readonly("negative_segments", &SweepResult::negative_segments,
                    "Segments with less energy than the static power explains.")
      .def_readonly("segments", &SweepResult::segments, "Stretches between neighbouring edges.")
      .def_readonly("deepest", &SweepResult::deepest, "Most operations at once.")
      .def_readonly("empty", &SweepResult::empty, "Operations without length.")
      .def_readonly("outside", &SweepResult::outside, "Operations wholly outside the window.")
      .def_readonly("cut", &SweepResult::cut, "Operations that reach outside the window.");
}

}  // namespace

void register_sweepline(py::module_& m) {
  py::class_<SweepResult, ResultPtr> result(
      m, "SweepResult", "Energy by operation and gap; arrays are read-only views.");
  register_columns(result);
  register_totals(result);
  m.def("sweep", &run, py::arg("curve"), py::arg("starts_ns"), py::arg("ends_ns"),
        py::arg("weights"), py::arg("from_ns"), py::arg("to_ns"), py::arg("static_w"),
        py::arg("static"),
        "Share the energy of [from_ns, to_ns] among operations [starts_ns, ends_ns] (int64 ns) by\n"
        "weights (float64, or None: equal). static: 'separate', 'busy' or 'all'. ValueError names\n"
        "the first operation that ends before it starts or has a weight that cannot be.");
}

}  // namespace pyenergy
