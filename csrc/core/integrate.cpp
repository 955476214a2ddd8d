// SPDX-License-Identifier: Apache-2.0
#include "core/integrate.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <thread>

#include "core/sample.h"

namespace pyenergy {

namespace {

constexpr double kPerNs = 1e-9;
constexpr std::size_t kParallelFrom = 100'000;
constexpr std::size_t kMostBuckets = std::size_t{1} << 24;

double seconds(Ns from, Ns to) noexcept { return static_cast<double>(to - from) * kPerNs; }

// Integral of one segment's line from `a` to `b`, both relative to the knot, in seconds.
double piece(const EnergyCurve::Knot& k, double a, double b) noexcept {
  return (b - a) * (k.y + 0.5 * k.slope * (a + b));
}

// Runs `work(first, last)` over [0, n) on up to `threads` threads.
template <typename Work>
void parallel(std::size_t n, int threads, Work work) {
  const std::size_t parts =
      n < kParallelFrom || threads <= 1 ? 1 : static_cast<std::size_t>(threads);
  std::vector<std::thread> others;
  for (std::size_t p = 1; p < parts; ++p) {
    others.emplace_back([=] { work(n * p / parts, n * (p + 1) / parts); });
  }
  work(0, n / parts);
  for (auto& thread : others) thread.join();
}

}  // namespace

EnergyCurve::EnergyCurve(std::span<const Ns> t, std::span<const double> y) {
  if (t.size() != y.size()) throw std::invalid_argument("t and y differ in length");
  knots_.reserve(t.size());
  for (std::size_t i = 0; i < t.size(); ++i) {
    if (!std::isfinite(y[i])) throw std::invalid_argument("y must be finite");
    if (i > 0 && t[i] < t[i - 1]) throw std::invalid_argument("t must not decrease");
    append(t[i], y[i]);
  }
  finish();
}

EnergyCurve EnergyCurve::from_runs(const RunsView& runs) {
  EnergyCurve curve;
  curve.knots_.reserve(2 * runs.value.size());
  constexpr std::uint32_t kUnusable = kMissing | kInvalid;
  const auto middle = [](Ns a, Ns b) { return a + (b - a) / 2; };
  for (std::size_t i = 0; i < runs.value.size(); ++i) {
    if ((runs.flags[i] & kUnusable) != 0 || !std::isfinite(runs.value[i])) continue;
    curve.append(middle(runs.t_first[i], runs.read_first[i]), runs.value[i]);
    curve.append(middle(runs.t_last[i], runs.read_last[i]), runs.value[i]);
  }
  curve.finish();
  return curve;
}

void EnergyCurve::append(Ns t, double y) {
  if (!knots_.empty()) {
    t = std::max(t, knots_.back().t);
    // A run that was read once has both its knots in one place: one will do.
    if (t == knots_.back().t && y == knots_.back().y) return;
  }
  knots_.push_back({t, y, 0.0, 0.0});
}

void EnergyCurve::finish() {
  if (knots_.empty()) return;
  for (std::size_t i = 0; i + 1 < knots_.size(); ++i) {
    const double dt = seconds(knots_[i].t, knots_[i + 1].t);
    knots_[i].slope = dt > 0.0 ? (knots_[i + 1].y - knots_[i].y) / dt : 0.0;
    knots_[i + 1].integral = knots_[i].integral + dt * 0.5 * (knots_[i].y + knots_[i + 1].y);
  }
  const std::size_t buckets = std::min(knots_.size(), kMostBuckets);
  const double span = static_cast<double>(end() - start()) + 1.0;
  bucket_per_ns_ = static_cast<double>(buckets) / span;
  bucket_.assign(buckets + 1, 0);
  std::size_t knot = 0;
  for (std::size_t b = 0; b <= buckets; ++b) {
    // The last knot that lies in an earlier bucket: where a search in this one may begin.
    while (knot + 1 < knots_.size() && bucket_of(knots_[knot + 1].t) < b) ++knot;
    bucket_[b] = static_cast<std::uint32_t>(knot);
  }
}

std::size_t EnergyCurve::bucket_of(Ns t) const noexcept {
  return static_cast<std::size_t>(static_cast<double>(t - start()) * bucket_per_ns_);
}

// The last knot at or before t (knot 0 for earlier times).
std::size_t EnergyCurve::find(Ns t) const noexcept {
  if (t <= start()) return first_after(0, t);
  if (t >= end()) return knots_.size() - 1;
  const std::size_t b = bucket_of(t);
  std::size_t low = bucket_[b];
  const std::size_t high = b + 1 < bucket_.size() ? bucket_[b + 1] : knots_.size() - 1;
  if (high - low > 16) {
    const auto from = knots_.begin() + static_cast<std::ptrdiff_t>(low);
    const auto to = knots_.begin() + static_cast<std::ptrdiff_t>(high) + 1;
    const auto it = std::upper_bound(from, to, t, [](Ns x, const Knot& k) { return x < k.t; });
    low = static_cast<std::size_t>(it - knots_.begin());
    if (low > 0) --low;
  }
  return first_after(low, t);
}

// Walks on from `knot` to the last knot at or before t.
std::size_t EnergyCurve::first_after(std::size_t knot, Ns t) const noexcept {
  while (knot + 1 < knots_.size() && knots_[knot + 1].t <= t) ++knot;
  return knot;
}

double EnergyCurve::between(std::size_t i, Ns a, std::size_t j, Ns b) const noexcept {
  const Knot& from = knots_[i];
  const Knot& to = knots_[j];
  const double in = seconds(from.t, a), out = seconds(to.t, b);
  if (i == j) return piece(from, in, out);
  return (to.integral - from.integral) + piece(to, 0.0, out) - piece(from, 0.0, in);
}

void EnergyCurve::windows(std::span<const Ns> starts, std::span<const Ns> ends,
                          std::span<double> out, int threads) const {
  const bool sorted = std::is_sorted(starts.begin(), starts.end());
  parallel(starts.size(), threads, [=, this](std::size_t first, std::size_t last) {
    if (sorted) {
      merge(starts, ends, out, first, last);
    } else {
      search(starts, ends, out, first, last);
    }
  });
}

void EnergyCurve::merge(std::span<const Ns> starts, std::span<const Ns> ends, std::span<double> out,
                        std::size_t first, std::size_t last) const {
  if (first == last) return;
  std::size_t i = find(starts[first]), j = i;
  for (std::size_t w = first; w < last; ++w) {
    const Ns a = starts[w], b = ends[w];
    i = advance(i, a);
    // Ends mostly grow with starts: the previous end is the best place to begin.
    j = advance(knots_[j].t <= b && j >= i ? j : i, b);
    out[w] = between(i, a, j, b);
  }
}

// As first_after, for a knot that may be far on: a few steps, then the index.
std::size_t EnergyCurve::advance(std::size_t knot, Ns t) const noexcept {
  for (int step = 0; step < 8; ++step) {
    if (knot + 1 >= knots_.size() || knots_[knot + 1].t > t) return knot;
    ++knot;
  }
  return find(t);
}

void EnergyCurve::search(std::span<const Ns> starts, std::span<const Ns> ends,
                         std::span<double> out, std::size_t first, std::size_t last) const {
  // Random windows miss the cache at every step of a search: ask for the index and the knots of
  // windows ahead before they are needed.
  constexpr std::size_t kFar = 32, kNear = 16;
  for (std::size_t w = first; w < last; ++w) {
    if (w + kFar < last) {
      prefetch_bucket(starts[w + kFar]);
      prefetch_bucket(ends[w + kFar]);
    }
    if (w + kNear < last) {
      prefetch_knot(starts[w + kNear]);
      prefetch_knot(ends[w + kNear]);
    }
    out[w] = between(find(starts[w]), starts[w], find(ends[w]), ends[w]);
  }
}

void EnergyCurve::prefetch_bucket(Ns t) const noexcept {
  if (t > start() && t < end()) __builtin_prefetch(&bucket_[bucket_of(t)]);
}

void EnergyCurve::prefetch_knot(Ns t) const noexcept {
  if (t > start() && t < end()) __builtin_prefetch(&knots_[bucket_[bucket_of(t)]]);
}

void EnergyCurve::values(std::span<const Ns> times, std::span<double> out) const {
  for (std::size_t i = 0; i < times.size(); ++i) {
    const Knot& k = knots_[find(times[i])];
    out[i] = times[i] <= k.t ? k.y : k.y + k.slope * seconds(k.t, times[i]);
  }
}

}  // namespace pyenergy
