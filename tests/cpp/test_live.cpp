// SPDX-License-Identifier: Apache-2.0
// Files that follow a recording, tails, and taking up where another process stood.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <system_error>
#include <thread>

#include "core/counter.h"
#include "core/live_files.h"
#include "core/live_layout.h"
#include "core/live_tail.h"
#include "live_stream.h"

using namespace pyenergy;
namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kSeed = 17;

// A folder that goes with the test.
struct Folder {
  explicit Folder(const char* under) {
    std::string name = std::string(under) + "/pyenergy-test-XXXXXX";
    path = mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path); }
  std::string file(const char* name) const { return (path / name).string(); }
  fs::path path;
};

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<LiveRow> rows_of(const std::string& path) {
  const std::string bytes = bytes_of(path);
  std::vector<LiveRow> rows((bytes.size() - kLiveHeader) / sizeof(LiveRow));
  if (!rows.empty()) {
    std::memcpy(rows.data(), bytes.data() + kLiveHeader, rows.size() * sizeof(LiveRow));
  }
  return rows;
}

std::uint64_t counted(const std::string& path) {
  const std::size_t at = live_rows_at(kLiveRowFields);
  return std::stoull(bytes_of(path).substr(at, kLiveRowsWidth));
}

Sample sample(Ns t, double value) { return {t, t + 1, value, 0, kOk, 0}; }

std::shared_ptr<Recording> one_channel() {
  return std::make_shared<Recording>(std::vector{fake_channel("power")}, kSecond, kSecond);
}

bool refuses(int error, auto make) {
  try {
    make();
  } catch (const std::system_error& found) {
    CAPTURE(found.what());
    return found.code().value() == error;
  }
  return false;
}

}  // namespace

TEST_SUITE_BEGIN("live");

TEST_CASE("check: every change of one word shows") {
  LiveRow row{{1, 2, 3, 4, 5.0, 6, 7}, 8, 0};
  const std::uint64_t good = live_check(kSeed, row);
  CHECK(live_check(kSeed + 1, row) != good);
  for (std::size_t bit = 0; bit < 8 * (sizeof row - 8); ++bit) {
    std::array<unsigned char, sizeof row> bytes;
    std::memcpy(bytes.data(), &row, sizeof row);
    bytes[bit / 8] ^= static_cast<unsigned char>(1u << (bit % 8));
    LiveRow changed;
    std::memcpy(&changed, bytes.data(), sizeof row);
    REQUIRE(live_check(kSeed, changed) != good);
  }
}

TEST_CASE("files: rows and the open run, from the first row that was asked for") {
  const Folder folder("/tmp");
  const auto recording = one_channel();
  for (Ns t = 1; t <= 100; ++t) recording->take(sample(t * kMs, static_cast<double>(t)));
  const std::string path = folder.file("power.npy");
  LiveFiles files(*recording, {{path, kSeed, 90}});
  CHECK(counted(path) == 0);
  files.write(*recording);
  CHECK(files.error() == 0);
  REQUIRE(counted(path) == 10);  // 9 rows and the open run
  for (Ns t = 101; t <= 300; ++t) recording->take(sample(t * kMs, static_cast<double>(t)));
  recording->take(sample(301 * kMs, 300.0));  // the open run goes on
  files.write(*recording);
  const auto rows = rows_of(path);
  REQUIRE(rows.size() == 210);
  CHECK(counted(path) == 210);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    CHECK(rows[i].row == i);
    CHECK(rows[i].check == live_check(kSeed, rows[i]));
    CHECK(rows[i].run.value == static_cast<double>(91 + i));
    CHECK(rows[i].run.t_first == static_cast<Ns>(91 + i) * kMs);
  }
  CHECK(rows.back().run.count == 2);
  CHECK(rows.back().run.t_last == 301 * kMs);
  recording->seal();
  files.write(*recording);
  CHECK(counted(path) == 210);
  recording->take(sample(302 * kMs, 300.0));
  files.write(*recording);
  CHECK(rows_of(path).back().run.flags == kContinues);
  files.close();
  recording->take(sample(303 * kMs, 1.0));
  files.write(*recording);
  CHECK(counted(path) == 211);
}

TEST_CASE("files: what cannot be made is an error with its number") {
  const Folder folder("/tmp");
  const auto recording = one_channel();
  const auto make = [&](const std::string& path) {
    return [&recording, path] { LiveFiles(*recording, {{path, kSeed, 0}}); };
  };
  CHECK(refuses(ENOENT, make(folder.file("absent/power.npy"))));
  make(folder.file("power.npy"))();
  CHECK(refuses(EEXIST, make(folder.file("power.npy"))));
  CHECK_THROWS_AS(LiveFiles(*recording, {}), std::invalid_argument);
  CHECK_THROWS_AS(LiveFiles(*recording, {{folder.file("x"), kSeed, 1}}), std::invalid_argument);
}

