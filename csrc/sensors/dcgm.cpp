// SPDX-License-Identifier: Apache-2.0
// The DCGM source: GPUs as a host engine reads them, for machines where it alone may.
#include <cmath>
#include <stdexcept>
#include <utility>

#include "sensors/activity.h"
#include "sensors/dcgm_describe.h"
#include "sensors/dcgm_reader.h"
#include "sensors/sources.h"

namespace pyenergy {
namespace {

// DCGM's loop sleeps whole milliseconds and spins below one: asked for 1 ms, the least that dcgmi
// allows, it keeps a core busy, in this process when it is embedded.
constexpr Ns kPowerInterval = 10 * kMs;
// As for NVML: a board passes its largest limit by less than this.
constexpr double kExcursion = 2.0;
constexpr double kAnyPower = 5000.0;  // W
constexpr const char* kPowerUsageNote =
    "NVML's default power: on Ampere (except GA100) and newer an average over about 1 s";

class DcgmSensor final : public Sensor {
 public:
  DcgmSensor(std::shared_ptr<DcgmEngine> engine, DeviceInfo info)
      : engine_(std::move(engine)),
        info_(std::move(info)),
        gpu_(static_cast<unsigned>(info_.index)) {
    const double limit = dcgm_number_or_nan(dcgm::kPowerLimitMax);
    max_power_w_ = std::isfinite(limit) ? kExcursion * limit : kAnyPower;
    add_power();
    add_energy();
    if (fields_.empty()) {
      info_.notes.emplace_back("DCGM gives neither power nor energy of this GPU");
    } else {
      watch();
    }
    add_activity();
  }

  const DeviceInfo& info() const noexcept override { return info_; }
  const std::vector<Channel>& channels() const noexcept override { return channels_; }
  std::size_t max_readings() const noexcept override { return 2 * DcgmReader::kMaxReadings; }
  Ns longest_silence() const noexcept override {
    return reader_ == nullptr ? 0 : reader_->longest_silence();
  }

  std::size_t read(ReadGroup group, std::span<Reading> out) noexcept override {
    if (group == ReadGroup::kFast) return reader_ == nullptr ? 0 : reader_->read(out);
    return activity_ == nullptr ? 0 : activity_->read(out, first_activity_);
  }

 private:
  double dcgm_number_or_nan(unsigned short field) const {
    const DcgmAnswer answer = dcgm_number(*engine_, gpu_, field);
    return answer.status == 0 && answer.value > 0.0 ? answer.value
                                                    : std::numeric_limits<double>::quiet_NaN();
  }

  void add(Channel channel, unsigned short field) {
    channel.source = "dcgm.field." + std::to_string(field);
    channel.scope = "gpu";
    channel.valid_min = 0.0;
    channel.valid_max = max_power_w_;
    fields_.push_back({field, static_cast<std::uint16_t>(channels_.size())});
    channels_.push_back(std::move(channel));
  }

  // DCGM tells of field 157 whether the call failed, not whether the field did: an unsupported one
  // comes out as exactly 0 W.
  void add_power() {
    const bool instant = std::isfinite(dcgm_number_or_nan(dcgm::kPowerInstant));
    const DcgmAnswer usage = dcgm_number(*engine_, gpu_, dcgm::kPowerUsage);
    Channel channel;
    channel.unit = "W";
    if (instant) {
      channel.name = "power";
      add(channel, dcgm::kPowerInstant);
    }
    if (usage.status == 0 && usage.value > 0.0) {
      channel.name = instant ? "power_average" : "power";
      channel.note = kPowerUsageNote;
      add(channel, dcgm::kPowerUsage);
    } else if (!instant) {
      info_.notes.push_back(usage.status == 0
                                ? "DCGM's power is exactly 0 W: taken as not supported"
                                : "this GPU's power: " + dcgm_status_text(usage.status));
    }
  }

  void add_energy() {
    const DcgmAnswer energy = dcgm_number(*engine_, gpu_, dcgm::kTotalEnergy);
    if (energy.status != 0) {
      info_.notes.push_back("this GPU's energy counter: " + dcgm_status_text(energy.status));
      return;
    }
    Channel channel;
    channel.name = "energy";
    channel.unit = "J";
    channel.kind = ChannelKind::kCounter;
    channel.scale = 1e-3;
    add(std::move(channel), dcgm::kTotalEnergy);
  }

