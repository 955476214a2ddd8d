// SPDX-License-Identifier: Apache-2.0
// Roots, small files and directories.
#include "sensors/sysfs.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>

namespace pyenergy {
namespace {

std::string root(const char* variable, const char* usual) {
  const char* set = std::getenv(variable);
  return set != nullptr && *set != '\0' ? set : usual;
}

std::string trimmed(std::string_view text) {
  constexpr std::string_view kSpace(" \t\r\n\0", 5);
  const auto first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(kSpace) - first + 1));
}

}  // namespace

std::string sysfs_root() { return root("PYENERGY_SYSFS_ROOT", "/sys"); }
std::string proc_root() { return root("PYENERGY_PROC_ROOT", "/proc"); }
std::string dev_root() { return root("PYENERGY_DEV_ROOT", "/dev"); }

SmallFile read_small(const std::string& path) {
  // A pipe in the place of a file must not hang the search.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return {.text = {}, .error = errno};
  std::array<char, 4096> text;  // sysfs shows at most a page
  const ssize_t n = ::read(fd, text.data(), text.size());
  const int error = n < 0 ? errno : 0;
  ::close(fd);
  if (n < 0) return {.text = {}, .error = error};
  return {.text = trimmed({text.data(), static_cast<std::size_t>(n)}), .error = 0};
}

std::optional<double> read_number(const std::string& path) {
  const std::string text = read_small(path).text;
  double value = 0.0;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || error != std::errc{} || at != end || !std::isfinite(value)) {
    return std::nullopt;
  }
  return value;
}

std::optional<int> read_count(const std::string& path) {
  const int value = number_after(" " + read_small(path).text, " ");
  return value >= 0 ? std::optional(value) : std::nullopt;
}

bool exists(const std::string& path) {
  struct stat found{};
  return ::stat(path.c_str(), &found) == 0;
}

Names list_names(const std::string& path) {
  Names found;
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) {
    found.error = errno;
    return found;
  }
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_name[0] != '.') found.names.emplace_back(entry->d_name);
  }
  ::closedir(directory);
  std::ranges::sort(found.names, [](const std::string& a, const std::string& b) {
    return ::strverscmp(a.c_str(), b.c_str()) < 0;
  });
  return found;
}

int number_after(std::string_view text, std::string_view prefix) {
  if (!text.starts_with(prefix) || text.size() == prefix.size()) return -1;
  text.remove_prefix(prefix.size());
  int value = -1;
  const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc{} && at == text.data() + text.size();
  return whole && value >= 0 ? value : -1;
}

std::string joined(const std::vector<std::string>& parts, const char* between) {
  std::string all;
  for (const std::string& part : parts) all += (all.empty() ? "" : between) + part;
  return all;
}

}  // namespace pyenergy
