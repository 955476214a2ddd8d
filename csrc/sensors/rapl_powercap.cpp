// SPDX-License-Identifier: Apache-2.0
// RAPL through /sys/class/powercap (the kernel's Documentation/power/powercap/powercap.rst): a zone
// intel-rapl:0 is a package or the platform, intel-rapl:0:1 a part of it; AMD's have the same name.
// intel-rapl-mmio is another way to the same packages.
#include <cerrno>
#include <cstring>

#include "sensors/rapl_domain.h"
#include "sensors/sysfs.h"

namespace pyenergy {
namespace {

constexpr double kMicro = 1e-6;  // energy_uj, power_limit_uw

struct Zone {
  std::string key, name, path;
};

bool is_zone(const std::string& key) {
  return key.starts_with("intel-rapl:") || key.starts_with("intel-rapl-mmio:");
}

// "package-1-die-0" -> 1 and 0. False for any other name.
bool parse_package(const std::string& name, RaplDomain& domain) {
  const auto die = name.find("-die-");
  domain.package = number_after(name.substr(0, die), "package-");
  if (die != std::string::npos) domain.die = number_after(name.substr(die), "-die-");
  return domain.package >= 0 && (die == std::string::npos || domain.die >= 0);
}

// Kind and package of a zone; false where its name means nothing to us.
bool classify(const Zone& zone, const std::string& parent, RaplDomain& domain) {
  using Kind = RaplDomain::Kind;
  domain.name = zone.name;
  if (parse_package(zone.name, domain)) {
    domain.kind = Kind::kPackage;
    return true;
  }
  if (zone.name == "psys") {
    domain.kind = Kind::kPlatform;
    domain.package = 0;
    return true;
  }
  if (zone.name == "core")
    domain.kind = Kind::kCores;
  else if (zone.name == "uncore")
    domain.kind = Kind::kUncore;
  else if (zone.name == "dram")
    domain.kind = Kind::kDram;
  else
    return false;
  return parse_package(parent, domain);
}

// The largest of the zone's limits where they are enforced and mean something: firmware writes
// 4095 W and the like for "none".
double enforced_limit(const std::string& path) {
  double largest = std::numeric_limits<double>::quiet_NaN();
  if (read_number(path + "/enabled").value_or(0.0) != 1.0) return largest;
  for (int i = 0; i < 4; ++i) {
    const auto limit = read_number(path + "/constraint_" + std::to_string(i) + "_power_limit_uw");
    if (!limit || *limit <= 0.0 || *limit * kMicro > kLargestPackageW) continue;
    if (!(largest >= *limit * kMicro)) largest = *limit * kMicro;
  }
  return largest;
}

// The same counter was already found by the other driver.
bool is_known(const RaplFound& found, const RaplDomain& domain) {
  for (const RaplDomain& other : found.domains) {
    if (other.kind == domain.kind && other.package == domain.package && other.die == domain.die) {
      return true;
    }
  }
  return false;
}

class Search {
 public:
  RaplFound run() {
    const std::string folder = sysfs_root() + "/class/powercap";
    for (const std::string& key : list_names(folder).names) {
      if (is_zone(key)) look_at({key, {}, folder + "/" + key});
    }
    // The zones of the processor's registers come first: "intel-rapl-mmio:0" < "intel-rapl:0".
    for (const char* driver : {"intel-rapl:", "intel-rapl-mmio:"}) {
      for (const Zone& zone : zones_) {
        if (zone.key.starts_with(driver)) add(zone);
      }
    }
    found_.way = "powercap";
    explain(folder);
    return std::move(found_);
  }

 private:
  void look_at(Zone zone) {
    const SmallFile name = read_small(zone.path + "/name");
    if (name.error != 0) {
      hidden_ += name.error == ENOENT ? 1 : 0;
      if (name.error != ENOENT) refuse(zone.key, name.error);
      return;
    }
    zone.name = name.text;
    zones_.push_back(std::move(zone));
  }

  void add(const Zone& zone) {
    RaplDomain domain;
    if (!classify(zone, name_of_parent(zone.key), domain)) {
      strange_.push_back(zone.key + " ('" + zone.name + "')");
      return;
    }
    if (is_known(found_, domain)) return;
    domain.path = zone.path + "/energy_uj";
    domain.scale = kMicro;
    domain.modulus = read_number(zone.path + "/max_energy_range_uj").value_or(0.0);
    domain.limit_w = enforced_limit(zone.path);
    domain.counter = NumberFile::text(domain.path);
    const int error =
        domain.counter.is_open() ? domain.counter.read().status : domain.counter.error();
    if (error != 0) return refuse(domain.name + " (" + zone.key + ")", error);
    found_.domains.push_back(std::move(domain));
  }

  std::string name_of_parent(const std::string& key) const {
    const std::string parent = key.substr(0, key.rfind(':'));
    for (const Zone& zone : zones_) {
      if (zone.key == parent) return zone.name;
    }
    return {};
  }

  void refuse(const std::string& what, int error) {
    found_.unreadable.push_back(what + ": " + std::strerror(error));
    denied_ = denied_ || error == EACCES || error == EPERM;
  }

  void explain(const std::string& folder) {
    std::vector<std::string> reasons;
    if (!found_.unreadable.empty()) {
      reasons.push_back("energy_uj cannot be read: " + joined(found_.unreadable));
      found_.fix = denied_ ? rapl_permission_fix() : "see dmesg for what the kernel says of RAPL";
    }
    if (hidden_ > 0) {
      reasons.push_back(
          "the zones' files are hidden, as containers do (/sys/devices/virtual/powercap)");
      found_.fix =
          "docker run --security-opt systempaths=unconfined ..., or podman run --security-opt "
          "unmask=/sys/devices/virtual/powercap ...";
    }
    if (!strange_.empty()) reasons.push_back("zones that are not known: " + joined(strange_));
    if (zones_.empty() && hidden_ == 0) {
      reasons.push_back("no RAPL zone in " + folder);
      found_.fix = "sudo modprobe intel_rapl_msr (AMD's too; intel_rapl before Linux 5.3)";
    }
    found_.reason = joined(reasons, "; ");
  }

  RaplFound found_;
  std::vector<Zone> zones_;
  std::vector<std::string> strange_;
  int hidden_ = 0;
  bool denied_ = false;
};

}  // namespace

RaplFound find_rapl_powercap() { return Search().run(); }

}  // namespace pyenergy
