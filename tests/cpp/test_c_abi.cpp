// SPDX-License-Identifier: Apache-2.0
// The C interface from several threads, and what it says of what it is given wrongly.
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "capi/description.h"
#include "capi/hub.h"
#include "include/pyenergy.h"

namespace {

std::string error() { return pyenergy_last_error(); }

bool says(const char* what) { return error().find(what) != std::string::npos; }

pyenergy_session* opened(const char* devices = "sim:ideal") {
  pyenergy_session* session = nullptr;
  REQUIRE(pyenergy_open(devices, nullptr, &session) == PYENERGY_OK);
  return session;
}

pyenergy_session* started() {
  pyenergy_session* const session = opened();
  REQUIRE(pyenergy_start(session) == PYENERGY_OK);
  return session;
}

pyenergy_result empty_result() {
  pyenergy_result result{};
  result.size = sizeof result;
  return result;
}

// No sampler lingers on: other tests fork, and in their children its thread would be nobody's.
struct Alone {
  ~Alone() { pyenergy::Hub::instance().stop_all(); }
};

}  // namespace

TEST_CASE("c abi: what is wrong is told, and nothing is written") {
  pyenergy_session* session = nullptr;
  CHECK(pyenergy_open(nullptr, nullptr, &session) == PYENERGY_ERR_ARGUMENT);
  CHECK(says("devices is NULL"));
  CHECK(pyenergy_open("sim:ideal", nullptr, nullptr) == PYENERGY_ERR_ARGUMENT);
  CHECK(pyenergy_open("warp:0", nullptr, &session) == PYENERGY_ERR_DEVICE);
  CHECK(says("unknown device 'warp:0'. This machine has: "));
  CHECK(pyenergy_open("sim:ideal + ", nullptr, &session) == PYENERGY_ERR_DEVICE);
  CHECK(pyenergy_open("replay:run.pyenergy", nullptr, &session) == PYENERGY_ERR_DEVICE);
  CHECK(says("read by Python"));
  CHECK(session == nullptr);
  CHECK(pyenergy_start(nullptr) == PYENERGY_ERR_ARGUMENT);
  CHECK(pyenergy_stop(reinterpret_cast<pyenergy_session*>(&session)) == PYENERGY_ERR_STATE);
  CHECK(says("no open session"));

  pyenergy_options options{sizeof options, -1.0};
  CHECK(pyenergy_open("sim:ideal", &options, &session) == PYENERGY_ERR_ARGUMENT);
  CHECK(says("from 0.001 to 20000 Hz"));
  options = {sizeof options + 8, 0.0};
  CHECK(pyenergy_open("sim:ideal", &options, &session) == PYENERGY_ERR_ABI);
  CHECK(says("newer pyenergy.h"));
  CHECK(pyenergy_get_api(PYENERGY_ABI_VERSION + 1) == nullptr);
  CHECK(says("upgrade pyenergy"));
  REQUIRE(pyenergy_get_api(1) != nullptr);
  CHECK(pyenergy_get_api(1)->size == sizeof(pyenergy_api));
}

TEST_CASE_FIXTURE(Alone, "c abi: a session is started, stopped and closed once") {
  pyenergy_session* const session = opened();
  int64_t start = 0, end = 0;
  CHECK(pyenergy_bounds(session, &start, &end) == PYENERGY_ERR_STATE);
  CHECK(says("pyenergy_start first"));
  CHECK(pyenergy_stop(session) == PYENERGY_ERR_STATE);
  CHECK(pyenergy_start(session) == PYENERGY_OK);
  CHECK(pyenergy_start(session) == PYENERGY_ERR_STATE);
  CHECK(pyenergy_save(session, "nowhere") == PYENERGY_ERR_STATE);
  CHECK(says("pyenergy_stop before"));
  CHECK(pyenergy_stop(session) == PYENERGY_OK);
  CHECK(pyenergy_stop(session) == PYENERGY_ERR_STATE);
  CHECK(pyenergy_bounds(session, &start, &end) == PYENERGY_OK);
  CHECK(end > start);
  CHECK(pyenergy_save(session, "/nowhere/run.pyenergy") == PYENERGY_ERR_SYSTEM);
  CHECK(says("/nowhere/run.pyenergy"));
  CHECK(pyenergy_close(session) == PYENERGY_OK);
  CHECK(pyenergy_close(session) == PYENERGY_ERR_STATE);
  CHECK(pyenergy_session_devices(session) == nullptr);
  CHECK(says("closed"));
  CHECK(pyenergy_close(nullptr) == PYENERGY_OK);
}

