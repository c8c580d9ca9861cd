"""posix.py DIRECTORY DIRECTORY: pjdfstest's catalogue of system calls and failures, the same in both; says where they differ.

For each call: what keeps it from being done (ENOTDIR, ENAMETOOLONG, ENOENT, EACCES, ELOOP, EEXIST by kind, ...), what it
makes, and whose times it changes. What needs root (other users, devices, flags, read-only remounts) is not here.
"""

import errno
import os
import shutil
import socket
import stat
import subprocess
import sys

KINDS = ("regular", "directory", "link", "dangling", "fifo", "socket")


def attempt(act):
    try:
        value = act()
        return value if isinstance(value, (bool, int, str, tuple, list)) else "done"
    except OSError as error:
        return errno.errorcode.get(error.errno, error.errno)


def make(kind, path):
    if kind == "regular":
        with open(path, "wb") as file:
            file.write(b"content")
    elif kind == "directory":
        os.mkdir(path)
    elif kind == "link":
        make("regular", f"{path}.target")
        os.symlink(f"{os.path.basename(path)}.target", path)
    elif kind == "dangling":
        os.symlink("nowhere", path)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        # Its path may be too long for an address.
        os.mknod(path, stat.S_IFSOCK | 0o644)
    return path


def opened(flags):
    def act(path):
        os.close(os.open(path, flags | os.O_NONBLOCK, 0o644))
    return act


# By one path; each finds `x` made by `needs`, or nothing.
CALLS = {
    "chmod": ("regular", lambda path: os.chmod(path, 0o600)),
    "chown": ("regular", lambda path: os.chown(path, os.getuid(), os.getgid())),
    "lchown": ("link", lambda path: os.lchown(path, os.getuid(), os.getgid())),
    "utimensat": ("regular", lambda path: os.utime(path, ns=(1, 2))),
    "truncate": ("regular", lambda path: os.truncate(path, 3)),
    "access": ("regular", lambda path: os.access(path, os.R_OK)),
    "stat": ("regular", lambda path: stat.filemode(os.stat(path).st_mode)),
    "open": ("regular", opened(os.O_RDONLY)),
    "open to write": ("regular", opened(os.O_WRONLY)),
    "open O_TRUNC": ("regular", opened(os.O_WRONLY | os.O_TRUNC)),
    "open O_NOFOLLOW": ("regular", opened(os.O_RDONLY | os.O_NOFOLLOW)),
    "open O_DIRECTORY": ("directory", opened(os.O_RDONLY | os.O_DIRECTORY)),
    "open O_CREAT": (None, opened(os.O_WRONLY | os.O_CREAT)),
    "open O_EXCL": (None, opened(os.O_WRONLY | os.O_CREAT | os.O_EXCL)),
    "mkdir": (None, os.mkdir),
    "mkfifo": (None, os.mkfifo),
    "mknod": (None, lambda path: os.mknod(path, stat.S_IFREG | 0o600)),
    "mknod of a socket": (None, lambda path: os.mknod(path, stat.S_IFSOCK | 0o600)),
    "symlink": (None, lambda path: os.symlink("target", path)),
    "readlink": ("link", os.readlink),
    "listdir": ("directory", os.listdir),
    "unlink": ("regular", os.unlink),
    "rmdir": ("directory", os.rmdir),
    "link to": (None, lambda path: os.link(beside(path), path)),
    "link from": ("regular", lambda path: os.link(path, f"{beside(path)}2", follow_symlinks=False)),
    "rename to": (None, lambda path: os.rename(beside(path), path)),
    "rename from": ("regular", lambda path: os.rename(path, f"{beside(path)}2")),
    "setxattr": ("regular", lambda path: os.setxattr(path, "user.x", b"y")),
    "getxattr": ("regular", lambda path: os.getxattr(path, "user.x")),
    "listxattr": ("regular", os.listxattr),
    "removexattr": ("regular", lambda path: os.removexattr(path, "user.x")),
    "statvfs": ("regular", lambda path: os.statvfs(path).f_namemax),
}


