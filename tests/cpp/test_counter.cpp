// SPDX-License-Identifier: Apache-2.0
// Wraps, resets and readings that cannot be.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "core/counter.h"

using namespace pyenergy;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

Channel energy(double modulus) {
  Channel channel;
  channel.kind = ChannelKind::kCounter;
  channel.scale = 1e-3;
  channel.modulus = modulus;
  channel.valid_max = 1'000.0;  // W
  return channel;
}

}  // namespace

TEST_SUITE_BEGIN("counter");

TEST_CASE("rises count, a plausible fall within the modulus is a wrap") {
  CounterUnwrap counter(energy(10'000.0));
  CHECK(counter.feed(9'000.0, 0).total == 0.0);
  CHECK(counter.feed(9'500.0, kMs).total == doctest::Approx(0.5));
  const auto wrapped = counter.feed(100.0, 2 * kMs);
  CHECK(wrapped.flags == kWrapped);
  CHECK(wrapped.total == doctest::Approx(1.1));
  CHECK(counter.feed(200.0, 3 * kMs).total == doctest::Approx(1.2));
}

TEST_CASE("a silence in which the counter may have wrapped unseen is unknown, not a small rise") {
  // 10 J at 1 kW wrap in 10 ms: 0.2 J after a while may be 10.2 J or 20.2 J.
  for (const Ns silence : {10 * kMs, 11 * kMs, kSecond}) {
    CounterUnwrap counter(energy(10'000.0));
    counter.feed(1'000.0, 0);
    const auto step = counter.feed(1'200.0, silence);
    CAPTURE(silence);
    CHECK(step.flags == (silence == 10 * kMs ? kOk : kReset));
    CHECK(step.total == doctest::Approx(silence == 10 * kMs ? 0.2 : 0.0));
    CHECK(counter.feed(1'300.0, silence + kMs).total == doctest::Approx(step.total + 0.1));
  }
  // One that was seen to stand still did not go round.
  CounterUnwrap idle(energy(10'000.0));
  for (int i = 0; i < 100; ++i) CHECK(idle.feed(1'000.0, i * kMs).flags == kOk);
  CHECK(idle.feed(1'200.0, 100 * kMs).total == doctest::Approx(0.2));
}

TEST_CASE("other falls and rises that nothing could make are resets") {
  CounterUnwrap plain(energy(0.0));
  plain.feed(5'000.0, 0);
  const auto fell = plain.feed(100.0, kSecond);
  CHECK(fell.flags == kReset);
  CHECK(fell.total == 0.0);
  CHECK(plain.feed(600.0, 2 * kSecond).total == doctest::Approx(0.5));  // from the new reading

  // 1 kW for one second and one more of slack make 2 kJ = 2e6 units at most.
  CounterUnwrap absurd(energy(0.0));
  absurd.feed(0.0, 0);
  CHECK(absurd.feed(2e6, kSecond).flags == kOk);
  const auto leapt = absurd.feed(2e6 + 2.1e6, 2 * kSecond);
  CHECK(leapt.flags == kReset);
  CHECK(leapt.total == doctest::Approx(2'000.0));

  // A fall whose wrap would mean more than the device can draw is no wrap.
  CounterUnwrap huge(energy(4e9));
  huge.feed(1'000.0, 0);
  CHECK(huge.feed(10.0, kSecond).flags == kReset);
}

TEST_CASE("an unusable reading is told and changes nothing") {
  CounterUnwrap counter(energy(0.0));
  counter.feed(1'000.0, 0);
  for (const double bad : {kNaN, -1.0, std::numeric_limits<double>::infinity(), 2e19, 1e308}) {
    const auto step = counter.feed(bad, kSecond);
    CHECK(step.flags == kInvalid);
    CHECK(std::isnan(step.total));
  }
  CHECK(counter.feed(1'500.0, 2 * kSecond).total == doctest::Approx(0.5));
}

TEST_CASE("integer readings sum without rounding") {
  CounterUnwrap counter(energy(0.0));
  double total = 0.0;
  for (int i = 0; i <= 1'000'000; ++i) total = counter.feed(7.0 * i, i * kMs).total;
  CHECK(total == 7e6 * 1e-3);
}

TEST_SUITE_END();
