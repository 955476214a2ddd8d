/* SPDX-License-Identifier: Apache-2.0
 *
 * pyenergy's C interface: the sampler and the plain energies, for profilers that are not Python.
 *
 *     pyenergy_session *s;
 *     pyenergy_result e;
 *     e.size = sizeof e;
 *     if (pyenergy_open("auto", NULL, &s) || pyenergy_start(s)) puts(pyenergy_last_error());
 *     int64_t t0 = pyenergy_now(); work(); int64_t t1 = pyenergy_now();
 *     pyenergy_stop(s);
 *     if (!pyenergy_energy(s, NULL, PYENERGY_PLAIN, t0, t1, &e))
 *       printf("%g J, standard uncertainty %g J\n", e.joules, e.u_joules);
 *     pyenergy_close(s);
 *
 * What the figures are. Energies here are *plain*: the integral of the readings as they came
 * (PYENERGY_TRAPEZOID), or the difference of the energy counter (PYENERGY_COUNTER); to the last bit
 * what Python's Trace.windows(..., method="trapezoid") gives for the same readings, as long as no
 * calibration of the card is stored. Each has the standard uncertainty of such a figure: gain and
 * offset of an uncalibrated sensor (3.5 % and 5 W for GPUs), what the readings do not resolve at
 * the edges, what a part-time sensor does not look at, and any power that the board can draw where
 * nothing was read. That is wide for windows near the sensor's update period (20 to 100 ms), and
 * right to be. The model that knows such windows tens of times better, from marks and the sensor's
 * response, is Python's: give marks (pyenergy_mark), write what was sampled (pyenergy_save), and
 * open the file there: pyenergy.load(PATH) or `pyenergy show PATH`.
 *
 * Times are int64 nanoseconds of CLOCK_MONOTONIC (pyenergy_now). Energies are joules, powers watts.
 *
 * Functions that return int return 0 (PYENERGY_OK) or one of enum pyenergy_status; the text of the
 * calling thread's latest failure is pyenergy_last_error(). Nothing is written through a pointer
 * when a call fails. No function throws, and none needs or touches Python. All may be called from
 * any thread; calls on one session wait for one another. A session is not a pointer to memory: one
 * that was closed is an error, never a crash.
 *
 * After fork() a child has the session but not its sampler: every call on it but pyenergy_close
 * fails with PYENERGY_ERR_FORKED. Open another one there.
 *
 * Use one copy in a process: link with libpyenergy, or, in a process where Python's pyenergy is
 * loaded, take the same functions from it by pyenergy_import() below. Two copies work, but read the
 * sensors twice. Sessions share one sampler for each device; Python's traces have their own.
 */
#ifndef PYENERGY_H
#define PYENERGY_H

#include <stddef.h>
#include <stdint.h>

#ifndef PYENERGY_API
#define PYENERGY_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Grows when functions or members are added at the ends of the structures below, each of which
 * begins with its size: set that to sizeof before a call. What was built for a version works with
 * every later one of the same soname; what was built for a later one is told so. */
#define PYENERGY_ABI_VERSION 1

enum pyenergy_status {
  PYENERGY_OK = 0,
  PYENERGY_ERR_ARGUMENT = 1,    /* a pointer that is NULL, a value that cannot be */
  PYENERGY_ERR_DEVICE = 2,      /* no such device, or one that cannot be opened */
  PYENERGY_ERR_STATE = 3,       /* closed, not started, started already */
  PYENERGY_ERR_WINDOW = 4,      /* ends before it starts, or reaches outside the session */
  PYENERGY_ERR_NO_READINGS = 5, /* a device in scope gave nothing that the method can use */
  PYENERGY_ERR_FORKED = 6,      /* the session belongs to the process that forked this one */
  PYENERGY_ERR_ABI = 7,         /* a structure's size, or a version, is not one of ours */
  PYENERGY_ERR_SYSTEM = 8       /* out of memory, no thread, a file that cannot be written */
};

enum pyenergy_method {
  PYENERGY_PLAIN = 0, /* the integral of the readings; where a device has only a counter, that */
  PYENERGY_TRAPEZOID = 1, /* the integral of the power readings, held while unchanged */
  PYENERGY_COUNTER = 2    /* the difference of the energy counter, linear between its updates */
};

