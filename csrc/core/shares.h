// SPDX-License-Identifier: Apache-2.0
// Sharing by weight among what runs. A share is the difference of two readings of a running sum
// (energy per unit of weight), taken where an operation starts and where it ends, so that an
// overlap of any depth costs nothing extra. What must not get lost in such differences is kept to
// twice the digits.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace pyenergy {

__extension__ typedef __int128 Wide;

// A sum to twice the digits of a double.
class Sum {
 public:
  void add(double x) noexcept {
    const double sum = hi_ + x, part = sum - hi_;
    const double low = lo_ + ((hi_ - (sum - part)) + (x - part));
    hi_ = sum + low;
    lo_ = low - (hi_ - sum);
  }
  double value() const noexcept { return hi_ + lo_; }
  double since(const Sum& before) const noexcept { return (hi_ - before.hi_) + (lo_ - before.lo_); }

 private:
  double hi_ = 0.0, lo_ = 0.0;
};

// A weight as scaled * 2^(kClassBits * cls + const), scaled in [1, 2^kClassBits). Each class has
// running sums of its own, so that weights of 1e-300 and 1e300 can overlap without loss.
inline constexpr int kClassBits = 40;
inline constexpr int kLeastExponent = -1074;  // of a positive double
inline constexpr std::uint32_t kClasses = (1024 - kLeastExponent + kClassBits - 1) / kClassBits;
inline constexpr std::uint32_t kNoWeight = kClasses;  // weighs nothing; its scaled weight is 1
static_assert(kClasses < 64, "the classes that run are bits of a word");

struct Weight {
  double scaled = 1.0;
  std::uint32_t cls = 0;

  static Weight of(double w) noexcept {
    if (w == 0.0) return {1.0, kNoWeight};
    const int above = std::ilogb(w) - kLeastExponent;
    const int cls = above / kClassBits;
    return {std::scalbn(w, -(kLeastExponent + cls * kClassBits)), static_cast<std::uint32_t>(cls)};
  }
  // 52 binary places hold any scaled weight; 127 bits hold the sum of 2^34 of them, exactly.
  Wide fixed() const noexcept { return static_cast<Wide>(scaled * 0x1p52); }
};

// Running sums per unit of weight, over the segments in which several operations run.
class Shares {
 public:
  struct Reading {
    Sum dynamic;  // J per unit of scaled weight
    Sum time;     // s, likewise
  };

  void enter(const Weight& weight) noexcept {
    Class& c = classes_[weight.cls];
    if (c.running++ == 0) {
      c.sum = {};
      if (weight.cls != kNoWeight) present_ |= std::uint64_t{1} << weight.cls;
    }
    c.weight += weight.fixed();
  }
  void leave(const Weight& weight) noexcept {
    Class& c = classes_[weight.cls];
    c.weight -= weight.fixed();
    if (--c.running == 0 && weight.cls != kNoWeight) {
      present_ &= ~(std::uint64_t{1} << weight.cls);
    }
  }
  const Reading& read(const Weight& weight) const noexcept { return classes_[weight.cls].sum; }

  void share(double dynamic, double time) noexcept {
    if (present_ == 0) {
      add(classes_[kNoWeight], 1.0 / static_cast<double>(classes_[kNoWeight].running), dynamic,
          time);
    } else if (std::has_single_bit(present_)) {
      Class& c = classes_[static_cast<std::size_t>(std::countr_zero(present_))];
      add(c, 1.0 / weight_of(c), dynamic, time);
    } else {
      share_classes(dynamic, time);
    }
  }

 private:
  struct Class {
    Wide weight = 0;  // of those that run, 52 binary places
    std::size_t running = 0;
    Reading sum;
  };

  static double weight_of(const Class& c) noexcept {
    return static_cast<double>(c.weight) * 0x1p-52;
  }
  static void add(Class& c, double unit, double dynamic, double time) noexcept {
    c.sum.dynamic.add(dynamic * unit);
    c.sum.time.add(time * unit);
  }
  template <typename Visit>
  void each(Visit visit) noexcept {
    const int top = 63 - std::countl_zero(present_);
    for (std::uint64_t rest = present_; rest != 0; rest &= rest - 1) {
      const int cls = std::countr_zero(rest);
      visit(classes_[static_cast<std::size_t>(cls)], std::scalbn(1.0, kClassBits * (cls - top)));
    }
  }
  void share_classes(double dynamic, double time) noexcept {
    double all = 0.0;  // in units of the heaviest class
    each([&](const Class& c, double scale) { all += weight_of(c) * scale; });
    each([&](Class& c, double scale) { add(c, scale / all, dynamic, time); });
  }

  std::array<Class, kClasses + 1> classes_{};
  std::uint64_t present_ = 0;  // classes with weight that run
};

}  // namespace pyenergy
