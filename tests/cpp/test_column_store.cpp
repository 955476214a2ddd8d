// SPDX-License-Identifier: Apache-2.0
// Address space that grows in place, and runs of equal readings.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "core/column_store.h"

using namespace pyenergy;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr Ns kGap = 1'000;

bool add(RunStore& store, Ns t, double value, std::uint16_t flags = kOk, int status = 0) {
  return store.append(t, t + 1, value, flags, status);
}

}  // namespace

TEST_SUITE_BEGIN("column store");

TEST_CASE("reservation: shrinks until the system agrees, and says when it is full") {
  // No machine has 2^60 bytes of address space.
  Reservation shrunk(std::size_t{1} << 60);
  CHECK(shrunk.reserved() < (std::size_t{1} << 60));
  CHECK(shrunk.reserved() >= Reservation::kSmallest);
  Reservation small(10'000);
  std::byte* const data = small.data();
  CHECK(small.commit(10'000));
  CHECK(small.data() == data);
  data[9'999] = std::byte{7};
  CHECK_FALSE(small.commit(small.reserved() + 1));
}

TEST_CASE("runs: equal readings join, others part, addresses stay") {
  RunStore store(kGap);
  CHECK(store.last_t() == 0);
  for (Ns t = 100; t < 600; t += 100) add(store, t, t < 300 ? 5.0 : 6.0);
  CHECK(store.size() == 1);
  CHECK(store.last_t() == 500);
  const double* const value = store.value();
  store.seal();
  REQUIRE(store.size() == 2);
  CHECK(store.t_first()[0] == 100);
  CHECK(store.read_first()[0] == 101);
  CHECK(store.t_last()[0] == 200);
  CHECK(store.read_last()[0] == 201);
  CHECK(store.count()[0] == 2);
  CHECK(store.count()[1] == 3);
  CHECK(store.flags()[1] == 0);
  for (Ns i = 0; i < 200'000; ++i) add(store, 600 + i, static_cast<double>(i));
  CHECK(store.size() == 2 + 199'999);
  CHECK(store.value() == value);
  CHECK(value[0] == 5.0);
  CHECK(value[2] == 0.0);
}

TEST_CASE("runs: sealing splits a run and says so") {
  RunStore store(kGap);
  add(store, 100, 5.0);
  store.seal();
  store.seal();  // nothing is open: no row
  add(store, 200, 5.0);
  store.seal();
  add(store, 300, 7.0);
  store.seal();
  add(store, 300 + kGap + 2, 7.0);  // equal, but after a gap: no continuation
  store.seal();
  REQUIRE(store.size() == 4);
  CHECK(store.flags()[0] == 0);
  CHECK(store.flags()[1] == kContinues);
  CHECK(store.flags()[2] == 0);
  CHECK(store.flags()[3] == kGapBefore);
}

TEST_CASE("runs: a silence, or a read that hangs, is a gap only beyond gap_ns") {
  RunStore store(kGap);
  store.append(100, 110, 5.0, kOk, 0);
  store.append(110 + kGap - 10, 110 + kGap, 5.0, kOk, 0);
  CHECK(store.size() == 0);  // one run still
  const Ns last = 110 + kGap;
  SUBCASE("no read for too long") { store.append(last + kGap, last + kGap + 1, 5.0, kOk, 0); }
  SUBCASE("a read that took too long") { store.append(last + 1, last + kGap + 1, 5.0, kOk, 0); }
  store.seal();
  REQUIRE(store.size() == 2);
  CHECK(store.count()[0] == 2);
  CHECK(store.flags()[0] == 0);
  CHECK(store.flags()[1] == kGapBefore);
}

TEST_CASE("runs: missing readings join by their status, events begin a run") {
  RunStore store(kGap);
  add(store, 100, kNaN, kMissing, 3);
  add(store, 200, kNaN, kMissing, 3);
  add(store, 300, kNaN, kMissing, 4);
  add(store, 400, 5.0);
  add(store, 500, 5.0, kReset);
  add(store, 600, 5.0);
  store.seal();
  REQUIRE(store.size() == 4);
  CHECK(store.count()[0] == 2);
  CHECK(store.flags()[0] == run_flags(kMissing, 3));
  CHECK(std::isnan(store.value()[0]));
  CHECK(store.flags()[1] == run_flags(kMissing, 4));
  CHECK(store.flags()[3] == kReset);
  CHECK(store.count()[3] == 2);
}

TEST_CASE("runs: what finds no memory or runs backwards is counted, and a gap") {
  RunStore store(kGap, 512);  // one page of the widest columns
  std::size_t accepted = 0;
  for (Ns t = 1; t <= 2'000; ++t) accepted += add(store, t, static_cast<double>(t));
  store.seal();
  CHECK(accepted == 512);
  CHECK(store.size() == 512);
  CHECK(store.lost() == 2'000 - 512);

  RunStore backwards(kGap);
  CHECK(add(backwards, 100, 5.0));
  CHECK_FALSE(add(backwards, 90, 5.0));
  CHECK(add(backwards, 110, 5.0));
  backwards.seal();
  CHECK(backwards.lost() == 1);
  REQUIRE(backwards.size() == 2);
  CHECK(backwards.flags()[1] == kGapBefore);
}

TEST_CASE("forgetting: rows keep their numbers, and who looks at them keeps them") {
  constexpr Ns kRows = 10'000;
  RunStore store(kGap);
  for (Ns t = 0; t < kRows; ++t) add(store, t, static_cast<double>(t));
  const RunRows before = store.rows();
  CHECK(store.row_since(4'000) == 3'998);  // reads end one after they begin
  CHECK(store.forget(4'000));              // fewer go than stay: not worth moving
  CHECK(store.first() == 0);
  CHECK(store.forget(6'000));
  CHECK(store.first() == 6'000);
  CHECK(store.size() == kRows - 1);  // and one open
  CHECK(store.value()[0] == 6'000.0);
  CHECK(store.row_since(8'000) == 7'998);
  CHECK(store.row_since(0) == 6'000);
  CHECK(before.size() == kRows - 1);
  CHECK(before.block->row(17).value == 17.0);
  store.seal();
  CHECK(store.rows().block->row(kRows - 1).value == kRows - 1.0);
  CHECK(store.forget(static_cast<std::size_t>(-1)));  // all
  CHECK(store.rows().size() == 0);
  CHECK(store.row_since(0) == kRows);
  add(store, kRows, kRows - 1.0);  // goes on with the run that was forgotten
  store.seal();
  CHECK((store.flags()[0] & kContinues) != 0);
}

TEST_CASE("forgetting: for ever, in bounded memory") {
  RunStore store(kGap, 8'192);
  std::size_t most = 0;
  for (Ns t = 0; t < 1'000'000; ++t) {
    REQUIRE(add(store, t, static_cast<double>(t)));
    if (t % 500 != 0) continue;
    REQUIRE(store.forget(store.row_since(t - 2'000)));
    most = std::max(most, store.rows().size());
  }
  CHECK(most <= 2 * 2'002 + 500 + 2);
  CHECK(store.lost() == 0);
}

TEST_SUITE_END();
