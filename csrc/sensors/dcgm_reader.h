// SPDX-License-Identifier: Apache-2.0
// Fields of one GPU that a DCGM host engine reads on its own clock, as readings on ours.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/clock.h"
#include "core/sensor.h"
#include "sensors/dcgm_engine.h"

namespace pyenergy {

// What DCGM is told to watch: it exists between the constructor and the destructor.
class DcgmWatch {
 public:
  DcgmWatch(std::shared_ptr<DcgmEngine> engine, unsigned gpu,
            const std::vector<unsigned short>& fields, Ns interval);
  ~DcgmWatch();
  DcgmWatch(const DcgmWatch&) = delete;
  DcgmWatch& operator=(const DcgmWatch&) = delete;

  int code() const noexcept { return code_; }  // not kOk: nothing is watched, and why
  // Hands all values from `since_us` on to `values`; `next_us` is where the next call goes on.
  int drain(std::int64_t since_us, long long& next_us, dcgm::EntityValues values,
            void* user) const noexcept;
  const DcgmEngine& engine() const noexcept { return *engine_; }

 private:
  int start(unsigned gpu, const std::vector<unsigned short>& fields, Ns interval);

  const std::shared_ptr<DcgmEngine> engine_;
  dcgm::Group group_ = 0;
  dcgm::FieldGroup fields_ = 0;
  bool has_group_ = false, has_fields_ = false;
  int code_;
};

// FP32 / 2 + FP64 activity, as the power models count it, from halves that arrive one by one.
class FpActive {
 public:
  // False: the other half of that time is not there yet.
  bool add(bool is_fp64, std::int64_t ts_us, const DcgmAnswer& answer, DcgmAnswer& sum) noexcept;

 private:
  struct Half {
    std::int64_t ts_us = 0;
    DcgmAnswer answer;
    bool is_fp64 = false, waits = false;
  };
  std::array<Half, 64> halves_{};
  std::size_t next_ = 0;
};

struct DcgmReaderOptions {
  Ns interval = 100 * kMs;
  // A value belongs to the time from its stamp to this much later at most.
  Ns slack = 0;
  int fp_channel = -1;  // >= 0: gets FpActive of the fields 1006 and 1007
  ClockAnchor (*anchor)() = [] { return take_anchor(8); };
};

class DcgmReader {
 public:
  struct Field {
    unsigned short id;
    std::uint16_t channel;
  };
  static constexpr std::size_t kMaxReadings = 1024;

  // `watch` watches these fields at options.interval.
  DcgmReader(std::unique_ptr<DcgmWatch> watch, std::vector<Field> fields,
             DcgmReaderOptions options);

  // What is new, at most once every half interval. A field that stays silent, or whose value is
  // blank, is missing with a DcgmStatus. `first` is added to every channel.
  std::size_t read(std::span<Reading> out, std::uint16_t first = 0) noexcept;
  // How long it may have nothing new to say although all is well.
  Ns longest_silence() const noexcept { return 5 * options_.interval; }

 private:
  struct Line {
    std::uint16_t channel;
    unsigned short id;            // 0: computed
    std::int64_t last_us = 0;     // stamp of the newest value
    std::int64_t strange_us = 0;  // the latest stamp that cannot be
    Ns heard = 0;                 // when something was last said of it, a failure included
    bool gap = false, had = false;
  };
  static int take(unsigned group, unsigned entity, dcgm::FieldValue1* values, int count,
                  void* self) noexcept;
  void follow_clock(const ClockAnchor& anchor) noexcept;
  bool value(const dcgm::FieldValue1& value) noexcept;
  void put(Line& line, const DcgmAnswer& answer, Ns t, Ns read) noexcept;
  void put_missing(Line& line, int status) noexcept;

  const std::unique_ptr<DcgmWatch> watch_;
  const DcgmReaderOptions options_;
  const bool local_;
  std::vector<Line> lines_;  // sized once; with fp_channel, its line is the last
  FpActive fp_;
  std::span<Reading> out_;  // of the call under way, as is what follows
  std::size_t used_ = 0;
  std::uint16_t first_ = 0;
  Ns now_ = 0;
  bool overrun_ = false;
  Ns offset_ = 0;    // monotonic minus Unix time
  Ns previous_ = 0;  // when the last call was made; 0: never
  std::int64_t since_us_ = 0;
};

}  // namespace pyenergy
