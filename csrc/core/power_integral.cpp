// SPDX-License-Identifier: Apache-2.0
// The plain integral of power readings and its terms.
#include "core/power_integral.h"

#include <algorithm>
#include <cmath>
#include <deque>

#include "core/sample.h"

namespace pyenergy {
namespace {

const double kRoot3 = std::sqrt(3.0);

double seconds(Ns ns) noexcept { return static_cast<double>(ns) / 1e9; }
double square(double x) noexcept { return x * x; }
Ns middle(Ns before, Ns after) noexcept { return before + ((after - before) >> 1); }

Ns period_of(const SensorFacts& sensor, std::span<const Ns> first, std::span<const Ns> last) {
  // Polls rarer than the updates see one of several: what they look at is rarer still.
  Ns polled = 0;
  if (first.size() > 1) {
    std::vector<Ns> between;
    for (std::size_t i = 1; i < first.size(); ++i) between.push_back(first[i] - last[i - 1]);
    polled = static_cast<Ns>(median(std::move(between)));
  }
  return std::max(sensor.update_ns > 0 ? sensor.update_ns : kSecond / 10, polled);
}

double coverage_of(const SensorFacts& sensor, Ns period) noexcept {
  const Ns known = sensor.update_ns > 0 ? sensor.update_ns : period;
  return sensor.coverage * std::min(1.0, static_cast<double>(known) / static_cast<double>(period));
}

// `height` from `from` to `to`, zero beside it.
void add_block(Knots& knots, Ns from, Ns to, double height) {
  knots.add(from, 0.0);
  knots.add(from, height);
  knots.add(to, height);
  knots.add(to, 0.0);
}

// Variance (J^2) of an edge for what a reading of `value` over `tau_s` averages away: power inside
// the limits has a variance of at most (high - y)(y - low) about its mean y.
double hidden_swing(double value, PowerLimits limits, double tau_s) noexcept {
  return std::max((limits.high - value) * (value - limits.low), 0.0) * square(tau_s) / 12;
}

// numpy.interp at times that never decrease.
class Interpolated {
 public:
  explicit Interpolated(const Knots& knots) : t_(knots.t), y_(knots.y) {}
  double at(Ns time) noexcept {
    while (i_ + 1 < t_.size() && t_[i_ + 1] <= time) ++i_;
    if (time <= t_[i_] || i_ + 1 == t_.size()) return y_[i_];
    const double slope = (y_[i_ + 1] - y_[i_]) / static_cast<double>(t_[i_ + 1] - t_[i_]);
    return slope * static_cast<double>(time - t_[i_]) + y_[i_];
  }

 private:
  std::span<const Ns> t_;
  std::span<const double> y_;
  std::size_t i_ = 0;
};

// max - min of value[i .. upto), for i that only grow and an `upto` that never falls.
class SlidingRange {
 public:
  explicit SlidingRange(std::span<const double> value) : value_(value) {}
  double of(std::size_t i, std::size_t upto) {
    for (; next_ < upto; ++next_) {
      while (!most_.empty() && value_[most_.back()] <= value_[next_]) most_.pop_back();
      while (!least_.empty() && value_[least_.back()] >= value_[next_]) least_.pop_back();
      most_.push_back(next_);
      least_.push_back(next_);
    }
    while (most_.front() < i) most_.pop_front();
    while (least_.front() < i) least_.pop_front();
    return value_[most_.front()] - value_[least_.front()];
  }

