// SPDX-License-Identifier: Apache-2.0
// What a DCGM host engine tells of its GPUs when asked at once, without a watch.
#pragma once

#include <string>
#include <vector>

#include "core/sensor.h"
#include "sensors/dcgm_engine.h"

namespace pyenergy {

// DCGM's numbers of the GPUs that it supports; empty with `code` when it does not answer.
std::vector<unsigned> dcgm_gpus(const DcgmEngine& engine, int* code = nullptr);

// A field's present value. A call that fails is an answer too.
DcgmAnswer dcgm_number(const DcgmEngine& engine, unsigned gpu, unsigned short field);
// Empty: not told.
std::string dcgm_text(const DcgmEngine& engine, unsigned gpu, unsigned short field);

DeviceInfo describe_dcgm(const DcgmEngine& engine, unsigned gpu);

}  // namespace pyenergy
