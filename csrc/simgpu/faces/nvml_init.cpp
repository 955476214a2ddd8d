// SPDX-License-Identifier: Apache-2.0
// Initialisation; the `broken` library lacks it.
#include "simgpu/faces/nvml_face.h"

using namespace pyenergy::simgpu;

nvmlReturn_t nvmlInit_v2(void) { return face::initialise(); }
nvmlReturn_t nvmlInit(void) { return face::initialise(); }
nvmlReturn_t nvmlInitWithFlags(unsigned) { return face::initialise(); }