def beside(path):
    """A file of the case's own directory, which is the working directory."""
    other = os.path.abspath("beside")
    if not os.path.lexists(other):
        make("regular", other)
    return other


def named(_, call, needs):
    """Names too long, and just not; a file as a directory; nothing; loops; both sides of what may not be searched."""
    out = []

    def case(label, path, prepared=True):
        if prepared and needs is not None:
            attempt(lambda: make(needs, path))
        out.append((label, attempt(lambda: call(path))))

    case("plainly", "plain")
    make("regular", "file")
    case("ENOTDIR", "file/x", False)
    case("a name of 255 bytes", "n" * 255)
    case("ENAMETOOLONG by a name", "n" * 256, False)
    deep = "/".join(["d" * 200] * 15)
    os.makedirs(deep)
    longest = f"{deep}/{'x' * (4095 - len(deep) - 1)}"
    case("a path of 4,095 bytes, of which the last name is too long", longest, False)
    case("a long path", f"{deep}/x")
    case("ENAMETOOLONG by a path", f"{'./' * 2100}x", False)
    case("ENOENT", "none/x", False)
    case("ENOENT by an empty path", "", False)
    os.symlink("loop1", "loop2")
    os.symlink("loop2", "loop1")
    case("ELOOP on the way", "loop1/x", False)
    case("a loop itself", "loop1", False)
    os.mkdir("closed")
    case("EACCES to search: made before", "closed/before")
    os.chmod("closed", 0o600)
    case("EACCES to search", "closed/none", False)
    os.chmod("closed", 0o700)
    os.mkdir("locked")
    if needs is not None:
        make(needs, "locked/x")
    os.chmod("locked", 0o500)
    case("EACCES to write", "locked/x", False)
    os.chmod("locked", 0o700)
    case("a slash at the end", "slash/", False)
    make("regular", "slashed")
    case("a slash after a file", "slashed/", False)
    os.mkdir("directory")
    case("a slash after a directory", "directory/", False)
    case("the directory itself", ".", False)
    case("the directory above", "directory/..", False)
    return out


def kinds(_, call, needs):
    """On what there is already, of every kind."""
    out = []
    for kind in KINDS:
        make(kind, f"k-{kind}")
        out.append((f"on a {kind}", attempt(lambda: call(f"k-{kind}"))))
        out.append((f"on a {kind}, after", sorted(os.listdir("."))))
    # The kernel lets anybody open what is a fifo here: FUSE isn't asked.
    for kind in ("regular", "directory"):
        path = make(kind, f"m-{kind}")
        os.chmod(path, 0o000)
        out.append((f"on a {kind} of mode 0", attempt(lambda: call(path))))
    return out


def renames(_root):
    out = []
    for old in KINDS:
        for new in (*KINDS, "full"):
            os.mkdir("r")
            make(old, "r/old")
            make("directory" if new == "full" else new, "r/new")
            if new == "full":
                make("regular", "r/new/x")
            ino = os.lstat("r/old").st_ino
            result = attempt(lambda: os.rename("r/old", "r/new"))
            out.append((f"{old} over {new}", (result, sorted(os.listdir("r")), os.lstat("r/new").st_ino == ino)))
            shutil.rmtree("r")
    os.makedirs("d/e/f")
    out.append(("into itself", attempt(lambda: os.rename("d", "d/e/f/d"))))
    out.append(("to itself", attempt(lambda: os.rename("d", "d"))))
    out.append((". ", attempt(lambda: os.rename("d/.", "e"))))
    out.append(("..", attempt(lambda: os.rename("d/e/..", "e"))))
    out.append(("over what holds it", attempt(lambda: os.rename("d/e/f", "d"))))
    make("regular", "a")
    os.link("a", "b")
    out.append(("to another name of it", (attempt(lambda: os.rename("a", "b")), sorted(os.listdir(".")))))
    out.append(("links", os.stat("b").st_nlink))
    return out


