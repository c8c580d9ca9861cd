/*
 * A link with a delay, for kernels without netem, and without root.
 *
 *   link make DELAY-MS           in a user namespace: makes two network namespaces with a TUN device each, and carries
 *                                packets between the two, each DELAY-MS after it came. Prints {"here", "there"}, the
 *                                pids of processes in them. Ends with its standard input
 *   link through PID HOST PORT PROGRAM ARGUMENT…
 *                                runs a program in this network, with a connection as its descriptor 3 that was made
 *                                in the network of a process
 *   link listen PORT PROGRAM ARGUMENT…
 *                                runs a program with a socket as its descriptor 3 that listens at all addresses
 *
 * Theory of operation. The devices have the virtio header and segmentation offload, so that a "packet" is up to 64 KiB:
 * it goes over as it is, header and all, and the kernel there takes it as it would take what a network card had merged.
 * Hence the link itself is not what limits (some 20 Gbit/s), loses nothing and reorders nothing; TCP on it is the
 * kernel's. Each direction is a ring of bytes, in which packets lie with the time when they are due. A ring holds
 * what is under way at 10 Gbit/s for 100 ms; when it is full no more is read, and the device's queue of 10,000 fills.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PACKET = 10 + 65536, BATCH = 64, BACKLOG = 16, PASSED_FD = 3 };
static const size_t RING = (size_t)128 << 20;

struct packet {
  uint64_t due_ns;
  uint64_t length; /* 0: the ring goes on at its start */
  char bytes[];
};

struct direction {
  int from, to;
  char *ring;
  size_t head, tail; /* where the next packet is put, where the oldest one lies; equal: empty */
};

static void die(const char *what) {
  fprintf(stderr, "link: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static int open_tun(void) {
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) die("/dev/net/tun");
  struct ifreq request = {.ifr_name = "eth0", .ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
  if (ioctl(fd, TUNSETIFF, &request) < 0) die("TUNSETIFF");
  if (ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) < 0) die("TUNSETOFFLOAD");
  return fd;
}

/* Makes a network namespace with a device; returns the device. A child stays in it, whose pid is stored. */
static int make_end(const char *set_up, pid_t *pid) {
  if (unshare(CLONE_NEWNET) < 0) die("unshare");
  int fd = open_tun();
  if (system(set_up) != 0) {
    errno = EINVAL;
    die(set_up);
  }
  *pid = fork();
  if (*pid < 0) die("fork");
  if (*pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(0);
    for (;;) pause();
  }
  return fd;
}

static size_t size_of(size_t length) { return (sizeof(struct packet) + length + 15) & ~(size_t)15; }

/* Makes room for the largest packet; returns whether there is any. */
static bool has_room(struct direction *way) {
  size_t need = size_of(PACKET) + sizeof(struct packet);
  if (way->head < way->tail) return way->tail - way->head > need;
  if (RING - way->head > need) return true;
  if (way->tail <= need) return false;
  *(struct packet *)(way->ring + way->head) = (struct packet){0};
  way->head = 0;
  return true;
}

static void take(struct direction *way, uint64_t due) {
  for (int i = 0; i < BATCH && has_room(way); i++) {
    struct packet *packet = (struct packet *)(way->ring + way->head);
    ssize_t got = read(way->from, packet->bytes, PACKET);
    if (got <= 0) return;
    packet->due_ns = due;
    packet->length = (uint64_t)got;
    way->head += size_of((size_t)got);
  }
}

/* Delivers what is due; returns when the next one is, or 0. */
static uint64_t give(struct direction *way, uint64_t now) {
  while (way->tail != way->head) {
    struct packet *packet = (struct packet *)(way->ring + way->tail);
    if (packet->length == 0) {
      way->tail = 0;
      continue;
    }
    if (packet->due_ns > now) return packet->due_ns;
    if (write(way->to, packet->bytes, packet->length) < 0 && errno != EINVAL) die("write");
    way->tail += size_of(packet->length);
  }
  return 0;
}

