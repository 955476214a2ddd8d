// SPDX-License-Identifier: Apache-2.0
// The functions of include/pyenergy.h: checks what comes in, and turns exceptions into codes.
#include "include/pyenergy.h"

#include <cmath>
#include <cstring>
#include <new>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "capi/description.h"
#include "capi/registry.h"
#include "core/clock_ns.h"

// What a list shows lives in it.
struct pyenergy_device_list {
  explicit pyenergy_device_list(std::vector<pyenergy::NamedDevice> found)
      : devices(std::move(found)) {
    for (const auto& device : devices) {
      std::string joined;
      for (const std::string& note : device.info.notes)
        joined += (joined.empty() ? "" : "\n") + note;
      notes.push_back(std::move(joined));
    }
  }
  std::vector<pyenergy::NamedDevice> devices;
  std::vector<std::string> notes;
};

namespace {

using namespace pyenergy;

thread_local std::string last_error;

struct ArgumentError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};
struct AbiError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// A session as its callers know it, with the list that it shows.
struct OpenSession final : Session {
  OpenSession(std::vector<NamedDevice> found, double rate_hz)
      : Session(found, rate_hz), list(std::move(found)) {}
  const pyenergy_device_list list;
};

int failed(int code, const char* text) noexcept {
  try {
    last_error = text;
  } catch (...) {
    last_error.clear();
  }
  return code;
}

// Runs what a function does; nothing is thrown beyond here.
template <typename Body>
int guarded(Body body) noexcept {
  try {
    body();
    return PYENERGY_OK;
  } catch (const ArgumentError& error) {
    return failed(PYENERGY_ERR_ARGUMENT, error.what());
  } catch (const AbiError& error) {
    return failed(PYENERGY_ERR_ABI, error.what());
  } catch (const ForkedError& error) {
    return failed(PYENERGY_ERR_FORKED, error.what());
  } catch (const StateError& error) {
    return failed(PYENERGY_ERR_STATE, error.what());
  } catch (const WindowError& error) {
    return failed(PYENERGY_ERR_WINDOW, error.what());
  } catch (const NoReadings& error) {
    return failed(PYENERGY_ERR_NO_READINGS, error.what());
  } catch (const DeviceError& error) {
    return failed(PYENERGY_ERR_DEVICE, error.what());
  } catch (const std::bad_alloc&) {
    return failed(PYENERGY_ERR_SYSTEM, "out of memory");
  } catch (const std::system_error& error) {
    return failed(PYENERGY_ERR_SYSTEM, error.what());
  } catch (const std::runtime_error& error) {  // a device that cannot be opened
    return failed(PYENERGY_ERR_DEVICE, error.what());
  } catch (const std::exception& error) {
    return failed(PYENERGY_ERR_SYSTEM, error.what());
  } catch (...) {
    return failed(PYENERGY_ERR_SYSTEM, "an error of an unknown kind");
  }
}

void require(const void* pointer, const char* name) {
  if (pointer == nullptr) throw ArgumentError(std::string(name) + " is NULL");
}

// A structure that the caller gives or wants filled.
template <typename Struct>
void require_struct(const Struct* pointer, const char* name) {
  require(pointer, name);
  if (pointer->size == sizeof(Struct)) return;
  const std::string sizes = std::string(name) + "->size is " + std::to_string(pointer->size) +
                            ", and the structure has " + std::to_string(sizeof(Struct)) +
                            " bytes in version " + std::to_string(PYENERGY_ABI_VERSION) +
                            " of the interface: ";
  throw AbiError(sizes + (pointer->size > sizeof(Struct)
                              ? "it is of a newer pyenergy.h; upgrade pyenergy, or build with its "
                                "own header (pyenergy.get_include())"
                              : "set it to sizeof before the call"));
}

std::shared_ptr<Session> session_of(const pyenergy_session* session) {
  require(session, "the session");
  return Sessions::instance().find(reinterpret_cast<std::uintptr_t>(session));
}

Method method_of(int method) {
  if (method >= PYENERGY_PLAIN && method <= PYENERGY_COUNTER) return static_cast<Method>(method);
  throw ArgumentError(
      "there is no method " + std::to_string(method) +
      "; there are PYENERGY_PLAIN (0), PYENERGY_TRAPEZOID (1), PYENERGY_COUNTER (2)");
}

