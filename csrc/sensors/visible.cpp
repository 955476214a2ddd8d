// SPDX-License-Identifier: Apache-2.0
// CUDA's rules of which devices a process sees.
#include "sensors/visible.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

namespace pyenergy {
namespace {

using Gpus = std::vector<DeviceInfo>;
using Strings = std::vector<std::string>;

std::string quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

std::string stripped(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n\r\f\v";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(kSpace) - first + 1));
}

Strings entries_of(std::string_view text) {
  Strings entries;
  for (std::size_t from = 0; from <= text.size();) {
    const std::size_t comma = std::min(text.find(',', from), text.size());
    entries.push_back(stripped(text.substr(from, comma - from)));
    from = comma + 1;
  }
  // A trailing comma names nothing, and nothing follows it.
  if (entries.back().empty()) entries.pop_back();
  return entries;
}

DeviceError unknown(const std::string& entry, const Gpus& gpus, bool after) {
  std::string listing;
  const auto add = [&](const std::string& name) {
    if (!name.empty()) listing += (listing.empty() ? "" : ", ") + name;
  };
  for (std::size_t i = 0; i < gpus.size(); ++i) add(std::to_string(i));
  for (const DeviceInfo& gpu : gpus) add(gpu.uuid);
  for (const DeviceInfo& gpu : gpus) std::ranges::for_each(gpu.mig_uuids, add);
  return DeviceError("CUDA_VISIBLE_DEVICES: " + quoted(entry) +
                     " names no device in this list, and CUDA " +
                     (after ? "ignores it and all that follows" : "shows no GPU at all") +
                     ". This machine has: " + (listing.empty() ? "no GPU" : listing));
}

DeviceError repeated(const std::string& entry) {
  return DeviceError("CUDA_VISIBLE_DEVICES: " + quoted(entry) +
                     " names a device twice, and CUDA then shows none");
}

VisibleGpu visible(const DeviceInfo& gpu, std::string mig_uuid, Strings notes = {}) {
  if (gpu.mig_enabled) {
    notes.emplace_back("power and energy are of the whole GPU, not of one MIG instance");
  }
  return {gpu, std::move(mig_uuid), std::move(notes)};
}

std::pair<Gpus, Strings> cuda_order(Gpus gpus, const char* order) {
  std::ranges::stable_sort(gpus, {}, &DeviceInfo::index);
  const std::string_view how = order == nullptr ? "" : order;
  if (how == "PCI_BUS_ID") return {gpus, {}};
  Strings notes;
  if (!how.empty() && how != "FASTEST_FIRST") {
    notes.push_back("CUDA_DEVICE_ORDER=" + quoted(how) + " is unknown: taken as FASTEST_FIRST");
  }
  std::set<std::string> names;
  for (const DeviceInfo& gpu : gpus) names.insert(gpu.name);
  if (names.size() > 1) {
    const bool scored = std::ranges::all_of(gpus, [](const auto& g) { return g.speed_score > 0; });
    notes.push_back(std::string("CUDA's FASTEST_FIRST order is ") +
                    (scored ? "guessed from cores x clock" : "unknown for some of these GPUs") +
                    ": set CUDA_DEVICE_ORDER=PCI_BUS_ID to be sure which GPU an index means");
  }
  std::ranges::stable_sort(gpus, std::ranges::greater{}, &DeviceInfo::speed_score);
  return {gpus, notes};
}

// The number with which an entry begins, and how long it is; beyond any device: the largest.
std::optional<std::pair<long, std::size_t>> leading_number(std::string_view entry) {
  constexpr long kMost = 1'000'000;
  std::size_t at = !entry.empty() && (entry[0] == '+' || entry[0] == '-') ? 1 : 0;
  const std::size_t digits = at;
  long number = 0;
  for (; at < entry.size() && std::isdigit(static_cast<unsigned char>(entry[at])) != 0; ++at) {
    number = std::min(kMost, number * 10 + (entry[at] - '0'));
  }
  if (at == digits) return std::nullopt;
  return std::pair{entry[0] == '-' ? -number : number, at};
}

std::vector<VisibleGpu> by_index(const Strings& entries, const Gpus& ordered, Strings notes) {
  std::vector<std::size_t> chosen;
  for (const std::string& entry : entries) {
    const auto found = leading_number(entry);
    if (!found) throw unknown(entry, ordered, !chosen.empty());
    const auto [number, length] = *found;
    if (length != entry.size()) {
      notes.push_back("CUDA_VISIBLE_DEVICES: " + quoted(entry) + " is read as " +
                      entry.substr(0, length) + ", as CUDA does");
    }
    if (number < 0) break;  // the documented way to end the list
    const auto index = static_cast<std::size_t>(number);
    if (index >= ordered.size()) throw unknown(entry, ordered, !chosen.empty());
    if (std::ranges::find(chosen, index) != chosen.end()) throw repeated(entry);
    chosen.push_back(index);
  }
  std::vector<VisibleGpu> found;
  for (const std::size_t index : chosen) found.push_back(visible(ordered[index], "", notes));
  return found;
}

// The GPU of an instance as it was named before driver 470: MIG-GPU-<uuid>/<instance>/<compute>.
std::optional<std::string> old_mig_gpu(std::string_view entry) {
  if (!entry.starts_with("MIG-GPU-") || std::ranges::count(entry, '/') != 2) return std::nullopt;
  const std::size_t first = entry.find('/'), second = entry.rfind('/');
  const auto number = [](std::string_view text) {
    return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
  };
  const bool fits = first > 8 && number(entry.substr(first + 1, second - first - 1)) &&
                    number(entry.substr(second + 1));
  if (!fits) return std::nullopt;
  return std::string(entry.substr(4, first - 4));
}

// (GPU, instance) that an entry may mean.
std::vector<std::pair<const DeviceInfo*, std::string>> matches_of(const std::string& entry,
                                                                  const Gpus& gpus) {
  std::vector<std::pair<const DeviceInfo*, std::string>> found;
  const bool mig = entry.starts_with("MIG-");
  const std::optional<std::string> old = mig ? old_mig_gpu(entry) : std::nullopt;
  for (const DeviceInfo& gpu : gpus) {
    if (!mig && gpu.uuid.starts_with(entry)) found.emplace_back(&gpu, "");
    if (old && gpu.mig_enabled && gpu.uuid == *old) found.emplace_back(&gpu, entry);
    if (!mig || old) continue;
    for (const std::string& uuid : gpu.mig_uuids) {
      if (uuid.starts_with(entry)) found.emplace_back(&gpu, uuid);
    }
  }
  return found;
}

std::vector<VisibleGpu> by_uuid(const Strings& entries, const Gpus& gpus) {
  const std::string prefix = entries.front().substr(0, 4);
  std::vector<VisibleGpu> chosen;
  for (const std::string& entry : entries) {
    if (!entry.starts_with(prefix)) throw unknown(entry, gpus, true);
    const auto matches = matches_of(entry, gpus);
    if (matches.empty()) throw unknown(entry, gpus, !chosen.empty());
    if (matches.size() > 1) {
      std::string names;
      for (const auto& [gpu, mig] : matches) {
        names += (names.empty() ? "" : ", ") + (mig.empty() ? gpu->uuid : mig);
      }
      throw DeviceError("CUDA_VISIBLE_DEVICES: " + quoted(entry) +
                        " is ambiguous, it may be any of " + names);
    }
    const auto& [gpu, mig] = matches.front();
    for (const VisibleGpu& other : chosen) {
      if (other.info.uuid == gpu->uuid && other.mig_uuid == mig) throw repeated(entry);
    }
    chosen.push_back(visible(*gpu, mig));
  }
  const auto instances =
      std::ranges::count_if(chosen, [](const VisibleGpu& v) { return !v.mig_uuid.empty(); });
  for (VisibleGpu& gpu : chosen) {
    if (instances < 2) break;
    gpu.notes.emplace_back("several MIG instances are listed: CUDA may use only the first");
  }
  return chosen;
}

}  // namespace

std::vector<VisibleGpu> visible_gpus(const std::vector<DeviceInfo>& gpus, const char* visible_list,
                                     const char* order) {
  const auto [ordered, notes] = cuda_order(gpus, order);
  if (visible_list == nullptr) {
    std::vector<VisibleGpu> all;
    for (const DeviceInfo& gpu : ordered) all.push_back(visible(gpu, "", notes));
    return all;
  }
  const std::string text = stripped(visible_list);
  // "NoDevFiles" is what Slurm writes for a job without GPUs.
  if (text.empty() || text == "NoDevFiles") return {};
  const Strings entries = entries_of(visible_list);
  const bool named = entries.front().starts_with("GPU-") || entries.front().starts_with("MIG-");
  return named ? by_uuid(entries, gpus) : by_index(entries, ordered, notes);
}

}  // namespace pyenergy
