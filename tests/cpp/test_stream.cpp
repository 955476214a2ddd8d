// SPDX-License-Identifier: Apache-2.0
// The life of a stream's thread: held, shared, lingering, stopped, hung, destroyed, forked.
#include <doctest/doctest.h>
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

#include "live_stream.h"

using namespace pyenergy;

namespace {

// A read that hangs until it is let go.
struct Gate {
  std::mutex mutex;
  std::condition_variable changed;
  bool open = true, inside = false;
  void pass() {
    std::unique_lock lock(mutex);
    inside = !open;
    changed.wait(lock, [&] { return open; });
    inside = false;
  }
  void set(bool is_open) {
    const std::lock_guard lock(mutex);
    open = is_open;
    changed.notify_all();
  }
  bool hangs() {
    const std::lock_guard lock(mutex);
    return inside;
  }
};

}  // namespace

TEST_SUITE_BEGIN("stream");

TEST_CASE("a thread samples while it is held, and its signals go elsewhere") {
  std::atomic<bool> blocked{false}, named{false};
  const auto stream = live([&](ReadGroup group, std::span<Reading> out) {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    blocked = sigismember(&mask, SIGINT) == 1 && sigismember(&mask, SIGTERM) == 1;
    char name[16] = {};
    pthread_getname_np(pthread_self(), name, sizeof name);
    named = std::string(name) == "pyenergy";
    return five(group, out);
  });
  CHECK_FALSE(stream->running());
  stream->acquire();
  CHECK(stream->running());
  CHECK(eventually([&] { return stream->stats().polls > 3; }));
  stream->drain();
  CHECK(stream->recording()->store(0).last_t() > 0);
  CHECK(blocked);
  CHECK(named);
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  CHECK(sigismember(&mask, SIGINT) == 0);  // ours is as it was
  stream->release(0);
  CHECK(eventually([&] { return !stream->running(); }));
}

TEST_CASE("two holders: the thread goes on until both have let go, then lingers") {
  const auto stream = live();
  stream->acquire();
  stream->acquire();
  const auto recording = stream->recording();
  stream->release(0);
  const auto polls = stream->stats().polls.load();
  CHECK(eventually([&] { return stream->stats().polls > polls + 3; }));
  CHECK(stream->running());
  stream->release(60 * kSecond);
  const auto later = stream->stats().polls.load();
  CHECK(eventually([&] { return stream->stats().polls > later + 3; }));
  CHECK(stream->running());  // lingers
  stream->acquire();
  CHECK(stream->recording() == recording);  // joined the one that lingered
  CHECK(stream->stop());
  CHECK_FALSE(stream->running());
}

TEST_CASE("the next start has a new recording; the old one keeps what it has") {
  const auto stream = live();
  stream->acquire();
  const auto first = stream->recording();
  CHECK(eventually([&] { return stream->stats().polls > 2; }));
  CHECK(stream->stop());
  first->seal();
  const std::size_t rows = first->store(0).size();
  CHECK(rows > 0);
  stream->acquire();
  CHECK(stream->recording() != first);
  CHECK(eventually([&] {
    stream->drain();
    return stream->recording()->store(0).last_t() > first->store(0).last_t();
  }));
  CHECK(stream->stop());
  CHECK(first->store(0).size() == rows);
}

TEST_CASE("acquire and self-end race, again and again, without losing a hold") {
  const auto stream = live();
  for (int i = 0; i < 200; ++i) {
    stream->acquire();
    REQUIRE(stream->running());
    const auto polls = stream->stats().polls.load();
    if (i % 10 == 0) REQUIRE(eventually([&] { return stream->stats().polls > polls + 1; }));
    stream->release(0);
  }
  CHECK(eventually([&] { return !stream->running(); }));
}

TEST_CASE("a hold that comes while the thread is about to end keeps it") {
  // The thread itself lets go in its read, and takes hold again in the clock's second call after
  // it: the one by which it finds that its linger time is over.
  struct Interposed final : Clock {
    std::function<void()> second_call;
    mutable int calls = 2;
    Ns now() const noexcept override {
      if (++calls == 2 && second_call) second_call();
      return monotonic_ns();
    }
    void sleep_until(Ns deadline) noexcept override { SystemClock().sleep_until(deadline); }
  };
  const auto clock = std::make_shared<Interposed>();
  std::shared_ptr<Stream> stream;
  int reads = 0;
  StreamOptions options;
  options.slow_period = 1'000 * kSecond;
  stream = stream_of(
      [&](ReadGroup group, std::span<Reading> out) {
        if (++reads == 5) {
          clock->second_call = [&] { stream->acquire(); };
          stream->release(0);
          clock->calls = 0;
        }
        return five(group, out);
      },
      clock, options);
  stream->acquire();
  CHECK(eventually([&] { return stream->stats().polls > 20; }));
  CHECK(stream->running());
  CHECK(stream->stop());
}