def links(_root):
    out = []
    for kind in KINDS:
        make(kind, kind)
        result = attempt(lambda: os.link(kind, f"{kind}2", follow_symlinks=False))
        count = os.lstat(kind).st_nlink
        same = result == "done" and os.lstat(kind).st_ino == os.lstat(f"{kind}2").st_ino
        out.append((kind, (result, count, same)))
    with open("regular2", "ab") as file:
        file.write(b" more")
    out.append(("written by the other name", (os.stat("regular").st_size, open("regular", "rb").read() == b"content more")))
    os.chmod("regular2", 0o640)
    out.append(("mode by the other name", oct(os.stat("regular").st_mode)))
    os.unlink("regular")
    out.append(("links after unlink", os.stat("regular2").st_nlink))
    return out


def modes(_root):
    out = []
    for mask in (0o000, 0o022, 0o077, 0o777):
        os.umask(mask)
        for name, act in (
            ("file", lambda p: os.close(os.open(p, os.O_CREAT | os.O_WRONLY, 0o7777))),
            ("directory", lambda p: os.mkdir(p, 0o7777)),
            ("fifo", lambda p: os.mkfifo(p, 0o777)),
            ("socket", lambda p: os.mknod(p, stat.S_IFSOCK | 0o777)),
        ):
            path = f"{name}-{mask:o}"
            out.append((path, (attempt(lambda: act(path)), oct(os.lstat(path).st_mode))))
    os.umask(0o022)
    make("regular", "sticky")
    for mode in (0o4755, 0o2755, 0o1755, 0o7777):
        os.chmod("sticky", mode)
        out.append((f"chmod {mode:o}", oct(os.stat("sticky").st_mode)))
    os.chmod("sticky", 0o6755)
    with open("sticky", "ab") as file:
        file.write(b"x")
    out.append(("set-user-ID after a write", oct(os.stat("sticky").st_mode)))
    os.chmod("sticky", 0o6755)
    os.truncate("sticky", 1)
    out.append(("set-user-ID after truncate", oct(os.stat("sticky").st_mode)))
    os.chmod("sticky", 0o6755)
    os.chown("sticky", os.getuid(), os.getgid())
    out.append(("set-user-ID after chown", oct(os.stat("sticky").st_mode)))
    out.append(("chown to somebody", attempt(lambda: os.chown("sticky", 0, -1)) in ("EPERM", "EINVAL")))
    return out


def sizes(_root):
    make("regular", "file")
    out = [("truncate below 0", attempt(lambda: os.truncate("file", -1)))]
    for size in (0, 1, 4096, 123456, 0):
        out.append((f"truncate {size}", (attempt(lambda: os.truncate("file", size)), os.stat("file").st_size)))
    for flags in (os.O_RDONLY, os.O_WRONLY):
        file = os.open("file", flags)
        out.append(("ftruncate", attempt(lambda: os.ftruncate(file, 7))))
        out.append(("fallocate", attempt(lambda: os.posix_fallocate(file, 0, 100))))
        out.append(("read", attempt(lambda: len(os.read(file, 10)))))
        out.append(("write", attempt(lambda: os.write(file, b"x"))))
        os.close(file)
    file = os.open("file", os.O_RDWR)
    out.append(("fallocate of nothing", attempt(lambda: os.posix_fallocate(file, 0, 0))))
    out.append(("fallocate below 0", attempt(lambda: os.posix_fallocate(file, -1, 10))))
    os.close(file)
    shutil.copy("/bin/sleep", "program")
    running = subprocess.Popen(["./program", "60"])
    try:
        out.append(("ETXTBSY", attempt(lambda: os.close(os.open("program", os.O_WRONLY)))))
        out.append(("ETXTBSY by truncate", attempt(lambda: os.truncate("program", 0))))
    finally:
        running.kill()
        running.wait()
    return out


def tick(after):
    """Waits until the clock of this file system has moved on."""
    while True:
        make("regular", "clock")
        now = os.stat("clock").st_ctime_ns
        os.unlink("clock")
        if now > after:
            return