typedef struct pyenergy_session pyenergy_session;
typedef struct pyenergy_device_list pyenergy_device_list;

typedef struct pyenergy_options {
  size_t size;
  double rate_hz; /* polls per second, at most 20000; 0: 1000, fewer around known updates */
} pyenergy_options;

/* Texts live as long as the list that the device is from. */
typedef struct pyenergy_device {
  size_t size;
  const char* id;           /* "gpu:0" (counted as CUDA counts), "cpu:0" */
  const char* name;         /* "NVIDIA H100 PCIe" */
  const char* uuid;         /* "GPU-4e81...", or empty */
  const char* pci_bus_id;   /* or empty */
  const char* architecture; /* "hopper", or empty */
  const char* source;       /* "nvml", "rapl", "hwmon", "dcgm", "sim", "estimate", "replay" */
  const char* kind;         /* "gpu", "cpu", "dram", "platform", "module", "rail", "sensor" */
  const char* notes;        /* what a user must know, a line each, or empty */
  double power_min_w;       /* NaN: not known */
  double power_max_w;
  int is_estimate; /* its power is computed from load and a table: 50 % uncertain, no measurement */
} pyenergy_device;

typedef struct pyenergy_result {
  size_t size;
  double joules;
  double u_joules;           /* standard uncertainty (1 sigma) */
  double u_same_card_joules; /* without gain and offset: for comparisons on one card */
  /* What it is made of; in quadrature these are u_joules. */
  double gain_joules;
  double offset_joules;
  double edges_joules;  /* what lies between the readings at the window's edges */
  double inside_joules; /* what the sensor does not look at, and changes between polls */
  double gaps_joules;   /* time in which nothing was read */
  int method;           /* what was used; PYENERGY_PLAIN: not the same for all devices */
} pyenergy_result;

/* "0.1.0"; PYENERGY_ABI_VERSION as it was built; never NULL. */
PYENERGY_API const char* pyenergy_version(void);
PYENERGY_API uint32_t pyenergy_abi_version(void);
/* Text of this thread's latest failure; empty before the first. Valid until the next. */
PYENERGY_API const char* pyenergy_last_error(void);
/* Now, ns of CLOCK_MONOTONIC; on a GPU, wait for the work before you take an end. */
PYENERGY_API int64_t pyenergy_now(void);

/* What a request means; `devices` NULL: everything that this process may measure, of which some
 * contains other. Free the list with pyenergy_device_list_free.
 *
 * Requests are Python's: "auto" (every GPU that CUDA shows to this process, by
 * CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER; without one the CPU, and only if nothing real can be
 * read an estimate of it), "gpu", "gpu:1", a UUID or its beginning, "cpu", "dram", "psys", "rapl",
 * "hwmon:NAME", "dcgm:0", "sim:a100", "estimate"; several joined by '+'. "replay:FILE" is not among
 * them: files are read by Python. */
PYENERGY_API int pyenergy_find(const char* devices, pyenergy_device_list** list);
PYENERGY_API size_t pyenergy_device_count(const pyenergy_device_list* list);
PYENERGY_API int pyenergy_device_get(const pyenergy_device_list* list, size_t index,
                                     pyenergy_device* device);
PYENERGY_API void pyenergy_device_list_free(pyenergy_device_list* list);

/* Finds the devices; samples nothing yet. `options` may be NULL. */
PYENERGY_API int pyenergy_open(const char* devices, const pyenergy_options* options,
                               pyenergy_session** session);
/* The session's devices; NULL with an error for what is no open session. It is the session's: not
 * to be freed, and gone when that is closed. */
PYENERGY_API const pyenergy_device_list* pyenergy_session_devices(pyenergy_session* session);
/* Starts or joins the samplers; returns when each device has been read once, or had half a second.
 * A session is started once. */
PYENERGY_API int pyenergy_start(pyenergy_session* session);
/* Marks the end. Never waits: the first energy after it does, until the readings that cover the
 * end have been published (at most the sensor's lag). */