  void watch() {
    std::vector<unsigned short> ids;
    for (const DcgmReader::Field& field : fields_) ids.push_back(field.id);
    auto watched = std::make_unique<DcgmWatch>(engine_, gpu_, ids, kPowerInterval);
    if (const int code = watched->code(); code != dcgm::kOk) {
      const std::string fix = dcgm_fix(code);
      throw std::runtime_error("DCGM does not watch the power of GPU " + std::to_string(gpu_) +
                               ": " + engine_->api.error_text(code) +
                               (fix.empty() ? "" : ". Fix: " + fix));
    }
    DcgmReaderOptions options;
    options.interval = options.slack = kPowerInterval;
    reader_ = std::make_unique<DcgmReader>(std::move(watched), fields_, options);
  }

  void add_activity() {
    std::string reason;
    activity_ = open_dcgm_activity(engine_, gpu_, reason);
    if (activity_ == nullptr) {
      info_.notes.push_back("no activity: " + reason);
      return;
    }
    first_activity_ = static_cast<std::uint16_t>(channels_.size());
    const auto& more = activity_->channels();
    channels_.insert(channels_.end(), more.begin(), more.end());
  }

  const std::shared_ptr<DcgmEngine> engine_;
  DeviceInfo info_;
  const unsigned gpu_;
  double max_power_w_ = kAnyPower;
  std::vector<Channel> channels_;
  std::vector<DcgmReader::Field> fields_;  // the fast channels'
  std::unique_ptr<DcgmReader> reader_;
  std::unique_ptr<Activity> activity_;
  std::uint16_t first_activity_ = 0;
};

SourceReport not_available(std::string reason, std::string fix) {
  SourceReport report;
  report.source = "dcgm";
  report.reason = std::move(reason);
  report.fix = std::move(fix);
  return report;
}

}  // namespace

SourceReport enumerate_dcgm(const std::string& argument) {
  DcgmRequest request;
  try {
    request = parse_dcgm_request(argument);
  } catch (const std::invalid_argument& error) {
    return not_available(error.what(),
                         "say 'dcgm:INDEX', 'dcgm:HOST:PORT' or 'dcgm:HOST:PORT/INDEX'");
  }
  const DcgmConnection connection = connect_dcgm(request.address);
  if (connection.engine == nullptr) return not_available(connection.reason, connection.fix);
  const DcgmEngine& engine = *connection.engine;
  int code = dcgm::kOk;
  const std::vector<unsigned> gpus = dcgm_gpus(engine, &code);
  if (code != dcgm::kOk) {
    return not_available("DCGM does not list its GPUs: " + engine.api.error_text(code),
                         dcgm_fix(code));
  }
  SourceReport report;
  report.source = "dcgm";
  for (const unsigned gpu : gpus) {
    if (request.index >= 0 && gpu != static_cast<unsigned>(request.index)) continue;
    report.devices.push_back(describe_dcgm(engine, gpu));
  }
  report.available = !report.devices.empty();
  if (gpus.empty()) {
    report.reason = "DCGM (" + engine.where() + ") supports no GPU here";
    report.fix =
        "compare nvidia-smi -L with dcgmi discovery -l: DCGM leaves out GPUs that are not "
        "of the data centre or hang";
  } else if (!report.available) {
    report.reason = "DCGM (" + engine.where() + ") has no GPU " + std::to_string(request.index) +
                    " among its " + std::to_string(gpus.size());
    report.fix = "dcgmi discovery -l lists them";
  }
  return report;
}

std::unique_ptr<Sensor> open_dcgm(const DeviceInfo& info, std::shared_ptr<Clock>) {
  const DcgmConnection connection = connect_dcgm(info.argument);
  if (connection.engine == nullptr) {
    throw std::runtime_error(connection.reason +
                             (connection.fix.empty() ? "" : ". Fix: " + connection.fix));
  }
  const auto gpu = static_cast<unsigned>(info.index);
  DeviceInfo now = describe_dcgm(*connection.engine, gpu);
  if (!info.uuid.empty() && now.uuid != info.uuid) {
    throw std::runtime_error("DCGM does not find " + info.uuid + " (any more)");
  }
  return std::make_unique<DcgmSensor>(connection.engine, std::move(now));
}

}  // namespace pyenergy
