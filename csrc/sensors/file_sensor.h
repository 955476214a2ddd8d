// SPDX-License-Identifier: Apache-2.0
// A sensor whose every channel is a file, or the product of two (volts times amperes).
#pragma once

#include <memory>
#include <vector>

#include "core/sensor.h"
#include "sensors/number_file.h"

namespace pyenergy {

struct FileChannel {
  Channel channel;
  NumberFile number;
  NumberFile factor = {};  // closed: there is none
};

std::unique_ptr<Sensor> make_file_sensor(DeviceInfo info, std::vector<FileChannel> files);

}  // namespace pyenergy
