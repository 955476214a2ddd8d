// SPDX-License-Identifier: Apache-2.0
// libdcgm's functions, looked up at run time, and what its errors mean to a user.
#pragma once

#include <string>

#include "abi/dcgm.h"
#include "sensors/dynlib.h"

namespace pyenergy {

// None is null once load_dcgm() has succeeded, but for those marked.
struct DcgmApi {
  template <typename... Args>
  using Function = int (*)(Args...);
  using Handle = dcgm::Handle;

  DynLib library;
  Function<> init = nullptr;
  Function<void*> start_embedded_v2 = nullptr;      // may be null
  Function<int, Handle*> start_embedded = nullptr;  // may be null
  Function<const char*, dcgm::ConnectParams2*, Handle*> connect = nullptr;
  Function<Handle> disconnect = nullptr;
  const char* (*error_string)(int) = nullptr;  // may be null
  Function<Handle, unsigned*, int*> devices = nullptr;
  Function<Handle, int, const char*, dcgm::Group*> create_group = nullptr;
  Function<Handle, dcgm::Group, unsigned> add_device = nullptr;
  Function<Handle, dcgm::Group> destroy_group = nullptr;
  Function<Handle, int, const unsigned short*, const char*, dcgm::FieldGroup*> create_fields =
      nullptr;
  Function<Handle, dcgm::FieldGroup> destroy_fields = nullptr;
  Function<Handle, dcgm::Group, dcgm::FieldGroup, long long, double, int> watch = nullptr;
  Function<Handle, dcgm::Group, dcgm::FieldGroup> unwatch = nullptr;
  Function<Handle, int> update_all = nullptr;
  Function<Handle, dcgm::Group, dcgm::FieldGroup, long long, long long*, dcgm::EntityValues, void*>
      values_since = nullptr;
  Function<Handle, dcgm::EntityPair*, unsigned, unsigned short*, unsigned, unsigned,
           dcgm::FieldValue2*>
      latest = nullptr;

  std::string error_text(int code) const;
};

struct DcgmLoad {
  const DcgmApi* api = nullptr;  // lives until the process ends; null: reason and fix say why
  std::string reason, fix;
};

// Loads and initialises libdcgm once per process; a failure is tried again at the next call. The
// library is $PYENERGY_DCGM_LIBRARY, or else the newest installed of versions 4, 3 and 2.
DcgmLoad load_dcgm();

// What a user can do about an error, or empty.
std::string dcgm_fix(int code);
// Who may read performance counters, and how to let others.
extern const char* const kProfilingFix;

// DCGM's codes are negative, which a sample's 16 bits of status would not show: readings carry them
// without the sign, and what DCGM puts in the place of a value as one of these.
enum DcgmStatus : int {
  kStatusBlank = 1000,  // DCGM gave no value and no reason
  kStatusNotFound = 1001,
  kStatusNotSupported = 1002,
  kStatusNotPermissioned = 1003,
  kStatusStrangeType = 1004,  // the value is not a number
  kStatusStrangeTime = 1005,  // the value's stamp is not of this machine's clock
};
// "status 18: the GPU is lost", for users.
std::string dcgm_status_text(int status);

// A field's value as a reading has it. `status` 0: `value` is what DCGM gave, possible or not.
struct DcgmAnswer {
  int status = -dcgm::kNoData;
  double value = 0.0;
};
DcgmAnswer dcgm_answer(int status, unsigned short type, const dcgm::Value& value) noexcept;

}  // namespace pyenergy