TEST_CASE("files: a disk that is full for a while leaves no hole") {
  const Folder folder("/tmp");
  const auto recording = one_channel();
  const std::string path = folder.file("power.npy");
  LiveFiles files(*recording, {{path, kSeed, 0}});
  for (Ns t = 1; t <= 10; ++t) recording->take(sample(t * kMs, static_cast<double>(t)));
  files.write(*recording);
  // The largest file that this process may write stands for the disk.
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  const auto ignored = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{kLiveHeader + 100 * sizeof(LiveRow) + 20, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  for (Ns t = 11; t <= 500; ++t) recording->take(sample(t * kMs, static_cast<double>(t)));
  files.write(*recording);
  const int error = files.error();
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, ignored);
  CHECK(error == EFBIG);
  CHECK(counted(path) == 10);  // what the header counts is there
  files.write(*recording);
  CHECK(files.error() == 0);
  const auto rows = rows_of(path);
  REQUIRE(rows.size() == 500);
  CHECK(counted(path) == 500);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    REQUIRE(rows[i].check == live_check(kSeed, rows[i]));
    REQUIRE(rows[i].run.value == static_cast<double>(i + 1));
  }
}

TEST_CASE("files: removed while they are written, they say so") {
  const auto recording = one_channel();
  const Folder folder("/tmp");
  LiveFiles files(*recording, {{folder.file("power.npy"), kSeed, 0}});
  files.write(*recording);
  CHECK(files.error() == 0);
  fs::remove_all(folder.path);
  recording->take(sample(kMs, 1.0));
  files.write(*recording);
  CHECK(files.error() == ENOENT);
}

TEST_CASE("tail: the latest samples, in a circle") {
  const Folder folder("/dev/shm");
  const std::string path = folder.file("tail.npy");
  LiveTail tail(path, 8, kSeed);
  CHECK(fs::file_size(path) == kLiveHeader + 8 * sizeof(TailSlot));
  for (Ns t = 1; t <= 11; ++t) tail.push(sample(t, static_cast<double>(t)));
  const std::string bytes = bytes_of(path);
  CHECK(bytes.substr(0, kLiveHeader) == live_header(kTailSlotFields, 8));
  std::array<TailSlot, 8> slots;
  std::memcpy(slots.data(), bytes.data() + kLiveHeader, sizeof slots);
  for (std::size_t i = 0; i < 8; ++i) {
    const std::uint64_t seq = i < 3 ? i + 9 : i + 1;
    CHECK(slots[i].seq == seq);
    CHECK(slots[i].sample.t_ns == static_cast<Ns>(seq));
    CHECK(slots[i].check == live_check(kSeed, slots[i]));
  }
}

TEST_CASE("tail: only in memory, and only where there is room") {
  const Folder disk("/tmp"), memory("/dev/shm");
  struct stat found;
  // Where /tmp is in memory too there is nothing to refuse.
  const std::string on_disk = disk.file("tail.npy");
  if (stat("/tmp", &found) == 0) {
    try {
      LiveTail tail(on_disk, 8, kSeed);
    } catch (const std::system_error& error) {
      CHECK(error.code().value() == ENOTSUP);
      CHECK_FALSE(fs::exists(on_disk));  // nothing half-made stays
    }
  }
  const std::string path = memory.file("tail.npy");
  CHECK(refuses(ENOENT, [&] { LiveTail(memory.file("absent/tail.npy"), 8, kSeed); }));
  CHECK_THROWS_AS(LiveTail(path, 7, kSeed), std::invalid_argument);
  CHECK(refuses(ENOSPC, [&] { LiveTail(path, std::size_t{1} << 40, kSeed); }));
  CHECK_FALSE(fs::exists(path));
}

TEST_CASE("tails: the sampler writes those that are there, and a removed one is let go") {
  const Folder folder("/dev/shm");
  const auto stream = live();
  stream->acquire();
  const auto recording = stream->recording();
  std::weak_ptr<LiveTail> gone;
  {
    auto tail = std::make_shared<LiveTail>(folder.file("a"), 1024, kSeed);
    REQUIRE(stream->add_tail(*recording, tail));
    CHECK_FALSE(stream->add_tail(*one_channel(), tail));
    gone = tail;
    const auto last_seq = [&] {
      const std::string bytes = bytes_of(folder.file("a"));
      std::uint64_t last = 0;
      for (std::size_t i = 0; i < 1024; ++i) {
        TailSlot slot;
        std::memcpy(&slot, bytes.data() + kLiveHeader + i * sizeof slot, sizeof slot);
        if (slot.check == live_check(kSeed, slot)) last = std::max(last, slot.seq);
      }
      return last;
    };
    CHECK(eventually([&] { return last_seq() > 20; }));
    stream->remove_tail(tail);
  }
  // The collector looks every 50 ms.
  CHECK(eventually([&] { return gone.expired(); }));
  std::vector<std::shared_ptr<LiveTail>> many;
  for (std::size_t i = 0; i < TailSet::kMost; ++i) {
    many.push_back(std::make_shared<LiveTail>(folder.file(std::to_string(i).c_str()), 8, kSeed));
    CHECK(stream->add_tail(*recording, many.back()));
  }
  CHECK_FALSE(
      stream->add_tail(*recording, std::make_shared<LiveTail>(folder.file("more"), 8, kSeed)));
  CHECK(stream->stop());
  CHECK_FALSE(stream->add_tail(*recording, many.front()));
}

