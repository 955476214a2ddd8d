// SPDX-License-Identifier: Apache-2.0
// NVML against a hand-made function table: what is probed, what is read, and what each error does.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <map>

#include "core/clock.h"
#include "sensors/nvml_sensor.h"

using namespace pyenergy;

namespace {

struct FakeField {
  nvmlReturn_t code = NVML_SUCCESS;
  unsigned milli = 0;
};

// What the table's functions answer. Fields that are not listed are not supported.
struct Fake {
  std::map<std::pair<unsigned, unsigned>, FakeField> fields;  // (id, scope)
  nvmlReturn_t field_call = NVML_SUCCESS;
  int transient = 0;  // so many of the next field calls fail with TIMEOUT
  int field_calls = 0;
  nvmlReturn_t power = NVML_ERROR_NOT_SUPPORTED, energy = NVML_ERROR_NOT_SUPPORTED;
  nvmlReturn_t slow = NVML_ERROR_NOT_SUPPORTED;
  std::vector<nvmlSample_t> samples;
};
Fake fake;

nvmlReturn_t get_fields(nvmlDevice_t, int count, nvmlFieldValue_t* values) {
  ++fake.field_calls;
  if (fake.transient > 0) {
    --fake.transient;
    return NVML_ERROR_TIMEOUT;
  }
  if (fake.field_call != NVML_SUCCESS) return fake.field_call;
  for (int i = 0; i < count; ++i) {
    const auto found = fake.fields.find({values[i].fieldId, values[i].scopeId});
    const bool known = found != fake.fields.end();
    values[i].nvmlReturn = known ? found->second.code : NVML_ERROR_NOT_SUPPORTED;
    values[i].valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
    values[i].value.uiVal = known ? found->second.milli : 0;
  }
  return NVML_SUCCESS;
}

nvmlReturn_t get_samples(nvmlDevice_t, nvmlSamplingType_t, unsigned long long last,
                         nvmlValueType_t* type, unsigned* count, nvmlSample_t* out) {
  *type = NVML_VALUE_TYPE_UNSIGNED_INT;
  const unsigned room = *count;
  *count = 0;
  for (const nvmlSample_t& sample : fake.samples) {
    if (sample.timeStamp <= last) continue;
    if (out != nullptr && *count < room) out[*count] = sample;
    ++*count;
  }
  return *count == 0 ? NVML_ERROR_NOT_FOUND : NVML_SUCCESS;
}

nvmlSample_t sample_at(Ns real_ns, unsigned milliwatts) {
  nvmlSample_t sample{};
  sample.timeStamp = static_cast<unsigned long long>(real_ns / kUs);
  sample.sampleValue.uiVal = milliwatts;
  return sample;
}

NvmlApi make_api() {
  fake = Fake{};
  NvmlApi api;
  api.field_values = get_fields;
  api.power_usage = [](nvmlDevice_t, unsigned* out) {
    *out = 250'000;
    return fake.power;
  };
  api.total_energy = [](nvmlDevice_t, unsigned long long* out) {
    *out = 7'000;
    return fake.energy;
  };
  api.samples = get_samples;
  api.utilisation = [](nvmlDevice_t, nvmlUtilization_t* out) {
    *out = {.gpu = 80, .memory = 20};
    return fake.slow;
  };
  return api;
}

constexpr auto kInstant = std::pair{unsigned{NVML_FI_DEV_POWER_INSTANT}, 0u};
constexpr auto kAverage = std::pair{unsigned{NVML_FI_DEV_POWER_AVERAGE}, 0u};
constexpr auto kCounter = std::pair{unsigned{NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION}, 0u};

// A sensor and the buffer its readings land in.
struct Opened {
  explicit Opened(const NvmlApi& api) : sensor(make_nvml_sensor(api, describe_nvml(api, {}, 0))) {
    fake.field_calls = 0;
  }
  std::vector<Reading> read(ReadGroup group = ReadGroup::kFast) {
    std::vector<Reading> out(sensor->max_readings());
    out.resize(sensor->read(group, out));
    return out;
  }
  const Channel& channel(std::size_t i) const { return sensor->channels().at(i); }
  bool has_note(const std::string& part) const {
    for (const std::string& note : sensor->info().notes) {
      if (note.find(part) != std::string::npos) return true;
    }
    return false;
  }
  std::unique_ptr<Sensor> sensor;
};

void check_missing(const Reading& reading, nvmlReturn_t code) {
  CHECK(reading.flags == kMissing);
  CHECK(reading.status == code);
  CHECK(std::isnan(reading.value));
}

}  // namespace