static void carry(int here, int there, uint64_t delay_ns) {
  struct direction ways[2] = {{.from = here, .to = there}, {.from = there, .to = here}};
  for (int i = 0; i < 2; i++) {
    ways[i].ring = mmap(NULL, RING, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ways[i].ring == MAP_FAILED) die("mmap");
  }
  struct pollfd fds[] = {{.fd = here, .events = POLLIN}, {.fd = there, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
  for (;;) {
    uint64_t now = now_ns(), next = 0;
    for (int i = 0; i < 2; i++) {
      uint64_t due = give(&ways[i], now);
      if (due != 0 && (next == 0 || due < next)) next = due;
      fds[i].fd = has_room(&ways[i]) ? ways[i].from : -1;
    }
    uint64_t wait = next > now ? next - now : 0;
    struct timespec timeout = {.tv_sec = (time_t)(wait / 1000000000), .tv_nsec = (long)(wait % 1000000000)};
    if (ppoll(fds, 3, next == 0 ? NULL : &timeout, NULL) < 0 && errno != EINTR) die("ppoll");
    if (fds[2].revents != 0) return;
    uint64_t due = now_ns() + delay_ns;
    for (int i = 0; i < 2; i++) take(&ways[i], due);
  }
}

static int make(double delay_ms) {
  pid_t here_pid, there_pid;
  int here = make_end("ip link set lo up && ip addr add 198.18.1.1/24 dev eth0 &&"
                      "ip link set eth0 mtu 1500 txqueuelen 10000 up && ip route add 198.18.0.0/24 dev eth0", &here_pid);
  int there = make_end("ip link set lo up && ip addr add 198.18.1.2/24 dev eth0 &&"
                       "ip link set eth0 mtu 1500 txqueuelen 10000 up && ip route add local 198.18.0.0/24 dev lo",
                       &there_pid);
  printf("{\"here\":%d,\"there\":%d}\n", here_pid, there_pid);
  fflush(stdout);
  carry(here, there, (uint64_t)(delay_ms * 1e6));
  kill(here_pid, SIGKILL);
  kill(there_pid, SIGKILL);
  return 0;
}

static void enter(const char *pid, const char *name, int type) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%s/ns/%s", pid, name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, type) < 0) die(path);
  close(fd);
}

/* In a child: goes to the network of a process, connects, and hands the connection over. */
static void connect_there(int channel, char **argv) {
  enter(argv[0], "user", CLONE_NEWUSER);
  enter(argv[0], "net", CLONE_NEWNET);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
  inet_pton(AF_INET, argv[1], &address.sin_addr);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
  char byte = 0;
  struct iovec data = {.iov_base = &byte, .iov_len = 1};
  union {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control = {.head = {.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
  memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
  struct msghdr message = {
      .msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  if (sendmsg(channel, &message, 0) < 0) die("sendmsg");
  exit(0);
}

/* Becomes the program. */
static void run_with(int fd, char **argv) {
  if (fd != PASSED_FD && (dup2(fd, PASSED_FD) < 0 || close(fd) < 0)) die("dup2");
  execvp(argv[0], argv);
  die(argv[0]);
}

static void through(char **argv) {
  int channel[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) < 0) die("socketpair");
  pid_t child = fork();
  if (child < 0) die("fork");
  if (child == 0) connect_there(channel[1], argv);
  close(channel[1]);
  char byte;
  struct iovec data = {.iov_base = &byte, .iov_len = 1};
  union {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct msghdr message = {
      .msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  if (recvmsg(channel[0], &message, 0) != 1) exit(1); /* the child has said why */
  waitpid(child, NULL, 0);
  int fd;
  memcpy(&fd, CMSG_DATA(&control.head), sizeof fd);
  run_with(fd, argv + 3);
}

static void listening(char **argv) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[0]))};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, BACKLOG) < 0) die("listen");
  run_with(fd, argv + 1);
}

int main(int argc, char **argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (argc == 3 && strcmp(argv[1], "make") == 0) return make(atof(argv[2]));
  if (argc >= 6 && strcmp(argv[1], "through") == 0) through(argv + 2);
  if (argc >= 4 && strcmp(argv[1], "listen") == 0) listening(argv + 2);
  fprintf(stderr, "usage: link make DELAY-MS | through PID HOST PORT PROGRAM... | listen PORT PROGRAM...\n");
  return 2;
}
