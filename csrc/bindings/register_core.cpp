// SPDX-License-Identifier: Apache-2.0
// Clock, streams, recordings and energy curves.
#include <bit>
#include <optional>
#include <thread>

#include "bindings/bind.h"
#include "bindings/numpy_view.h"
#include "core/clock.h"
#include "core/integrate.h"
#include "core/run_delay.h"
#include "core/sampler.h"
#include "sensors/registry.h"

namespace pyenergy {

namespace {

// A clock as Python holds it.
using ManualClockPtr = std::shared_ptr<ManualClock>;

StreamOptions checked_options(Ns period_ns, const std::string& pacing, double jitter, Ns dense_ns,
                              Ns sparse_ns, Ns slow_period_ns, Ns gap_ns, std::size_t ring_capacity,
                              std::vector<Ns> seeds_ns) {
  if (period_ns <= 0 || dense_ns <= 0 || sparse_ns <= 0 || slow_period_ns <= 0) {
    throw py::value_error("periods must be positive");
  }
  if (!(jitter >= 0.0 && jitter < 1.0)) throw py::value_error("jitter must lie in [0, 1)");
  if (gap_ns < 0) throw py::value_error("gap_ns must not be negative");
  if (ring_capacity != 0 && !std::has_single_bit(ring_capacity)) {
    throw py::value_error("ring_capacity must be a power of two, or 0");
  }
  if (pacing != "fixed" && pacing != "edge") {
    throw py::value_error("pacing must be 'fixed' or 'edge', got '" + pacing + "'");
  }
  StreamOptions options;
  options.pacing.mode = pacing == "edge" ? PacingMode::kEdge : PacingMode::kFixed;
  options.pacing.period = period_ns;
  options.pacing.jitter = jitter;
  options.pacing.dense = dense_ns;
  options.pacing.sparse = sparse_ns;
  options.pacing.seeds = std::move(seeds_ns);
  options.slow_period = slow_period_ns;
  options.ring_capacity = ring_capacity;
  options.gap_ns = gap_ns;
  return options;
}

py::typing::Dict<py::str, int> histogram_dict(const DurationHistogram& h) {
  using namespace py::literals;
  return py::dict("count"_a = h.count(), "p50_ns"_a = h.quantile(0.5),
                  "p99_ns"_a = h.quantile(0.99), "max_ns"_a = h.max());
}

py::typing::Dict<py::str, py::object> stats_dict(const Stream& stream) {
  using namespace py::literals;
  const SamplerStats& s = stream.stats();
  py::dict d("polls"_a = s.polls.load(), "samples"_a = s.samples.load(),
             "dropped"_a = s.dropped.load(), "missed_deadlines"_a = s.missed_deadlines.load(),
             "failed_reads"_a = s.failed_reads.load(), "relocks"_a = s.relocks.load(),
             "locked"_a = s.locked.load(), "locked_period_ns"_a = s.locked_period_ns.load(),
             "lost"_a = stream.recording()->lost());
  d["fast_latency"] = histogram_dict(s.fast_latency);
  d["slow_latency"] = histogram_dict(s.slow_latency);
  d["lateness"] = histogram_dict(s.lateness);
  return d;
}

py::typing::Dict<py::str, py::array> runs_dict(const std::shared_ptr<Recording>& recording,
                                               std::size_t channel) {
  if (channel >= recording->channels().size()) throw py::index_error("no such channel");
  const RunRows rows = recording->rows(channel);
  const RunBlock& block = *rows.block;
  const std::size_t n = rows.size();
  py::dict d;
  d["t_first_ns"] = view(block.t_first(), n, rows.block);
  d["read_first_ns"] = view(block.read_first(), n, rows.block);
  d["t_last_ns"] = view(block.t_last(), n, rows.block);
  d["read_last_ns"] = view(block.read_last(), n, rows.block);
  d["value"] = view(block.value(), n, rows.block);
  d["count"] = view(block.count(), n, rows.block);
  d["flags"] = view(block.flags(), n, rows.block);
  return d;
}

void require_points(const EnergyCurve& curve) {
  if (curve.empty()) throw py::value_error("the curve has no points");
}

int thread_count(int threads) {
  return threads > 0 ? threads : static_cast<int>(std::thread::hardware_concurrency());
}

ValueArray curve_windows(const EnergyCurve& curve, const py::array& starts_ns,
                         const py::array& ends_ns, int threads) {
  const auto starts = typed<Ns>(starts_ns, "starts_ns"), ends = typed<Ns>(ends_ns, "ends_ns");
  if (starts.size() != ends.size()) throw py::value_error("starts and ends differ in length");
  require_points(curve);
  ValueArray out(starts.size());
  const std::span<double> result(out.mutable_data(), static_cast<std::size_t>(out.size()));
  {
    const Unlocked unlocked;
    curve.windows(span_of(starts), span_of(ends), result, thread_count(threads));
  }
  return out;
}

ValueArray curve_values(const EnergyCurve& curve, const py::array& times_ns) {
  const auto times = typed<Ns>(times_ns, "times_ns");
  require_points(curve);
  ValueArray out(times.size());
  const std::span<double> result(out.mutable_data(), static_cast<std::size_t>(out.size()));
  {
    const Unlocked unlocked;
    curve.values(span_of(times), result);
  }
  return out;
}

py::typing::Tuple<TimeArray, ValueArray> curve_knots(const EnergyCurve& curve) {
  const auto knots = curve.knots();
  TimeArray t(static_cast<py::ssize_t>(knots.size()));
  ValueArray y(static_cast<py::ssize_t>(knots.size()));
  for (std::size_t i = 0; i < knots.size(); ++i) {
    t.mutable_data()[i] = knots[i].t;
    y.mutable_data()[i] = knots[i].y;
  }
  return py::make_tuple(t, y);
}

EnergyCurve curve_from_runs(const py::array& t_first_ns, const py::array& read_first_ns,
                            const py::array& t_last_ns, const py::array& read_last_ns,
                            const py::array& value, const py::array& flags) {
  const auto a = typed<Ns>(t_first_ns, "t_first_ns"), b = typed<Ns>(read_first_ns, "read_first_ns"),
             c = typed<Ns>(t_last_ns, "t_last_ns"), d = typed<Ns>(read_last_ns, "read_last_ns");
  const auto v = typed<double>(value, "value");
  const auto f = typed<std::uint32_t>(flags, "flags");
  for (const py::ssize_t n : {b.size(), c.size(), d.size(), v.size(), f.size()}) {
    if (n != a.size()) throw py::value_error("the columns differ in length");
  }
  return EnergyCurve::from_runs(
      {span_of(a), span_of(b), span_of(c), span_of(d), span_of(v), span_of(f)});
}

void register_clock(py::module_& m) {
  m.def("now_ns", &monotonic_ns, "Now, int64 ns of CLOCK_MONOTONIC.");
  m.def(
      "run_delay",
      [] {
        const RunDelay now = run_delay();
        return std::pair{now.waited, now.turns};
      },
      "(ns that this thread has waited for a processor, times that it was given one) since it\n"
      "began, as the kernel counts them; (-1, -1) where it does not tell.");
  m.def(
      "take_anchor",
      [](int triples) -> py::typing::Tuple<Ns, Ns, Ns> {
        const ClockAnchor a = take_anchor(triples);
        return py::make_tuple(a.mono_ns, a.real_ns, a.width_ns);
      },
      py::arg("triples") = 64,
      "(mono_ns, real_ns, width_ns): at mono_ns of CLOCK_MONOTONIC the Unix clock said real_ns,\n"
      "known to width_ns; the narrowest of `triples` attempts.");
  py::class_<ManualClock, ManualClockPtr>(m, "ManualClock",
                                          "A clock that moves only when told, for tests.")
      .def(py::init<Ns, bool>(), py::arg("start_ns") = 0, py::arg("auto_advance") = true,
           "With auto_advance a sleep moves the time to its own deadline; without, it waits.")
      .def("now_ns", &ManualClock::now, "The time, ns.")
      .def("advance", &ManualClock::advance, py::arg("by_ns"), "Move on by `by_ns`.");
}

void register_stream(py::module_& m) {
  py::class_<Recording, std::shared_ptr<Recording>>(
      m, "Recording", "What one start of a device's sampler has seen, by channel.")
      .def_property_readonly("channels", &Recording::channels, "Channels, in index order.")
      .def("seal", &Recording::seal, py::call_guard<Unlocked>(),
           "End the open runs, so that `runs` shows everything collected so far.")
      .def(
          "last_t_ns",
          [](const Recording& r, std::size_t channel) {
            if (channel >= r.channels().size()) throw py::index_error("no such channel");
            return r.store(channel).last_t();
          },
          py::arg("channel"), "t_ns of the latest sample collected; 0 before the first.")
      .def("runs", &runs_dict, py::arg("channel"),
           "Columns of the channel's runs: t_first_ns, read_first_ns, t_last_ns, read_last_ns\n"
           "(int64), value (float64, SI), count, flags (uint32). Read-only zero-copy views that\n"
           "keep their memory alive, also when the recording forgets it.")
      .def(
          "row_since",
          [](const Recording& r, std::size_t channel, Ns t_ns) {
            if (channel >= r.channels().size()) throw py::index_error("no such channel");
            return r.row_since(channel, t_ns);
          },
          py::arg("channel"), py::arg("t_ns"),
          "Number of the row, counted from the channel's first ever, with which someone begins\n"
          "who needs the readings since t_ns.")
      .def(
          "forget_before", &Recording::forget_before, py::arg("t_ns"), py::call_guard<Unlocked>(),
          "Nobody needs what was read before t_ns. At most twice the rows that are needed (and\n"
          "1024) stay in memory, and what a live file still lacks; views stay valid. False: there\n"
          "was no memory to move the rest to, and nothing went.");

  py::class_<Stream, std::shared_ptr<Stream>>(
      m, "Stream", "One device's sensor, sampler thread and recording; shared by its users.")
      .def(py::init([](const DeviceInfo& info, Ns period_ns, const std::string& pacing,
                       double jitter, Ns dense_ns, Ns sparse_ns, Ns slow_period_ns, Ns gap_ns,
                       std::size_t ring_capacity, std::vector<Ns> seeds_ns,
                       const std::optional<ManualClockPtr>& clock) {
             StreamOptions options =
                 checked_options(period_ns, pacing, jitter, dense_ns, sparse_ns, slow_period_ns,
                                 gap_ns, ring_capacity, std::move(seeds_ns));
             std::shared_ptr<Clock> used;
             if (clock) used = *clock;
             if (!used) used = std::make_shared<SystemClock>();
             const Unlocked unlocked;
             return Stream::create(find_source(info.source).open(info, used), used,
                                   std::move(options));
           }),
           py::arg("info"), py::kw_only(), py::arg("period_ns") = kMs, py::arg("pacing") = "fixed",
           py::arg("jitter") = 0.0, py::arg("dense_ns") = 250 * kUs,
           py::arg("sparse_ns") = 20 * kMs, py::arg("slow_period_ns") = 100 * kMs,
           py::arg("gap_ns") = 0, py::arg("ring_capacity") = 0,
           py::arg("seeds_ns") = std::vector<Ns>{}, py::arg("clock") = py::none(),
           "Open the device. ValueError for options that cannot be, RuntimeError when the device\n"
           "cannot be opened.")
      .def_property_readonly(
          "channels", [](const Stream& s) { return s.sensor().channels(); }, "Channels, by index.")
      .def_property_readonly(
          "info", [](const Stream& s) { return s.sensor().info(); }, "The device.")
      .def("acquire", &Stream::acquire, py::call_guard<Unlocked>(),
           "Hold the stream; starts its thread when none runs.")
      .def("release", &Stream::release, py::arg("linger_ns") = 0,
           "Let go; the thread goes on for linger_ns when nobody holds it. Never waits.")
      .def(
          "stop",
          [](Stream& s, double timeout_s) {
            const Unlocked unlocked;
            return s.stop(static_cast<Ns>(timeout_s * 1e9));
          },
          py::arg("timeout_s") = 5.0,
          "End the thread whoever holds it. False when it hangs in a read for longer.")
      .def_property_readonly("running", &Stream::running, "Whether the thread runs.")
      .def("drain", &Stream::drain, py::call_guard<Unlocked>(),
           "Move what lies in the ring to the recording.")
      .def(
          "run_inline",
          [](Stream& s, std::size_t steps) {
            const Unlocked unlocked;
            s.run_inline(steps);
          },
          py::arg("steps"),
          "Poll `steps` times in this thread; ValueError unless the clock is manual.")
      .def_property_readonly("recording", &Stream::recording, "Of the present or latest start.")
      .def_property_readonly("gap_ns", &Stream::gap, "A longer silence between reads is a gap, ns.")
      .def_property_readonly("slow_gap_ns", &Stream::slow_gap, "The same of the slow channels, ns.")
      .def_property_readonly(
          "ring_capacity", [](const Stream& s) { return s.options().ring_capacity; },
          "Samples that the ring holds: a second's, at least 1024.")
      .def_property_readonly(
          "dropped",
          [](const Stream& s) { return s.stats().dropped.load() + s.recording()->lost(); },
          "Samples dropped by a full ring, or lost for want of memory, since the stream began.")
      .def("abandon_after_fork", &Stream::abandon_after_fork,
           "In a forked child: forget the parent's thread.")
      .def("stats", &stats_dict,
           "Counts (polls, samples, dropped, missed_deadlines, failed_reads, relocks, lost), the\n"
           "phase lock, and for fast_latency, slow_latency and lateness count, p50_ns, p99_ns,\n"
           "max_ns.");
  m.def("abandon_collector_after_fork", &Collector::abandon_after_fork,
        "In a forked child: forget the parent's collector thread.");
}

void register_curve(py::module_& m) {
  py::class_<EnergyCurve>(m, "EnergyCurve",
                          "Cumulative integral of a piecewise-linear curve (W gives J).")
      .def(py::init([](const py::array& t_ns, const py::array& y) {
             const auto t = typed<Ns>(t_ns, "t_ns");
             const auto v = typed<double>(y, "y");
             return EnergyCurve(span_of(t), span_of(v));
           }),
           py::arg("t_ns"), py::arg("y"),
           "Knots: int64 ns, non-decreasing (equal times are a jump), and finite float64.\n"
           "TypeError for other dtypes, ValueError otherwise.")
      .def_static(
          "from_runs", &curve_from_runs, py::arg("t_first_ns"), py::arg("read_first_ns"),
          py::arg("t_last_ns"), py::arg("read_last_ns"), py::arg("value"), py::arg("flags"),
          "From the columns of `Recording.runs`: flat while a reading was unchanged, linear\n"
          "between runs; missing and invalid runs carry no knot.")
      .def("__len__", &EnergyCurve::size)
      .def_property_readonly(
          "start_ns", [](const EnergyCurve& c) { return require_points(c), c.start(); },
          "Time of the first knot, ns.")
      .def_property_readonly(
          "end_ns", [](const EnergyCurve& c) { return require_points(c), c.end(); },
          "Time of the last knot, ns.")
      .def_property_readonly(
          "total", [](const EnergyCurve& c) { return require_points(c), c.total(); },
          "Integral over all, unit of y times seconds.")
      .def("windows", &curve_windows, py::arg("starts_ns"), py::arg("ends_ns"),
           py::arg("threads") = 0,
           "Integrals over [starts_ns, ends_ns], shape (n,); fastest when sorted by start. The\n"
           "windows must lie inside [start_ns, end_ns]. threads 0: as many as there are cores.")
      .def("values", &curve_values, py::arg("times_ns"), "y at each time, shape (n,).")
      .def("knots", &curve_knots, "(t_ns, y), copies.");
}

void register_flags(py::module_& m) {
  m.attr("FLAG_MISSING") = static_cast<int>(kMissing);
  m.attr("FLAG_INVALID") = static_cast<int>(kInvalid);
  m.attr("FLAG_GAP_BEFORE") = static_cast<int>(kGapBefore);
  m.attr("FLAG_RESET") = static_cast<int>(kReset);
  m.attr("FLAG_CONTINUES") = static_cast<int>(kContinues);
  m.attr("FLAG_ESTIMATE") = static_cast<int>(kEstimate);
  m.attr("FLAG_WRAPPED") = static_cast<int>(kWrapped);
}

}  // namespace

void register_channel(py::module_& m) {
  py::class_<Channel>(m, "Channel", "What one channel of a device measures.")
      .def_readonly("name", &Channel::name, "Unique in a device: power, energy, sm_clock, ...")
      .def_readonly("unit", &Channel::unit, "SI unit of the readings.")
      .def_property_readonly(
          "kind",
          [](const Channel& c) { return c.kind == ChannelKind::kCounter ? "counter" : "gauge"; },
          "gauge, or counter (only differences mean anything).")
      .def_property_readonly(
          "group", [](const Channel& c) { return c.group == ReadGroup::kFast ? "fast" : "slow"; },
          "fast: read at the sampling rate; slow: at about 10 Hz.")
      .def_readonly("scale", &Channel::scale, "SI value = raw value * scale.")
      .def_readonly("modulus", &Channel::modulus, "Raw value at which a counter wraps; 0: never.")
      .def_readonly("valid_min", &Channel::valid_min, "Smaller readings are invalid, SI.")
      .def_readonly("valid_max", &Channel::valid_max, "Larger readings are invalid, SI.")
      .def_readonly("source", &Channel::source, "What is read.")
      .def_readonly("scope", &Channel::scope, "What it covers.")
      .def_readonly("note", &Channel::note, "What a user must know.")
      .def_readonly("update_ns", &Channel::update_ns,
                    "Update period that the source states, ns; 0 continuous, -1 not known.")
      .def_readonly("window_ns", &Channel::window_ns, "Averaging window, ns; -1 not known.")
      .def_readonly("delay_ns", &Channel::delay_ns, "Delay, ns; -1 not known.")
      .def("__repr__", [](const Channel& c) {
        return "<Channel " + c.name + " [" + c.unit + "] " + c.source + ">";
      });
}

void register_core(py::module_& m) {
  register_clock(m);
  register_stream(m);
  register_curve(m);
  register_flags(m);
}

}  // namespace pyenergy
