// SPDX-License-Identifier: Apache-2.0
// Parses /proc/cpuinfo and matches the model's name to the TDP table.
#include "sensors/cpu_model.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <set>

#include "sensors/tdp_table.h"

namespace pyenergy {
namespace {

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

int to_int(std::string_view text) {
  int value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// "Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz" -> " Intel Xeon Gold 6248 @ 2.50GHz "
std::string normalised(std::string name) {
  for (const std::string_view noise : {"(R)", "(TM)", "(r)", "(tm)", "CPU"}) {
    for (auto at = name.find(noise); at != std::string::npos; at = name.find(noise)) {
      name.replace(at, noise.size(), " ");
    }
  }
  std::string words = " ";
  for (const char c : name) {
    if (c != ' ' || words.back() != ' ') words += c;
  }
  if (words.back() != ' ') words += ' ';
  return words;
}

const TdpEntry* find_tdp(const std::string& model) {
  const std::string name = normalised(model);
  const TdpEntry* best = nullptr;
  for (const TdpEntry& entry : kTdpTable) {
    const std::string word = " " + std::string(entry.model) + " ";
    if (name.find(word) == std::string::npos) continue;
    if (best == nullptr || entry.model.size() > best->model.size()) best = &entry;
  }
  return best;
}

template <typename... Args>
std::string format(const char* pattern, Args... args) {
  std::array<char, 256> text;
  std::snprintf(text.data(), text.size(), pattern, args...);
  return text.data();
}

}  // namespace

CpuInfo parse_cpuinfo(std::string_view text) {
  CpuInfo cpu;
  std::set<int> packages;
  int siblings = 0, cores = 0;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    const std::string_view key = trim(line.substr(0, colon));
    const std::string_view value = trim(line.substr(colon + 1));
    if (key == "processor") ++cpu.threads;
    if (key == "model name" && cpu.model.empty()) cpu.model = value;
    if (key == "physical id") packages.insert(to_int(value));
    if (key == "siblings") siblings = to_int(value);
    if (key == "cpu cores") cores = to_int(value);
    if (key == "flags" && !cpu.guest) {
      cpu.guest = (" " + std::string(value) + " ").find(" hypervisor ") != std::string::npos;
    }
  }
  cpu.packages = cpu.threads == 0 ? 0 : std::max(1, static_cast<int>(packages.size()));
  cpu.smt = siblings > cores;
  return cpu;
}

CpuPowerModel power_model(const CpuInfo& cpu) {
  CpuPowerModel model;
  const TdpEntry* entry = find_tdp(cpu.model);
  if (entry == nullptr) {
    model.tdp_w = CpuPowerModel::kUnknownWattsPerThread * cpu.threads;
    model.how = format("model not in the table: %g W for each of %d visible CPU threads",
                       CpuPowerModel::kUnknownWattsPerThread, cpu.threads);
    return model;
  }
  // A guest's CPU is a hardware thread, however its topology is presented; on bare metal with SMT
  // off a package shows one thread a core.
  const int package_threads = cpu.guest || cpu.smt ? entry->threads : entry->cores;
  // A guest's packages are invented too: only its number of threads says which share it has.
  const double packages = cpu.guest ? 1e9 : cpu.packages;
  const double share = std::min(packages, static_cast<double>(cpu.threads) / package_threads);
  model.tdp_w = entry->tdp_w * share;
  model.how = format("TDP of %.*s: %g W a package of %d threads, %d visible, share %.4g",
                     static_cast<int>(entry->model.size()), entry->model.data(), entry->tdp_w,
                     package_threads, cpu.threads, share);
  return model;
}

}  // namespace pyenergy
