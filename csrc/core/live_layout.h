// SPDX-License-Identifier: Apache-2.0
// How a live recording lies on disk, layout version 1: NumPy's .npy files of fixed-size records
// (numpy.org/neps/nep-0001-npy-format), so that numpy.load reads them alone, also while they grow.
// pyenergy/recording/live_layout.py has the same layout for the reader.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "core/column_store.h"
#include "core/sample.h"

namespace pyenergy {

static_assert(std::endian::native == std::endian::little, "the files are little-endian");

// One run of one channel. 64 bytes behind a header of a multiple of that: a row never lies across
// two pages, and a process that is killed has written all of it or nothing.
struct LiveRow {
  Run run;
  std::uint64_t row;    // its place in the file: rows that were moved or lost are told
  std::uint64_t check;  // live_check() of all before it
};
static_assert(sizeof(LiveRow) == 64 && sizeof(Run) == 48);

// One raw sample of any channel, in the sensor's own unit.
struct TailSlot {
  Sample sample;
  std::uint64_t seq;    // how many samples came up to and with this one; 0: never written
  std::uint64_t check;  // live_check() of all before it
};
static_assert(sizeof(TailSlot) == 48);

inline constexpr std::size_t kLiveHeader = 512;
inline constexpr std::string_view kLiveRowFields =
    "[('t_first_ns', '<i8'), ('read_first_ns', '<i8'), ('t_last_ns', '<i8'), "
    "('read_last_ns', '<i8'), ('value', '<f8'), ('count', '<u4'), ('flags', '<u4'), "
    "('row', '<u8'), ('check', '<u8')]";
inline constexpr std::string_view kTailSlotFields =
    "[('t_ns', '<i8'), ('read_ns', '<i8'), ('value', '<f8'), ('channel', '<u2'), "
    "('flags', '<u2'), ('status', '<i4'), ('seq', '<u8'), ('check', '<u8')]";

// Every step is a bijection of the state for a given word and of the word for a given state: a
// change of one word always changes the result. `seed` is the file's own.
template <typename Record>
std::uint64_t live_check(std::uint64_t seed, const Record& record) noexcept {
  constexpr std::size_t kWords = sizeof(Record) / 8 - 1;  // all but the check itself
  std::array<std::uint64_t, kWords> words;
  std::memcpy(words.data(), &record, sizeof words);
  std::uint64_t h = seed;
  for (const std::uint64_t word : words) {
    h = (h ^ word) * 0x9e3779b97f4a7c15u;
    h ^= h >> 29;
  }
  return h;
}

// The header of a file of `rows` records, kLiveHeader bytes. The number is padded to a fixed width:
// it is rewritten in place as rows are added.
std::string live_header(std::string_view fields, std::uint64_t rows);
// Where the number stands, and the bytes that it takes.
std::size_t live_rows_at(std::string_view fields) noexcept;
inline constexpr std::size_t kLiveRowsWidth = 20;
std::string live_rows_text(std::uint64_t rows);

}  // namespace pyenergy
