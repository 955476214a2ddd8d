// SPDX-License-Identifier: Apache-2.0
// dlopen and dlsym behind a value.
#include "sensors/dynlib.h"

#include <dlfcn.h>

namespace pyenergy {

DynLib::DynLib(std::initializer_list<std::string> paths) {
  for (const std::string& path : paths) {
    handle_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (handle_ != nullptr) {
      path_ = path;
      error_.clear();
      return;
    }
    const char* text = dlerror();
    error_ += (error_.empty() ? "" : "; ") + std::string(text != nullptr ? text : path);
  }
}

void* DynLib::find(std::initializer_list<const char*> names) const noexcept {
  if (handle_ == nullptr) return nullptr;
  for (const char* name : names) {
    if (void* address = dlsym(handle_, name); address != nullptr) return address;
  }
  return nullptr;
}

}  // namespace pyenergy
