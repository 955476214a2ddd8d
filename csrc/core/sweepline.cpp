// SPDX-License-Identifier: Apache-2.0
// The sweep over all edges, and what each operation had alone, shared and at most.
#include "core/sweepline.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

#include "core/shares.h"

namespace pyenergy {
namespace {

constexpr double kSecondsPerNs = 1e-9;
constexpr std::size_t kSmall = 2048;  // fewer edges are sorted by comparison
constexpr std::size_t kMoves = 4;     // of an edge, before the sort by insertion is given up
constexpr int kDigit = 11;            // bits of a digit of the radix sort
constexpr std::size_t kAhead = 16;    // edges whose memory is fetched in advance

// Exact before it is rounded, also where the difference is beyond int64.
double seconds(Ns from, Ns to) noexcept {
  const auto ns = static_cast<std::uint64_t>(to) - static_cast<std::uint64_t>(from);
  return static_cast<double>(ns) * kSecondsPerNs;
}

// ---- edges ------------------------------------------------------------------------------------

struct Edge {
  std::uint64_t t;  // ns since the window's start
  std::size_t op;
};

void radix_sort(std::vector<Edge>& edges, std::uint64_t latest) {
  constexpr std::uint64_t mask = (std::uint64_t{1} << kDigit) - 1;
  std::vector<Edge> other(edges.size());
  for (int shift = 0; shift < 64 && (latest >> shift) != 0; shift += kDigit) {
    std::array<std::size_t, mask + 1> place{};
    for (const Edge& edge : edges) ++place[(edge.t >> shift) & mask];
    std::size_t sum = 0;
    for (std::size_t& p : place) sum += std::exchange(p, sum);
    for (const Edge& edge : edges) other[place[(edge.t >> shift) & mask]++] = edge;
    edges.swap(other);
  }
}

// Insertion sort, given up after kMoves moves an edge: false, with edges in some order. Ends of
// operations that start in order only pass the few that ran with them.
bool sort_nearly_sorted(std::vector<Edge>& edges) noexcept {
  std::size_t moves = kMoves * edges.size();
  for (std::size_t i = 1; i < edges.size(); ++i) {
    const Edge edge = edges[i];
    std::size_t to = i;
    for (; to > 0 && edges[to - 1].t > edge.t && moves > 0; --to, --moves)
      edges[to] = edges[to - 1];
    edges[to] = edge;
    if (moves == 0) return false;
  }
  return true;
}

void sort_edges(std::vector<Edge>& edges, std::uint64_t latest) {
  if (sort_nearly_sorted(edges)) return;
  if (edges.size() < kSmall) {
    std::ranges::sort(edges, {}, &Edge::t);
  } else {
    radix_sort(edges, latest);
  }
}

// ---- energy -----------------------------------------------------------------------------------

// Integrates y - level from one time to the next, piece by piece: differences of the curve's own
// cumulative integral would bring the roundings of all that came before the window.
class Walk {
 public:
  Walk(const EnergyCurve& curve, Ns from, double level)
      : knots_(curve.knots()), now_(from), level_(level) {
    const auto after = std::ranges::upper_bound(knots_, from, {}, &EnergyCurve::Knot::t);
    at_ = static_cast<std::size_t>(after - knots_.begin()) - 1;
  }
  double upto(Ns t) noexcept {
    if (at_ + 1 == knots_.size() || knots_[at_ + 1].t > t) return piece(t);
    Sum sum;
    while (at_ + 1 < knots_.size() && knots_[at_ + 1].t <= t) {
      sum.add(piece(knots_[at_ + 1].t));
      ++at_;
    }
    sum.add(piece(t));
    return sum.value();
  }

 private:
  double piece(Ns t) noexcept {
    const EnergyCurve::Knot& knot = knots_[at_];
    const double middle = 0.5 * (seconds(knot.t, now_) + seconds(knot.t, t));
    const double energy = seconds(now_, t) * ((knot.y - level_) + knot.slope * middle);
    now_ = t;
    return energy;
  }

  std::span<const EnergyCurve::Knot> knots_;
  std::size_t at_;  // the last knot at or before now_
  Ns now_;
  double level_;
};

// ---- the sweep --------------------------------------------------------------------------------

// Of an operation that runs: what it had alone, and the running sums where it started.
struct Running {
  Weight weight;
  Sum alone_j;
  Shares::Reading share;
  Sum negative, positive;
  std::uint64_t start = 0, overlapped = 0;  // ns
};

class Sweeper {
 public:
  Sweeper(const EnergyCurve& curve, const Operations& operations, const SweepOptions& options)
      : in_(operations), options_(options), walk_(curve, options.from, options.static_w) {}