TEST_CASE_FIXTURE(Alone, "c abi: windows and marks are checked") {
  pyenergy_session* const session = started();
  const int64_t now = pyenergy_now();
  pyenergy_result result = empty_result();
  double joules = -1.0;
  const int64_t early = 1, late = now + 1'000'000'000'000;
  CHECK(pyenergy_energy(session, nullptr, PYENERGY_PLAIN, now, now - 1, &result) ==
        PYENERGY_ERR_WINDOW);
  CHECK(says("ends before it starts"));
  CHECK(pyenergy_windows(session, nullptr, PYENERGY_PLAIN, 1, &early, &now, &joules, nullptr) ==
        PYENERGY_ERR_WINDOW);
  CHECK(says("reaches outside the session"));
  CHECK(pyenergy_windows(session, nullptr, PYENERGY_PLAIN, 1, &now, &late, &joules, nullptr) ==
        PYENERGY_ERR_WINDOW);
  CHECK(pyenergy_windows(session, nullptr, PYENERGY_PLAIN, 1, &now, nullptr, &joules, nullptr) ==
        PYENERGY_ERR_ARGUMENT);
  CHECK(pyenergy_windows(session, nullptr, 7, 1, &now, &now, &joules, nullptr) ==
        PYENERGY_ERR_ARGUMENT);
  CHECK(pyenergy_windows(session, "gpu:9", PYENERGY_PLAIN, 1, &now, &now, &joules, nullptr) ==
        PYENERGY_ERR_DEVICE);
  CHECK(says("it has: gpu:0"));
  CHECK(joules == -1.0);
  CHECK(pyenergy_windows(session, nullptr, PYENERGY_PLAIN, 0, nullptr, nullptr, nullptr, nullptr) ==
        PYENERGY_OK);
  result.size = 8;
  CHECK(pyenergy_energy(session, nullptr, PYENERGY_PLAIN, now, now, &result) == PYENERGY_ERR_ABI);
  CHECK(says("set it to sizeof"));
  CHECK(pyenergy_mark(session, nullptr, now, now) == PYENERGY_ERR_ARGUMENT);
  CHECK(pyenergy_mark(session, "\xff", now, now) == PYENERGY_ERR_ARGUMENT);
  CHECK(pyenergy_mark(session, "m", early, now) == PYENERGY_ERR_WINDOW);
  CHECK(pyenergy_mark(session, "m", now, now) == PYENERGY_OK);
  CHECK(pyenergy_close(session) == PYENERGY_OK);
}

TEST_CASE_FIXTURE(Alone, "c abi: devices are shown, and their sessions' too") {
  pyenergy_device_list* list = nullptr;
  REQUIRE(pyenergy_find("sim:a100,h100", &list) == PYENERGY_OK);
  REQUIRE(pyenergy_device_count(list) == 2);
  pyenergy_device device{};
  CHECK(pyenergy_device_get(list, 1, &device) == PYENERGY_ERR_ABI);
  device.size = sizeof device;
  REQUIRE(pyenergy_device_get(list, 1, &device) == PYENERGY_OK);
  CHECK(device.id == std::string("gpu:1"));
  CHECK(device.architecture == std::string("hopper"));
  CHECK(device.is_estimate == 0);
  CHECK(std::strstr(device.notes, "computed, not measured") != nullptr);
  CHECK(pyenergy_device_get(list, 2, &device) == PYENERGY_ERR_ARGUMENT);
  pyenergy_device_list_free(list);
  pyenergy_session* const session = opened();
  CHECK(pyenergy_device_count(pyenergy_session_devices(session)) == 1);
  CHECK(pyenergy_close(session) == PYENERGY_OK);
}

TEST_CASE_FIXTURE(Alone, "c abi: threads ask one session while another closes it") {
  pyenergy_session* const session = started();
  int64_t start = 0, end = 0;
  REQUIRE(pyenergy_bounds(session, &start, &end) == PYENERGY_OK);
  std::atomic<int> wrong{0}, answers{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      for (;;) {
        pyenergy_result result = empty_result();
        const int64_t now = pyenergy_now();
        const int code = pyenergy_energy(session, nullptr, PYENERGY_PLAIN, start, now, &result);
        if (code == PYENERGY_ERR_STATE) return;  // closed
        if (code == PYENERGY_OK) ++answers;
        if (code != PYENERGY_OK || !(result.u_joules > 0.0)) ++wrong;
        if (pyenergy_mark(session, "work", start, now) == PYENERGY_ERR_STATE) return;
      }
    });
  }
  while (answers < 20) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(pyenergy_close(session) == PYENERGY_OK);
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("c abi: an error is the thread's own") {
  CHECK(pyenergy_start(nullptr) == PYENERGY_ERR_ARGUMENT);
  std::string other = "unset";
  std::thread([&] { other = pyenergy_last_error(); }).join();
  CHECK(other.empty());
  CHECK(says("NULL"));
}

TEST_CASE("c abi: text that JSON can hold") {
  for (const char* const fine : {"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", ""}) {
    CHECK(pyenergy::is_utf8(fine));
  }
  for (const char* const not_text :
       {"\x80", "\xc3", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5"}) {
    CHECK_FALSE(pyenergy::is_utf8(not_text));
  }
}
