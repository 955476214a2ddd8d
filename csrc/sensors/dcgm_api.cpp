// SPDX-License-Identifier: Apache-2.0
// Loads libdcgm and resolves its functions.
#include "sensors/dcgm_api.h"

#include <cmath>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <utility>

namespace pyenergy {
namespace {

constexpr const char* kInstall =
    "install DCGM from NVIDIA's CUDA repository: sudo apt-get install "
    "datacenter-gpu-manager-4-core (or dnf)";

DynLib open_library() {
  const char* chosen = ::secure_getenv("PYENERGY_DCGM_LIBRARY");
  if (chosen != nullptr && *chosen != '\0') return DynLib({chosen});
  return DynLib({"libdcgm.so.4", "libdcgm.so.3", "libdcgm.so.2"});
}

// Null when all is there, else the name of the first essential function that is not.
const char* find_functions(DcgmApi& api) {
  const char* missing = nullptr;
  const auto optional = [&](auto& function, const char* name) {
    function = api.library.symbol<std::decay_t<decltype(function)>>({name});
  };
  const auto essential = [&](auto& function, const char* name) {
    optional(function, name);
    if (function == nullptr && missing == nullptr) missing = name;
  };
  essential(api.init, "dcgmInit");
  optional(api.start_embedded_v2, "dcgmStartEmbedded_v2");
  optional(api.start_embedded, "dcgmStartEmbedded");
  essential(api.connect, "dcgmConnect_v2");
  essential(api.disconnect, "dcgmDisconnect");
  optional(api.error_string, "errorString");
  essential(api.devices, "dcgmGetAllSupportedDevices");
  essential(api.create_group, "dcgmGroupCreate");
  essential(api.add_device, "dcgmGroupAddDevice");
  essential(api.destroy_group, "dcgmGroupDestroy");
  essential(api.create_fields, "dcgmFieldGroupCreate");
  essential(api.destroy_fields, "dcgmFieldGroupDestroy");
  essential(api.watch, "dcgmWatchFields");
  essential(api.unwatch, "dcgmUnwatchFields");
  essential(api.update_all, "dcgmUpdateAllFields");
  essential(api.values_since, "dcgmGetValuesSince_v2");
  essential(api.latest, "dcgmEntitiesGetLatestValues");
  return missing;
}

// 0: not blank. Else the status of the kind of blank.
int blank_status(double above_base) noexcept {
  if (!(above_base >= 0.0)) return 0;
  if (above_base == dcgm::kBlankNotFound) return kStatusNotFound;
  if (above_base == dcgm::kBlankNotSupported) return kStatusNotSupported;
  if (above_base == dcgm::kBlankNotPermissioned) return kStatusNotPermissioned;
  return kStatusBlank;
}

}  // namespace

const char* const kProfilingFix =
    "run as root or with CAP_SYS_ADMIN (docker run --cap-add SYS_ADMIN), or let every user "
    "profile: "
    "echo 'options nvidia NVreg_RestrictProfilingToAdminUsers=0' | sudo tee "
    "/etc/modprobe.d/nvidia-profiling.conf, then reboot (grep RmProfilingAdminOnly "
    "/proc/driver/nvidia/params must say 0), or let a host engine of root's read: sudo systemctl "
    "start nvidia-dcgm, then PYENERGY_DCGM=localhost:5555";

std::string DcgmApi::error_text(int code) const {
  const char* text = error_string == nullptr ? nullptr : error_string(code);
  const std::string number = "DCGM error " + std::to_string(code);
  return text == nullptr ? number : std::string(text) + " (" + number + ")";
}

std::string dcgm_fix(int code) {
  switch (code) {
    case dcgm::kNoPermission:
    case dcgm::kRequiresRoot:
      return kProfilingFix;
    case dcgm::kModuleNotLoaded:
      return "install DCGM's profiling module: sudo apt-get install "
             "datacenter-gpu-manager-4-proprietary (or dnf)";
    case dcgm::kConnectionNotValid:
    case dcgm::kTimeout:
      return "start the host engine (sudo systemctl start nvidia-dcgm) and check its host and port "
             "(5555 unless it was told otherwise)";
    case dcgm::kInUse:
    case dcgm::kProfilingLibraryError:
      return "end what else reads performance counters (Nsight, ncu, another host engine), or read "
             "through the host engine that runs already: PYENERGY_DCGM=localhost:5555";
    case dcgm::kPaused:
      return "dcgmi profile --resume";
    case dcgm::kNvmlNotLoaded:
    case dcgm::kNvmlError:
    case dcgm::kInsufficientDriver:
      return "check the NVIDIA driver: nvidia-smi must list the GPUs";
    case dcgm::kLibraryNotFound:
      return kInstall;
    case dcgm::kVersionMismatch:
      return "libdcgm and the host engine are of different versions: install the same DCGM for "
             "both";
    case dcgm::kGpuIsLost:
    case dcgm::kResetRequired:
      return "reset the GPU (sudo nvidia-smi --gpu-reset -i INDEX) or reboot; dmesg | grep Xid "
             "tells the cause";
    default:
      return {};
  }
}

std::string dcgm_status_text(int status) {
  const char* text = nullptr;
  switch (status) {
    case kStatusBlank:
      text = "DCGM gave a blank without a reason";
      break;
    case kStatusNotFound:
      text = "DCGM gave a blank: not found";
      break;
    case kStatusNotSupported:
      text = "DCGM gave a blank: not supported by this GPU";
      break;
    case kStatusNotPermissioned:
      text = "DCGM gave a blank: no permission";
      break;
    case kStatusStrangeType:
      text = "DCGM gave something that is not a number";
      break;
    case kStatusStrangeTime:
      text = "DCGM's time stamps are not of this machine's clock";
      break;
    case -dcgm::kNoData:
      text = "DCGM has no value yet";
      break;
    case -dcgm::kStaleData:
      text = "DCGM gave nothing new";
      break;
    case -dcgm::kTimeout:
      text = "DCGM answers too slowly";
      break;
    case -dcgm::kGpuIsLost:
      text = "the GPU is lost";
      break;
    case -dcgm::kConnectionNotValid:
      text = "the host engine is gone";
      break;
    default:
      text = "DCGM error";
  }
  return "status " + std::to_string(status) + ": " + text;
}

DcgmAnswer dcgm_answer(int status, unsigned short type, const dcgm::Value& value) noexcept {
  if (status != dcgm::kOk) return {status < 0 ? -status : status};
  if (type == dcgm::kTypeDouble) {
    return {blank_status(value.dbl - dcgm::kFp64Blank), value.dbl};
  }
  if (type != dcgm::kTypeInt64) return {kStatusStrangeType};
  const bool blank = value.i64 >= dcgm::kInt64Blank;
  return {blank ? blank_status(static_cast<double>(value.i64 - dcgm::kInt64Blank)) : 0,
          static_cast<double>(value.i64)};
}

DcgmLoad load_dcgm() {
  static std::mutex mutex;
  static const DcgmApi* loaded = nullptr;
  const std::lock_guard lock(mutex);
  if (loaded != nullptr) return {loaded, {}, {}};
  auto api = std::make_unique<DcgmApi>();
  api->library = open_library();
  if (!api->library.is_open()) {
    return {nullptr, "libdcgm cannot be loaded: " + api->library.error(), kInstall};
  }
  if (const char* missing = find_functions(*api); missing != nullptr) {
    return {nullptr, api->library.path() + " has no function " + missing + ": not a DCGM 2 to 4",
            kInstall};
  }
  if (const int code = api->init(); code != dcgm::kOk) {
    return {nullptr, "DCGM does not start: " + api->error_text(code), dcgm_fix(code)};
  }
  // Never shut down or freed: its threads and our samplers' may outlive static destruction.
  loaded = api.release();
  return {loaded, {}, {}};
}

}  // namespace pyenergy
