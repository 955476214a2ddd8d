// SPDX-License-Identifier: Apache-2.0
#include "core/overlap.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <stdexcept>
#include <thread>

namespace pyenergy {
namespace {

constexpr double kSecondsPerNs = 1e-9;
constexpr std::size_t kPrefixBudget = std::size_t{1} << 25;  // doubles: 256 MiB
constexpr double kForgotten = 1e-12;  // of a span's height: below every reading's last digit
constexpr std::size_t kWindowsPerThread = 50'000;

struct Edge {
  Ns t;
  std::int32_t cls;
  std::int32_t step;
};

std::vector<Edge> sorted_edges(std::span<const Ns> starts, std::span<const Ns> ends,
                               std::span<const std::int32_t> classes) {
  std::vector<Edge> edges;
  edges.reserve(2 * starts.size());
  for (std::size_t i = 0; i < starts.size(); ++i) {
    if (starts[i] == ends[i]) continue;
    edges.push_back({starts[i], classes[i], 1});
    edges.push_back({ends[i], classes[i], -1});
  }
  std::sort(edges.begin(), edges.end(), [](const Edge& a, const Edge& b) { return a.t < b.t; });
  return edges;
}

}  // namespace

class Activity::Sums {
 public:
  explicit Sums(std::size_t classes) : seconds_(classes), seen_(classes) {}

  void add(std::size_t cls, double seconds) {
    if (!seen_[cls]) {
      seen_[cls] = 1;
      touched_.push_back(static_cast<std::int32_t>(cls));
    }
    seconds_[cls] += seconds;
  }
  // Appends what was added as a row, and starts over.
  void flush(SparseRows& out) {
    std::sort(touched_.begin(), touched_.end());
    for (const std::int32_t cls : touched_) {
      const auto j = static_cast<std::size_t>(cls);
      if (seconds_[j] != 0.0) {
        out.index.push_back(cls);
        out.value.push_back(seconds_[j]);
      }
      seconds_[j] = 0.0;
      seen_[j] = 0;
    }
    touched_.clear();
    out.begin.push_back(static_cast<std::int64_t>(out.index.size()));
  }

