// SPDX-License-Identifier: Apache-2.0
// The simulated GPU's control: worlds, cards, scripts, faults and the truth. pyenergy.testing is
// its pleasant face.
#include "bindings/bind.h"

#include <pybind11/typing.h>

#include <optional>
#include <stdexcept>
#include <utility>
#include <variant>

#include "simgpu/control.h"
#include "simgpu/power_law.h"
#include "simgpu/presets.h"
#include "simgpu/sensor_model.h"
#include "simgpu/world.h"

namespace pyenergy {
namespace {

using namespace simgpu;

// A card together with the mapping it lies in.
struct SimCard {
  std::shared_ptr<World> world;
  std::uint32_t index;
  Card& operator*() const noexcept { return world->card(index); }
};

using Facts = py::typing::Dict<py::str, py::object>;
using Target = std::variant<std::monostate, std::uint32_t, std::string>;

template <typename T>
void assign(T& to, const std::optional<T>& from) {
  if (from) to = *from;
}

const PowerField& field_of(const Card& card, bool average) {
  return average ? card.average : card.instant;
}

void check_window(Ns t0, Ns t1) {
  if (t1 < t0) throw std::invalid_argument("the window ends before it starts");
}

double energy(const SimCard& card, Ns t0, Ns t1) {
  check_window(t0, t1);
  const CardLock lock(*card);
  return true_energy(*card, t0, t1);
}

ValueArray energies(const SimCard& card, const TimeArray& t0, const TimeArray& t1) {
  if (t0.ndim() != 1 || t1.ndim() != 1 || t0.size() != t1.size()) {
    throw std::invalid_argument("starts and ends must be one-dimensional and equally long");
  }
  ValueArray out(t0.size());
  for (py::ssize_t i = 0; i < t0.size(); ++i) {
    out.mutable_at(i) = energy(card, t0.at(i), t1.at(i));
  }
  return out;
}

ValueArray powers(const SimCard& card, const TimeArray& times) {
  if (times.ndim() != 1) throw std::invalid_argument("times must be one-dimensional");
  ValueArray out(times.size());
  const CardLock lock(*card);
  for (py::ssize_t i = 0; i < times.size(); ++i) out.mutable_at(i) = true_power(*card, times.at(i));
  return out;
}

std::pair<double, Ns> reading(const SimCard& card, Ns t, bool average) {
  const CardLock lock(*card);
  const PowerField& field = field_of(*card, average);
  const Update update = latest_update(field, (*card).id.seed, t);
  return {power_reading(*card, field, update), update.t};
}

Facts describe(const SimCard& handle) {
  const CardLock lock(*handle);
  const Card& card = *handle;
  Facts info;
  info["index"] = handle.index;
  info["preset"] = card.id.preset;
  info["name"] = card.id.name;
  info["uuid"] = card.id.uuid;
  info["pci_bus_id"] = card.id.pci;
  info["architecture"] = card.id.architecture;
  info["idle_w"] = card.idle_w;
  info["limit_w"] = card.limit_w;
  info["max_clock_hz"] = card.max_hz;
  info["alpha"] = card.alpha;
  return info;
}

Facts describe_field(const SimCard& handle, bool average) {
  const CardLock lock(*handle);
  const PowerField& field = field_of(*handle, average);
  Facts out;
  out["present"] = field.present != 0;
  out["response"] = field.response == Response::kRc ? "rc" : "boxcar";
  out["update_ns"] = field.update;
  out["phase_ns"] = field.phase;
  out["jitter_ns"] = field.jitter;
  out["window_ns"] = field.window;
  out["delay_ns"] = field.delay;
  out["gain"] = field.gain;
  out["offset_w"] = field.offset_w;
  out["noise_w"] = field.noise_w;
  out["quantum_w"] = field.quantum_w;
  return out;
}

Response response_by_name(const std::string& name) {
  if (name == "boxcar") return Response::kBoxcar;
  if (name == "rc") return Response::kRc;
  throw std::invalid_argument("no response is called '" + name + "'; there are: boxcar, rc");
}

void configure(const SimCard& card, bool average, std::optional<bool> present,
               const std::optional<std::string>& response, std::optional<Ns> update_ns,
               std::optional<Ns> phase_ns, std::optional<Ns> jitter_ns, std::optional<Ns> window_ns,
               std::optional<Ns> delay_ns, std::optional<double> gain,
               std::optional<double> offset_w, std::optional<double> noise_w,
               std::optional<double> quantum_w) {
  PowerField field;
  {
    const CardLock lock(*card);
    field = field_of(*card, average);
  }
  field.present = present.value_or(true) ? 1 : 0;
  if (response) field.response = response_by_name(*response);
  assign(field.update, update_ns);
  assign(field.phase, phase_ns);
  assign(field.jitter, jitter_ns);
  assign(field.window, window_ns);
  assign(field.delay, delay_ns);
  assign(field.gain, gain);
  assign(field.offset_w, offset_w);
  assign(field.noise_w, noise_w);
  assign(field.quantum_w, quantum_w);
  set_field(*card, average, field);
}

void configure_counter(const SimCard& card, std::optional<bool> present,
                       const std::optional<std::string>& integrates, std::optional<Ns> update_ns,
                       std::optional<Ns> phase_ns, std::optional<Ns> epoch_ns,
                       std::optional<double> gain, std::optional<double> start_mj,
                       std::optional<double> quantum_mj, std::optional<double> modulus_mj) {
  EnergyCounter counter;
  {
    const CardLock lock(*card);
    counter = (*card).counter;
  }
  counter.present = present.value_or(true) ? 1 : 0;
  if (integrates) counter.integrates = integrates_by_name(*integrates);
  assign(counter.update, update_ns);
  assign(counter.phase, phase_ns);
  assign(counter.epoch, epoch_ns);
  assign(counter.gain, gain);
  assign(counter.start_mj, start_mj);
  assign(counter.quantum_mj, quantum_mj);
  assign(counter.modulus_mj, modulus_mj);
  set_counter(*card, counter);
}

void inject_fault(const SimCard& card, const std::string& name, const Target& target,
                  std::optional<std::uint64_t> every, bool once, std::optional<Ns> from_ns,
                  std::optional<double> value) {
  Fault fault = fault_by_name(name);
  if (const auto* id = std::get_if<std::uint32_t>(&target)) fault.target = *id;
  if (const auto* call = std::get_if<std::string>(&target)) {
    fault.target = static_cast<std::uint32_t>(call_by_name(*call));
  }
  if (every && once) throw std::invalid_argument("a fault happens once or every so often");
  assign(fault.every, every);
  fault.once = once ? 1 : 0;
  assign(fault.from, from_ns);
  assign(fault.value, value);
  inject(*card, fault);
}

std::uint64_t calls(const SimCard& card, const std::string& name) {
  const Call call = call_by_name(name);
  const CardLock lock(*card);
  return (*card).calls[static_cast<int>(call)];
}

using ProcessRow = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t, std::uint64_t>;

void set_all_processes(const SimCard& card, const std::vector<ProcessRow>& rows) {
  std::vector<GpuProcess> processes;
  for (const auto& [pid, sm, memory, bytes] : rows) processes.push_back({pid, sm, memory, bytes});
  set_processes(*card, processes);
}

void bind_script(py::class_<SimCard>& c) {
  c.def(
      "set_power", [](const SimCard& card, double watts, Ns at) { set_power(*card, watts, at); },
      py::arg("watts"), py::arg("at_ns"));
  c.def(
      "ramp",
      [](const SimCard& card, double from_w, double to_w, Ns duration, Ns at) {
        ramp(*card, from_w, to_w, duration, at);
      },
      py::arg("from_w"), py::arg("to_w"), py::arg("duration_ns"), py::arg("at_ns"));
  c.def(
      "square_wave",
      [](const SimCard& card, double low_w, double high_w, Ns period, double duty, double phase,
         Ns at) { square_wave(*card, {low_w, high_w, period, duty, phase}, at); },
      py::arg("low_w"), py::arg("high_w"), py::arg("period_ns"), py::arg("duty"), py::arg("phase"),
      py::arg("at_ns"));
  c.def(
      "set_clock", [](const SimCard& card, double hz, Ns at) { set_clock(*card, hz, at); },
      py::arg("hz"), py::arg("at_ns"));
  c.def(
      "set_power_law", [](const SimCard& card, double alpha) { set_power_law(*card, alpha); },
      py::arg("alpha"));
  c.def(
      "set_thermal",
      [](const SimCard& card, double leak, Ns tau) { set_thermal(*card, leak, tau); },
      py::arg("leak"), py::arg("tau_ns"));
}

void bind_sensors(py::class_<SimCard>& c) {
  c.def("field", &describe_field, py::arg("average"));
  c.def("configure", &configure, py::arg("average"), py::kw_only(), py::arg("present") = py::none(),
        py::arg("response") = py::none(), py::arg("update_ns") = py::none(),
        py::arg("phase_ns") = py::none(), py::arg("jitter_ns") = py::none(),
        py::arg("window_ns") = py::none(), py::arg("delay_ns") = py::none(),
        py::arg("gain") = py::none(), py::arg("offset_w") = py::none(),
        py::arg("noise_w") = py::none(), py::arg("quantum_w") = py::none());
  c.def("configure_counter", &configure_counter, py::kw_only(), py::arg("present") = py::none(),
        py::arg("integrates") = py::none(), py::arg("update_ns") = py::none(),
        py::arg("phase_ns") = py::none(), py::arg("epoch_ns") = py::none(),
        py::arg("gain") = py::none(), py::arg("start_mj") = py::none(),
        py::arg("quantum_mj") = py::none(), py::arg("modulus_mj") = py::none());
  c.def(
      "set_latency",
      [](const SimCard& card, Ns base, Ns slow, double probability) {
        set_latency(*card, {base, slow, probability});
      },
      py::arg("base_ns"), py::arg("slow_ns"), py::arg("slow_probability"));
  c.def(
      "set_module_only", [](const SimCard& card, bool on) { set_module_only(*card, on); },
      py::arg("module_only"));
  c.def(
      "set_mig", [](const SimCard& card, std::uint32_t n) { set_mig(*card, n); },
      py::arg("instances"));
  c.def("set_processes", &set_all_processes, py::arg("processes"),
        "(pid, sm_percent, memory_percent, memory_bytes) each: who works on the card from now on.");
  c.def("inject", &inject_fault, py::arg("fault"), py::arg("target") = py::none(), py::kw_only(),
        py::arg("every") = py::none(), py::arg("once") = false, py::arg("from_ns") = py::none(),
        py::arg("value") = py::none());
  c.def("clear_faults", [](const SimCard& card) { clear_faults(*card); });
  c.def("calls", &calls, py::arg("name"), "How often this group of driver calls was made.");
}

template <double (*kFunction)(const Card&, Ns) noexcept>
double at_time(const SimCard& card, Ns t) {
  const CardLock lock(*card);
  return kFunction(*card, t);
}

template <double (*kFunction)(const Card&, Ns, Ns) noexcept>
double filtered(const SimCard& card, Ns width, Ns t) {
  const CardLock lock(*card);
  return kFunction(*card, width, t);
}

void bind_truth(py::class_<SimCard>& c) {
  c.def("true_energy_j", &energy, py::arg("t0_ns"), py::arg("t1_ns"));
  c.def("true_energies_j", &energies, py::arg("t0_ns"), py::arg("t1_ns"));
  c.def("true_power_w", &at_time<&true_power>, py::arg("t_ns"));
  c.def("true_powers_w", &powers, py::arg("t_ns"));
  c.def("boxcar_w", &filtered<&boxcar>, py::arg("window_ns"), py::arg("t_ns"));
  c.def("lowpass_w", &filtered<&lowpass>, py::arg("tau_ns"), py::arg("t_ns"));
  c.def("reading_w", &reading, py::arg("t_ns"), py::arg("average") = false,
        "The reading that stands at a time and when it was published, without faults.");
  c.def("counter_mj", &at_time<&counter_reading>, py::arg("t_ns"));
  c.def("clock_hz", &at_time<&clock_hz>, py::arg("t_ns"));
  c.def("temperature_c", &at_time<&temperature_c>, py::arg("t_ns"));
  c.def_property_readonly("info", &describe);
}

}  // namespace

void register_sim(py::module_& m) {
  m.def("sim_presets", [] {
    std::vector<std::string> names;
    for (const Preset& preset : presets()) names.emplace_back(preset.name);
    return names;
  });
  py::class_<SimCard> card(m, "SimCard", "One simulated GPU, seen by every process of its world.");
  bind_script(card);
  bind_sensors(card);
  bind_truth(card);
  py::class_<World, std::shared_ptr<World>>(m, "SimWorld", "A set of simulated GPUs.")
      .def_static("create", &World::create, py::arg("path"))
      .def_static("open", &World::open, py::arg("path"))
      .def_static("current", &World::current)
      .def_property_readonly("path", &World::path)
      .def("add", &World::add, py::arg("preset"))
      .def("__len__", &World::size)
      .def(
          "card",
          [](const std::shared_ptr<World>& world, std::uint32_t index) {
            if (index >= world->size()) throw py::index_error("the world has no such card");
            return SimCard{world, index};
          },
          py::arg("index"));
}

}  // namespace pyenergy