TEST_CASE("a sensor that has finished ends its thread while it is held") {
  std::atomic<int> reads{0};
  const auto stream = stream_of(
      [&](ReadGroup group, std::span<Reading> out) {
        reads += group == ReadGroup::kFast;
        return five(group, out);
      },
      std::make_shared<SystemClock>(), {}, [&] { return reads >= 3; });
  stream->acquire();
  CHECK(eventually([&] { return !stream->running(); }));
  CHECK(reads == 3);
  stream->acquire();  // starts, finds that there is nothing more, ends
  CHECK(eventually([&] { return !stream->running(); }));
  CHECK(reads == 4);
}

TEST_CASE("a stop takes no hold away: the next thread goes on for those who still hold") {
  const auto stream = live();
  stream->acquire();
  CHECK(stream->stop());
  stream->acquire();
  stream->release(0);
  const auto polls = stream->stats().polls.load();
  CHECK(eventually([&] { return stream->stats().polls > polls + 3; }));
  CHECK(stream->running());
  stream->release(0);
  CHECK(eventually([&] { return !stream->running(); }));
  stream->release(0);  // one too many: there is no hold below none
  stream->acquire();
  const auto later = stream->stats().polls.load();
  CHECK(eventually([&] { return stream->stats().polls > later + 3; }));
  CHECK(stream->stop());
}

TEST_CASE("a stop waits for its own thread, not for one that was started meanwhile") {
  for (int round = 0; round < 100; ++round) {
    const auto stream = live();
    stream->acquire();
    const auto first = stream->recording();
    bool stopped = false;
    std::jthread stopper([&] { stopped = stream->stop(kSecond); });
    // Joins the thread that is about to end, is refused while it ends, and at last starts another.
    while (stream->recording() == first) {
      try {
        stream->acquire();
      } catch (const std::runtime_error&) {
      }
    }
    stopper.join();
    CHECK(stopped);
    CHECK(stream->stop());
  }
}

TEST_CASE("a stream that is destroyed while it runs takes its sensor along") {
  auto part = std::make_shared<int>(0);
  const std::weak_ptr<int> sensor = part;
  auto stream = live([part = std::move(part)](ReadGroup group, std::span<Reading> out) {
    return five(group, out);
  });
  stream->acquire();
  CHECK(eventually([&] { return stream->stats().polls > 2; }));
  CHECK_FALSE(sensor.expired());
  stream.reset();
  // The collector may be looking at it for a moment more.
  CHECK(eventually([&] { return sensor.expired(); }));
}

TEST_CASE("a read that hangs: stop gives up in time, and nothing breaks when it returns") {
  const auto gate = std::make_shared<Gate>();
  auto stream = live([gate](ReadGroup group, std::span<Reading> out) {
    gate->pass();
    return five(group, out);
  });
  gate->set(false);
  stream->acquire();
  REQUIRE(eventually([&] { return gate->hangs(); }));
  const Ns before = monotonic_ns();
  CHECK_FALSE(stream->stop(20 * kMs));
  CHECK(monotonic_ns() - before >= 20 * kMs);
  CHECK(monotonic_ns() - before < 2 * kSecond);
  CHECK(stream->running());
  CHECK_THROWS_AS(stream->acquire(), std::runtime_error);  // the sensor is still in use
  SUBCASE("and it can start again afterwards") {
    gate->set(true);
    REQUIRE(eventually([&] { return !stream->running(); }));
    stream->acquire();
    const auto polls = stream->stats().polls.load();
    CHECK(eventually([&] { return stream->stats().polls > polls + 2; }));
    CHECK(stream->stop());
  }
  SUBCASE("also when the stream is gone by then") {
    std::weak_ptr<Recording> recording = stream->recording();
    std::thread destroyer([&] { stream.reset(); });
    gate->set(true);
    destroyer.join();
    CHECK(eventually([&] { return recording.expired(); }));
  }
}

TEST_CASE("in a forked child everything is forgotten, nothing waits") {
  const auto stream = live();
  stream->acquire();
  const auto recording = stream->recording();
  // What a child would do; here the thread goes on beside it, which the leak keeps safe.
  stream->abandon_after_fork();
  CHECK_FALSE(stream->running());
  CHECK_THROWS_AS(stream->acquire(), std::runtime_error);
  CHECK(stream->recording() == recording);
  CHECK(stream->stop());
  stream->release(0);
  stream->drain();
}

TEST_SUITE_END();