double rate_of(const pyenergy_options* options) {
  if (options == nullptr) return 0.0;
  require_struct(options, "options");
  const double rate = options->rate_hz;
  if (rate == 0.0 || (rate >= 0.001 && rate <= 20'000.0)) return rate;
  throw ArgumentError("options->rate_hz must lie from 0.001 to 20000 Hz, or be 0, got " +
                      std::to_string(rate));
}

pyenergy_result result_of(const Sums& sums) noexcept {
  const auto term = [&](std::size_t k) { return std::sqrt(sums.terms[k].front()); };
  pyenergy_result result{};
  result.size = sizeof result;
  result.joules = sums.joules.front();
  result.u_joules = std::sqrt(sums.variance.front());
  result.u_same_card_joules = std::sqrt(sums.same_card_variance.front());
  result.gain_joules = term(0);
  result.offset_joules = term(1);
  result.edges_joules = term(2);
  result.inside_joules = term(3);
  result.gaps_joules = term(4);
  return result;
}

}  // namespace

extern "C" {

const char* pyenergy_version(void) { return PYENERGY_VERSION; }

uint32_t pyenergy_abi_version(void) { return PYENERGY_ABI_VERSION; }

const char* pyenergy_last_error(void) { return last_error.c_str(); }

int64_t pyenergy_now(void) { return monotonic_ns(); }

int pyenergy_find(const char* devices, pyenergy_device_list** list) {
  return guarded([&] {
    require(list, "list");
    *list = new pyenergy_device_list(devices == nullptr ? all_devices() : resolve_devices(devices));
  });
}

size_t pyenergy_device_count(const pyenergy_device_list* list) {
  return list == nullptr ? 0 : list->devices.size();
}

int pyenergy_device_get(const pyenergy_device_list* list, size_t index, pyenergy_device* device) {
  return guarded([&] {
    require(list, "list");
    require_struct(device, "device");
    if (index >= list->devices.size()) {
      throw ArgumentError("there is no device " + std::to_string(index) + " among " +
                          std::to_string(list->devices.size()));
    }
    const auto& [id, info] = list->devices[index];
    *device = {sizeof *device,
               id.c_str(),
               info.name.c_str(),
               info.uuid.c_str(),
               info.pci_bus_id.c_str(),
               info.architecture.c_str(),
               info.source.c_str(),
               info.kind.c_str(),
               list->notes[index].c_str(),
               info.power_min_w,
               info.power_max_w,
               info.source == "estimate" ? 1 : 0};
  });
}

void pyenergy_device_list_free(pyenergy_device_list* list) { delete list; }

int pyenergy_open(const char* devices, const pyenergy_options* options,
                  pyenergy_session** session) {
  return guarded([&] {
    require(session, "session");
    if (devices == nullptr) throw ArgumentError("devices is NULL; say \"auto\"");
    const double rate_hz = rate_of(options);
    auto made = std::make_shared<OpenSession>(resolve_devices(devices), rate_hz);
    *session = reinterpret_cast<pyenergy_session*>(Sessions::instance().add(std::move(made)));
  });
}

const pyenergy_device_list* pyenergy_session_devices(pyenergy_session* session) {
  const pyenergy_device_list* list = nullptr;
  guarded([&] { list = &static_cast<const OpenSession&>(*session_of(session)).list; });
  return list;
}

int pyenergy_start(pyenergy_session* session) {
  return guarded([&] { session_of(session)->start(); });
}

int pyenergy_stop(pyenergy_session* session) {
  return guarded([&] { session_of(session)->stop(); });
}

int pyenergy_close(pyenergy_session* session) {
  if (session == nullptr) return PYENERGY_OK;
  return guarded([&] { Sessions::instance().remove(reinterpret_cast<std::uintptr_t>(session)); });
}

int pyenergy_bounds(pyenergy_session* session, int64_t* start_ns, int64_t* end_ns) {
  return guarded([&] {
    require(start_ns, "start_ns");
    require(end_ns, "end_ns");
    std::tie(*start_ns, *end_ns) = session_of(session)->bounds();
  });
}

int pyenergy_energy(pyenergy_session* session, const char* device, int method, int64_t start_ns,
                    int64_t end_ns, pyenergy_result* result) {
  return guarded([&] {
    require_struct(result, "result");
    const Ns starts[] = {start_ns}, ends[] = {end_ns};
    pyenergy_result found{};
    const Method used = session_of(session)->windows(
        device == nullptr ? "" : device, method_of(method), starts, ends,
        [&](std::size_t, const Sums& sums) { found = result_of(sums); });
    found.method = static_cast<int>(used);
    *result = found;
  });
}

int pyenergy_windows(pyenergy_session* session, const char* device, int method, size_t n,
                     const int64_t* starts_ns, const int64_t* ends_ns, double* joules,
                     double* u_joules) {
  return guarded([&] {
    if (n > 0) {
      require(starts_ns, "starts_ns");
      require(ends_ns, "ends_ns");
      require(joules, "joules");
    }
    const auto take = [&](std::size_t first, const Sums& sums) {
      for (std::size_t i = 0; i < sums.joules.size(); ++i) {
        joules[first + i] = sums.joules[i];
        if (u_joules != nullptr) u_joules[first + i] = std::sqrt(sums.variance[i]);
      }
    };
    session_of(session)->windows(device == nullptr ? "" : device, method_of(method),
                                 std::span(starts_ns, n), std::span(ends_ns, n), take);
  });
}

int pyenergy_mark(pyenergy_session* session, const char* name, int64_t start_ns, int64_t end_ns) {
  return guarded([&] {
    require(name, "name");
    if (*name == '\0' || !is_utf8(name)) throw ArgumentError("a mark's name must be UTF-8 text");
    session_of(session)->mark(name, start_ns, end_ns);
  });
}

int pyenergy_save(pyenergy_session* session, const char* path) {
  return guarded([&] {
    require(path, "path");
    session_of(session)->save(path);
  });
}

const pyenergy_api* pyenergy_get_api(uint32_t abi_version) {
  static const pyenergy_api api = {sizeof api,
                                   PYENERGY_ABI_VERSION,
                                   pyenergy_version,
                                   pyenergy_last_error,
                                   pyenergy_now,
                                   pyenergy_find,
                                   pyenergy_device_count,
                                   pyenergy_device_get,
                                   pyenergy_device_list_free,
                                   pyenergy_open,
                                   pyenergy_session_devices,
                                   pyenergy_start,
                                   pyenergy_stop,
                                   pyenergy_close,
                                   pyenergy_bounds,
                                   pyenergy_energy,
                                   pyenergy_windows,
                                   pyenergy_mark,
                                   pyenergy_save};
  if (abi_version >= 1 && abi_version <= PYENERGY_ABI_VERSION) return &api;
  failed(PYENERGY_ERR_ABI, ("version " + std::to_string(abi_version) +
                            " of the interface was asked for, this pyenergy has versions 1 to " +
                            std::to_string(PYENERGY_ABI_VERSION) + ": upgrade pyenergy")
                               .c_str());
  return nullptr;
}

}  // extern "C"
