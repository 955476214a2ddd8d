// SPDX-License-Identifier: Apache-2.0
// A connection to a DCGM host engine: one inside this process, or one that runs by itself.
#pragma once

#include <memory>
#include <string>

#include "sensors/dcgm_api.h"

namespace pyenergy {

class DcgmEngine {
 public:
  // Of a function table that outlives it; `address` empty: inside this process.
  DcgmEngine(const DcgmApi& functions, dcgm::Handle connection, std::string address_of)
      : api(functions), handle(connection), address(std::move(address_of)) {}
  ~DcgmEngine();
  DcgmEngine(const DcgmEngine&) = delete;
  DcgmEngine& operator=(const DcgmEngine&) = delete;

  // Whether its time stamps are of this machine's clock.
  bool is_local() const noexcept;
  std::string where() const;  // "embedded", "localhost:5555"

  const DcgmApi& api;
  const dcgm::Handle handle;
  const std::string address;
};

struct DcgmConnection {
  std::shared_ptr<DcgmEngine> engine;  // null: reason and fix say why
  std::string reason, fix;
};

// `address`: "host:port" or "host", empty for an engine inside this process. One connection an
// address is shared; the embedded engine is started once and runs until the process ends.
DcgmConnection connect_dcgm(const std::string& address);

// What "ADDRESS" or "ADDRESS/INDEX" or "INDEX" names; index -1: all GPUs. Throws
// std::invalid_argument naming the forms.
struct DcgmRequest {
  std::string address;
  int index = -1;
};
DcgmRequest parse_dcgm_request(const std::string& argument);

}  // namespace pyenergy
