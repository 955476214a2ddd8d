// SPDX-License-Identifier: Apache-2.0
// How DCGM 4.3 and newer start an engine inside the process: dcgmStartEmbeddedV2Params_v3, "added
// in DCGM 4.3" (dcgm_structs.h at 72fa3fe).
#pragma once

#include "abi/dcgm.h"

namespace pyenergy::dcgm {

struct StartParams3 {
  unsigned version;
  int operation_mode;
  Handle handle;         // out
  const char* log_file;  // null: no log
  int severity;
  unsigned deny_count;
  const char* service_account;  // null: this process's own
  unsigned deny[16];
};

}  // namespace pyenergy::dcgm
