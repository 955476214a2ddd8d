// SPDX-License-Identifier: Apache-2.0
// One number from one system call.
#include "sensors/number_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <limits>
#include <utility>

namespace pyenergy {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

bool is_space(char c) noexcept { return c == ' ' || c == '\t' || c == '\n' || c == '\0'; }

}  // namespace

NumberFile::NumberFile(int fd, Format format, std::uint32_t address, int error)
    : fd_(fd), format_(format), address_(address), error_(error) {}

NumberFile NumberFile::text(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return {-1, Format::kText, 0, errno};
  struct stat found{};
  if (::fstat(fd, &found) == 0 && S_ISREG(found.st_mode)) return {fd, Format::kText, 0, 0};
  ::close(fd);
  return {-1, Format::kText, 0, EINVAL};
}

NumberFile NumberFile::count(int fd) { return {fd, Format::kCount, 0, fd < 0 ? EBADF : 0}; }

NumberFile NumberFile::msr(const std::string& path, std::uint32_t address) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  return {fd, Format::kRegister, address, fd < 0 ? errno : 0};
}

NumberFile::NumberFile(NumberFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      format_(other.format_),
      address_(other.address_),
      error_(other.error_) {}

NumberFile& NumberFile::operator=(NumberFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  format_ = other.format_;
  address_ = other.address_;
  error_ = other.error_;
  return *this;
}

NumberFile::~NumberFile() {
  if (fd_ >= 0) ::close(fd_);
}

// Whole numbers only, as the ABI of powercap and hwmon has it; white space may follow.
NumberFile::Value NumberFile::parse(const char* at, const char* end) noexcept {
  std::int64_t value = 0;
  const auto [next, error] = std::from_chars(at, end, value);
  if (error != std::errc{}) return {kNaN, EBADMSG, true};
  for (const char* rest = next; rest < end; ++rest) {
    if (!is_space(*rest)) return {kNaN, EBADMSG, true};
  }
  return {static_cast<double>(value), 0, false};
}

NumberFile::Value NumberFile::read() const noexcept {
  std::array<char, 64> text;
  std::uint64_t raw = 0;
  ssize_t n = 0;
  switch (format_) {
    case Format::kText:
      n = ::pread(fd_, text.data(), text.size(), 0);
      break;
    case Format::kCount:  // a perf descriptor cannot seek
      n = ::read(fd_, &raw, sizeof(raw));
      break;
    case Format::kRegister:
      n = ::pread(fd_, &raw, sizeof(raw), address_);
      break;
  }
  if (n < 0) return {kNaN, errno, false};
  if (n == 0) return {kNaN, ENODATA, false};
  if (format_ == Format::kText) return parse(text.data(), text.data() + n);
  if (n != sizeof(raw)) return {kNaN, EBADMSG, true};
  if (format_ == Format::kRegister) raw &= 0xffffffffU;
  return {static_cast<double>(raw), 0, false};
}

}  // namespace pyenergy
