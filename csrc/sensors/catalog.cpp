// SPDX-License-Identifier: Apache-2.0
// The catalogue of power sensors.
#include "sensors/catalog.h"

#include <algorithm>
#include <optional>

namespace pyenergy {
namespace {

constexpr std::string_view kStudy = "arXiv 2312.02741, sensor matrix";
constexpr double kEstimateU = 0.5;  // a TDP table knows neither the part's voltage nor its load

struct Instant {
  std::string_view architecture;
  Ns update_ms, window_ms, delay_ms, rc_ms;
  bool is_default;  // whether GetPowerUsage is this reading, and not the average
};
constexpr Instant kInstant[] = {
    {"pascal", 20, 10, 20, 0, true},     {"volta", 20, 10, 20, 0, true},
    {"turing", 100, 100, 100, 0, true},  {"ga100", 100, 25, 100, 12, true},
    {"ampere", 100, 100, 100, 0, false}, {"ada", 100, 100, 100, 0, false},
    {"hopper", 100, 25, 100, 0, false},
};
constexpr Instant kAverage = {"", 100, 1000, 100, 0, false};

// By the beginning and the end of a channel's source and the CPU's maker; the first that fits. A
// counter's offset is in its gain.
struct Host {
  std::string_view begins, ends, maker;
  double gain_u, offset_u_w;
  std::string_view origin;
};
constexpr Host kHosts[] = {
    {"rapl.", ".dram", "", 0.2, 0.0, "doi 10.1145/2989081.2989088, type B"},
    {"rapl.", ".psys", "", 0.2, 0.0, "a board maker's sensor, type B"},
    {"rapl.", "", "amd", 0.1, 0.0, "arXiv 2108.00808, type B"},
    {"rapl.", "", "", 0.05, 0.0, "doi 10.1109/IPDPSW.2015.70, type B"},
    {"hwmon.ina3221", "", "", 0.01, 0.2, "SBOS576 and a 1 % shunt, type B"},
    {"iio.ina3221", "", "", 0.01, 0.2, "SBOS576 and a 1 % shunt, type B"},
    {"hwmon.amd_energy", "", "", 0.1, 0.0, "arXiv 2108.00808, type B"},
    {"hwmon.", "", "", 0.1, 5.0, "a sensor of unknown accuracy, type B"},
    {"iio.", "", "", 0.1, 5.0, "a sensor of unknown accuracy, type B"},
};

// As slow and as part-time as any sensor of the study.
SensorPrior unknown(std::string_view origin) {
  SensorPrior prior;
  prior.lag_ns = 1'300 * kMs;
  prior.coverage = 0.25;
  prior.origin = origin;
  return prior;
}

SensorPrior nothing_known() {
  return unknown("unknown sensor: widest of arXiv 2312.02741, sensor matrix");
}

double share(Ns window, Ns update) noexcept {
  return std::min(1.0, static_cast<double>(window) / static_cast<double>(update));
}

SensorPrior studied(const Instant& found) {
  SensorPrior prior;
  prior.update_ns = found.update_ms * kMs;
  prior.window_ns = found.window_ms * kMs;
  prior.delay_ns = found.delay_ms * kMs;
  prior.rc_ns = found.rc_ms * kMs;
  prior.lag_ns = prior.update_ns + prior.window_ns + prior.delay_ns;
  prior.coverage = share(prior.window_ns, prior.update_ns);
  prior.known_by = Known::kCatalogue;
  prior.origin = kStudy;
  return prior;
}

SensorPrior stated(Ns update, Ns window, Ns delay, std::string_view origin) {
  if (update < 0) return unknown(origin);
  SensorPrior prior;
  prior.update_ns = update;
  prior.delay_ns = std::max(delay, Ns{0});
  prior.window_ns = std::max(window, Ns{0});
  prior.lag_ns = prior.update_ns + prior.window_ns + prior.delay_ns;
  prior.coverage = update > 0 && window > 0 ? share(window, update) : 1.0;
  // An update period without a window leaves any response.
  prior.known_by = window < 0 ? Known::kNothing : Known::kStated;
  prior.origin = origin;
  return prior;
}

const Instant* find_instant(std::string_view architecture) {
  const auto* const found = std::ranges::find(kInstant, architecture, &Instant::architecture);
  return found == std::end(kInstant) ? nullptr : found;
}

const Host* find_host(std::string_view source, std::string_view architecture) {
  const auto* const found = std::ranges::find_if(kHosts, [&](const Host& host) {
    return source.starts_with(host.begins) && source.ends_with(host.ends) &&
           (host.maker.empty() || host.maker == architecture);
  });
  return found == std::end(kHosts) ? nullptr : found;
}

// What an NVIDIA field says of an architecture.
SensorPrior of_field(const Instant* instant, std::string_view source) {
  if (instant == nullptr) return nothing_known();
  if (source == "nvml.field.186" || source == "dcgm.field.157") return studied(*instant);
  if (source == "nvml.field.185") return studied(kAverage);
  if (source == "nvml.GetPowerUsage" || source == "dcgm.field.155") {
    return studied(instant->is_default ? *instant : kAverage);
  }
  return nothing_known();
}

}  // namespace

SensorPrior sensor_prior(std::string_view architecture, std::string_view source, Ns update_ns,
                         Ns window_ns, Ns delay_ns) {
  const auto with = [&](double gain_u, double offset_u_w, std::string_view origin) {
    SensorPrior prior = stated(update_ns, window_ns, delay_ns, origin);
    prior.gain_u = gain_u;
    prior.offset_u_w = offset_u_w;
    return prior;
  };
  if (source.starts_with("estimate")) return with(kEstimateU, 0.0, "the estimate's own definition");
  if (const Host* const host = find_host(source, architecture); host != nullptr) {
    return with(host->gain_u, host->offset_u_w, host->origin);
  }
  if (update_ns < 0) return of_field(find_instant(architecture), source);
  const bool log = source == "readings";
  SensorPrior prior =
      stated(update_ns, window_ns, delay_ns, log ? "a log" : "stated by the source");
  if (log) prior.known_by = Known::kLog;
  return prior;
}

std::vector<std::string_view> sensor_architectures() {
  std::vector<std::string_view> names;
  for (const Instant& found : kInstant) names.push_back(found.architecture);
  return names;
}

}  // namespace pyenergy
