// SPDX-License-Identifier: Apache-2.0
// Probes what a device can read and makes its channels.
#include "sensors/nvml_plan.h"

#include <chrono>
#include <cmath>
#include <thread>
#include <utility>

namespace pyenergy {
namespace {

// Readings average at least 10 ms: a board passes its largest limit by less than this meanwhile.
constexpr double kExcursion = 2.0;
constexpr const char* kAverageNote =
    "average over about 1 s: short events are smeared, and it lags by half a second";
constexpr const char* kPowerUsageNote =
    "on Ampere (except GA100) and newer this is an average over about 1 s";
constexpr const char* kModuleNote = "module = CPU + GPU on a superchip: not the GPU alone";

bool is_transient(nvmlReturn_t code) {
  return code == NVML_ERROR_TIMEOUT || code == NVML_ERROR_UNKNOWN || code == NVML_ERROR_NOT_READY ||
         code == NVML_ERROR_IN_USE;
}

// Asks once more, after a pause, when the first answer may be a passing trouble.
template <typename Ask>
NvmlAnswer ask_twice(Ask&& ask_once) {
  const NvmlAnswer first = ask_once();
  if (!is_transient(first.code)) return first;
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  return ask_once();
}

class Probe {
 public:
  Probe(const NvmlApi& api, nvmlDevice_t device, double max_power_w)
      : api_(api),
        device_(device),
        max_power_w_(std::isfinite(max_power_w) ? kExcursion * max_power_w : 5000.0) {}

  NvmlPlan run() {
    add_power();
    add_average();
    add_energy();
    add_memory_power();
    add_slow();
    return std::move(plan_);
  }

 private:
  NvmlAnswer field(unsigned id, unsigned scope) const {
    return ask_twice([&]() -> NvmlAnswer {
      if (api_.field_values == nullptr) return {};
      nvmlFieldValue_t value{};
      value.fieldId = id;
      value.scopeId = scope;
      const nvmlReturn_t code = api_.field_values(device_, 1, &value);
      return code == NVML_SUCCESS ? field_answer(value) : NvmlAnswer{code};
    });
  }

  NvmlAnswer call(NvmlCall which) const {
    return ask_twice([&] { return call_nvml(api_, device_, which); });
  }

  std::uint16_t add(Channel channel) {
    plan_.channels.push_back(std::move(channel));
    return static_cast<std::uint16_t>(plan_.channels.size() - 1);
  }

  Channel power_channel(const char* name, std::string source, std::string note) const {
    Channel channel;
    channel.name = name;
    channel.unit = "W";
    channel.scale = 1e-3;
    channel.valid_min = 0.0;
    channel.valid_max = max_power_w_;
    channel.source = std::move(source);
    channel.scope = "gpu";
    channel.note = std::move(note);
    return channel;
  }

  // The first of GPU and module scope in which the field reads more than `above`.
  bool add_power_field(unsigned id, const char* name, const char* note, double above) {
    for (const unsigned scope : {NVML_POWER_SCOPE_GPU, NVML_POWER_SCOPE_MODULE}) {
      const NvmlAnswer answer = field(id, scope);
      if (answer.code == NVML_ERROR_NOT_SUPPORTED) continue;
      if (answer.code != NVML_SUCCESS) {
        explain("field " + std::to_string(id), answer.code);
        return false;
      }
      if (!(answer.value > above)) {
        plan_.notes.push_back("field " + std::to_string(id) +
                              " reads exactly 0 W: taken as not supported");
        return false;
      }
      Channel channel = power_channel(name, "nvml.field." + std::to_string(id), note);
      if (scope == NVML_POWER_SCOPE_MODULE) {
        channel.scope = "module";
        channel.note = channel.note.empty() ? kModuleNote : channel.note + "; " + kModuleNote;
        plan_.notes.push_back(std::string(name) + ": " + kModuleNote);
      }
      plan_.fields.push_back({id, scope, add(std::move(channel))});
      return true;
    }
    return false;
  }

