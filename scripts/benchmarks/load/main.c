/*
 * The load generator of `scripts/bench network`: one program for all ways that are compared, in C so that it is
 * never what limits them.
 *
 *   load serve    serves on ports of its choice, which it prints as JSON
 *   load client   reads a command a line, and answers each by a line of JSON (load.h says what they do; times in ms):
 *                   bulk up|down HOST PORT FLOWS WARM-UP DURATION
 *                   rtt HOST PORT WARM-UP DURATION
 *                   loaded up|down HOST BULK-PORT ECHO-PORT FLOWS WARM-UP DURATION
 *                   connections HOST PORT AT-ONCE WARM-UP DURATION
 *                   short HOST PORT AT-ONCE COUNT
 *                   udp HOST PORT BYTES RATE DURATION
 *                   idle HOST PORT COUNT
 *
 * Both end with their standard input. A failure is a line on the standard error, and status 1; a command that has not
 * ended after a minute, as on a way that has stalled, ends it by SIGALRM.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "load.h"

enum { MAX_WORDS = 10, DEADLINE_S = 60 };

static char *words[MAX_WORDS];
static int word_count;

static void split(char *line) {
  word_count = 0;
  for (char *word = strtok(line, " \n"); word != NULL && word_count < MAX_WORDS; word = strtok(NULL, " \n"))
    words[word_count++] = word;
}

static bool is_command(const char *name, int count) { return word_count == count && strcmp(words[0], name) == 0; }

static int number(int at) { return atoi(words[at]); }

static uint16_t port(int at) { return (uint16_t)atoi(words[at]); }

static bool is_up(void) { return strcmp(words[1], "up") == 0; }

static void obey(void) {
  if (is_command("bulk", 7)) bulk(words[2], port(3), is_up(), number(4), number(5), number(6));
  else if (is_command("rtt", 5)) rtt(words[1], port(2), number(3), number(4));
  else if (is_command("loaded", 8)) loaded_rtt(words[2], port(3), port(4), is_up(), number(5), number(6), number(7));
  else if (is_command("connections", 6)) connections(words[1], port(2), number(3), number(4), number(5), 0);
  else if (is_command("short", 5)) connections(words[1], port(2), number(3), 0, 0, atol(words[4]));
  else if (is_command("udp", 6)) udp(words[1], port(2), (size_t)number(3), atol(words[4]), number(5));
  else if (is_command("idle", 4)) idle(words[1], port(2), number(3));
  else {
    errno = EINVAL;
    die(word_count > 0 ? words[0] : "command");
  }
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  if (argc == 2 && strcmp(argv[1], "serve") == 0) {
    serve();
    return 0;
  }
  if (argc != 2 || strcmp(argv[1], "client") != 0) {
    fprintf(stderr, "usage: load serve|client\n");
    return 2;
  }
  char line[512];
  while (fgets(line, sizeof line, stdin) != NULL) {
    split(line);
    alarm(DEADLINE_S);
    obey();
    alarm(0);
    fflush(stdout);
  }
  return 0;
}
