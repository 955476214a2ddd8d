// SPDX-License-Identifier: Apache-2.0
// Spans by class, and their overlap with windows as sparse rows.
#include <thread>

#include "bindings/bind.h"
#include "bindings/numpy_view.h"
#include "core/overlap.h"

namespace pyenergy {
namespace {

using Rows = py::typing::Tuple<py::array, py::array, py::array>;

template <typename T>
py::array kept(const std::shared_ptr<SparseRows>& rows, const std::vector<T>& column) {
  return view(column.data(), column.size(), rows);
}

// (begin, index, value): views of one block that lives as long as any of them.
Rows as_arrays(SparseRows&& rows) {
  const auto block = std::make_shared<SparseRows>(std::move(rows));
  return py::make_tuple(kept(block, block->begin), kept(block, block->index),
                        kept(block, block->value));
}

Rows overlap(const Activity& activity, const py::array& starts_ns, const py::array& ends_ns,
             int threads) {
  const auto starts = typed<Ns>(starts_ns, "starts_ns"), ends = typed<Ns>(ends_ns, "ends_ns");
  if (threads <= 0) threads = static_cast<int>(std::thread::hardware_concurrency());
  SparseRows rows;
  {
    const Unlocked unlocked;
    rows = activity.overlap(span_of(starts), span_of(ends), threads);
  }
  return as_arrays(std::move(rows));
}

Rows lowpass(const Activity& activity, const py::array& times_ns, Ns tau_ns) {
  const auto times = typed<Ns>(times_ns, "times_ns");
  SparseRows rows;
  {
    const Unlocked unlocked;
    rows = activity.lowpass(span_of(times), tau_ns);
  }
  return as_arrays(std::move(rows));
}

}  // namespace

void register_activity(py::module_& m) {
  py::class_<Activity>(m, "Activity", "Spans of time by class; they may nest and overlap.")
      .def(py::init([](const py::array& starts_ns, const py::array& ends_ns,
                       const py::array& classes, std::size_t class_count) {
             const auto a = typed<Ns>(starts_ns, "starts_ns"), b = typed<Ns>(ends_ns, "ends_ns");
             const auto c = typed<std::int32_t>(classes, "classes");
             return Activity(span_of(a), span_of(b), span_of(c), class_count);
           }),
           py::arg("starts_ns"), py::arg("ends_ns"), py::arg("classes"), py::arg("class_count"),
           "int64 ns, int64 ns, int32 in [0, class_count). ValueError for reversed spans, unknown\n"
           "classes and sizes that differ; TypeError for other dtypes.")
      .def_property_readonly("classes", &Activity::classes, "How many classes.")
      .def_property_readonly("segments", &Activity::segments, "Moments at which anything changes.")
      .def("overlap", &overlap, py::arg("starts_ns"), py::arg("ends_ns"), py::arg("threads") = 0,
           "Seconds of each class inside each window, as sparse rows (begin, index, value): row i\n"
           "is index[begin[i]:begin[i + 1]], value[...]. threads 0: as many as there are cores.")
      .def("lowpass", &lowpass, py::arg("times_ns"), py::arg("tau_ns"),
           "Number of running spans of each class behind a first-order low-pass, at\n"
           "non-decreasing times; sparse rows as `overlap`.");
}

}  // namespace pyenergy
