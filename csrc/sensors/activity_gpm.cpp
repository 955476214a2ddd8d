// SPDX-License-Identifier: Apache-2.0
// Activity from NVML's GPU performance monitoring (Hopper and newer, no privilege needed): the
// difference of two samples of the GPU's counters.
#include <limits>
#include <utility>

#include "sensors/activity.h"

namespace pyenergy {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

class GpmActivity final : public Activity {
 public:
  GpmActivity(const NvmlApi& api, nvmlDevice_t device, std::shared_ptr<Clock> clock,
              std::vector<Channel> channels)
      : api_(api), device_(device), clock_(std::move(clock)), channels_(std::move(channels)) {
    query_->version = NVML_GPM_METRICS_GET_VERSION;
    for (const ActivityPart& part : activity_parts()) {
      query_->metrics[query_->numMetrics++].metricId = part.gpm_metric;
    }
  }
  ~GpmActivity() override {
    if (query_->sample1 != nullptr) api_.gpm_free(query_->sample1);
    if (query_->sample2 != nullptr) api_.gpm_free(query_->sample2);
  }
  GpmActivity(const GpmActivity&) = delete;
  GpmActivity& operator=(const GpmActivity&) = delete;

  // The first sample: what follows is counted from here.
  nvmlReturn_t start() {
    for (nvmlGpmSample_t* sample : {&query_->sample1, &query_->sample2}) {
      if (const nvmlReturn_t code = api_.gpm_alloc(sample); code != NVML_SUCCESS) return code;
    }
    return take_sample(clock_->now());
  }

  const std::vector<Channel>& channels() const noexcept override { return channels_; }
  std::size_t max_readings() const noexcept override { return channels_.size(); }

  std::size_t read(std::span<Reading> out, std::uint16_t first) noexcept override {
    const Ns now = clock_->now();
    if (now - last_ < kActivityInterval) return 0;  // the counters have not moved on
    nvmlReturn_t code = take_sample(now);
    if (code == NVML_SUCCESS && std::exchange(lost_, false)) return 0;  // starts anew
    if (code == NVML_SUCCESS) code = api_.gpm_metrics(query_.get());
    lost_ = code != NVML_SUCCESS;
    return write(code, out, first);
  }

 private:
  // Into the place of the older sample; sample2 is then the newer one.
  nvmlReturn_t take_sample(Ns now) noexcept {
    std::swap(query_->sample1, query_->sample2);
    last_ = now;
    return api_.gpm_sample(device_, query_->sample2);
  }

  std::size_t write(nvmlReturn_t code, std::span<Reading> out, std::uint16_t first) noexcept {
    double fp64 = kNaN, fp32 = kNaN;
    nvmlReturn_t fp_code = NVML_SUCCESS;
    std::size_t used = 0;
    const auto put = [&](nvmlReturn_t status, double value) {
      if (used == out.size()) return;
      const bool ok = status == NVML_SUCCESS;
      out[used] = {.value = ok ? value : kNaN,
                   .channel = static_cast<std::uint16_t>(first + used),
                   .flags = static_cast<std::uint16_t>(ok ? kOk : kMissing),
                   .status = static_cast<std::int32_t>(status)};
      ++used;
    };
    for (unsigned i = 0; i < query_->numMetrics; ++i) {
      const nvmlGpmMetric_t& metric = query_->metrics[i];
      const nvmlReturn_t status = code == NVML_SUCCESS ? metric.nvmlReturn : code;
      put(status, metric.value);
      const bool is_fp64 = metric.metricId == NVML_GPM_METRIC_FP64_UTIL;
      if (!is_fp64 && metric.metricId != NVML_GPM_METRIC_FP32_UTIL) continue;
      (is_fp64 ? fp64 : fp32) = metric.value;
      if (status != NVML_SUCCESS) fp_code = status;
    }
    put(fp_code, fp32 / 2 + fp64);
    return used;
  }

  const NvmlApi& api_;
  const nvmlDevice_t device_;
  const std::shared_ptr<Clock> clock_;
  const std::vector<Channel> channels_;
  // Large: an entry for every metric there is.
  const std::unique_ptr<nvmlGpmMetricsGet_t> query_ = std::make_unique<nvmlGpmMetricsGet_t>();
  Ns last_ = 0;
  bool lost_ = false;  // the older sample is no good
};

}  // namespace

std::unique_ptr<Activity> open_gpm_activity(const NvmlApi& api, nvmlDevice_t device,
                                            const std::string& note, std::shared_ptr<Clock> clock,
                                            std::string& reason) {
  if (!api.has_gpm()) {
    reason = "this driver's NVML has no GPM";
    return nullptr;
  }
  nvmlGpmSupport_t support{};
  support.version = NVML_GPM_SUPPORT_VERSION;
  nvmlReturn_t code = api.gpm_support(device, &support);
  if (code == NVML_SUCCESS && support.isSupportedDevice == 0) code = NVML_ERROR_NOT_SUPPORTED;
  if (code == NVML_ERROR_NOT_SUPPORTED) {
    reason = "this GPU has none (Hopper and newer do)";
    return nullptr;
  }
  auto activity = std::make_unique<GpmActivity>(api, device, std::move(clock),
                                                activity_channels(activity_parts(), note, false));
  if (code == NVML_SUCCESS) code = activity->start();
  if (code == NVML_SUCCESS) return activity;
  const std::string fix = nvml_fix(code);
  reason = api.error_text(code) + (fix.empty() ? "" : " (fix: " + fix + ")");
  return nullptr;
}

}  // namespace pyenergy
