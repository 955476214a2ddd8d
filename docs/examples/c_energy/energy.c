/* SPDX-License-Identifier: Apache-2.0
 * What does a loop cost? Plain C99:
 *
 *   cc energy.c -o energy $(pkg-config --cflags --libs pyenergy)
 *   ./energy [DEVICES [FILE]]
 *
 * where PKG_CONFIG_PATH holds what `python -c "import pyenergy;
 * print(pyenergy.get_pkgconfig_dir())"` prints. With a FILE, Python's model makes more of the
 * readings: pyenergy show FILE. */
#include <pyenergy.h>
#include <stdio.h>

static volatile double sink;

static void work(void) {
  int i;
  for (i = 1; i < 20000000; ++i) sink += 1.0 / i;
}

static int failed(void) {
  fprintf(stderr, "energy: %s\n", pyenergy_last_error());
  return 1;
}

static int print_devices(pyenergy_session* session) {
  const pyenergy_device_list* list = pyenergy_session_devices(session);
  size_t i;
  for (i = 0; i < pyenergy_device_count(list); ++i) {
    pyenergy_device device;
    device.size = sizeof device;
    if (pyenergy_device_get(list, i, &device)) return failed();
    printf("%s  %s%s\n", device.id, device.name,
           device.is_estimate ? "  (an ESTIMATE, not a measurement)" : "");
  }
  return 0;
}

static int measure(pyenergy_session* session, const char* file) {
  pyenergy_result energy;
  int64_t start, end;
  if (pyenergy_start(session)) return failed();
  start = pyenergy_now();
  work();
  end = pyenergy_now();
  if (pyenergy_mark(session, "loop", start, end) || pyenergy_stop(session)) return failed();
  energy.size = sizeof energy;
  if (pyenergy_energy(session, NULL, PYENERGY_PLAIN, start, end, &energy)) return failed();
  printf("loop  %.3f s  %.4g J, standard uncertainty %.2g J (%.2g J on the same card)\n",
         (double)(end - start) * 1e-9, energy.joules, energy.u_joules, energy.u_same_card_joules);
  printf("exact %lld %lld %a %a\n", (long long)start, (long long)end, energy.joules,
         energy.u_joules);
  return file != NULL && pyenergy_save(session, file) ? failed() : 0;
}

int main(int argc, char** argv) {
  pyenergy_session* session;
  int code;
  if (pyenergy_open(argc > 1 ? argv[1] : "auto", NULL, &session)) return failed();
  code = print_devices(session) || measure(session, argc > 2 ? argv[2] : NULL);
  return pyenergy_close(session) ? failed() : code;
}