def times(_root):
    """Whose times a call changes, and that one that fails changes none: of the file, and of its directory."""
    out = []

    def case(label, kind, act, path="t/x"):
        os.mkdir("t")
        file = None if kind is None else make(kind, path)
        held = os.open(path, os.O_RDWR) if kind == "regular" else None
        watched = [("file", held), ("directory", os.open("t", os.O_RDONLY))]
        for _, descriptor in watched:
            if descriptor is not None:
                os.utime(descriptor, ns=(10**9, 10**9))
        before = [os.fstat(d) if d is not None else None for _, d in watched]
        tick(max(status.st_ctime_ns for status in before if status is not None))
        result = attempt(lambda: act(path))
        changed = []
        for (name, descriptor), old in zip(watched, before):
            if descriptor is None:
                continue
            new = os.fstat(descriptor)
            for field in ("st_mtime_ns", "st_ctime_ns"):
                if getattr(new, field) != getattr(old, field):
                    changed.append(f"{name}'s {field[3:8]}")
        out.append((label, (result, changed, file is not None)))
        for _, descriptor in watched:
            if descriptor is not None:
                os.close(descriptor)
        shutil.rmtree("t")
        for name in ("beside", "beside2"):
            if os.path.lexists(name):
                os.unlink(name)

    for label, (needs, call) in CALLS.items():
        case(label, needs, call)
    for label in ("open O_EXCL", "mkdir", "mkfifo", "mknod", "symlink", "link to"):
        case(f"{label}, failing", "regular", CALLS[label][1])
    case("rename within", "regular", lambda path: os.rename(path, f"{path}2"))
    case("rename out", "regular", lambda path: os.rename(path, "beside2"))
    case("unlink of one of two names", "regular", lambda path: (os.link(path, "beside2"), os.unlink(path))[1])
    case("write", "regular", lambda path: open(path, "ab").write(b"x"))
    case("write of nothing", "regular", lambda path: os.write(os.open(path, os.O_WRONLY), b""))
    case("truncate to the same", "regular", lambda path: os.truncate(path, 7))
    case("rmdir of a full one", "regular", lambda path: os.rmdir("t"))
    return out


def directories(_root):
    os.makedirs("d/e")
    out = [("rmdir of a full one", attempt(lambda: os.rmdir("d"))), ("rmdir of .", attempt(lambda: os.rmdir("d/e/.")))]
    out.append(("rmdir of ..", attempt(lambda: os.rmdir("d/e/.."))))
    out.append(("links", [os.stat("d").st_nlink, os.stat("d/e").st_nlink]))
    descriptor = os.open("d/e", os.O_RDONLY)
    os.rmdir("d/e")
    out.append(("listed after it is gone", attempt(lambda: os.listdir(descriptor))))
    out.append(("made in what is gone", attempt(lambda: os.mkdir("x", dir_fd=descriptor))))
    out.append(("links of what is gone", os.fstat(descriptor).st_nlink))
    os.close(descriptor)
    out.append(("links after", os.stat("d").st_nlink))
    server = socket.socket(socket.AF_UNIX)
    out.append(("bind", attempt(lambda: server.bind("s"))))
    out.append(("bind again", attempt(lambda: socket.socket(socket.AF_UNIX).bind("s"))))
    return out


def main(roots):
    os.umask(0o022)
    cases = {f"{name}: {part.__name__}": (lambda root, p=part, n=needs, c=call: p(root, c, n))
             for name, (needs, call) in CALLS.items() for part in (named, kinds)}
    cases |= {part.__name__: part for part in (renames, links, modes, sizes, times, directories)}
    checks = differences = 0
    for label, case in cases.items():
        results = []
        for root in roots:
            place = os.path.join(root, "case")
            os.mkdir(place)
            os.chdir(place)
            results.append(case(place))
            os.chdir(root)
            subprocess.run(["chmod", "-R", "u+rwx", place], check=False)
            shutil.rmtree(place)
        for (what, there), (_, here) in zip(*results, strict=True):
            checks += 1
            if there != here:
                differences += 1
                print(f"{label}: {what}: {there} there, {here} here")
    print(f"{checks} cases, {differences} differences")


main(sys.argv[1:])