PYENERGY_API int pyenergy_stop(pyenergy_session* session);
/* Ends sampling and forgets the session; NULL is fine. In a forked child it only forgets. */
PYENERGY_API int pyenergy_close(pyenergy_session* session);
/* When it was started, and stopped; while it runs the end is now. */
PYENERGY_API int pyenergy_bounds(pyenergy_session* session, int64_t* start_ns, int64_t* end_ns);

/* Energy between two moments inside pyenergy_bounds; `device` is an id, NULL: all together, their
 * errors being independent. While a session runs, what happened less than the sensor's lag ago is
 * not published yet, and counts as unknown. */
PYENERGY_API int pyenergy_energy(pyenergy_session* session, const char* device, int method,
                                 int64_t start_ns, int64_t end_ns, pyenergy_result* result);
/* The same of `n` windows in any order, overlapping or not; sorted by start they are fastest, a
 * fraction of a microsecond each. Every call on a session that runs looks at all its readings anew:
 * keep the stamps and ask once. `u_joules` may be NULL; n may be 0. */
PYENERGY_API int pyenergy_windows(pyenergy_session* session, const char* device, int method,
                                  size_t n, const int64_t* starts_ns, const int64_t* ends_ns,
                                  double* joules, double* u_joules);

/* Labels [start_ns, end_ns] for the model that reads the saved file; UTF-8. Changes no figure here.
 */
PYENERGY_API int pyenergy_mark(pyenergy_session* session, const char* name, int64_t start_ns,
                               int64_t end_ns);
/* Writes what a session that was stopped has read, and its marks, as a recording for Python
 * (pyenergy.load). An existing file is replaced when all is written. */
PYENERGY_API int pyenergy_save(pyenergy_session* session, const char* path);

/* The functions above as a table. `size` and `abi_version` never move. */
typedef struct pyenergy_api {
  size_t size;
  uint32_t abi_version;
  const char* (*version)(void);
  const char* (*last_error)(void);
  int64_t (*now)(void);
  int (*find)(const char*, pyenergy_device_list**);
  size_t (*device_count)(const pyenergy_device_list*);
  int (*device_get)(const pyenergy_device_list*, size_t, pyenergy_device*);
  void (*device_list_free)(pyenergy_device_list*);
  int (*open)(const char*, const pyenergy_options*, pyenergy_session**);
  const pyenergy_device_list* (*session_devices)(pyenergy_session*);
  int (*start)(pyenergy_session*);
  int (*stop)(pyenergy_session*);
  int (*close)(pyenergy_session*);
  int (*bounds)(pyenergy_session*, int64_t*, int64_t*);
  int (*energy)(pyenergy_session*, const char*, int, int64_t, int64_t, pyenergy_result*);
  int (*windows)(pyenergy_session*, const char*, int, size_t, const int64_t*, const int64_t*,
                 double*, double*);
  int (*mark)(pyenergy_session*, const char*, int64_t, int64_t);
  int (*save)(pyenergy_session*, const char*);
} pyenergy_api;

/* Give PYENERGY_ABI_VERSION; NULL, with an error, when this library is older than that. */
PYENERGY_API const pyenergy_api* pyenergy_get_api(uint32_t abi_version);

#define PYENERGY_CAPSULE "pyenergy._core._C_API"

/* For extensions in a Python process (include Python.h first): the table of the pyenergy that is
 * imported there; NULL with a Python exception set. Needs the GIL; the functions do not, and those
 * that wait (start, energy, windows) are better called without it. */
#ifdef Py_PYTHON_H
static inline const pyenergy_api* pyenergy_import(void) {
  const pyenergy_api* api = (const pyenergy_api*)PyCapsule_Import(PYENERGY_CAPSULE, 0);
  if (api != NULL &&
      (api->abi_version < PYENERGY_ABI_VERSION || api->size < sizeof(pyenergy_api))) {
    PyErr_Format(PyExc_ImportError,
                 "pyenergy's C interface has version %u, this extension was built for %u: upgrade "
                 "pyenergy",
                 (unsigned)api->abi_version, (unsigned)PYENERGY_ABI_VERSION);
    return NULL;
  }
  return api;
}
#endif

#ifdef __cplusplus
}
#endif
#endif /* PYENERGY_H */
