// SPDX-License-Identifier: Apache-2.0
// DCGM against a hand-made function table: stamps, blanks, silence, a clock that is set, and what
// is cleaned up.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "sensors/activity.h"
#include "sensors/dcgm_describe.h"
#include "sensors/dcgm_reader.h"

using namespace pyenergy;

namespace {

constexpr std::int64_t kStart = 1'700'000'000'000'000;  // us since 1970, when mono is 100 s

struct FakeDcgm {
  std::vector<dcgm::FieldValue1> pending;  // handed out by the next call
  int drain_code = dcgm::kOk;
  int watch_code = dcgm::kOk, group_code = dcgm::kOk, fields_code = dcgm::kOk;
  std::size_t most_fields = 99;  // more than this are not counted in one pass
  int groups = 0, field_groups = 0, watches = 0, disconnects = 0, drains = 0;
  long long since = 0, interval_us = 0;
  Ns slow = 0;
  std::size_t fields_wanted = 0;
};
FakeDcgm fake;
ClockAnchor anchor{};

ClockAnchor get_anchor() { return anchor; }

// Both clocks go on by this.
void pass(Ns ns) {
  anchor.mono_ns += ns;
  anchor.real_ns += ns;
}

std::int64_t now_us() { return anchor.real_ns / kUs; }

dcgm::FieldValue1 value_of(unsigned short field, double value, std::int64_t ts_us) {
  dcgm::FieldValue1 out{};
  out.version = dcgm::version_of<dcgm::FieldValue1>(1);
  out.field_id = field;
  out.ts_us = ts_us;
  out.field_type = field == dcgm::kTotalEnergy ? dcgm::kTypeInt64 : dcgm::kTypeDouble;
  if (field == dcgm::kTotalEnergy) {
    out.value.i64 = static_cast<std::int64_t>(value);
  } else {
    out.value.dbl = value;
  }
  return out;
}

void give(unsigned short field, double value, std::int64_t ts_us = now_us()) {
  fake.pending.push_back(value_of(field, value, ts_us));
}

DcgmApi make_api() {
  fake = FakeDcgm{};
  anchor = {100 * kSecond, kStart * kUs, 0};
  DcgmApi api;
  api.disconnect = [](dcgm::Handle) { return ++fake.disconnects, int{dcgm::kOk}; };
  api.create_group = [](dcgm::Handle, int, const char*, dcgm::Group* out) {
    if (fake.group_code == dcgm::kOk) ++fake.groups;
    *out = 7;
    return fake.group_code;
  };
  api.add_device = [](dcgm::Handle, dcgm::Group, unsigned) { return int{dcgm::kOk}; };
  api.destroy_group = [](dcgm::Handle, dcgm::Group) { return --fake.groups, int{dcgm::kOk}; };
  api.create_fields = [](dcgm::Handle, int count, const unsigned short*, const char*,
                         dcgm::FieldGroup* out) {
    if (fake.fields_code == dcgm::kOk) ++fake.field_groups;
    fake.fields_wanted = static_cast<std::size_t>(count);
    *out = 8;
    return fake.fields_code;
  };
  api.destroy_fields = [](dcgm::Handle, dcgm::FieldGroup) {
    return --fake.field_groups, int{dcgm::kOk};
  };
  api.watch = [](dcgm::Handle, dcgm::Group, dcgm::FieldGroup, long long interval_us, double, int) {
    fake.interval_us = interval_us;
    if (fake.fields_wanted > fake.most_fields) return int{dcgm::kProfilingMultiPass};
    if (fake.watch_code == dcgm::kOk) ++fake.watches;
    return fake.watch_code;
  };
  api.unwatch = [](dcgm::Handle, dcgm::Group, dcgm::FieldGroup) {
    return --fake.watches, int{dcgm::kOk};
  };
  api.update_all = [](dcgm::Handle, int) { return int{dcgm::kOk}; };
  api.values_since = [](dcgm::Handle, dcgm::Group, dcgm::FieldGroup, long long since,
                        long long* next, dcgm::EntityValues callback, void* user) {
    ++fake.drains;
    fake.since = since;
    if (fake.slow > 0) SystemClock().sleep_until(monotonic_ns() + fake.slow);
    if (fake.drain_code != dcgm::kOk) return fake.drain_code;
    for (auto& value : std::exchange(fake.pending, {})) {
      if (value.ts_us < since) continue;
      *next = std::max<long long>(*next, value.ts_us + 1);
      if (callback(dcgm::kEntityGpu, 0, &value, 1, user) < 0) break;
    }
    return int{dcgm::kOk};
  };
  return api;
}

// A reader of power (channel 0) and energy (channel 1) every 10 ms.
struct Opened {
  explicit Opened(const DcgmApi& api, const std::string& address = "")
      : engine(std::make_shared<DcgmEngine>(api, 1, address)),
        reader(std::make_unique<DcgmWatch>(
                   engine, 0, std::vector<unsigned short>{dcgm::kPowerInstant, dcgm::kTotalEnergy},
                   10 * kMs),
               {{dcgm::kPowerInstant, 0}, {dcgm::kTotalEnergy, 1}},
               {.interval = 10 * kMs, .slack = 10 * kMs, .anchor = get_anchor}) {}
  std::vector<Reading> read(std::size_t room = 64) {
    std::vector<Reading> out(room);
    out.resize(reader.read(out));
    return out;
  }
  std::shared_ptr<DcgmEngine> engine;
  DcgmReader reader;
};

void check_missing(const Reading& reading, int status) {
  CHECK((reading.flags & kMissing) != 0);
  CHECK(reading.status == status);
  CHECK(std::isnan(reading.value));
}

}  // namespace

