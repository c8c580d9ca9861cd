/*
 * A program without IPv6: socket(2) and socketpair(2) of AF_INET6 fail with EAFNOSUPPORT, as on a kernel
 * that was built without it.
 *
 * A seccomp filter does it, which needs no NO_NEW_PRIVS since we are allowed CAP_SYS_ADMIN in our user
 * namespace. It is the launcher's own and inherited by the program; the launcher makes no such socket either.
 * Only system calls of the machine's own architecture are looked at: others (32-bit programs) pass, and find
 * no IPv6 address to use.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launcher.h"

#if defined __x86_64__
#define OWN_ARCHITECTURE AUDIT_ARCH_X86_64
#define NUMBER_MASK ~0x40000000u /* the mark of x32's calls, whose numbers are the same */
#elif defined __aarch64__
#define OWN_ARCHITECTURE AUDIT_ARCH_AARCH64
#define NUMBER_MASK ~0u
#else
#error "the architecture's AUDIT_ARCH is needed"
#endif

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define SKIP_IF(value, if_equal, if_not) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, if_equal, if_not)

int forbid_ipv6(void) {
  struct sock_filter code[] = {
      LOAD(arch),
      SKIP_IF(OWN_ARCHITECTURE, 0, 6),
      LOAD(nr),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, NUMBER_MASK),
      SKIP_IF(SYS_socket, 1, 0),
      SKIP_IF(SYS_socketpair, 0, 2),
      LOAD(args[0]), /* an int: the low half, which comes first */
      SKIP_IF(AF_INET6, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT),
  };
  struct sock_fprog program = {sizeof code / sizeof *code, code};
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0 ? failed("seccomp") : 0;
}