  void add_power() {
    if (add_power_field(NVML_FI_DEV_POWER_INSTANT, "power", "", 0.0)) return;
    if (add_power_field(NVML_FI_DEV_POWER_AVERAGE, "power", kAverageNote, 0.0)) {
      average_is_power_ = true;
      return;
    }
    const NvmlAnswer answer = call(NvmlCall::kPower);
    if (answer.code == NVML_SUCCESS) {
      const auto channel = add(power_channel("power", "nvml.GetPowerUsage", kPowerUsageNote));
      plan_.fast.push_back({NvmlCall::kPower, channel});
    } else if (has_samples()) {
      Channel channel = power_channel("power_samples", "nvml.GetSamples",
                                      "the driver's own samples, fetched in batches");
      channel.group = ReadGroup::kSlow;
      plan_.samples_channel = add(std::move(channel));
      plan_.notes.push_back("power only comes from the driver's sample buffer (power_samples)");
    } else {
      plan_.notes.push_back("this GPU has no readable power: " + api_.error_text(answer.code));
    }
  }

  void add_average() {
    if (average_is_power_) return;
    add_power_field(NVML_FI_DEV_POWER_AVERAGE, "power_average", kAverageNote, 0.0);
  }

  bool has_samples() const {
    if (api_.samples == nullptr) return false;
    nvmlValueType_t type{};
    unsigned count = 0;
    const nvmlReturn_t code =
        api_.samples(device_, NVML_TOTAL_POWER_SAMPLES, 0, &type, &count, nullptr);
    return code == NVML_SUCCESS && count > 0;
  }

  void add_energy() {
    Channel channel;
    channel.name = "energy";
    channel.unit = "J";
    channel.kind = ChannelKind::kCounter;
    channel.scale = 1e-3;
    channel.valid_min = 0.0;
    channel.valid_max = max_power_w_;
    channel.scope = "gpu";
    if (field(NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION, 0).code == NVML_SUCCESS) {
      channel.source = "nvml.field.83";
      plan_.fields.push_back({NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION, 0, add(std::move(channel))});
    } else if (call(NvmlCall::kEnergy).code == NVML_SUCCESS) {
      channel.source = "nvml.GetTotalEnergyConsumption";
      plan_.fast.push_back({NvmlCall::kEnergy, add(std::move(channel))});
    }
  }

  // A device without this sensor answers 0 W instead of an error.
  void add_memory_power() {
    for (const unsigned id : {NVML_FI_DEV_POWER_INSTANT, NVML_FI_DEV_POWER_AVERAGE}) {
      const NvmlAnswer answer = field(id, NVML_POWER_SCOPE_MEMORY);
      if (answer.code != NVML_SUCCESS || !(answer.value > 0.0)) continue;
      const bool average = id == NVML_FI_DEV_POWER_AVERAGE;
      Channel channel = power_channel("power_memory", "nvml.field." + std::to_string(id),
                                      average ? kAverageNote : "");
      channel.scope = "memory";
      plan_.fields.push_back({id, NVML_POWER_SCOPE_MEMORY, add(std::move(channel))});
      return;
    }
  }

  std::uint16_t add_slow_channel(const char* name, const char* unit, double scale,
                                 const char* source) {
    Channel channel;
    channel.name = name;
    channel.unit = unit;
    channel.group = ReadGroup::kSlow;
    channel.scale = scale;
    channel.source = source;
    channel.scope = "gpu";
    return add(std::move(channel));
  }

  void add_step(NvmlCall which, const char* name, const char* unit, double scale,
                const char* source) {
    if (call(which).code != NVML_SUCCESS) return;
    plan_.slow.push_back({which, add_slow_channel(name, unit, scale, source)});
  }

  // A call that gives two values fills two channels in a row.
  void add_pair(NvmlCall which, const char* first, const char* second, const char* unit,
                double scale, const char* source) {
    const std::size_t steps = plan_.slow.size();
    add_step(which, first, unit, scale, source);
    if (plan_.slow.size() > steps) add_slow_channel(second, unit, scale, source);
  }

  void add_slow() {
    add_step(NvmlCall::kSmClock, "sm_clock", "Hz", 1e6, "nvml.GetClockInfo");
    add_step(NvmlCall::kMemoryClock, "memory_clock", "Hz", 1e6, "nvml.GetClockInfo");
    add_step(NvmlCall::kTemperature, "temperature", "degC", 1.0, "nvml.GetTemperature");
    add_pair(NvmlCall::kUtilisation, "utilisation", "memory_utilisation", "1", 0.01,
             kUtilisationSource);
    add_pair(NvmlCall::kMemory, "memory_used", "memory_total", "B", 1.0, "nvml.GetMemoryInfo");
    add_step(NvmlCall::kThrottleReasons, "throttle_reasons", "bits", 1.0,
             "nvml.GetCurrentClocksEventReasons");
    add_step(NvmlCall::kPerformanceState, "performance_state", "1", 1.0,
             "nvml.GetPerformanceState");
  }