  SweepResult run() {
    collect();
    const auto latest =
        static_cast<std::uint64_t>(options_.to) - static_cast<std::uint64_t>(options_.from);
    sort_edges(starts_, latest);
    sort_edges(ends_, latest);
    std::size_t a = 0, b = 0;
    for (std::uint64_t now = 0;;) {
      for (; b < ends_.size() && ends_[b].t == now; ++b) finish(b);
      for (; a < starts_.size() && starts_[a].t == now; ++a) begin(a);
      if (now == latest) break;
      std::uint64_t next = latest;
      if (a < starts_.size()) next = std::min(next, starts_[a].t);
      if (b < ends_.size()) next = std::min(next, ends_[b].t);
      segment(now, next);
      now = next;
    }
    settle(latest);
    return std::move(out_);
  }

 private:
  void collect();
  void begin(std::size_t edge);
  void finish(std::size_t edge);
  void segment(std::uint64_t now, std::uint64_t next);
  void settle(std::uint64_t length);
  void spread(double per_s);

  Ns time(std::uint64_t t) const noexcept {
    return static_cast<Ns>(static_cast<std::uint64_t>(options_.from) + t);
  }
  bool shares_static() const noexcept { return options_.policy == StaticPolicy::kBusy; }

  const Operations& in_;
  const SweepOptions& options_;
  Walk walk_;
  SweepResult out_;
  std::vector<Edge> starts_, ends_;
  std::vector<std::uint32_t> slot_;  // of each operation while it runs
  std::vector<Running> slots_;
  std::vector<std::uint32_t> free_;
  std::size_t running_ = 0;
  std::uint32_t which_ = 0;  // exclusive or of the slots that run: the slot, when one does
  Shares shares_;
  Sum negative_, positive_;  // dynamic energy of segments with several operations, by sign
  std::uint64_t busy_ = 0, overlapped_ = 0;  // ns so far
  Wide ran_ = 0;                             // ns, summed over operations
  Sum dynamic_, below_, operations_, gaps_;
};

// Cuts the operations to the window and counts what that leaves out.
void Sweeper::collect() {
  const std::size_t n = in_.starts.size();
  for (auto* column :
       {&out_.energy_j, &out_.lower_j, &out_.upper_j, &out_.alone_s, &out_.overlapped_s}) {
    column->resize(n);
  }
  slot_.resize(n);
  starts_.reserve(n);
  ends_.reserve(n);
  Sum outside;
  const auto origin = static_cast<std::uint64_t>(options_.from);
  for (std::size_t i = 0; i < n; ++i) {
    const Ns start = in_.starts[i], end = in_.ends[i];
    const Ns from = std::max(start, options_.from), to = std::min(end, options_.to);
    if (start == end) {
      ++out_.empty;
    } else if (from >= to) {
      ++out_.outside;
      outside.add(seconds(start, end));
    } else {
      starts_.push_back({static_cast<std::uint64_t>(from) - origin, i});
      ends_.push_back({static_cast<std::uint64_t>(to) - origin, i});
      if (from == start && to == end) continue;
      ++out_.cut;
      outside.add(seconds(start, from));
      outside.add(seconds(to, end));
    }
  }
  out_.outside_s = outside.value();
}

void Sweeper::begin(std::size_t edge) {
  if (edge + kAhead < starts_.size()) {
    const std::size_t later = starts_[edge + kAhead].op;
    __builtin_prefetch(&slot_[later], 1);
    if (!in_.weights.empty()) __builtin_prefetch(&in_.weights[later]);
  }
  const auto [t, op] = starts_[edge];
  if (free_.empty()) {
    free_.push_back(static_cast<std::uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  const std::uint32_t slot = slot_[op] = free_.back();
  free_.pop_back();
  const Weight weight = in_.weights.empty() ? Weight{} : Weight::of(in_.weights[op]);
  if (running_ == 0) negative_ = positive_ = {};
  shares_.enter(weight);
  slots_[slot] = {weight, {}, shares_.read(weight), negative_, positive_, t, overlapped_};
  which_ ^= slot;
  out_.deepest = std::max(out_.deepest, ++running_);
}

void Sweeper::finish(std::size_t edge) {
  if (edge + kAhead < ends_.size()) {
    const std::size_t later = ends_[edge + kAhead].op;
    __builtin_prefetch(&slot_[later]);
    for (auto* column :
         {&out_.energy_j, &out_.lower_j, &out_.upper_j, &out_.alone_s, &out_.overlapped_s}) {
      __builtin_prefetch(&(*column)[later], 1);
    }
  }
  const auto [t, op] = ends_[edge];
  const std::uint32_t slot = slot_[op];
  const Running& r = slots_[slot];
  const Shares::Reading& now = shares_.read(r.weight);
  const double alone = r.alone_j.value();
  const double dynamic = r.weight.scaled * now.dynamic.since(r.share.dynamic);
  const double fixed =
      shares_static() ? options_.static_w * r.weight.scaled * now.time.since(r.share.time) : 0.0;
  out_.energy_j[op] = alone + (dynamic + fixed);
  out_.lower_j[op] = alone + (negative_.since(r.negative) + fixed);
  out_.upper_j[op] = alone + (positive_.since(r.positive) + fixed);
  const std::uint64_t overlapped = overlapped_ - r.overlapped;
  out_.overlapped_s[op] = static_cast<double>(overlapped) * kSecondsPerNs;
  out_.alone_s[op] = static_cast<double>(t - r.start - overlapped) * kSecondsPerNs;
  ran_ += t - r.start;
  shares_.leave(r.weight);
  which_ ^= slot;
  --running_;
  free_.push_back(slot);
}

void Sweeper::segment(std::uint64_t now, std::uint64_t next) {
  const double dynamic = walk_.upto(time(next));
  const double length = static_cast<double>(next - now) * kSecondsPerNs;
  ++out_.segments;
  dynamic_.add(dynamic);
  if (dynamic < 0.0) {
    ++out_.negative_segments;
    below_.add(dynamic);
  }
  if (running_ == 0) {
    out_.gap_start.push_back(time(now));
    out_.gap_end.push_back(time(next));
    out_.gap_energy_j.push_back(dynamic + (shares_static() ? options_.static_w * length : 0.0));
    return;
  }
  busy_ += next - now;
  if (running_ == 1) {
    Sum& alone = slots_[which_].alone_j;
    alone.add(dynamic);
    if (shares_static()) alone.add(options_.static_w * length);
  } else {
    overlapped_ += next - now;
    (dynamic < 0.0 ? negative_ : positive_).add(dynamic);
    shares_.share(dynamic, length);
  }
}

// Adds the static power per_s to every second of every operation and gap.
void Sweeper::spread(double per_s) {
  for (std::size_t i = 0; i < out_.energy_j.size(); ++i) {
    const double fixed = per_s * (out_.alone_s[i] + out_.overlapped_s[i]);
    out_.energy_j[i] += fixed;
    out_.lower_j[i] += fixed;
    out_.upper_j[i] += fixed;
  }
  for (std::size_t i = 0; i < out_.gap_energy_j.size(); ++i) {
    out_.gap_energy_j[i] += per_s * seconds(out_.gap_start[i], out_.gap_end[i]);
  }
}

void Sweeper::settle(std::uint64_t length) {
  const double fixed = options_.static_w * (static_cast<double>(length) * kSecondsPerNs);
  if (options_.policy == StaticPolicy::kAll && length > 0) {
    const Wide shared = ran_ + static_cast<Wide>(length - busy_);
    spread(fixed / (static_cast<double>(shared) * kSecondsPerNs));
  }
  for (const double e : out_.energy_j) operations_.add(e);
  for (const double e : out_.gap_energy_j) gaps_.add(e);
  dynamic_.add(fixed);
  out_.total_j = dynamic_.value();
  out_.operations_j = operations_.value();
  out_.gaps_j = gaps_.value();
  out_.static_j = options_.policy == StaticPolicy::kSeparate ? fixed : 0.0;
  out_.busy_s = static_cast<double>(busy_) * kSecondsPerNs;
  out_.overlap_s = static_cast<double>(overlapped_) * kSecondsPerNs;
  out_.negative_j = below_.value();
}

// ---- refusals ---------------------------------------------------------------------------------

void check(const EnergyCurve& curve, const SweepOptions& options) {
  const auto text = [](Ns from, Ns to) {
    return "[" + std::to_string(from) + ", " + std::to_string(to) + "]";
  };
  if (!std::isfinite(options.static_w) || options.static_w < 0.0) {
    throw std::invalid_argument("the static power must be finite and not negative");
  }
  if (options.to < options.from) {
    throw std::invalid_argument("the window " + text(options.from, options.to) +
                                " ends before it starts");
  }
  if (curve.empty()) throw std::invalid_argument("the curve has no points");
  if (options.from < curve.start() || options.to > curve.end()) {
    throw std::invalid_argument("the window " + text(options.from, options.to) +
                                " reaches outside the curve, which spans " +
                                text(curve.start(), curve.end()));
  }
}

void check(const Operations& in) {
  const std::size_t n = in.starts.size();
  if (in.ends.size() != n || (!in.weights.empty() && in.weights.size() != n)) {
    throw std::invalid_argument("starts, ends and weights differ in length");
  }
  if (n > UINT32_MAX) throw std::invalid_argument("too many operations");
  for (std::size_t i = 0; i < n; ++i) {
    if (in.ends[i] < in.starts[i]) {
      throw std::invalid_argument("operation " + std::to_string(i) + " ends before it starts (" +
                                  std::to_string(in.starts[i]) + ", " + std::to_string(in.ends[i]) +
                                  ")");
    }
  }
  for (std::size_t i = 0; i < in.weights.size(); ++i) {
    if (!(in.weights[i] >= 0.0) || std::isinf(in.weights[i])) {
      throw std::invalid_argument("the weight of operation " + std::to_string(i) +
                                  " must be finite and not negative, got " +
                                  std::to_string(in.weights[i]));
    }
  }
}

}  // namespace

SweepResult sweep(const EnergyCurve& curve, const Operations& operations,
                  const SweepOptions& options) {
  check(curve, options);
  check(operations);
  return Sweeper(curve, operations, options).run();
}

}  // namespace pyenergy
