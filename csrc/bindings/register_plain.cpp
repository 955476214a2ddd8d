// SPDX-License-Identifier: Apache-2.0
// The plain energies and the catalogue of sensors, the very ones that the C ABI gives.
#include <thread>

#include "bindings/bind.h"
#include "bindings/numpy_view.h"
#include "core/counter_difference.h"
#include "core/power_integral.h"
#include "sensors/catalog.h"

namespace pyenergy {
namespace {

using FourArrays = py::typing::Tuple<ValueArray, ValueArray, ValueArray, ValueArray>;

// The columns of `Recording.runs`, kept for the time of a call.
struct RunColumns {
  RunColumns(const py::array& t_first_ns, const py::array& read_first_ns,
             const py::array& t_last_ns, const py::array& read_last_ns, const py::array& values,
             const py::array& bits)
      : t_first(typed<Ns>(t_first_ns, "t_first_ns")),
        read_first(typed<Ns>(read_first_ns, "read_first_ns")),
        t_last(typed<Ns>(t_last_ns, "t_last_ns")),
        read_last(typed<Ns>(read_last_ns, "read_last_ns")),
        value(typed<double>(values, "value")),
        flags(typed<std::uint32_t>(bits, "flags")) {}
  RunsView view() const {
    return {span_of(t_first),   span_of(read_first), span_of(t_last),
            span_of(read_last), span_of(value),      span_of(flags)};
  }
  TimeArray t_first, read_first, t_last, read_last;
  ValueArray value;
  FlagArray flags;
};

template <typename Plain>
FourArrays plain_windows(const Plain& plain, const py::array& starts_ns, const py::array& ends_ns,
                         int threads) {
  const auto starts = typed<Ns>(starts_ns, "starts_ns"), ends = typed<Ns>(ends_ns, "ends_ns");
  if (starts.size() != ends.size()) throw py::value_error("starts and ends differ in length");
  ValueArray joules(starts.size()), edges(starts.size()), inside(starts.size()),
      gaps(starts.size());
  const auto out = [](ValueArray& a) {
    return std::span<double>(a.mutable_data(), static_cast<std::size_t>(a.size()));
  };
  const PlainTerms terms{out(joules), out(edges), out(inside), out(gaps)};
  if (threads <= 0) threads = static_cast<int>(std::thread::hardware_concurrency());
  {
    const Unlocked unlocked;
    plain.windows(span_of(starts), span_of(ends), terms, threads);
  }
  return py::make_tuple(joules, edges, inside, gaps);
}

TimeArray copied(std::span<const Ns> times) {
  return TimeArray(static_cast<py::ssize_t>(times.size()), times.data());
}

constexpr const char* kWindows =
    "(joules, edges, inside, gaps) of [starts_ns, ends_ns], J, each of shape (n,).";

void bind_power(py::module_& m) {
  py::class_<PowerIntegral>(m, "PowerIntegral",
                            "Energy of a power channel as the plain integral of its readings.")
      .def(py::init([](const py::array& t_first_ns, const py::array& read_first_ns,
                       const py::array& t_last_ns, const py::array& read_last_ns,
                       const py::array& value, const py::array& flags, Ns update_ns, Ns window_ns,
                       Ns lag_ns, double coverage, double power_min_w, double power_max_w,
                       Ns start_ns, Ns end_ns, Ns gap_ns) {
             const RunColumns runs(t_first_ns, read_first_ns, t_last_ns, read_last_ns, value,
                                   flags);
             return PowerIntegral(runs.view(), {update_ns, window_ns, lag_ns, coverage},
                                  power_min_w, power_max_w, start_ns, end_ns, gap_ns);
           }),
           py::arg("t_first_ns"), py::arg("read_first_ns"), py::arg("t_last_ns"),
           py::arg("read_last_ns"), py::arg("value"), py::arg("flags"), py::kw_only(),
           py::arg("update_ns"), py::arg("window_ns"), py::arg("lag_ns"), py::arg("coverage"),
           py::arg("power_min_w"), py::arg("power_max_w"), py::arg("start_ns"), py::arg("end_ns"),
           py::arg("gap_ns"), "RuntimeError when no run is usable.")
      .def("windows", &plain_windows<PowerIntegral>, py::arg("starts_ns"), py::arg("ends_ns"),
           py::arg("threads") = 0, kWindows)
      .def_property_readonly("curve", &PowerIntegral::curve, "Whose integral the energy is, W.")
      .def_property_readonly("unseen", &PowerIntegral::unseen, py::return_value_policy::copy,
                             "Variance of what the sensor does not look at, J^2/s; None: nothing.")
      .def_property_readonly(
          "low_w", [](const PowerIntegral& p) { return p.limits().low; }, "Least power.")
      .def_property_readonly(
          "high_w", [](const PowerIntegral& p) { return p.limits().high; }, "Most power.")
      .def_property_readonly(
          "gap_starts_ns", [](const PowerIntegral& p) { return copied(p.gap_starts()); },
          "Where times without readings begin.")
      .def_property_readonly(
          "gap_ends_ns", [](const PowerIntegral& p) { return copied(p.gap_ends()); },
          "Where they end.");
}

void bind_counter(py::module_& m) {
  py::class_<CounterDifference>(m, "CounterDifference",
                                "Energy of a counter channel as its plain difference.")
      .def(py::init([](const py::array& t_first_ns, const py::array& read_first_ns,
                       const py::array& t_last_ns, const py::array& read_last_ns,
                       const py::array& value, const py::array& flags, double power_min_w,
                       double power_max_w, double coverage) {
             const RunColumns runs(t_first_ns, read_first_ns, t_last_ns, read_last_ns, value,
                                   flags);
             return CounterDifference(runs.view(), power_min_w, power_max_w, coverage);
           }),
           py::arg("t_first_ns"), py::arg("read_first_ns"), py::arg("t_last_ns"),
           py::arg("read_last_ns"), py::arg("value"), py::arg("flags"), py::kw_only(),
           py::arg("power_min_w"), py::arg("power_max_w"), py::arg("coverage"),
           "RuntimeError when the counter did not move.")
      .def("windows", &plain_windows<CounterDifference>, py::arg("starts_ns"), py::arg("ends_ns"),
           py::arg("threads") = 0, kWindows)
      .def_property_readonly("curve", &CounterDifference::curve, "Whose integral the energy is, W.")
      .def_property_readonly("mean_w", &CounterDifference::mean_w, "Over all that it covers.")
      .def_property_readonly(
          "low_w", [](const CounterDifference& c) { return c.limits().low; }, "Least power.")
      .def_property_readonly(
          "high_w", [](const CounterDifference& c) { return c.limits().high; }, "Most power.");
}

py::typing::Tuple<TimeArray, ValueArray> pooled(const py::array& first_ns, const py::array& last_ns,
                                                const py::array& value, Ns period_ns, double low_w,
                                                double high_w, Ns start_ns, Ns end_ns) {
  const auto first = typed<Ns>(first_ns, "first_ns"), last = typed<Ns>(last_ns, "last_ns");
  const auto values = typed<double>(value, "value");
  if (first.size() == 0 || last.size() != first.size() || values.size() != first.size()) {
    throw py::value_error("the columns are empty or differ in length");
  }
  if (period_ns <= 0) throw py::value_error("period_ns must be positive");
  const Knots found = pooled_variance(span_of(first), span_of(last), span_of(values), period_ns,
                                      {low_w, high_w}, start_ns, end_ns);
  return py::make_tuple(copied(found.t),
                        ValueArray(static_cast<py::ssize_t>(found.y.size()), found.y.data()));
}

void bind_catalog(py::module_& m) {
  py::class_<SensorPrior>(m, "SensorPrior", "What is known of a power sensor beforehand.")
      .def_readonly("update_ns", &SensorPrior::update_ns)
      .def_readonly("window_ns", &SensorPrior::window_ns)
      .def_readonly("delay_ns", &SensorPrior::delay_ns)
      .def_readonly("rc_ns", &SensorPrior::rc_ns)
      .def_readonly("lag_ns", &SensorPrior::lag_ns)
      .def_readonly("coverage", &SensorPrior::coverage)
      .def_readonly("gain_u", &SensorPrior::gain_u)
      .def_readonly("offset_u_w", &SensorPrior::offset_u_w)
      .def_readonly("origin", &SensorPrior::origin)
      .def_property_readonly(
          "known_by",
          [](const SensorPrior& p) {
            constexpr const char* kNames[] = {"nothing", "log", "stated", "catalogue"};
            return kNames[static_cast<int>(p.known_by)];
          },
          "nothing, log, stated or catalogue: how much is known of what a reading averages.");
  m.def("sensor_prior", &sensor_prior, py::arg("architecture"), py::arg("source"),
        py::arg("update_ns") = -1, py::arg("window_ns") = -1, py::arg("delay_ns") = -1,
        "Of a channel, from its device's architecture and what is read.");
  m.def("sensor_architectures", &sensor_architectures, "Those whose sensors were studied.");
  m.attr("GAIN_U") = kGainU;
  m.attr("OFFSET_U_W") = kOffsetUW;
}

}  // namespace

void register_plain(py::module_& m) {
  bind_power(m);
  bind_counter(m);
  bind_catalog(m);
  m.def("pooled_variance", &pooled, py::arg("first_ns"), py::arg("last_ns"), py::arg("value"),
        py::kw_only(), py::arg("period_ns"), py::arg("low_w"), py::arg("high_w"),
        py::arg("start_ns"), py::arg("end_ns"),
        "(grid_ns, W^2): the variance between neighbouring readings.");
}

}  // namespace pyenergy
