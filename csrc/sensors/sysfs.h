// SPDX-License-Identifier: Apache-2.0
// Where the kernel shows its devices, and small files there read while looking for sensors. Nothing
// here belongs into a sensor's read(): see number_file.h.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pyenergy {

// "/sys", or what PYENERGY_SYSFS_ROOT names; likewise PYENERGY_PROC_ROOT and PYENERGY_DEV_ROOT.
std::string sysfs_root();
std::string proc_root();
std::string dev_root();

struct SmallFile {
  std::string text;  // without white space at its ends
  int error = 0;     // errno; the text is empty then
};
SmallFile read_small(const std::string& path);
// Empty when the file cannot be read or holds anything but one finite number.
std::optional<double> read_number(const std::string& path);
// Empty when the file cannot be read or holds anything but one whole number that is not negative.
std::optional<int> read_count(const std::string& path);
bool exists(const std::string& path);

// Names of a directory, "hwmon2" before "hwmon10". An error leaves the list empty.
struct Names {
  std::vector<std::string> names;
  int error = 0;  // errno
};
Names list_names(const std::string& path);

// The digits that follow `prefix` and end the text ("package-1" after "package-"); else -1.
int number_after(std::string_view text, std::string_view prefix);
std::string joined(const std::vector<std::string>& parts, const char* between = ", ");

}  // namespace pyenergy