  void explain(const std::string& what, nvmlReturn_t code) {
    if (code == NVML_ERROR_FUNCTION_NOT_FOUND || code == NVML_ERROR_INVALID_ARGUMENT) return;
    plan_.notes.push_back(what + " cannot be read: " + api_.error_text(code));
  }

  const NvmlApi& api_;
  const nvmlDevice_t device_;
  const double max_power_w_;
  bool average_is_power_ = false;
  NvmlPlan plan_;
};

// Calls a getter of type T if the library has it.
template <typename T, typename Fn, typename... Args>
NvmlAnswer get(Fn function, Args... args) noexcept {
  T value{};
  if (function == nullptr) return {};
  const nvmlReturn_t code = function(args..., &value);
  return {code, static_cast<double>(value)};
}

NvmlAnswer get_utilisation(const NvmlApi& api, nvmlDevice_t device) noexcept {
  if (api.utilisation == nullptr) return {};
  nvmlUtilization_t rates{};
  const nvmlReturn_t code = api.utilisation(device, &rates);
  return {code, static_cast<double>(rates.gpu), static_cast<double>(rates.memory)};
}

NvmlAnswer get_memory(const NvmlApi& api, nvmlDevice_t device) noexcept {
  if (api.memory == nullptr) return {};
  nvmlMemory_t bytes{};
  const nvmlReturn_t code = api.memory(device, &bytes);
  return {code, static_cast<double>(bytes.used), static_cast<double>(bytes.total)};
}

}  // namespace

NvmlAnswer call_nvml(const NvmlApi& api, nvmlDevice_t device, NvmlCall call) noexcept {
  switch (call) {
    case NvmlCall::kPower:
      return get<unsigned>(api.power_usage, device);
    case NvmlCall::kEnergy:
      return get<unsigned long long>(api.total_energy, device);
    case NvmlCall::kSmClock:
      return get<unsigned>(api.clock, device, NVML_CLOCK_SM);
    case NvmlCall::kMemoryClock:
      return get<unsigned>(api.clock, device, NVML_CLOCK_MEM);
    case NvmlCall::kTemperature:
      return get<unsigned>(api.temperature, device, NVML_TEMPERATURE_GPU);
    case NvmlCall::kUtilisation:
      return get_utilisation(api, device);
    case NvmlCall::kMemory:
      return get_memory(api, device);
    case NvmlCall::kThrottleReasons:
      return get<unsigned long long>(api.throttle_reasons, device);
    case NvmlCall::kPerformanceState:
      return get<nvmlPstates_t>(api.performance_state, device);
  }
  return {};
}

NvmlAnswer field_answer(const nvmlFieldValue_t& field) noexcept {
  if (field.nvmlReturn != NVML_SUCCESS) return {field.nvmlReturn};
  const auto ok = [](auto value) { return NvmlAnswer{NVML_SUCCESS, static_cast<double>(value)}; };
  switch (field.valueType) {
    case NVML_VALUE_TYPE_DOUBLE:
      return ok(field.value.dVal);
    case NVML_VALUE_TYPE_UNSIGNED_INT:
      return ok(field.value.uiVal);
    case NVML_VALUE_TYPE_UNSIGNED_LONG:
      return ok(field.value.ulVal);
    case NVML_VALUE_TYPE_UNSIGNED_LONG_LONG:
      return ok(field.value.ullVal);
    case NVML_VALUE_TYPE_SIGNED_LONG_LONG:
      return ok(field.value.sllVal);
    case NVML_VALUE_TYPE_SIGNED_INT:
      return ok(field.value.siVal);
    case NVML_VALUE_TYPE_UNSIGNED_SHORT:
      return ok(field.value.usVal);
    default:
      return {NVML_ERROR_ARGUMENT_VERSION_MISMATCH};
  }
}

NvmlPlan probe_nvml(const NvmlApi& api, nvmlDevice_t device, double max_power_w) {
  return Probe(api, device, max_power_w).run();
}

}  // namespace pyenergy
