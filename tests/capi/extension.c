/* SPDX-License-Identifier: Apache-2.0
 * An extension that takes the interface from the pyenergy of its process. */
#define PY_SSIZE_T_CLEAN
#include <Python.h> /* first: the header then has pyenergy_import */

#include <pyenergy.h>

static PyObject* devices(PyObject* self, PyObject* request) {
  const pyenergy_api* api = pyenergy_import();
  const char* name = PyUnicode_AsUTF8(request);
  pyenergy_device_list* list;
  size_t count;
  (void)self;
  if (api == NULL || name == NULL) return NULL;
  if (api->find(name, &list)) return PyErr_Format(PyExc_ValueError, "%s", api->last_error());
  count = api->device_count(list);
  api->device_list_free(list);
  return PyLong_FromSize_t(count);
}

static PyMethodDef methods[] = {{"devices", devices, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "extension", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_extension(void) { return PyModule_Create(&module); }
