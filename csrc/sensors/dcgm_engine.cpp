// SPDX-License-Identifier: Apache-2.0
#include "sensors/dcgm_engine.h"

#include <unistd.h>

#include <charconv>
#include <map>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "abi/dcgm2.h"
#include "abi/dcgm4.h"

namespace pyenergy {
namespace {

constexpr unsigned kConnectTimeoutMs = 2000;

std::string host_of(const std::string& address) {
  return address.substr(
      0, address.rfind(':') == std::string::npos ? address.size() : address.rfind(':'));
}

template <typename Params>
int start_with(const DcgmApi& api, unsigned number, dcgm::Handle& handle) {
  Params params{};
  params.version = dcgm::version_of<Params>(number);
  params.operation_mode = dcgm::kOperationAuto;
  params.severity = dcgm::kLoggingNone;
  const int code = api.start_embedded_v2(&params);
  handle = params.handle;
  return code;
}

// Newest parameters first: a library that does not know them says so.
int start_embedded(const DcgmApi& api, dcgm::Handle& handle) {
  int code = dcgm::kFunctionNotFound;
  if (api.start_embedded_v2 != nullptr) {
    code = start_with<dcgm::StartParams3>(api, 3, handle);
    if (code == dcgm::kVersionMismatch) code = start_with<dcgm::StartParams1>(api, 1, handle);
  }
  const bool old_form = code == dcgm::kVersionMismatch || code == dcgm::kFunctionNotFound;
  if (old_form && api.start_embedded != nullptr) {
    code = api.start_embedded(dcgm::kOperationAuto, &handle);
  }
  return code == dcgm::kOk && handle == 0 ? int{dcgm::kInitError} : code;
}

int connect_to(const DcgmApi& api, const std::string& address, dcgm::Handle& handle) {
  dcgm::ConnectParams2 params{};
  params.version = dcgm::version_of<dcgm::ConnectParams2>(2);
  params.timeout_ms = kConnectTimeoutMs;
  return api.connect(address.c_str(), &params, &handle);
}

struct Connections {
  std::mutex mutex;
  pid_t pid = ::getpid();
  std::map<std::string, std::weak_ptr<DcgmEngine>> remote;
  std::shared_ptr<DcgmEngine> embedded;
};

// Never destroyed: samplers may outlive static destruction.
Connections& connections() {
  static auto* all = new Connections;
  return *all;
}

}  // namespace

DcgmEngine::~DcgmEngine() {
  // In a forked child the connection is the parent's.
  if (!address.empty() && connections().pid == ::getpid()) api.disconnect(handle);
}

bool DcgmEngine::is_local() const noexcept {
  if (address.empty()) return true;
  const std::string host = host_of(address);
  return host == "localhost" || host == "::1" || host == "[::1]" || host.starts_with("127.");
}

std::string DcgmEngine::where() const { return address.empty() ? "embedded" : address; }

DcgmConnection connect_dcgm(const std::string& address) {
  const DcgmLoad load = load_dcgm();
  if (load.api == nullptr) return {nullptr, load.reason, load.fix};
  Connections& all = connections();
  if (all.pid != ::getpid()) {
    return {nullptr, "DCGM was loaded before this process was forked, and its threads are not here",
            "open the first DCGM device after the fork"};
  }
  const std::lock_guard lock(all.mutex);
  auto found = address.empty() ? all.embedded : all.remote[address].lock();
  if (found != nullptr) return {std::move(found), {}, {}};
  dcgm::Handle handle = 0;
  const int code =
      address.empty() ? start_embedded(*load.api, handle) : connect_to(*load.api, address, handle);
  if (code != dcgm::kOk) {
    const std::string what = address.empty() ? "DCGM's engine does not start: "
                                             : "no DCGM host engine at " + address + ": ";
    return {nullptr, what + load.api->error_text(code), dcgm_fix(code)};
  }
  auto engine = std::make_shared<DcgmEngine>(*load.api, handle, address);
  if (address.empty()) {
    all.embedded = engine;
  } else {
    all.remote[address] = engine;
  }
  return {std::move(engine), {}, {}};
}

DcgmRequest parse_dcgm_request(const std::string& argument) {
  DcgmRequest request;
  std::string index = argument;
  const bool digits = argument.find_first_not_of("0123456789") == std::string::npos;
  if (!digits) {
    const std::size_t slash = argument.rfind('/');
    request.address = argument.substr(0, slash);
    index = slash == std::string::npos ? "" : argument.substr(slash + 1);
  }
  if (!digits && (request.address.empty() || argument.back() == '/')) {
    throw std::invalid_argument("'" + argument + "' is no DCGM device");
  }
  if (!index.empty()) {
    const auto [end, error] =
        std::from_chars(index.data(), index.data() + index.size(), request.index);
    if (error != std::errc{} || end != index.data() + index.size() || request.index < 0) {
      throw std::invalid_argument("'" + index + "' is no GPU's number");
    }
  }
  return request;
}

}  // namespace pyenergy
