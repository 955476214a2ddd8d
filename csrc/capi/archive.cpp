// SPDX-License-Identifier: Apache-2.0
// Writes recordings: NumPy's .npy members, stored in a ZIP archive (PKWARE's APPNOTE 6.3.3) whose
// directory says where each is.
#include "capi/archive.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <system_error>

#include "capi/description.h"

namespace pyenergy {
namespace {

static_assert(std::endian::native == std::endian::little, "the members are little-endian");

constexpr std::array<std::uint32_t, 256> crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ ((c & 1) != 0 ? 0xedb88320u : 0u);
    table[i] = c;
  }
  return table;
}

// CRC-32 of a text that goes on from one with the checksum `before`.
std::uint32_t crc32(std::string_view text, std::uint32_t before = 0) {
  static constexpr auto kTable = crc_table();
  std::uint32_t c = ~before;
  for (const char byte : text) c = kTable[(c ^ static_cast<unsigned char>(byte)) & 0xff] ^ (c >> 8);
  return ~c;
}

std::string little(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i) & 0xff);
  return text;
}

// A file beside its target that takes the target's place when it is whole.
class Part {
 public:
  explicit Part(std::string target)
      : target_(std::move(target)),
        path_(target_ + "." + std::to_string(getpid()) + "." + std::to_string(gettid()) + ".part") {
    struct stat there{};
    if (stat(target_.c_str(), &there) == 0 && !S_ISREG(there.st_mode)) {
      // A device or a pipe would be gone.
      throw std::system_error(EINVAL, std::generic_category(),
                              "cannot write " + target_ + ": it is not a file");
    }
    // A new one: the name may be somebody's link by now.
    unlink(path_.c_str());
    fd_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd_ < 0) fail();
  }
  ~Part() {
    if (fd_ < 0) return;
    close(fd_);
    unlink(path_.c_str());
  }
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;

  void write(std::string_view bytes) {
    at_ += bytes.size();
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail();
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  void finish() {
    if (close(std::exchange(fd_, -1)) != 0 || rename(path_.c_str(), target_.c_str()) != 0) {
      const int error = errno;
      unlink(path_.c_str());
      throw std::system_error(error, std::generic_category(), "cannot write " + target_);
    }
  }
  std::uint64_t at() const noexcept { return at_; }

 private:
  [[noreturn]] void fail() const {
    throw std::system_error(errno, std::generic_category(), "cannot write " + target_);
  }
  const std::string target_, path_;
  int fd_ = -1;
  std::uint64_t at_ = 0;
};

class Archive {
 public:
  explicit Archive(std::string path) : file_(std::move(path)) {}

  template <typename T>
  void add(const std::string& name, std::string_view dtype, std::span<const T> values) {
    const std::string_view bytes(reinterpret_cast<const char*>(values.data()), values.size_bytes());
    add(name, npy_header(dtype, values.size()), bytes);
  }

  void finish() {
    const std::uint64_t from = file_.at();
    file_.write(directory_);
    const std::uint64_t length = file_.at() - from;
    refuse_beyond(file_.at());
    file_.write(std::string("PK\x05\x06") + little(0, 4) + little(members_, 2) +
                little(members_, 2) + little(length, 4) + little(from, 4) + little(0, 2));
    file_.finish();
  }

 private:
  static std::string npy_header(std::string_view dtype, std::size_t rows) {
    std::string text = "{'descr': '" + std::string(dtype) +
                       "', 'fortran_order': False, 'shape': (" + std::to_string(rows) + ",), }";
    text.resize((text.size() + 11 + 63) / 64 * 64 - 11, ' ');
    text += '\n';
    return std::string("\x93NUMPY\x01\x00", 8) + little(text.size(), 2) + text;
  }

  // Beyond 4 GiB and 65535 members the layout is another.
  static void refuse_beyond(std::uint64_t bytes) {
    if (bytes <= UINT32_MAX) return;
    throw std::system_error(EFBIG, std::generic_category(),
                            "a recording of more than 4 GiB cannot be saved");
  }

  void add(const std::string& name, const std::string& header, std::string_view bytes) {
    const std::uint64_t size = header.size() + bytes.size(), place = file_.at();
    refuse_beyond(place + size);
    const std::string file = name + ".npy";
    // Version needed, flags (names are UTF-8), stored, time and date (1980-01-01), ...
    const std::string entry = little(20, 2) + little(0x800, 2) + little(0, 2) + little(0, 2) +
                              little(0x21, 2) + little(crc32(bytes, crc32(header)), 4) +
                              little(size, 4) + little(size, 4) + little(file.size(), 2) +
                              little(0, 2);
    file_.write(std::string("PK\x03\x04") + entry + file);
    file_.write(header);
    file_.write(bytes);
    directory_ +=
        std::string("PK\x01\x02") + little(20, 2) + entry + little(0, 10) + little(place, 4) + file;
    if (++members_ == 0xffff) refuse_beyond(UINT64_MAX);
  }

  Part file_;
  std::string directory_;
  std::uint32_t members_ = 0;
};

void add_runs(Archive& archive, const std::string& channel, const ChannelRuns& runs) {
  archive.add(channel + "/t_first_ns", "<i8", runs.t_first);
  archive.add(channel + "/read_first_ns", "<i8", runs.read_first);
  archive.add(channel + "/t_last_ns", "<i8", runs.t_last);
  archive.add(channel + "/read_last_ns", "<i8", runs.read_last);
  archive.add(channel + "/value", "<f8", runs.value);
  archive.add(channel + "/count", "<u4", runs.count);
  archive.add(channel + "/flags", "<u4", runs.flags);
}

}  // namespace

void write_recording(const std::string& path, const Snapshot& snapshot,
                     const std::vector<SessionMark>& marks, const std::vector<std::string>& notes,
                     const std::array<ClockAnchor, 2>& anchors) {
  Archive archive(path);
  const std::string meta = describe_recording(snapshot, marks, notes, anchors);
  archive.add("meta", "|u1", std::span<const char>(meta));
  for (const DeviceReadings& read : snapshot.devices) {
    for (std::size_t i = 0; i < read.runs.size(); ++i) {
      const std::string& channel = read.recording->channels()[i].name;
      add_runs(archive, read.device.id + "/" + channel, read.runs[i]);
    }
  }
  archive.finish();
}

}  // namespace pyenergy
