/*
 * Commands whose answer mirrord must not wait for: `batch begin`, the commands, `batch run`, then `batch state`
 * until it doesn't say `pending`.
 *
 * mirrord waits for the answer to a command, and meanwhile does nothing else. A command that meets a path in the
 * sandbox's FUSE mount would wait for mirrord. So a child runs these, in our namespaces, which what it mounts is
 * seen in. A batch ends with the first command that fails.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launcher.h"

/* A batch has a command or two for each directory of the root. */
#define BATCH_MAX (4 * 1024 * 1024)
#define FIELDS_MAX 16

static struct {
  char *bytes; /* lengths and messages */
  size_t length;
  int is_open;
  int report; /* of a batch that runs */
} batch = {.report = -1};

/* What the child says: the failed command's result, and its call. */
struct outcome {
  int result;
  char call[120];
};

int batch_is_open(void) { return batch.is_open; }

int batch_begin(void) {
  if (batch.is_open || batch.report >= 0) return errno = EBUSY, failed("batch");
  batch.is_open = 1;
  batch.length = 0;
  return 0;
}

int batch_add(const char *message, size_t length) {
  uint32_t head = (uint32_t)length;
  if (batch.length + length + sizeof head > BATCH_MAX) return errno = E2BIG, failed("batch");
  char *more = realloc(batch.bytes, batch.length + length + sizeof head);
  if (!more) return failed("realloc");
  batch.bytes = more;
  memcpy(more + batch.length, &head, sizeof head);
  memcpy(more + batch.length + sizeof head, message, length);
  batch.length += length + sizeof head;
  return 0;
}

static int run_all(int (*obey)(char **fields, int count, struct answer *answer), struct outcome *o) {
  for (size_t at = 0; at < batch.length;) {
    uint32_t length;
    char *fields[FIELDS_MAX + 1];
    int count = 0;
    struct answer a = {"", -1};
    memcpy(&length, batch.bytes + at, sizeof length);
    at += sizeof length;
    for (char *p = batch.bytes + at; p < batch.bytes + at + length && count < FIELDS_MAX; p += strlen(p) + 1)
      fields[count++] = p;
    at += length;
    if ((o->result = obey(fields, count, &a)) < 0) {
      snprintf(o->call, sizeof o->call, "%.40s %.60s", failed_call, count > 1 ? fields[count - 1] : "");
      return o->result;
    }
  }
  return 0;
}

int batch_run(int (*obey)(char **fields, int count, struct answer *answer)) {
  int report[2];
  if (!batch.is_open) return errno = EINVAL, failed("batch");
  batch.is_open = 0;
  if (pipe2(report, O_CLOEXEC | O_NONBLOCK) < 0) return failed("pipe");
  pid_t pid = fork();
  if (pid < 0) return close(report[0]), close(report[1]), failed("fork");
  if (!pid) {
    struct outcome o = {0};
    run_all(obey, &o);
    (void)!write(report[1], &o, sizeof o);
    _exit(0);
  }
  close(report[1]);
  batch.report = report[0];
  return 0;
}

/* Says `pending` while it runs. Its failure is ours then. */
int batch_state(struct answer *a) {
  static struct outcome o;
  if (batch.report < 0) return errno = EINVAL, failed("batch");
  ssize_t n = read(batch.report, &o, sizeof o);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return snprintf(a->text, sizeof a->text, "pending"), 0;
  close(batch.report);
  batch.report = -1;
  if (n != sizeof o) return errno = ECHILD, failed("batch");
  if (!o.result) return 0;
  errno = -o.result;
  return failed(o.call);
}