TEST_CASE("power, average and energy are read by one call") {
  const NvmlApi api = make_api();
  fake.fields = {
      {kInstant, {.milli = 300'000}}, {kAverage, {.milli = 200'000}}, {kCounter, {.milli = 5'000}}};
  Opened gpu(api);
  const auto readings = gpu.read();
  CHECK(fake.field_calls == 1);
  REQUIRE(readings.size() == 3);
  CHECK(gpu.channel(0).name == "power");
  CHECK(gpu.channel(0).source == "nvml.field.186");
  CHECK(gpu.channel(1).name == "power_average");
  CHECK(gpu.channel(2).name == "energy");
  CHECK(gpu.channel(2).kind == ChannelKind::kCounter);
  CHECK(readings[0].value * gpu.channel(0).scale == doctest::Approx(300.0));
  CHECK(readings[1].value * gpu.channel(1).scale == doctest::Approx(200.0));
  CHECK(readings[2].value * gpu.channel(2).scale == doctest::Approx(5.0));
}

TEST_CASE("one failing field leaves the others alone") {
  const NvmlApi api = make_api();
  fake.fields = {{kInstant, {.milli = 300'000}}, {kCounter, {.milli = 5'000}}};
  Opened gpu(api);
  fake.fields[kInstant].code = NVML_ERROR_NO_DATA;
  const auto readings = gpu.read();
  REQUIRE(readings.size() == 2);
  check_missing(readings[0], NVML_ERROR_NO_DATA);
  CHECK(readings[1].flags == kOk);
  CHECK(readings[1].value == 5'000.0);
}

TEST_CASE("a lost GPU makes every channel missing, and it may come back") {
  const NvmlApi api = make_api();
  fake.fields = {{kInstant, {.milli = 300'000}}, {kCounter, {.milli = 5'000}}};
  Opened gpu(api);
  fake.field_call = NVML_ERROR_GPU_IS_LOST;
  for (int i = 0; i < 3; ++i) {
    for (const Reading& reading : gpu.read()) check_missing(reading, NVML_ERROR_GPU_IS_LOST);
  }
  CHECK(fake.field_calls == 3);
  fake.field_call = NVML_SUCCESS;
  CHECK(gpu.read()[0].flags == kOk);
}

TEST_CASE("a superchip falls back to module scope and says so") {
  const NvmlApi api = make_api();
  fake.fields = {{{NVML_FI_DEV_POWER_INSTANT, NVML_POWER_SCOPE_MODULE}, {.milli = 600'000}}};
  Opened gpu(api);
  CHECK(gpu.channel(0).name == "power");
  CHECK(gpu.channel(0).scope == "module");
  CHECK(gpu.has_note("module = CPU + GPU"));
  CHECK(gpu.read()[0].value == 600'000.0);
}

TEST_CASE("memory power is a channel only where it reads more than 0") {
  const NvmlApi api = make_api();
  const auto memory = std::pair{unsigned{NVML_FI_DEV_POWER_AVERAGE}, 2u};
  fake.fields = {{kInstant, {.milli = 300'000}}, {memory, {.milli = 0}}};
  CHECK(Opened(api).sensor->channels().size() == 1);
  fake.fields[memory].milli = 40'000;
  Opened gpu(api);
  REQUIRE(gpu.sensor->channels().size() == 2);
  CHECK(gpu.channel(1).name == "power_memory");
  CHECK(gpu.channel(1).scope == "memory");
}

TEST_CASE("0 W at the probe is no sensor") {
  const NvmlApi api = make_api();
  fake.fields = {{kInstant, {.milli = 0}}, {kAverage, {.milli = 200'000}}};
  Opened gpu(api);
  REQUIRE(gpu.sensor->channels().size() == 1);
  CHECK(gpu.channel(0).name == "power");
  CHECK(gpu.channel(0).source == "nvml.field.185");
  CHECK(gpu.has_note("exactly 0 W"));
}

TEST_CASE("a passing error at the probe is asked again, a lasting one is not trusted") {
  const NvmlApi api = make_api();
  fake.fields = {{kInstant, {.milli = 300'000}}, {kAverage, {.milli = 200'000}}};
  fake.transient = 1;
  CHECK(Opened(api).channel(0).source == "nvml.field.186");
  fake.transient = 2;
  Opened gpu(api);
  CHECK(gpu.channel(0).source == "nvml.field.185");
  CHECK(gpu.has_note("field 186 cannot be read"));
}

TEST_CASE("an old driver without fields is read function by function") {
  NvmlApi api = make_api();
  api.field_values = nullptr;
  fake.power = fake.energy = NVML_SUCCESS;
  Opened gpu(api);
  const auto readings = gpu.read();
  REQUIRE(readings.size() == 2);
  CHECK(gpu.channel(0).source == "nvml.GetPowerUsage");
  CHECK(gpu.channel(0).note.find("1 s") != std::string::npos);
  CHECK(readings[0].value == 250'000.0);
  CHECK(gpu.channel(1).source == "nvml.GetTotalEnergyConsumption");
  CHECK(readings[1].value == 7'000.0);
  fake.power = NVML_ERROR_UNKNOWN;
  const auto failed = gpu.read();
  check_missing(failed[0], NVML_ERROR_UNKNOWN);
  CHECK(failed[1].flags == kOk);
}

TEST_CASE("the driver's samples are placed on the monotonic clock, each once") {
  const NvmlApi api = make_api();
  fake.samples = {sample_at(realtime_ns() - kSecond, 100'000)};
  Opened gpu(api);
  REQUIRE(gpu.channel(0).name == "power_samples");
  CHECK(gpu.read(ReadGroup::kSlow).empty());  // older than the opening
  const Ns mono = monotonic_ns(), real = realtime_ns();
  fake.samples.push_back(sample_at(real, 200'000));
  fake.samples.push_back(sample_at(real + 20 * kMs, 210'000));
  const auto readings = gpu.read(ReadGroup::kSlow);
  REQUIRE(readings.size() == 2);
  // The stamp is cut to 1 us, and between the two clock reads above this thread may have waited.
  CHECK(std::abs(readings[0].t_ns - mono) < kMs);
  CHECK(readings[1].t_ns - readings[0].t_ns == 20 * kMs);
  CHECK(readings[1].value == 210'000.0);
  CHECK(gpu.read(ReadGroup::kSlow).empty());
  CHECK(gpu.read(ReadGroup::kFast).empty());
}

TEST_CASE("a GPU without any power opens with what it has") {
  const NvmlApi api = make_api();
  fake.slow = NVML_SUCCESS;
  Opened gpu(api);
  CHECK(gpu.has_note("no readable power"));
  REQUIRE(gpu.sensor->channels().size() == 2);
  const auto readings = gpu.read(ReadGroup::kSlow);
  REQUIRE(readings.size() == 2);
  CHECK(readings[0].value * gpu.channel(0).scale == doctest::Approx(0.8));
  CHECK(readings[1].value * gpu.channel(1).scale == doctest::Approx(0.2));
  fake.slow = NVML_ERROR_GPU_IS_LOST;
  for (const Reading& reading : gpu.read(ReadGroup::kSlow)) {
    check_missing(reading, NVML_ERROR_GPU_IS_LOST);
  }
}

TEST_CASE("a short buffer is filled and not overrun") {
  const NvmlApi api = make_api();
  fake.fields = {{kInstant, {.milli = 300'000}}, {kCounter, {.milli = 5'000}}};
  Opened gpu(api);
  std::vector<Reading> out(2);
  out[1].value = -1.0;
  CHECK(gpu.sensor->read(ReadGroup::kFast, std::span(out).first(1)) == 1);
  CHECK(out[0].value == 300'000.0);
  CHECK(out[1].value == -1.0);
}

TEST_CASE("a field's value is taken by its type") {
  nvmlFieldValue_t field{};
  field.valueType = NVML_VALUE_TYPE_DOUBLE;
  field.value.dVal = 1.5;
  CHECK(field_answer(field).value == 1.5);
  field.valueType = NVML_VALUE_TYPE_UNSIGNED_LONG_LONG;
  field.value.ullVal = 1ull << 40;
  CHECK(field_answer(field).value == std::ldexp(1.0, 40));
  field.valueType = NVML_VALUE_TYPE_SIGNED_INT;
  field.value.siVal = -3;
  CHECK(field_answer(field).value == -3.0);
  field.valueType = NVML_VALUE_TYPE_COUNT;
  CHECK(field_answer(field).code != NVML_SUCCESS);
}
