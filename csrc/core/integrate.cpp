// SPDX-License-Identifier: Apache-2.0
// Piecewise-linear curves: integrals of many windows, by a merge or by a bucket index.
#include "core/integrate.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <thread>

#include "core/sample.h"

namespace pyenergy {
namespace {

constexpr std::size_t kMaxBuckets = std::size_t{1} << 24;
constexpr std::size_t kWindowsPerThread = 50'000;  // fewer do not pay for a thread's start
constexpr std::size_t kLinear = 4;                 // steps of a walk before the index is asked
constexpr std::size_t kAhead = 16;                 // windows whose memory is fetched in advance

// Exact before it is rounded: the difference is an integer.
double seconds(Ns from, Ns to) noexcept { return static_cast<double>(to - from) * 1e-9; }

// The last of knots [lo, hi) at or before t; knots[lo] is, or lo is the answer anyway.
std::size_t bisect(const EnergyCurve::Knot* knots, std::size_t lo, std::size_t hi, Ns t) noexcept {
  while (hi - lo > 1) {
    const std::size_t middle = lo + (hi - lo) / 2;
    (knots[middle].t <= t ? lo : hi) = middle;
  }
  return lo;
}

}  // namespace

EnergyCurve::EnergyCurve(std::span<const Ns> t, std::span<const double> y) {
  if (t.size() != y.size()) throw std::invalid_argument("times and values differ in length");
  if (!std::ranges::is_sorted(t)) throw std::invalid_argument("the knots' times decrease");
  if (!std::ranges::all_of(y, [](double v) { return std::isfinite(v); })) {
    throw std::invalid_argument("a knot's value is not finite");
  }
  knots_.reserve(t.size());
  for (std::size_t i = 0; i < t.size(); ++i) append(t[i], y[i]);
  finish();
}

EnergyCurve EnergyCurve::from_runs(const RunsView& runs) {
  const std::size_t n = runs.value.size();
  if (runs.t_first.size() != n || runs.read_first.size() != n || runs.t_last.size() != n ||
      runs.read_last.size() != n || runs.flags.size() != n) {
    throw std::invalid_argument("the arrays of runs differ in length");
  }
  EnergyCurve curve;
  curve.knots_.reserve(2 * n);
  for (std::size_t i = 0; i < n; ++i) {
    if ((runs.flags[i] & (kMissing | kInvalid)) != 0 || !std::isfinite(runs.value[i])) continue;
    for (const Ns t : {runs.t_first[i], runs.read_first[i], runs.t_last[i], runs.read_last[i]}) {
      if (!is_time(t)) throw std::invalid_argument("a run's time is beyond 146 years");
    }
    const Ns first = runs.t_first[i] + (runs.read_first[i] - runs.t_first[i]) / 2;
    const Ns last = runs.t_last[i] + (runs.read_last[i] - runs.t_last[i]) / 2;
    curve.append(first, runs.value[i]);
    if (last > first) curve.append(last, runs.value[i]);
  }
  curve.finish();
  return curve;
}

void EnergyCurve::append(Ns t, double y) {
  // Brackets of neighbouring reads may overlap by a little; time never runs backwards.
  if (!knots_.empty()) t = std::max(t, knots_.back().t);
  if (!is_time(t)) throw std::invalid_argument("a knot's time is beyond 146 years");
  knots_.push_back({t, y, 0.0, 0.0});
}

void EnergyCurve::finish() {
  if (knots_.empty()) return;
  if (knots_.size() > UINT32_MAX) throw std::invalid_argument("too many knots");
  double sum = 0.0, lost = 0.0;  // Kahan: a million terms cost no digits
  for (std::size_t i = 0; i + 1 < knots_.size(); ++i) {
    Knot &a = knots_[i], &b = knots_[i + 1];
    const double dt = seconds(a.t, b.t);
    a.slope = dt > 0.0 ? (b.y - a.y) / dt : 0.0;
    const double term = 0.5 * (a.y + b.y) * dt - lost;
    const double next = sum + term;
    lost = (next - sum) - term;
    b.integral = sum = next;
  }
  const std::size_t buckets = std::min(knots_.size(), kMaxBuckets);
  const auto span = static_cast<double>(end() - start()) + 1.0;
  bucket_per_ns_ = static_cast<double>(buckets) / span;
  bucket_.resize(buckets + 1);
  std::size_t next = 0;
  for (std::size_t i = 0; i < knots_.size(); ++i) {
    for (const std::size_t bucket = bucket_of(knots_[i].t); next <= bucket; ++next) {
      bucket_[next] = static_cast<std::uint32_t>(i);
    }
  }
  for (; next <= buckets; ++next) bucket_[next] = static_cast<std::uint32_t>(knots_.size());
}

// Monotone in t, so that knots of earlier buckets lie before t and those of later ones after it.
std::size_t EnergyCurve::bucket_of(Ns t) const noexcept {
  const auto bucket = static_cast<std::size_t>(static_cast<double>(t - start()) * bucket_per_ns_);
  return std::min(bucket, bucket_.size() - 2);
}

std::size_t EnergyCurve::find(Ns t) const noexcept {
  if (t < start()) return 0;
  if (t >= end()) return knots_.size() - 1;
  const std::size_t bucket = bucket_of(t);
  const std::size_t first = bucket_[bucket];
  return bisect(knots_.data(), first > 0 ? first - 1 : 0, bucket_[bucket + 1], t);
}

std::size_t EnergyCurve::advance(std::size_t from, Ns t) const noexcept {
  for (std::size_t step = 0; step < kLinear; ++step, ++from) {
    if (from + 1 == knots_.size() || knots_[from + 1].t > t) return from;
  }
  return find(t);
}

// Integral of one segment, extended beyond its ends if need be.
double EnergyCurve::part(const Knot& knot, Ns from, Ns to) const noexcept {
  const double middle = 0.5 * (seconds(knot.t, from) + seconds(knot.t, to));
  return seconds(from, to) * (knot.y + knot.slope * middle);
}

// [from, to] begins in segment i and ends in segment j.
double EnergyCurve::window(std::size_t i, std::size_t j, Ns from, Ns to) const noexcept {
  if (from < start()) [[unlikely]] {
    const Ns inside = std::min(to, start());
    const double before = knots_.front().y * seconds(from, inside);
    return to <= start() ? before : before + window(i, j, start(), to);
  }
  if (i == j) return part(knots_[i], from, to);
  const Knot& next = knots_[i + 1];
  const Knot& last = knots_[j];
  return part(knots_[i], from, next.t) + (last.integral - next.integral) + part(last, last.t, to);
}

void EnergyCurve::walk(std::span<const Ns> starts, std::span<const Ns> ends,
                       std::span<double> out) const {
  std::size_t i = find(starts.front()), j = i;
  for (std::size_t w = 0; w < starts.size(); ++w) {
    i = advance(i, starts[w]);
    // Ends mostly grow with the starts: the previous one is the best place to begin.
    j = advance(j > i && knots_[j].t <= ends[w] ? j : i, ends[w]);
    out[w] = window(i, j, starts[w], ends[w]);
  }
}

// Random windows wait for memory: the index, and then the knots, are fetched some windows ahead.
void EnergyCurve::search(std::span<const Ns> starts, std::span<const Ns> ends,
                         std::span<double> out) const {
  const std::size_t n = starts.size();
  const auto clamped = [&](Ns t) { return bucket_of(std::clamp(t, start(), end())); };
  for (std::size_t w = 0; w < n; ++w) {
    if (w + 2 * kAhead < n) {
      __builtin_prefetch(&bucket_[clamped(starts[w + 2 * kAhead])]);
      __builtin_prefetch(&bucket_[clamped(ends[w + 2 * kAhead])]);
    }
    if (w + kAhead < n) {
      __builtin_prefetch(
          &knots_[std::min<std::size_t>(bucket_[clamped(starts[w + kAhead])], knots_.size() - 1)]);
      __builtin_prefetch(
          &knots_[std::min<std::size_t>(bucket_[clamped(ends[w + kAhead])], knots_.size() - 1)]);
    }
    out[w] = window(find(starts[w]), find(ends[w]), starts[w], ends[w]);
  }
}

void EnergyCurve::windows(std::span<const Ns> starts, std::span<const Ns> ends,
                          std::span<double> out, int threads) const {
  const std::size_t n = starts.size();
  if (n == 0) return;
  const auto piece = [&](std::size_t from, std::size_t upto) {
    const auto a = starts.subspan(from, upto - from);
    const auto b = ends.subspan(from, upto - from);
    const auto c = out.subspan(from, upto - from);
    std::ranges::is_sorted(a) ? walk(a, b, c) : search(a, b, c);
  };
  const auto most = std::max<std::size_t>(1, n / kWindowsPerThread);
  const std::size_t workers =
      std::clamp<std::size_t>(static_cast<std::size_t>(std::max(threads, 1)), 1, most);
  std::vector<std::jthread> pool;
  for (std::size_t k = 1; k < workers; ++k) {
    pool.emplace_back(piece, n * k / workers, n * (k + 1) / workers);
  }
  piece(0, n / workers);
}

void EnergyCurve::values(std::span<const Ns> times, std::span<double> out) const {
  std::size_t i = 0;
  for (std::size_t k = 0; k < times.size(); ++k) {
    const Ns t = times[k];
    i = knots_[i].t <= t && (i + 1 == knots_.size() || t < knots_[i + 1].t) ? i : find(t);
    out[k] =
        t < start() ? knots_.front().y : knots_[i].y + knots_[i].slope * seconds(knots_[i].t, t);
  }
}

}  // namespace pyenergy
