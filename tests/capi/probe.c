/* SPDX-License-Identifier: Apache-2.0
 * Samples for a while, prints energies of windows with every bit, and saves what was sampled:
 * probe DEVICES FILE SECONDS. A line is: method, start, end, joules, u, joules and u of one call.
 */
#include <pyenergy.h>
#include <stdio.h>
#include <stdlib.h>

enum { WINDOWS = 64 };

static int failed(const char* what) {
  fprintf(stderr, "%s: %s\n", what, pyenergy_last_error());
  return 1;
}

static int print_windows(pyenergy_session* session, int method, int64_t start, int64_t end) {
  int64_t starts[WINDOWS], ends[WINDOWS];
  double joules[WINDOWS], u[WINDOWS];
  int i;
  for (i = 0; i < WINDOWS; ++i) { /* short, long, empty and whole ones, not in order */
    starts[i] = start + (end - start) * ((i * 37) % WINDOWS) / WINDOWS;
    ends[i] = starts[i] + (end - starts[i]) * (i % 8) / 7;
  }
  if (pyenergy_windows(session, NULL, method, WINDOWS, starts, ends, joules, u))
    return failed("windows");
  for (i = 0; i < WINDOWS; ++i) {
    pyenergy_result one;
    one.size = sizeof one;
    if (pyenergy_energy(session, NULL, method, starts[i], ends[i], &one)) return failed("energy");
    printf("%d %lld %lld %a %a %a %a\n", method, (long long)starts[i], (long long)ends[i],
           joules[i], u[i], one.joules, one.u_joules);
  }
  return 0;
}

int main(int argc, char** argv) {
  pyenergy_session* session = NULL;
  int64_t start, end, until;
  int method;
  if (argc != 4) return 2;
  if (pyenergy_open(argv[1], NULL, &session)) return failed("open");
  if (pyenergy_start(session)) return failed("start");
  start = pyenergy_now();
  until = start + (int64_t)(atof(argv[3]) * 1e9);
  while (pyenergy_now() < until) {
  }
  if (pyenergy_mark(session, "a \"loop\"", start, pyenergy_now())) return failed("mark");
  if (pyenergy_stop(session)) return failed("stop");
  if (pyenergy_bounds(session, &start, &end)) return failed("bounds");
  for (method = PYENERGY_PLAIN; method <= PYENERGY_COUNTER; ++method)
    if (print_windows(session, method, start, end)) return 1;
  if (pyenergy_save(session, argv[2])) return failed("save");
  return pyenergy_close(session) ? failed("close") : 0;
}
