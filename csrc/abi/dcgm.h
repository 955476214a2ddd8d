// SPDX-License-Identifier: Apache-2.0
// The part of libdcgm's binary interface that is the same in DCGM 2, 3 and 4. Written from the
// facts of NVIDIA's public headers (github.com/NVIDIA/DCGM, dcgmlib/dcgm_structs.h, dcgm_agent.h,
// dcgm_fields.h at 72fa3fe, DCGM 4.6); tests/cpp/test_dcgm_abi.cpp holds the layouts against what
// NVIDIA's own Python bindings say.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pyenergy::dcgm {

using Handle = std::uintptr_t;
using Group = std::uintptr_t;
using FieldGroup = std::uintptr_t;

// dcgmReturn_t: those that are told apart here.
enum Code : int {
  kOk = 0,
  kBadParam = -1,
  kNotSupported = -6,
  kInitError = -7,
  kNvmlError = -8,
  kUninitialized = -10,
  kTimeout = -11,
  kVersionMismatch = -12,
  kUnknownField = -13,
  kNoData = -14,
  kStaleData = -15,
  kNotWatched = -16,
  kNoPermission = -17,
  kGpuIsLost = -18,
  kResetRequired = -19,
  kFunctionNotFound = -20,
  kConnectionNotValid = -21,
  kGpuNotSupported = -22,
  kLibraryNotFound = -25,
  kDuplicateKey = -26,
  kRequiresRoot = -29,
  kInsufficientSize = -31,
  kModuleNotLoaded = -33,
  kInUse = -34,
  kProfilingNotSupported = -36,
  kProfilingLibraryError = -37,
  kProfilingMultiPass = -38,
  kInsufficientDriver = -44,
  kPaused = -54,
  kNvmlNotLoaded = -56,
  kNvmlDriverTimeout = -57,
};

enum FieldId : unsigned short {
  kDriverVersion = 1,  // of the node, not of a GPU
  kName = 50,
  kUuid = 54,
  kPciBusId = 57,
  kComputeCapability = 63,  // major << 16 | minor
  kPowerUsage = 155,        // W: nvmlDeviceGetPowerUsage
  kTotalEnergy = 156,       // mJ
  kPowerInstant = 157,      // W: NVML's field 186; since DCGM 3
  kPowerLimitMax = 162,     // W
  kEnforcedPowerLimit = 164,
  kSmActive = 1002,  // the profiling fields: ratios of cycles
  kTensorActive = 1004,
  kDramActive = 1005,
  kFp64Active = 1006,
  kFp32Active = 1007,
  kFp16Active = 1008,
};

inline constexpr int kOperationAuto = 1;
inline constexpr int kLoggingNone = 0;
inline constexpr int kGroupEmpty = 1;
inline constexpr unsigned kEntityNone = 0, kEntityGpu = 1;
inline constexpr unsigned kLiveData = 1;
inline constexpr unsigned kMaxDevices = 32;

// Field types are ASCII letters.
inline constexpr unsigned short kTypeDouble = 'd', kTypeInt64 = 'i', kTypeString = 's';

// What stands where no value is: the base (no reason given) and the three kinds above it.
inline constexpr std::int64_t kInt64Blank = 0x7ffffffffffffff0;
inline constexpr double kFp64Blank = 140737488355328.0;  // 2^47
inline constexpr int kBlankNotFound = 1, kBlankNotSupported = 2, kBlankNotPermissioned = 3;

union Value {
  std::int64_t i64;
  double dbl;
  char str[256];
  char blob[4096];
};

struct FieldValue1 {
  unsigned version;
  unsigned short field_id, field_type;
  int status;
  std::int64_t ts_us;  // since 1970
  Value value;
};

struct FieldValue2 {
  unsigned version;
  unsigned entity_group, entity_id;
  unsigned short field_id, field_type;
  int status;
  unsigned unused;
  std::int64_t ts_us;  // since 1970
  Value value;
};

struct EntityPair {
  unsigned group, id;
};

struct ConnectParams2 {
  unsigned version;
  unsigned persist_after_disconnect;
  unsigned timeout_ms;
  unsigned address_is_unix_socket;
};

// MAKE_DCGM_VERSION: a structure is known by its size and its number.
template <typename T>
constexpr unsigned version_of(unsigned number) noexcept {
  return static_cast<unsigned>(sizeof(T)) | number << 24;
}

// Called with values of one entity, which are gone when it returns; negative stops.
using EntityValues = int (*)(unsigned entity_group, unsigned entity_id, FieldValue1* values,
                             int count, void* user);

}  // namespace pyenergy::dcgm
