/* SPDX-License-Identifier: Apache-2.0
 * A session through fork(): refused in the child, which may open its own; whole in the parent. */
#define _POSIX_C_SOURCE 200809L
#include <pyenergy.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static int measure(pyenergy_session* session, int64_t start) {
  pyenergy_result result;
  result.size = sizeof result;
  if (pyenergy_energy(session, NULL, PYENERGY_PLAIN, start, pyenergy_now(), &result)) return 1;
  return result.u_joules > 0 ? 0 : 1;
}

static int child(pyenergy_session* inherited) {
  pyenergy_session* own;
  int64_t start, end;
  if (pyenergy_stop(inherited) != PYENERGY_ERR_FORKED) return 2;
  printf("%s\n", pyenergy_last_error());
  if (pyenergy_bounds(inherited, &start, &end) != PYENERGY_ERR_FORKED) return 3;
  if (pyenergy_close(inherited)) return 4;
  if (pyenergy_open("sim:ideal", NULL, &own) || pyenergy_start(own)) return 5;
  if (pyenergy_bounds(own, &start, &end) || measure(own, start)) return 6;
  return pyenergy_close(own) ? 7 : 0;
}

int main(void) {
  pyenergy_session* session;
  int64_t start, end;
  int status;
  pid_t pid;
  if (pyenergy_open("sim:ideal", NULL, &session) || pyenergy_start(session)) return 1;
  if (pyenergy_bounds(session, &start, &end)) return 2;
  pid = fork();
  if (pid == 0) {
    int code = child(session);
    fflush(stdout);
    return code;
  }
  if (waitpid(pid, &status, 0) != pid) return 3;
  printf("child %d, parent %d\n", WEXITSTATUS(status), measure(session, start));
  return pyenergy_close(session) ? 4 : 0;
}
