"""Prints what a program has of whoever started it, as JSON."""

import fcntl, json, os, resource, signal, stat, sys

# Those that Python opens itself are closed on exec.
descriptors = {}
for fd in range(256):
    try:
        if fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC:
            continue
        is_tty, kind = os.isatty(fd), stat.S_IFMT(os.fstat(fd).st_mode)
        descriptors[fd] = [fcntl.fcntl(fd, fcntl.F_GETFL), kind, is_tty]
    except OSError:
        pass

limits = {
    name: [str(each) for each in resource.getrlimit(getattr(resource, name))]
    for name in dir(resource)
    if name.startswith("RLIMIT_")
}
with open("/proc/self/status") as lines:
    fields = dict(line.rstrip("\n").split(":\t", 1) for line in lines)
kept = ["Umask", "SigBlk", "SigIgn", "SigCgt", "Seccomp", "Cpus_allowed", "Mems_allowed", "THP_enabled", "CoreDumping"]
seen = {
    "descriptors": descriptors,
    "limits": limits,
    "status": {name: fields.get(name) for name in kept},
    "nice": os.nice(0),
    "scheduler": [os.sched_getscheduler(0), os.sched_getparam(0).sched_priority],
    "oom": open("/proc/self/oom_score_adj").read(),
    "slack": open("/proc/self/timerslack_ns").read() if os.path.exists("/proc/self/timerslack_ns") else None,
    "personality": open("/proc/self/personality").read(),
    "directory": os.getcwd(),
    "argv": sys.orig_argv[:2],
}
with open(sys.argv[1], "w") as out:
    json.dump(seen, out, indent=1)