TEST_CASE("dcgm: each value arrives once, with DCGM's own time on our clock") {
  const DcgmApi api = make_api();
  Opened gpu(api);
  CHECK(fake.interval_us == 10'000);
  pass(10 * kMs);
  give(dcgm::kPowerInstant, 250.0, kStart + 4'000);
  give(dcgm::kTotalEnergy, 7'000.0, kStart + 4'000);
  give(dcgm::kPowerInstant, 251.0, kStart + 9'000);
  const auto readings = gpu.read();
  REQUIRE(readings.size() == 3);
  CHECK(readings[0].value == 250.0);
  CHECK(readings[0].t_ns == 100 * kSecond + 4 * kMs);
  CHECK(readings[0].read_ns == 100 * kSecond + 10 * kMs);  // not later than now
  CHECK(readings[0].flags == kOk);
  CHECK(readings[1].channel == 1);
  CHECK(readings[1].value == 7'000.0);
  CHECK(readings[2].t_ns == 100 * kSecond + 9 * kMs);
  pass(10 * kMs);
  give(dcgm::kPowerInstant, 251.0, kStart + 9'000);  // handed out again
  CHECK(gpu.read().empty());
}

TEST_CASE("dcgm: it is not asked more often than it can have something new") {
  const DcgmApi api = make_api();
  Opened gpu(api);
  for (int i = 0; i < 20; ++i) {
    pass(kMs);
    gpu.read();
  }
  CHECK(fake.drains == 4);
}

TEST_CASE("dcgm: every kind of blank is missing, and told apart") {
  const DcgmApi api = make_api();
  Opened gpu(api);
  const std::pair<int, int> kinds[] = {{0, kStatusBlank},
                                       {dcgm::kBlankNotFound, kStatusNotFound},
                                       {dcgm::kBlankNotSupported, kStatusNotSupported},
                                       {dcgm::kBlankNotPermissioned, kStatusNotPermissioned},
                                       {9, kStatusBlank}};
  for (const auto& [kind, status] : kinds) {
    CAPTURE(kind);
    pass(10 * kMs);
    give(dcgm::kPowerInstant, dcgm::kFp64Blank + kind);
    auto energy = value_of(dcgm::kTotalEnergy, 0.0, now_us());
    energy.value.i64 = dcgm::kInt64Blank + kind;
    fake.pending.push_back(energy);
    const auto readings = gpu.read();
    REQUIRE(readings.size() == 2);
    check_missing(readings[0], status);
    check_missing(readings[1], status);
    CHECK(dcgm_status_text(status).find("blank") != std::string::npos);
  }
}

TEST_CASE("dcgm: 2^31 mJ is an energy, not the blank of a smaller integer") {
  const DcgmApi api = make_api();
  Opened gpu(api);
  pass(10 * kMs);
  give(dcgm::kTotalEnergy, 2147483632.0);  // DCGM_INT32_BLANK
  const auto readings = gpu.read();
  REQUIRE(readings.size() == 1);
  CHECK(readings[0].flags == kOk);
}

TEST_CASE("dcgm: a value with a status of its own, or of a strange type, is missing") {
  const DcgmApi api = make_api();
  Opened gpu(api);
  pass(10 * kMs);
  auto lost = value_of(dcgm::kPowerInstant, 250.0, now_us());
  lost.status = dcgm::kGpuIsLost;
  auto text = value_of(dcgm::kTotalEnergy, 7'000.0, now_us());
  text.field_type = dcgm::kTypeString;
  fake.pending = {lost, text};
  const auto readings = gpu.read();
  REQUIRE(readings.size() == 2);
  check_missing(readings[0], 18);
  check_missing(readings[1], kStatusStrangeType);
}

TEST_CASE("dcgm: a host engine that is gone makes every channel missing, and may come back") {
  const DcgmApi api = make_api();
  Opened gpu(api);
  fake.drain_code = dcgm::kConnectionNotValid;
  for (int i = 0; i < 3; ++i) {
    pass(10 * kMs);
    const auto readings = gpu.read();
    REQUIRE(readings.size() == 2);
    for (const Reading& reading : readings) check_missing(reading, 21);
  }
  fake.drain_code = dcgm::kOk;
  pass(10 * kMs);
  give(dcgm::kPowerInstant, 250.0);
  CHECK(gpu.read().at(0).flags == kOk);
}

TEST_CASE("dcgm: silence is told as such, before and after the first value") {
  const DcgmApi api = make_api();
  Opened gpu(api);
  pass(kSecond);
  CHECK(gpu.read().empty());
  pass(kSecond);
  for (const Reading& reading : gpu.read()) check_missing(reading, 14);
  pass(10 * kMs);
  give(dcgm::kPowerInstant, 250.0);
  CHECK(gpu.read().size() == 1);
  pass(2 * kSecond);
  const auto readings = gpu.read();
  REQUIRE(readings.size() == 2);
  check_missing(readings[0], 15);  // stale
  check_missing(readings[1], 14);  // never had one
}

TEST_CASE("dcgm: a Unix clock that is set is a gap, whichever way, and readings go on") {
  for (const Ns step : {3600 * kSecond, -3600 * kSecond}) {
    CAPTURE(step);
    const DcgmApi api = make_api();
    Opened gpu(api);
    pass(10 * kMs);
    give(dcgm::kPowerInstant, 250.0);
    CHECK(gpu.read().at(0).flags == kOk);
    pass(5 * kMs);
    give(dcgm::kPowerInstant, 251.0);  // stamped before the step, fetched after it
    anchor.real_ns += step;
    pass(5 * kMs);
    const auto across = gpu.read();
    for (const Reading& reading : across) check_missing(reading, kStatusStrangeTime);
    pass(10 * kMs);
    give(dcgm::kPowerInstant, 252.0);
    const auto after = gpu.read();
    REQUIRE(after.size() == 1);
    CHECK(after[0].value == 252.0);
    CHECK(after[0].t_ns == anchor.mono_ns);
    // The gap is said once: here, or by the value that could not be placed.
    const bool said = (after[0].flags & kGapBefore) != 0 || !across.empty();
    CHECK(said);
  }
}

TEST_CASE("dcgm: stamps of another clock are not believed") {
  const DcgmApi api = make_api();
  Opened gpu(api);
  pass(10 * kMs);
  give(dcgm::kPowerInstant, 250.0, now_us() + 3'600'000'000);
  const auto readings = gpu.read();
  REQUIRE(readings.size() == 1);
  check_missing(readings[0], kStatusStrangeTime);
}

TEST_CASE("dcgm: readings of another machine lie between two of our calls") {
  const DcgmApi api = make_api();
  Opened gpu(api, "node7:5555");
  CHECK_FALSE(gpu.engine->is_local());
  CHECK(DcgmEngine(api, 1, "127.0.0.1:5555").is_local());
  pass(10 * kMs);
  give(dcgm::kPowerInstant, 250.0, 5);  // its clock says 1970
  CHECK(gpu.read().empty());            // of unknown age
  pass(12 * kMs);
  give(dcgm::kPowerInstant, 251.0, 10'005);
  const auto readings = gpu.read();
  REQUIRE(readings.size() == 1);
  CHECK(readings[0].value == 251.0);
  CHECK(readings[0].t_ns == anchor.mono_ns - 12 * kMs);
  CHECK(readings[0].read_ns == anchor.mono_ns);
}

TEST_CASE("dcgm: what does not fit is a gap, and the buffer is not overrun") {
  const DcgmApi api = make_api();
  Opened gpu(api);
  pass(10 * kMs);
  for (int i = 0; i < 8; ++i) give(dcgm::kPowerInstant, 250.0 + i, now_us() - 8 + i);
  CHECK(gpu.read(4).size() <= 4);
  pass(10 * kMs);
  give(dcgm::kPowerInstant, 260.0);
  const auto readings = gpu.read();
  REQUIRE(readings.size() == 1);
  CHECK(readings[0].flags == kGapBefore);
}

TEST_CASE("dcgm: FP activity is FP32 / 2 + FP64 of one update, in either order") {
  FpActive pairs;
  DcgmAnswer sum;
  CHECK_FALSE(pairs.add(true, 1'000'000, {0, 0.1}, sum));
  CHECK_FALSE(pairs.add(true, 1'100'000, {0, 0.2}, sum));
  REQUIRE(pairs.add(false, 1'100'010, {0, 0.4}, sum));  // the second one's other half
  CHECK(sum.status == 0);
  CHECK(sum.value == doctest::Approx(0.4));
  REQUIRE(pairs.add(false, 1'000'000, {0, 0.6}, sum));
  CHECK(sum.value == doctest::Approx(0.4));
  CHECK_FALSE(pairs.add(false, 1'200'000, {kStatusBlank}, sum));
  REQUIRE(pairs.add(true, 1'200'000, {0, 0.2}, sum));
  CHECK(sum.status == kStatusBlank);  // half a sum is none
}

TEST_CASE("dcgm: what was made at the engine is removed, however far it came") {
  const DcgmApi api = make_api();
  auto engine = std::make_shared<DcgmEngine>(api, 1, "");
  {
    DcgmWatch watch(engine, 0, {155}, kSecond);
    CHECK(fake.watches == 1);
  }
  CHECK(fake.watches + fake.groups + fake.field_groups == 0);
  fake.watch_code = dcgm::kNoPermission;
  {
    DcgmWatch watch(engine, 0, {155}, kSecond);
    CHECK(watch.code() == dcgm::kNoPermission);
  }
  CHECK(fake.watches + fake.groups + fake.field_groups == 0);
  fake.fields_code = dcgm::kUnknownField;
  {
    DcgmWatch watch(engine, 0, {155}, kSecond);
    CHECK(watch.code() == dcgm::kUnknownField);
  }
  fake.group_code = dcgm::kUninitialized;
  {
    DcgmWatch watch(engine, 0, {155}, kSecond);
    CHECK(watch.code() == dcgm::kUninitialized);
  }
  CHECK(fake.watches + fake.groups + fake.field_groups == 0);
  engine.reset();
  CHECK(fake.disconnects == 0);  // the embedded engine stays
  engine = std::make_shared<DcgmEngine>(api, 1, "node7:5555");
  engine.reset();
  CHECK(fake.disconnects == 1);
}

TEST_CASE("dcgm: activity without permission says what would mend it") {
  const DcgmApi api = make_api();
  fake.watch_code = dcgm::kNoPermission;
  std::string reason;
  CHECK(open_dcgm_activity(std::make_shared<DcgmEngine>(api, 1, ""), 0, reason) == nullptr);
  CHECK(reason.find("CAP_SYS_ADMIN") != std::string::npos);
  CHECK(reason.find("NVreg_RestrictProfilingToAdminUsers=0") != std::string::npos);
  CHECK(reason.find("embedded") != std::string::npos);
}

TEST_CASE("dcgm: a GPU that cannot count everything at once counts what the models need") {
  const DcgmApi api = make_api();
  fake.most_fields = 3;
  std::string reason;
  const auto found = open_dcgm_activity(std::make_shared<DcgmEngine>(api, 1, ""), 0, reason);
  REQUIRE(found != nullptr);
  std::vector<std::string> names;
  for (const Channel& channel : found->channels()) names.push_back(channel.name);
  CHECK(names ==
        std::vector<std::string>{"dram_active", "fp64_active", "fp32_active", "fp_active"});
  CHECK(found->channels()[0].note.find("at the same time") != std::string::npos);
  CHECK(fake.watches == 1);
  CHECK(fake.groups == 1);
}

TEST_CASE("dcgm: an engine that answers slowly is left alone, and that is said") {
  const DcgmApi api = make_api();
  std::string reason;
  const auto found = open_dcgm_activity(std::make_shared<DcgmEngine>(api, 1, ""), 0, reason);
  REQUIRE(found != nullptr);
  std::vector<Reading> out(found->max_readings());
  fake.slow = 60 * kMs;
  CHECK(found->read(out, 5) == 0);
  const int before = fake.drains;
  const std::size_t n = found->read(out, 5);
  CHECK(n == found->channels().size());
  CHECK(fake.drains == before);
  check_missing(out[0], 11);
  CHECK(out[0].channel == 5);
}

TEST_CASE("dcgm: names of devices") {
  CHECK(parse_dcgm_request("").index == -1);
  CHECK(parse_dcgm_request("3").index == 3);
  CHECK(parse_dcgm_request("3").address.empty());
  CHECK(parse_dcgm_request("node7:5555").address == "node7:5555");
  CHECK(parse_dcgm_request("node7:5555").index == -1);
  CHECK(parse_dcgm_request("node7:5555/2").index == 2);
  CHECK(parse_dcgm_request("node7").address == "node7");
  for (const char* wrong : {"node7:5555/", "node7:5555/x", "/1", "99999999999999999999"}) {
    CAPTURE(wrong);
    CHECK_THROWS_AS(parse_dcgm_request(wrong), std::invalid_argument);
  }
}
