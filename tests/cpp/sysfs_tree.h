// SPDX-License-Identifier: Apache-2.0
// A directory that stands in for /sys, /proc and /dev while it lives.
#pragma once

#include <sys/fsuid.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace pyenergy {

class SysfsTree {
 public:
  SysfsTree()
      : root_(std::filesystem::temp_directory_path() / ("sysfs" + std::to_string(getpid()))) {
    for (const char* part : {"sys", "proc", "dev"})
      std::filesystem::create_directories(root_ / part);
    setenv("PYENERGY_SYSFS_ROOT", (root_ / "sys").c_str(), 1);
    setenv("PYENERGY_PROC_ROOT", (root_ / "proc").c_str(), 1);
    setenv("PYENERGY_DEV_ROOT", (root_ / "dev").c_str(), 1);
  }
  ~SysfsTree() {
    for (const char* name : {"PYENERGY_SYSFS_ROOT", "PYENERGY_PROC_ROOT", "PYENERGY_DEV_ROOT"}) {
      unsetenv(name);
    }
    std::filesystem::remove_all(root_);
  }
  SysfsTree(const SysfsTree&) = delete;
  SysfsTree& operator=(const SysfsTree&) = delete;

  std::filesystem::path path(const std::string& name) const { return root_ / name; }
  // As the kernel writes: with a newline, and over what is there.
  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories(path(name).parent_path());
    std::ofstream(path(name)) << text << "\n";
  }
  void write(const std::string& name, long long number) const {
    write(name, std::to_string(number));
  }
  void remove(const std::string& name) const { std::filesystem::remove_all(path(name)); }
  void link(const std::string& name, const std::string& target) const {
    std::filesystem::create_directories(path(name).parent_path());
    std::filesystem::create_symlink(target, path(name));
  }
  // As powercap's energy_uj since CVE-2020-8694: for root alone.
  void close(const std::string& name) const {
    std::filesystem::permissions(path(name), std::filesystem::perms::none);
  }
  // One zone of powercap with the files that every kernel gives it.
  void zone(const std::string& key, const std::string& name, long long energy_uj,
            long long range_uj = 262'143'328'850) const {
    const std::string folder = "sys/class/powercap/" + key + "/";
    write(folder + "name", name);
    write(folder + "enabled", 1);
    write(folder + "energy_uj", energy_uj);
    write(folder + "max_energy_range_uj", range_uj);
  }
  void energy(const std::string& key, long long energy_uj) const {
    write("sys/class/powercap/" + key + "/energy_uj", energy_uj);
  }
  void cpuinfo(const std::string& vendor, const std::string& more = "") const {
    write("proc/cpuinfo", "processor\t: 0\nvendor_id\t: " + vendor +
                              "\ncpu family\t: 6\nmodel\t\t: 85\nmodel name\t: Test CPU 1\n" +
                              more);
  }

 private:
  const std::filesystem::path root_;
};

// This thread's access to files as of a user without rights, also where root runs the tests.
class AsNobody {
 public:
  AsNobody() { setfsuid(65534); }
  ~AsNobody() { setfsuid(geteuid()); }
  AsNobody(const AsNobody&) = delete;
  AsNobody& operator=(const AsNobody&) = delete;
};

}  // namespace pyenergy