TEST_CASE("tails: added and removed under a running sampler") {
  const Folder folder("/dev/shm");
  TailSet set;
  std::atomic<bool> over{false};
  std::jthread sampler([&] {
    for (Ns t = 0; !over; ++t) {
      set.begin_step();
      set.push(sample(t, 1.0));
      set.push(sample(t, 2.0));
    }
  });
  for (int i = 0; i < 200; ++i) {
    auto tail = std::make_shared<LiveTail>(folder.file(std::to_string(i).c_str()), 8, kSeed);
    REQUIRE(set.add(tail));
    set.remove(tail.get());
    std::weak_ptr<LiveTail> gone = tail;
    tail.reset();
    CHECK(eventually([&] {
      set.reap();
      return gone.expired();
    }));
  }
  over = true;
}

TEST_CASE("collector: files follow a stream without being asked") {
  const Folder folder("/tmp");
  const auto stream = live();
  stream->acquire();
  const auto recording = stream->recording();
  const std::string path = folder.file("power.npy");
  const auto files =
      std::make_shared<LiveFiles>(*recording, std::vector<LivePlace>{{path, kSeed, 0}});
  recording->add_live(files);
  CHECK(eventually([&] {
    std::size_t reads = 0;
    for (const LiveRow& row : rows_of(path)) reads += row.run.count;
    return counted(path) > 0 && reads > 20;
  }));
  recording->remove_live(files);
  files->close();
  CHECK(stream->stop());
}

TEST_CASE("resume: an equal reading goes on with the last run, another begins one") {
  const auto recording = one_channel();
  recording->resume(0, {100, 101, 200, 201, 5.0, 3, kGapBefore});
  recording->take(sample(300, 5.0));
  recording->take(sample(400, 6.0));
  recording->take(sample(150, 5.0));  // before the last: lost
  recording->seal();
  const RunStore& store = recording->store(0);
  REQUIRE(store.size() == 2);
  CHECK(recording->lost() == 1);
  CHECK(store.t_first()[0] == 100);
  CHECK(store.t_last()[0] == 300);
  CHECK(store.count()[0] == 4);
  CHECK(store.flags()[0] == kGapBefore);
  CHECK(store.value()[1] == 6.0);
}

TEST_CASE("counters: where they stand, with the time of the read that told") {
  Channel energy = fake_channel("energy");
  energy.kind = ChannelKind::kCounter;
  energy.scale = 1e-3;
  Recording recording({fake_channel("power"), energy}, kSecond, kSecond);
  CHECK(recording.counters().empty());
  recording.take({10, 11, 5.0, 0, kOk, 0});
  recording.take({10, 11, 700.0, 1, kOk, 0});
  recording.take({20, 21, 700.0, 1, kOk, 0});
  for (int i = 0; i < 2; ++i) {
    const std::vector<Sample> found = recording.counters();
    REQUIRE(found.size() == 1);
    CHECK(found[0].channel == 1);
    CHECK(found[0].value == 700.0);
    CHECK(found[0].t_ns == 20);
    CHECK(found[0].read_ns == 21);
    recording.seal();
  }
  recording.take({30, 31, std::numeric_limits<double>::quiet_NaN(), 1, kMissing, 7});
  CHECK(recording.counters().empty());
}

TEST_CASE("resume: a counter goes on from its total, or is reset where it stood nowhere") {
  Channel channel = fake_channel("energy");
  channel.kind = ChannelKind::kCounter;
  channel.scale = 1e-3;
  channel.modulus = 1e6;
  channel.valid_max = 900.0;  // W: no time for a whole turn in a second
  CounterUnwrap known(channel);
  known.resume(123.457, 999'990.0, kSecond);
  const auto same = known.feed(999'990.0, 2 * kSecond);
  CHECK(same.total == 123'457 * 1e-3);  // the very number
  CHECK(same.flags == kOk);
  const auto wrapped = known.feed(10.0, 3 * kSecond);
  CHECK(wrapped.total == doctest::Approx(123.477));
  CHECK(wrapped.flags == kWrapped);
  CounterUnwrap lost(channel);
  lost.resume(123.457, std::nullopt, kSecond);
  const auto unknown = lost.feed(500.0, 2 * kSecond);
  CHECK(unknown.total == doctest::Approx(123.457));
  CHECK(unknown.flags == kReset);
  CHECK(lost.feed(600.0, 3 * kSecond).total == doctest::Approx(123.557));
}

TEST_SUITE_END();
