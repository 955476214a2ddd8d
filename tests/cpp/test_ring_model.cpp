// SPDX-License-Identifier: Apache-2.0
// Exhaustive exploration of the ring's algorithm at capacity 2.
//
// Covered: every interleaving of the two sides' atomic steps (load of the opposite index, slot
// access, store of the own index) while kItems elements pass, with each load of the opposite index
// returning any value from the last one this side saw to the newest (what coherence allows an
// acquire load), and both consumer functions. Checked: what arrives, that no slot is touched
// without an acquired proof that the other side is done with it, and that no side starves.
// Not covered: the compiler and the code itself; ThreadSanitizer runs that (test_ring.cpp).
#include <doctest/doctest.h>

#include <array>
#include <set>
#include <string>
#include <tuple>
#include <vector>

namespace {

constexpr int kCapacity = 2, kItems = 6;

// Faults that the exploration must find, so that its silence about the ring means something.
enum class Fault { kNone, kOneTooMany, kPublishFirst, kFreeFirst };

struct State {
  int tail = 0, head = 0;             // shared
  std::array<int, kCapacity> slot{};  // 0: never written
  int head_cache = 0, producer_at = 0;
  int tail_cache = 0, consumer_at = 0;
  int taken = 0;    // consumer: elements of the present batch already read
  int arrived = 0;  // elements that have been read in all
  auto key() const {
    return std::tie(tail, head, slot, head_cache, producer_at, tail_cache, consumer_at, taken,
                    arrived);
  }
  bool operator<(const State& other) const { return key() < other.key(); }
};

class Model {
 public:
  Model(Fault fault, bool batches) : fault_(fault), batches_(batches) {}

  // Explores everything; empty, or what went wrong.
  std::string explore() {
    std::vector<State> open{State{}};
    while (!open.empty() && error_.empty()) {
      const State state = open.back();
      open.pop_back();
      if (!seen_.insert(state).second) continue;
      next_.clear();
      produce(state);
      consume(state);
      bool moves = false;
      for (const State& next : next_) moves |= next < state || state < next;
      const bool finished = state.arrived == kItems && state.head == kItems;
      if (finished) ++ends_;
      if (!moves && !finished) fail("both sides are stuck");
      open.insert(open.end(), next_.begin(), next_.end());
    }
    return error_;
  }
  std::size_t states() const { return seen_.size(); }
  std::size_t ends() const { return ends_; }

 private:
  void fail(const char* what) { error_ = what; }

  void produce(State s) {
    const int room = fault_ == Fault::kOneTooMany ? kCapacity + 1 : kCapacity;
    switch (s.producer_at) {
      case 0:  // is there room, as far as is known?
        if (s.tail == kItems) return;
        if (s.tail - s.head_cache < room) {
          s.producer_at = 1;
          next_.push_back(s);
          return;
        }
        for (int head = s.head_cache; head <= s.head; ++head) {
          State fresh = s;
          fresh.head_cache = head;  // when still full: this try_push fails, and is tried again
          next_.push_back(fresh);
        }
        return;
      case 1:  // first of: write the slot, publish
        fault_ == Fault::kPublishFirst ? publish(s) : write(s, s.tail);
        s.producer_at = 2;
        next_.push_back(s);
        return;
      default:
        fault_ == Fault::kPublishFirst ? write(s, s.tail - 1) : publish(s);
        s.producer_at = 0;
        next_.push_back(s);
    }
  }

  void publish(State& s) { ++s.tail; }
  void write(State& s, int index) {
    // The element that lies there must be known to be freed, by an acquired head.
    if (index - kCapacity >= s.head_cache) fail("a slot is written that may still be read");
    s.slot[static_cast<std::size_t>(index % kCapacity)] = index + 1;
  }

  void consume(State s) {
    switch (s.consumer_at) {
      case 0:
        if (s.head == kItems) return;
        if (!batches_ && s.head < s.tail_cache) {
          s.consumer_at = 1;
          next_.push_back(s);
          return;
        }
        for (int tail = s.tail_cache; tail <= s.tail; ++tail) {
          State fresh = s;
          fresh.tail_cache = tail;
          fresh.consumer_at = tail > s.head ? 1 : 0;
          next_.push_back(fresh);
        }
        return;
      case 1:  // first of: read the slots, free them
        if (fault_ == Fault::kFreeFirst) {
          s.taken = batch(s);
          s.head += s.taken;
          s.consumer_at = 2;
        } else {
          read(s, s.head + s.taken);
          if (++s.taken == batch(s)) s.consumer_at = 2;
        }
        next_.push_back(s);
        return;
      default:
        if (fault_ == Fault::kFreeFirst) {
          read(s, s.head - s.taken);
          if (--s.taken == 0) s.consumer_at = 0;
        } else {
          s.head += s.taken;
          s.taken = 0;
          s.consumer_at = 0;
        }
        next_.push_back(s);
    }
  }

  int batch(const State& s) const { return batches_ ? s.tail_cache - s.head : 1; }
  void read(State& s, int index) {
    if (index >= s.tail_cache) fail("a slot is read that was not published");
    if (s.slot[static_cast<std::size_t>(index % kCapacity)] != index + 1) fail("a wrong element");
    ++s.arrived;
  }

  const Fault fault_;
  const bool batches_;
  std::set<State> seen_;
  std::vector<State> next_;
  std::string error_;
  std::size_t ends_ = 0;
};

}  // namespace

TEST_SUITE_BEGIN("ring");

TEST_CASE("model check at capacity 2: no interleaving and no stale index breaks the ring") {
  for (const bool batches : {false, true}) {
    CAPTURE(batches);
    Model model(Fault::kNone, batches);
    CHECK(model.explore() == "");
    CHECK(model.ends() > 0);
    CHECK(model.states() > 100);  // it did explore
  }
}

TEST_CASE("the model check finds each planted fault") {
  for (const bool batches : {false, true}) {
    CAPTURE(batches);
    CHECK(Model(Fault::kOneTooMany, batches).explore() != "");
    CHECK(Model(Fault::kPublishFirst, batches).explore() == "a wrong element");
    CHECK(Model(Fault::kFreeFirst, batches).explore() == "a wrong element");
  }
}

TEST_SUITE_END();
