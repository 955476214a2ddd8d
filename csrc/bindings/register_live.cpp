// SPDX-License-Identifier: Apache-2.0
// Recordings that outlive their process: files that follow one, and what a dead one had in flight.
#include <cerrno>
#include <optional>
#include <system_error>
#include <tuple>

#include "bindings/bind.h"
#include "bindings/numpy_view.h"
#include "core/live_layout.h"
#include "core/sampler.h"

namespace pyenergy {
namespace {

using PlaceTuple = std::tuple<std::string, std::uint64_t, std::size_t>;
using RunTuple = std::tuple<Ns, Ns, Ns, Ns, double, std::uint32_t, std::uint32_t>;
using IndexArray = py::array_t<std::uint16_t, py::array::c_style>;
using StatusArray = py::array_t<std::int32_t, py::array::c_style>;

// Python's OSError knows FileExistsError and its like by the number.
[[noreturn]] void throw_as_os_error(const std::system_error& error) {
  errno = error.code().value();
  PyErr_SetFromErrno(PyExc_OSError);
  throw py::error_already_set();
}

std::shared_ptr<LiveFiles> follow(const std::shared_ptr<Recording>& recording,
                                  const std::vector<PlaceTuple>& places) {
  std::vector<LivePlace> wanted;
  for (const auto& [path, seed, first] : places) wanted.push_back({path, seed, first});
  try {
    auto files = std::make_shared<LiveFiles>(*recording, std::move(wanted));
    const Unlocked unlocked;
    recording->add_live(files);  // first: from here on nothing that it lacks is forgotten
    files->write(*recording);
    return files;
  } catch (const std::system_error& error) {
    throw_as_os_error(error);
  }
}

std::shared_ptr<LiveTail> open_tail(const std::string& path, std::size_t capacity,
                                    std::uint64_t seed) {
  try {
    return std::make_shared<LiveTail>(path, capacity, seed);
  } catch (const std::system_error& error) {
    throw_as_os_error(error);
  }
}

std::size_t checked_channel(const Recording& recording, std::size_t channel) {
  if (channel >= recording.channels().size()) throw py::index_error("no such channel");
  return channel;
}

std::shared_ptr<Recording> resumed(
    const py::typing::List<py::typing::Dict<py::str, py::object>>& channels, Ns gap_ns,
    Ns slow_gap_ns) {
  std::vector<Channel> found;
  for (const auto& item : channels) {
    found.push_back(channel_from(py::reinterpret_borrow<py::dict>(item)));
  }
  return std::make_shared<Recording>(std::move(found), gap_ns, slow_gap_ns);
}

void take_samples(Recording& recording, const py::array& t_ns, const py::array& read_ns,
                  const py::array& value, const py::array& channel, const py::array& flags,
                  const py::array& status) {
  const auto t = typed<Ns>(t_ns, "t_ns"), read = typed<Ns>(read_ns, "read_ns");
  const auto v = typed<double>(value, "value");
  const auto c = typed<std::uint16_t>(channel, "channel"), f = typed<std::uint16_t>(flags, "flags");
  const auto s = typed<std::int32_t>(status, "status");
  for (const py::ssize_t n : {read.size(), v.size(), c.size(), f.size(), s.size()}) {
    if (n != t.size()) throw py::value_error("the arrays of samples differ in length");
  }
  const std::lock_guard lock(recording.mutex());
  for (py::ssize_t i = 0; i < t.size(); ++i) {
    recording.take(
        {t.data()[i], read.data()[i], v.data()[i], c.data()[i], f.data()[i], s.data()[i]});
  }
}

void register_files(py::module_& m) {
  py::class_<LiveFiles, std::shared_ptr<LiveFiles>>(
      m, "LiveFiles", "Files that follow a recording, written every 50 ms.")
      .def_property_readonly("error", &LiveFiles::error,
                             "errno of the latest write; 0: everything is in the files.");
  py::class_<LiveTail, std::shared_ptr<LiveTail>>(
      m, "LiveTail", "The latest samples of a sampler in a mapped file.")
      .def(py::init(&open_tail), py::arg("path"), py::arg("capacity"), py::arg("seed"),
           "A new file. OSError when it cannot be made; ENOTSUP where it would not be memory.");
  m.def("follow", &follow, py::arg("recording"), py::arg("places"),
        "Write the recording to new files from now on: (path, seed, first row) of each channel.\n"
        "OSError when one cannot be made.");
  m.def(
      "counters",
      [](const Recording& recording) {
        std::vector<std::tuple<std::size_t, double, Ns, Ns>> found;
        for (const Sample& s : recording.counters()) {
          found.emplace_back(s.channel, s.value, s.t_ns, s.read_ns);
        }
        return found;
      },
      py::arg("recording"),
      "(channel, raw reading, t_ns, read_ns) of each counter whose latest reading is usable.");
  m.def(
      "write_live",
      [](const std::shared_ptr<Recording>& recording) {
        const Unlocked unlocked;
        recording->write_live();
      },
      py::arg("recording"), "Bring all files that follow the recording up to date.");
  m.def(
      "unfollow",
      [](const std::shared_ptr<Recording>& recording, const std::shared_ptr<LiveFiles>& files) {
        const Unlocked unlocked;
        recording->remove_live(files);
        files->close();
      },
      py::arg("recording"), py::arg("files"), "Write the files no more.");
  m.def(
      "add_tail",
      [](Stream& stream, const Recording& recording, const std::shared_ptr<LiveTail>& tail) {
        const Unlocked unlocked;
        return stream.add_tail(recording, tail);
      },
      py::arg("stream"), py::arg("recording"), py::arg("tail"),
      "Let the stream's sampler write the tail too. False: it fills another recording by now, or\n"
      "writes as many tails as it can.");
  m.def(
      "remove_tail",
      [](Stream& stream, const std::shared_ptr<LiveTail>& tail) {
        const Unlocked unlocked;
        stream.remove_tail(tail);
      },
      py::arg("stream"), py::arg("tail"), "Let the tail be.");
}

void register_resume(py::module_& m) {
  m.def("resumed_recording", &resumed, py::arg("channels"), py::arg("gap_ns"),
        py::arg("slow_gap_ns"),
        "An empty recording of channels given as dicts of their fields, to be filled by hand.");
  m.def(
      "resume_run",
      [](Recording& recording, std::size_t channel, const RunTuple& run) {
        const auto [t_first, read_first, t_last, read_last, value, count, flags] = run;
        recording.resume(checked_channel(recording, channel),
                         {t_first, read_first, t_last, read_last, value, count, flags});
      },
      py::arg("recording"), py::arg("channel"), py::arg("run"),
      "Go on behind this run: (t_first_ns, read_first_ns, t_last_ns, read_last_ns, value, count,\n"
      "flags).");
  m.def(
      "resume_counter",
      [](Recording& recording, std::size_t channel, double total, std::optional<double> raw,
         Ns moved_ns) {
        recording.resume_counter(checked_channel(recording, channel), total, raw, moved_ns);
      },
      py::arg("recording"), py::arg("channel"), py::arg("total"), py::arg("raw"),
      py::arg("moved_ns"),
      "Go on from a counter's total (SI) where it read `raw`; None: the next reading is a reset.");
  m.def("take_samples", &take_samples, py::arg("recording"), py::arg("t_ns"), py::arg("read_ns"),
        py::arg("value"), py::arg("channel"), py::arg("flags"), py::arg("status"),
        "Samples as the sampler took them: raw values, one element of the arrays each.");
}

}  // namespace

void register_live(py::module_& m) {
  register_files(m);
  register_resume(m);
  m.attr("LIVE_HEADER") = static_cast<int>(kLiveHeader);
  m.def(
      "live_header",
      [](const std::string& what, std::uint64_t rows) {
        return py::bytes(live_header(what == "tail" ? kTailSlotFields : kLiveRowFields, rows));
      },
      py::arg("what"), py::arg("rows"), "The header of a live file: of 'rows' or of the 'tail'.");
}

}  // namespace pyenergy