 private:
  std::span<const double> value_;
  std::deque<std::size_t> most_, least_;  // candidates, from the largest and the smallest on
  std::size_t next_ = 0;
};

// `value` from `from` on.
void set_tail(Knots& knots, Ns from, double value) {
  const std::size_t cut = after(knots.t, from);
  std::fill(knots.y.begin() + static_cast<std::ptrdiff_t>(cut), knots.y.end(), value);
  if (cut == 0) return;
  const double before = knots.y[cut - 1];
  knots.t.insert(knots.t.begin() + static_cast<std::ptrdiff_t>(cut), {from, from});
  knots.y.insert(knots.y.begin() + static_cast<std::ptrdiff_t>(cut), {before, value});
}

}  // namespace

PowerIntegral::Readings::Readings(const RunsView& runs, Ns gap_ns) {
  const std::size_t n = runs.value.size();
  for (const std::size_t other : {runs.t_first.size(), runs.read_first.size(), runs.t_last.size(),
                                  runs.read_last.size(), runs.flags.size()}) {
    if (other != n) throw std::invalid_argument("the arrays of runs differ in length");
  }
  bool flagged = false, failed = false;
  Ns read_last = 0;
  for (std::size_t i = 0; i < n; ++i) {
    flagged = flagged || (runs.flags[i] & kGapBefore) != 0;
    if ((runs.flags[i] & (kMissing | kInvalid)) != 0) {
      failed = true;
      continue;
    }
    const bool is_first = value.empty();
    const bool long_failure = failed && runs.read_first[i] - read_last > gap_ns;
    gap.push_back(!is_first && (flagged || long_failure));
    failure.push_back(!is_first && failed && !gap.back());
    first.push_back(middle(runs.t_first[i], runs.read_first[i]));
    last.push_back(std::max(middle(runs.t_last[i], runs.read_last[i]), first.back()));
    known.push_back(runs.read_first[i]);
    value.push_back(runs.value[i]);
    read_last = runs.read_last[i];
    flagged = failed = false;
  }
  if (value.empty()) throw NoReadings("no usable power reading in the recording");
}

PowerIntegral::PowerIntegral(const RunsView& runs, const SensorFacts& sensor, double power_min,
                             double power_max, Ns start, Ns end, Ns gap)
    : PowerIntegral(Readings(runs, gap), sensor, power_min, power_max, start, end) {}

PowerIntegral::PowerIntegral(const Readings& read, const SensorFacts& sensor, double power_min,
                             double power_max, Ns start, Ns end)
    : sensor_(sensor),
      start_(start),
      end_(end),
      limits_(PowerLimits::around(power_min, power_max, read.value)),
      period_(period_of(sensor, read.first, read.last)),
      coverage_(coverage_of(sensor, period_)),
      curve_(build_curve(read)),
      gap_((find_gaps(read), build_gaps())),
      inside_(build_inside(read)),
      unseen_(build_unseen(read)),
      edge_(build_edges(read)) {}

void PowerIntegral::windows(std::span<const Ns> starts, std::span<const Ns> ends,
                            const PlainTerms& out, int threads) const {
  curve_.windows(starts, ends, out.joules, threads);
  inside_.windows(starts, ends, out.inside, threads);
  gap_.windows(starts, ends, out.gaps, threads);
  const std::size_t n = starts.size();
  std::vector<double> a(n), b(n);
  if (unseen_) {
    unseen_->windows(starts, ends, a, threads);
    for (std::size_t i = 0; i < n; ++i) out.inside[i] += a[i];
  }
  // Readings that are late by lag shift the window: they swap the power before its start for the
  // power before its end.
  curve_.values(ends, a);
  curve_.values(starts, b);
  const double lag_s = seconds(sensor_.lag_ns);
  for (std::size_t i = 0; i < n; ++i) out.edges[i] = square(lag_s * (a[i] - b[i])) / 3;
  edge_.values(starts, a);
  edge_.values(ends, b);
  const double most_w = limits_.width() / kRoot3;
  for (std::size_t i = 0; i < n; ++i) {
    const double bound = most_w * seconds(ends[i] - starts[i]);
    out.edges[i] = std::min(std::sqrt(a[i] + b[i] + out.edges[i]), bound);
    out.inside[i] = std::sqrt(out.inside[i]);
  }
}

EnergyCurve PowerIntegral::build_curve(const Readings& read) const {
  Knots knots;
  Ns latest = read.first.front();
  for (std::size_t i = 0; i < read.size(); ++i) {
    for (const Ns t : {read.first[i], read.last[i]}) {
      latest = std::max(latest, t);
      knots.add(latest, read.value[i]);
    }
  }
  knots.extend(start_, end_);
  return knots.curve();
}

// A gap lasts until the reading after it is known: that read may itself have hung.
void PowerIntegral::find_gaps(const Readings& read) {
  const auto add = [this](Ns from, Ns to) {
    gap_starts_.push_back(from);
    gap_ends_.push_back(to);
  };
  const auto known_last = [&](std::size_t i) { return std::max(read.last[i], read.known[i]); };
  if (start_ < read.known.front()) add(start_, read.known.front());
  for (std::size_t i = 1; i < read.size(); ++i) {
    if (read.gap[i]) add(known_last(i - 1), read.known[i]);
  }
  if (end_ > known_last(read.size() - 1)) add(known_last(read.size() - 1), end_);
}

EnergyCurve PowerIntegral::build_gaps() const {
  Knots knots;
  for (std::size_t i = 0; i < gap_starts_.size(); ++i) {
    add_block(knots, gap_starts_[i], gap_ends_[i], limits_.width() / kRoot3);
  }
  knots.extend(start_, end_, 0.0);
  return knots.curve();
}

EnergyCurve PowerIntegral::build_inside(const Readings& read) const {
  Knots knots;
  for (std::size_t i = 1; i < read.size(); ++i) {
    // Spread over its bracket, the variance (step * bracket)^2 / 12 has this density.
    const double bracket_s = seconds(read.bracket(i));
    double density = read.gap[i] ? 0.0 : square(read.value[i] - read.value[i - 1]) * bracket_s / 12;
    if (read.failure[i]) density += square(limits_.width()) / 3 * bracket_s;
    add_block(knots, read.last[i - 1], read.first[i], density);
  }
  knots.extend(start_, end_, 0.0);
  return knots.curve();
}

Knots PowerIntegral::pooled(const Readings& read) const {
  return pooled_variance(read.first, read.last, read.value, period_, limits_, start_, end_);
}

std::optional<EnergyCurve> PowerIntegral::build_unseen(const Readings& read) const {
  if (coverage_ >= 1.0) return std::nullopt;
  const double period_s = seconds(period_);
  const double scale = square((1.0 - coverage_) * period_s) / period_s;
  Knots knots = pooled(read);
  for (double& y : knots.y) y *= scale;
  return knots.curve();
}

EnergyCurve PowerIntegral::build_edges(const Readings& read) const {
  const Ns lag = sensor_.lag_ns;
  Knots knots;
  if (lag <= 0) {
    knots.extend(start_, std::max(end_, start_), 0.0);
    return knots.curve();
  }
  const Ns tau = sensor_.known() ? std::max(sensor_.update_ns, sensor_.window_ns) : lag;
  const double scale = square(seconds(lag)) / 3;
  const Knots quiet = pooled(read);
  Interpolated spread_at(quiet);
  SlidingRange range(read.value);
  const std::size_t n = read.size();
  std::size_t upto = 0;
  Ns latest = read.first.front();
  const auto add = [&](Ns t, double y) { knots.add(latest = std::max(latest, t), y); };
  for (std::size_t i = 0; i < n; ++i) {
    const Ns next = i + 1 < n ? read.first[i + 1] : read.last.back();
    // Inside run i and more than one lag before its end only the run itself matters; later the
    // runs that begin within one lag of its end do.
    const Ns late = std::max(read.first[i], read.last[i] - lag);
    upto = std::max(upto, i + 1);
    while (upto < n && read.first[upto] <= next + lag) ++upto;
    const double calm = (coverage_ < 1.0 ? spread_at.at(late) * scale : 0.0) +
                        hidden_swing(read.value[i], limits_, seconds(tau));
    const double moved = calm + square(range.of(i, upto)) * scale;
    add(read.first[i], calm);
    add(late, calm);
    add(late, moved);
    add(next, moved);
  }
  // What happened less than one lag before the last reading is not published: unknown.
  set_tail(knots, read.last.back() - lag, square(limits_.width()) * scale);
  knots.extend(start_, end_);
  return knots.curve();
}

}  // namespace pyenergy
