// SPDX-License-Identifier: Apache-2.0
// How DCGM 2, 3 and 4 start an engine inside the process: dcgmStartEmbeddedV2Params_v1, "added in
// DCGM 2.0.0" (dcgm_structs.h). Its deny list had one entry a module, 9 in DCGM 2 and 10 in DCGM 3,
// which padding makes the same size; DCGM 4 froze it at 10.
#pragma once

#include "abi/dcgm.h"

namespace pyenergy::dcgm {

struct StartParams1 {
  unsigned version;
  int operation_mode;
  Handle handle;         // out
  const char* log_file;  // null: no log
  int severity;
  unsigned deny_count;
  unsigned deny[10];
};

}  // namespace pyenergy::dcgm
