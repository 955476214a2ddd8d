// SPDX-License-Identifier: Apache-2.0
// Arrays that cross the boundary without a copy, and strict dtype checks where they come in.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "bindings/bind.h"

namespace pyenergy {

// A read-only array over memory that `owner` keeps alive; so does the array.
template <typename T, typename Owner>
py::array_t<T> view(const T* data, std::size_t n, const std::shared_ptr<Owner>& owner) {
  py::capsule keep(new std::shared_ptr<Owner>(owner),
                   [](void* p) { delete static_cast<std::shared_ptr<Owner>*>(p); });
  py::array_t<T> array({static_cast<py::ssize_t>(n)}, {static_cast<py::ssize_t>(sizeof(T))}, data,
                       keep);
  array.attr("setflags")(py::arg("write") = false);
  return array;
}

// A contiguous one-dimensional array of exactly this dtype: a silent conversion could round times.
template <typename T>
py::array_t<T, py::array::c_style> typed(const py::array& array, const char* name) {
  if (!py::isinstance<py::array_t<T>>(array)) {
    throw py::type_error(std::string(name) + " must have dtype " +
                         py::str(py::dtype::of<T>()).cast<std::string>() + ", got " +
                         py::str(array.dtype()).cast<std::string>());
  }
  if (array.ndim() != 1) throw py::value_error(std::string(name) + " must be one-dimensional");
  return py::array_t<T, py::array::c_style>::ensure(array);
}

template <typename T>
std::span<const T> span_of(const py::array_t<T, py::array::c_style>& array) {
  return {array.data(), static_cast<std::size_t>(array.size())};
}

}  // namespace pyenergy
