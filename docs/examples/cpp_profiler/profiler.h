// SPDX-License-Identifier: Apache-2.0
// A profiler of scoped regions on pyenergy's C interface: stamps are kept while the program runs,
// and the energies of all regions are asked for once, at the end.
#pragma once

#include <pyenergy.h>

#include <cstdio>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

class Profiler {
 public:
  // Samples `devices` from here on. Throws std::runtime_error.
  explicit Profiler(const char* devices = "auto") {
    check(pyenergy_open(devices, nullptr, &session_));
    if (pyenergy_start(session_) == PYENERGY_OK) return;
    const std::string why = pyenergy_last_error();
    pyenergy_close(session_);
    throw std::runtime_error(why);
  }
  ~Profiler() { pyenergy_close(session_); }
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  // Lasts as long as its scope; regions may nest, and be of any thread.
  class Region {
   public:
    Region(Profiler& profiler, const char* name)
        : profiler_(profiler), name_(name), start_(pyenergy_now()) {}
    ~Region() { profiler_.add(name_, start_, pyenergy_now()); }
    Region(const Region&) = delete;
    Region& operator=(const Region&) = delete;

   private:
    Profiler& profiler_;
    const char* const name_;
    const std::int64_t start_;
  };

  // Ends sampling and prints a row for each name.
  void report(std::FILE* to) {
    check(pyenergy_stop(session_));
    std::vector<double> joules(names_.size()), u(names_.size());
    check(pyenergy_windows(session_, nullptr, PYENERGY_PLAIN, names_.size(), starts_.data(),
                           ends_.data(), joules.data(), u.data()));
    std::map<std::string, Row> rows;
    for (std::size_t i = 0; i < names_.size(); ++i) {
      Row& row = rows[names_[i]];
      row.count += 1;
      row.seconds += static_cast<double>(ends_[i] - starts_[i]) * 1e-9;
      row.joules += joules[i];
      // Regions on one card share its gain: their errors are added up as they are.
      row.u += u[i];
    }
    std::fprintf(to, "%-12s %6s %10s %12s %10s\n", "region", "count", "seconds", "joules", "u");
    for (const auto& [name, row] : rows) {
      std::fprintf(to, "%-12s %6d %10.3f %12.5g %10.2g\n", name.c_str(), row.count, row.seconds,
                   row.joules, row.u);
    }
  }

 private:
  struct Row {
    int count = 0;
    double seconds = 0.0, joules = 0.0, u = 0.0;
  };
  static void check(int code) {
    if (code != PYENERGY_OK) throw std::runtime_error(pyenergy_last_error());
  }
  void add(const char* name, std::int64_t start, std::int64_t end) {
    const std::lock_guard<std::mutex> lock(mutex_);
    names_.emplace_back(name);
    starts_.push_back(start);
    ends_.push_back(end);
  }

  pyenergy_session* session_ = nullptr;
  std::mutex mutex_;
  std::vector<std::string> names_;
  std::vector<std::int64_t> starts_, ends_;
};
