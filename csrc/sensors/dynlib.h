// SPDX-License-Identifier: Apache-2.0
// A shared library opened at run time. It stays mapped until the process ends: vendor libraries
// keep threads and exit handlers that do not survive dlclose.
#pragma once

#include <initializer_list>
#include <string>

namespace pyenergy {

class DynLib {
 public:
  DynLib() = default;
  // Opens the first of `paths` that loads. When none does, is_open() is false and error() names
  // each path with the loader's own message.
  explicit DynLib(std::initializer_list<std::string> paths);

  bool is_open() const noexcept { return handle_ != nullptr; }
  const std::string& path() const noexcept { return path_; }  // the one that loaded
  const std::string& error() const noexcept { return error_; }

  // The first of `names` that the library exports (newest version first), or null.
  template <typename Fn>
  Fn symbol(std::initializer_list<const char*> names) const noexcept {
    return reinterpret_cast<Fn>(find(names));
  }

 private:
  void* find(std::initializer_list<const char*> names) const noexcept;

  void* handle_ = nullptr;
  std::string path_, error_;
};

}  // namespace pyenergy