 private:
  std::vector<double> seconds_;
  std::vector<char> seen_;
  std::vector<std::int32_t> touched_;
};

Activity::Activity(std::span<const Ns> starts, std::span<const Ns> ends,
                   std::span<const std::int32_t> classes, std::size_t class_count)
    : class_count_(class_count) {
  if (starts.size() != ends.size() || starts.size() != classes.size()) {
    throw std::invalid_argument("starts, ends and classes differ in length");
  }
  if (class_count > kPrefixBudget) throw std::invalid_argument("too many classes");
  for (std::size_t i = 0; i < starts.size(); ++i) {
    if (ends[i] < starts[i]) throw std::invalid_argument("a span ends before it starts");
    if (classes[i] < 0 || static_cast<std::size_t>(classes[i]) >= class_count) {
      throw std::invalid_argument("a span has an unknown class");
    }
  }
  const std::vector<Edge> edges = sorted_edges(starts, ends, classes);
  std::map<std::int32_t, std::int32_t> now;
  begin_.push_back(0);
  for (std::size_t i = 0; i < edges.size();) {
    const Ns t = edges[i].t;
    for (; i < edges.size() && edges[i].t == t; ++i) {
      const auto it = now.try_emplace(edges[i].cls, 0).first;
      if ((it->second += edges[i].step) == 0) now.erase(it);
    }
    edge_.push_back(t);
    for (const auto& [cls, count] : now) active_.push_back({cls, count});
    begin_.push_back(active_.size());
  }
  build_prefix();
}

void Activity::build_prefix() {
  while (class_count_ * (edge_.size() / stride_ + 1) > kPrefixBudget && stride_ <= edge_.size()) {
    stride_ *= 2;
  }
  std::vector<double> seconds(class_count_);
  for (std::size_t i = 0; i < edge_.size(); ++i) {
    if (i % stride_ == 0) prefix_.insert(prefix_.end(), seconds.begin(), seconds.end());
    const double length = static_cast<double>(segment_end(i) - edge_[i]) * kSecondsPerNs;
    for (std::size_t k = begin_[i]; k < begin_[i + 1]; ++k) {
      seconds[static_cast<std::size_t>(active_[k].cls)] += length * active_[k].count;
    }
  }
}

std::size_t Activity::find(Ns t) const noexcept {
  const auto it = std::upper_bound(edge_.begin(), edge_.end(), t);
  if (it == edge_.begin()) return edge_.size();
  return static_cast<std::size_t>(it - edge_.begin()) - 1;
}

void Activity::add(std::size_t from, std::size_t to, Ns start, Ns end, Sums& sums) const {
  for (std::size_t i = from; i < to; ++i) {
    const Ns a = std::max(start, edge_[i]), b = std::min(end, segment_end(i));
    if (b <= a) continue;
    const double seconds = static_cast<double>(b - a) * kSecondsPerNs;
    for (std::size_t k = begin_[i]; k < begin_[i + 1]; ++k) {
      sums.add(static_cast<std::size_t>(active_[k].cls), seconds * active_[k].count);
    }
  }
}

void Activity::window(Ns start, Ns end, Sums& sums) const {
  if (edge_.empty() || end <= edge_.front() || start >= edge_.back()) return;
  std::size_t from = find(start);
  if (from == edge_.size()) from = 0;  // begins before the first span
  const std::size_t to = find(end) + 1;
  const std::size_t first = (from + stride_) / stride_, last = (to - 1) / stride_;
  if (first >= last) {
    add(from, to, start, end, sums);
    return;
  }
  add(from, first * stride_, start, end, sums);
  for (std::size_t j = 0; j < class_count_; ++j) {
    const double seconds = prefix_[last * class_count_ + j] - prefix_[first * class_count_ + j];
    if (seconds > 0.0) sums.add(j, seconds);
  }
  add(last * stride_, to, start, end, sums);
}

void Activity::rows(std::span<const Ns> starts, std::span<const Ns> ends, SparseRows& out) const {
  Sums sums(class_count_);
  out.begin.reserve(starts.size() + 1);
  for (std::size_t i = 0; i < starts.size(); ++i) {
    window(starts[i], ends[i], sums);
    sums.flush(out);
  }
}

SparseRows Activity::overlap(std::span<const Ns> starts, std::span<const Ns> ends,
                             int threads) const {
  if (starts.size() != ends.size()) {
    throw std::invalid_argument("starts and ends differ in length");
  }
  for (std::size_t i = 0; i < starts.size(); ++i) {
    if (ends[i] < starts[i]) throw std::invalid_argument("a window ends before it starts");
  }
  const std::size_t n = starts.size();
  const std::size_t parts = std::clamp<std::size_t>(n / kWindowsPerThread, 1,
                                                    static_cast<std::size_t>(std::max(1, threads)));
  std::vector<SparseRows> part(parts);
  std::vector<std::thread> workers;
  const auto run = [&](std::size_t p) {
    const std::size_t lo = n * p / parts, hi = n * (p + 1) / parts;
    rows(starts.subspan(lo, hi - lo), ends.subspan(lo, hi - lo), part[p]);
  };
  for (std::size_t p = 1; p < parts; ++p) workers.emplace_back(run, p);
  run(0);
  for (std::thread& worker : workers) worker.join();
  SparseRows out = std::move(part[0]);
  for (std::size_t p = 1; p < parts; ++p) {
    const std::int64_t shift = out.begin.back();
    for (std::size_t i = 1; i < part[p].begin.size(); ++i) {
      out.begin.push_back(part[p].begin[i] + shift);
    }
    out.index.insert(out.index.end(), part[p].index.begin(), part[p].index.end());
    out.value.insert(out.value.end(), part[p].value.begin(), part[p].value.end());
  }
  return out;
}

SparseRows Activity::lowpass(std::span<const Ns> times, Ns tau) const {
  if (tau <= 0) throw std::invalid_argument("the time constant must be positive");
  if (!std::is_sorted(times.begin(), times.end())) {
    throw std::invalid_argument("times decrease");
  }
  SparseRows out;
  std::map<std::int32_t, double> level;  // of each class at `now`
  std::map<std::int32_t, double> input;  // what it is driven with
  std::size_t next = 0;                  // segment that begins next
  Ns now = edge_.empty() ? 0 : edge_.front();
  const auto advance = [&](Ns t) {
    const double keep = std::exp(-static_cast<double>(t - now) / static_cast<double>(tau));
    for (auto it = level.begin(); it != level.end();) {
      const auto driven = input.find(it->first);
      const double u = driven == input.end() ? 0.0 : driven->second;
      it->second = u + (it->second - u) * keep;
      it = u == 0.0 && it->second < kForgotten ? level.erase(it) : std::next(it);
    }
    now = t;
  };
  for (const Ns t : times) {
    for (; next < edge_.size() && edge_[next] <= t; ++next) {
      advance(edge_[next]);
      input.clear();
      for (std::size_t k = begin_[next]; k < begin_[next + 1]; ++k) {
        input[active_[k].cls] = active_[k].count;
        level.try_emplace(active_[k].cls, 0.0);
      }
    }
    if (next > 0) advance(t);
    for (const auto& [cls, value] : level) {
      if (value == 0.0) continue;
      out.index.push_back(cls);
      out.value.push_back(value);
    }
    out.begin.push_back(static_cast<std::int64_t>(out.index.size()));
  }
  return out;
}

}  // namespace pyenergy
