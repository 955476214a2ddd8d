// SPDX-License-Identifier: Apache-2.0
// The functions of the simulated libdcgm.so. Its engine has no thread: which values its cycles
// would have found is computed when they are asked for, exactly.
#include "simgpu/faces/dcgm_face.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "abi/dcgm2.h"
#include "abi/dcgm4.h"
#include "simgpu/faults.h"

using namespace pyenergy;
using namespace pyenergy::simgpu;
using namespace pyenergy::simgpu::dcgm_face;

namespace pyenergy::simgpu::dcgm_face {
Engine& engine() {
  static auto* one = new Engine;
  return *one;
}
}  // namespace pyenergy::simgpu::dcgm_face

namespace {

constexpr dcgm::Handle kHandle = 0x64636d;
constexpr Ns kKept = 10 * kSecond;

// Real minus monotonic time; taken once, so that stamps compare.
Ns offset() {
  static const Ns once = realtime_ns() - monotonic_ns();
  return once;
}
long long real_us(Ns t) { return (t + offset()) / kUs; }

int open_world(Engine& e, dcgm::Handle* handle) {
  const char* path = std::getenv(kEnvironment);
  if (path == nullptr || *path == '\0') return dcgm::kNvmlNotLoaded;
  try {
    if (e.world == nullptr || e.world->path() != path) e.world = World::open(path);
  } catch (const std::exception&) {
    return dcgm::kNvmlNotLoaded;
  }
  *handle = kHandle;
  return dcgm::kOk;
}

// Runs `body` on the engine, if it has been started and the handle is its own.
template <typename Body>
int with_engine(dcgm::Handle handle, Body&& body) {
  Engine& e = engine();
  const std::lock_guard lock(e.mutex);
  if (e.world == nullptr) return dcgm::kUninitialized;
  if (handle != kHandle) return dcgm::kBadParam;
  return body(e);
}

// What an injected failure of all driver calls makes of every value; 0: nothing. Waits as long as
// the call takes.
int driver_status(Card& card) {
  SystemClock clock;
  CallOutcome outcome;
  {
    const CardLock lock(card);
    outcome = begin_call(card, Call::kFields, clock.now());
  }
  wait_for(clock, outcome.wait);
  return outcome.status;
}

int code_of(std::int32_t nvml_status) {
  return nvml_status == kGpuLost ? dcgm::kGpuIsLost : dcgm::kNvmlError;
}

// The values of one field since `since_us`, one callback for each.
int enumerate(Card& card, unsigned gpu, unsigned short field, const Watch& watch, Ns now,
              long long since_us, int failed, long long& newest, dcgm::EntityValues callback,
              void* user) {
  const Ns oldest = std::max(watch.start, now - kKept);
  for (Ns k = (oldest - watch.start) / watch.interval; watch.start + k * watch.interval <= now;
       ++k) {
    const Ns t = watch.start + k * watch.interval;
    if (real_us(t) < since_us) continue;
    dcgm::FieldValue1 value{};
    value.version = dcgm::version_of<dcgm::FieldValue1>(1);
    value.field_id = field;
    value.ts_us = real_us(t);
    {
      const CardLock lock(card);
      read_value(card, field, t, watch.interval, value.field_type, value.status, value.value);
    }
    if (failed != kSuccess) value.status = code_of(failed);
    newest = std::max<long long>(newest, value.ts_us);
    if (callback(dcgm::kEntityGpu, gpu, &value, 1, user) < 0) return -1;
  }
  return 0;
}

template <typename Params>
bool start_as(void* raw, unsigned number, int& code) {
  auto* params = static_cast<Params*>(raw);
  if (params->version != dcgm::version_of<Params>(number)) return false;
  Engine& e = engine();
  const std::lock_guard lock(e.mutex);
  code = open_world(e, &params->handle);
  return true;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

int dcgmInit() { return dcgm::kOk; }
int dcgmShutdown() { return dcgm::kOk; }

int dcgmStartEmbedded_v2(void* params) {
  if (params == nullptr) return dcgm::kBadParam;
  int code = dcgm::kVersionMismatch;
  if (!kIsOld && start_as<dcgm::StartParams3>(params, 3, code)) return code;
  if (start_as<dcgm::StartParams1>(params, 1, code)) return code;
  return code;
}

int dcgmStartEmbedded(int, dcgm::Handle* handle) {
  Engine& e = engine();
  const std::lock_guard lock(e.mutex);
  return open_world(e, handle);
}

int dcgmStopEmbedded(dcgm::Handle handle) {
  return with_engine(handle, [](Engine&) { return dcgm::kOk; });
}

int dcgmConnect_v2(const char* address, dcgm::ConnectParams2* params, dcgm::Handle* handle) {
  if (params == nullptr || params->version != dcgm::version_of<dcgm::ConnectParams2>(2)) {
    return dcgm::kVersionMismatch;
  }
  const char* host = std::getenv(kHostEnvironment);
  if (host == nullptr || std::strcmp(host, address) != 0) return dcgm::kConnectionNotValid;
  Engine& e = engine();
  const std::lock_guard lock(e.mutex);
  return open_world(e, handle);
}

int dcgmDisconnect(dcgm::Handle handle) {
  return with_engine(handle, [](Engine&) { return dcgm::kOk; });
}

const char* errorString(int code) {
  switch (code) {
    case dcgm::kOk:
      return "Success";
    case dcgm::kNoPermission:
      return "Not permissioned";
    case dcgm::kRequiresRoot:
      return "This operation is not supported when the host engine is running as non root";
    case dcgm::kConnectionNotValid:
      return "The connection to the host engine is not valid any longer";
    case dcgm::kModuleNotLoaded:
      return "This request is serviced by a module of DCGM that is not currently loaded";
    case dcgm::kNvmlNotLoaded:
      return "NVML couldn't be loaded on this system";
    default:
      return nullptr;
  }
}

int dcgmGetAllSupportedDevices(dcgm::Handle handle, unsigned* ids, int* count) {
  return with_engine(handle, [&](Engine& e) {
    const auto known = std::min(e.world->size(), dcgm::kMaxDevices);
    for (unsigned i = 0; i < known; ++i) ids[i] = i;
    *count = static_cast<int>(known);
    return dcgm::kOk;
  });
}

int dcgmGroupCreate(dcgm::Handle handle, int type, const char*, dcgm::Group* group) {
  return with_engine(handle, [&](Engine& e) {
    if (type != dcgm::kGroupEmpty) return int{dcgm::kBadParam};
    e.groups[*group = ++e.last_id] = {};
    return int{dcgm::kOk};
  });
}

int dcgmGroupAddDevice(dcgm::Handle handle, dcgm::Group group, unsigned gpu) {
  return with_engine(handle, [&](Engine& e) {
    const auto found = e.groups.find(group);
    if (found == e.groups.end() || gpu >= e.world->size()) return int{dcgm::kBadParam};
    found->second.push_back(gpu);
    return int{dcgm::kOk};
  });
}

int dcgmGroupDestroy(dcgm::Handle handle, dcgm::Group group) {
  return with_engine(handle, [&](Engine& e) {
    return e.groups.erase(group) == 1 ? int{dcgm::kOk} : int{dcgm::kNotWatched};
  });
}

int dcgmFieldGroupCreate(dcgm::Handle handle, int count, const unsigned short* ids, const char*,
                         dcgm::FieldGroup* group) {
  return with_engine(handle, [&](Engine& e) {
    const std::vector<unsigned short> fields(ids, ids + count);
    if (!std::ranges::all_of(fields, is_known)) return int{dcgm::kUnknownField};
    e.field_groups[*group = ++e.last_id] = fields;
    return int{dcgm::kOk};
  });
}

int dcgmFieldGroupDestroy(dcgm::Handle handle, dcgm::FieldGroup group) {
  return with_engine(handle, [&](Engine& e) {
    return e.field_groups.erase(group) == 1 ? int{dcgm::kOk} : int{dcgm::kNoData};
  });
}

int dcgmWatchFields(dcgm::Handle handle, dcgm::Group group, dcgm::FieldGroup fields,
                    long long interval_us, double keep_s, int keep_count) {
  return with_engine(handle, [&](Engine& e) {
    const auto g = e.groups.find(group);
    const auto f = e.field_groups.find(fields);
    const bool bounded = keep_s > 0.0 || keep_count > 0;
    if (g == e.groups.end() || f == e.field_groups.end() || interval_us <= 0 || !bounded) {
      return int{dcgm::kBadParam};
    }
    if (std::ranges::any_of(f->second, is_profiling)) {
      for (const unsigned gpu : g->second) {
        const CardLock lock(e.world->card(gpu));
        const auto said = read_field(e.world->card(gpu), kProfilingWatch, monotonic_ns()).status;
        if (said != kNotSupported) return int{said};
      }
    }
    e.watches[{group, fields}] = {monotonic_ns(), interval_us * kUs};
    return int{dcgm::kOk};
  });
}

int dcgmUnwatchFields(dcgm::Handle handle, dcgm::Group group, dcgm::FieldGroup fields) {
  return with_engine(handle, [&](Engine& e) {
    return e.watches.erase({group, fields}) == 1 ? int{dcgm::kOk} : int{dcgm::kNotWatched};
  });
}

int dcgmUpdateAllFields(dcgm::Handle handle, int) {
  return with_engine(handle, [](Engine&) { return dcgm::kOk; });
}

int dcgmGetValuesSince_v2(dcgm::Handle handle, dcgm::Group group, dcgm::FieldGroup fields,
                          long long since_us, long long* next_us, dcgm::EntityValues callback,
                          void* user) {
  return with_engine(handle, [&](Engine& e) {
    const auto watch = e.watches.find({group, fields});
    if (watch == e.watches.end()) return int{dcgm::kNotWatched};
    long long newest = since_us - 1;
    for (const unsigned gpu : e.groups[group]) {
      Card& card = e.world->card(gpu);
      const int failed = driver_status(card);
      const Ns now = monotonic_ns();
      for (const unsigned short field : e.field_groups[fields]) {
        if (enumerate(card, gpu, field, watch->second, now, since_us, failed, newest, callback,
                      user) < 0) {
          *next_us = newest + 1;
          return int{dcgm::kOk};
        }
      }
    }
    *next_us = newest + 1;
    return int{dcgm::kOk};
  });
}

int dcgmEntitiesGetLatestValues(dcgm::Handle handle, dcgm::EntityPair* entities, unsigned count,
                                unsigned short* fields, unsigned field_count, unsigned flags,
                                dcgm::FieldValue2* values) {
  return with_engine(handle, [&](Engine& e) {
    if ((flags & dcgm::kLiveData) == 0) return int{dcgm::kNotWatched};
    for (unsigned i = 0; i < count * field_count; ++i) {
      const dcgm::EntityPair entity = entities[i / field_count];
      const unsigned short field = fields[i % field_count];
      const bool of_node = entity.group == dcgm::kEntityNone;
      if (!is_known(field)) return int{dcgm::kUnknownField};
      if (!of_node && entity.id >= e.world->size()) return int{dcgm::kBadParam};
      Card& card = e.world->card(of_node ? 0 : entity.id);
      dcgm::FieldValue2& out = values[i];
      out = {};
      out.version = dcgm::version_of<dcgm::FieldValue2>(2);
      out.entity_group = entity.group;
      out.entity_id = entity.id;
      out.field_id = field;
      const Ns now = monotonic_ns();
      out.ts_us = real_us(now);
      const CardLock lock(card);
      if (!read_identity(card, field, out.field_type, out.value)) {
        read_value(card, field, now, 100 * kMs, out.field_type, out.status, out.value);
      }
    }
    return int{dcgm::kOk};
  });
}

}  // extern "C"
#pragma GCC visibility pop
