// SPDX-License-Identifier: Apache-2.0
// A kernel file that holds one number, kept open and read again and again.
#pragma once

#include <cstdint>
#include <string>

namespace pyenergy {

class NumberFile {
 public:
  NumberFile() = default;  // closed: read() says EBADF
  // A text file of sysfs or procfs. When it cannot be opened, is_open() is false and error() is
  // the errno; what is no file (a pipe would make read() wait) is EINVAL.
  static NumberFile text(const std::string& path);
  // A 64-bit count that each read() gives anew, as perf_event_open's are. Takes the descriptor.
  static NumberFile count(int fd);
  // The low 32 bits of the 64-bit register at `address` of /dev/cpu/N/msr.
  static NumberFile msr(const std::string& path, std::uint32_t address);

  NumberFile(NumberFile&& other) noexcept;
  NumberFile& operator=(NumberFile&& other) noexcept;
  ~NumberFile();

  struct Value {
    double number;         // NaN unless status is 0
    std::int32_t status;   // errno; ENODATA: it was empty; EBADMSG: it holds something else
    bool garbage = false;  // it was read, and is no number
  };
  // Hot path: one system call; never throws, allocates, locks or logs.
  Value read() const noexcept;
  bool is_open() const noexcept { return fd_ >= 0; }
  int error() const noexcept { return error_; }

 private:
  enum class Format : std::uint8_t { kText, kCount, kRegister };
  NumberFile(int fd, Format format, std::uint32_t address, int error);
  static Value parse(const char* at, const char* end) noexcept;

  int fd_ = -1;
  Format format_ = Format::kText;
  std::uint32_t address_ = 0;
  int error_ = 0;
};

}  // namespace pyenergy
