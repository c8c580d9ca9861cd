"""What a POSIX file system owes to its programs; says what is wrong, and `done` at the end."""

import errno
import fcntl
import mmap
import os
import stat
import subprocess
import sys


def check(condition, what):
    if not condition:
        print("wrong:", what, flush=True)


def failure(act):
    try:
        act()
    except OSError as error:
        return errno.errorcode[error.errno]
    return None


def text(path):
    with open(path) as file:
        return file.read()


def write(path, content, how="w"):
    with open(path, how) as file:
        file.write(content)


def opening():
    write("a", "hello")
    write("a", " world", "a")
    check(text("a") == "hello world", "O_APPEND")
    check(failure(lambda: os.open("a", os.O_CREAT | os.O_EXCL | os.O_RDWR)) == "EEXIST", "O_EXCL")
    write("a", "")
    check(os.stat("a").st_size == 0, "O_TRUNC")
    check(failure(lambda: open("none")) == "ENOENT", "ENOENT")


def unlinked():
    file = os.open("u", os.O_RDWR | os.O_CREAT, 0o640)
    os.pwrite(file, b"xyz", 5)
    check(os.pread(file, 10, 0) == b"\0" * 5 + b"xyz", "pread")
    check(stat.S_IMODE(os.fstat(file).st_mode) == 0o640, "mode")
    os.ftruncate(file, 3)
    os.unlink("u")
    check(os.pread(file, 10, 0) == b"\0" * 3, "a read of what is unlinked")
    os.fchmod(file, 0o600)
    check(stat.S_IMODE(os.fstat(file).st_mode) == 0o600, "fchmod of what is unlinked")
    check(os.fstatvfs(file).f_namemax == 255, "fstatvfs of what is unlinked")
    try:
        os.setxattr(file, "user.x", b"1")
        check(os.getxattr(file, "user.x") == b"1", "an extended attribute of what is unlinked")
    except OSError as error:
        # A tmpfs has had them since Linux 6.6.
        check(error.errno == errno.EOPNOTSUPP, "extended attributes of what is unlinked")
    check(os.access(f"/proc/self/fd/{file}", os.R_OK), "access to what is unlinked")
    # Another file has its name by now.
    write("u", "another")
    check(text(f"/proc/self/fd/{file}") == "\0" * 3, "what is unlinked, opened again")
    write(f"/proc/self/fd/{file}", "new")
    check(os.pread(file, 10, 0) == b"new", "what is unlinked, opened again to be cut off and written")
    check(text("u") == "another", "what has the name of what was unlinked")
    os.close(file)


def nameless():
    try:
        file = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o640)
    except OSError as error:
        # Linux below 6.2, or a file system that has none.
        check(error.errno == errno.EOPNOTSUPP, "O_TMPFILE")
        return
    os.pwrite(file, b"xyz", 0)
    check(os.pread(file, 10, 0) == b"xyz", "a read of what has no name")
    check(text(f"/proc/self/fd/{file}") == "xyz", "what has no name, opened again")
    check(os.fstat(file).st_nlink == 0, "names of what has none")
    # Only with a directory does Python call linkat(2), which follows the link.
    here = os.open(".", os.O_PATH)
    link = lambda name: os.link(f"/proc/self/fd/{file}", name, src_dir_fd=here, follow_symlinks=True)
    link("t")
    check(failure(lambda: link("t")) == "EEXIST", "a name that is taken")
    os.pwrite(file, b"more", 3)
    check(text("t") == "xyzmore", "what was written before and after it had a name")
    check(os.stat("t").st_ino == os.fstat(file).st_ino and os.stat("t").st_nlink == 1, "which file it is")
    os.close(file)
    file = os.open(".", os.O_TMPFILE | os.O_EXCL | os.O_WRONLY)
    check(failure(lambda: link("n")) == "ENOENT", "what is to have no name")
    os.close(file)
    os.close(here)
    os.unlink("t")


def renaming():
    write("r1", "1")
    write("r2", "2")
    os.rename("r1", "r2")
    check(text("r2") == "1" and not os.path.exists("r1"), "a rename over a file")
    os.mkdir("d")
    write("d/x", "x")
    held = open("d/x")
    os.rename("d", "e")
    check(text("e/x") == "x", "a renamed directory")
    check(held.read() == "x", "a file in a renamed directory, open")
    check(failure(lambda: os.rmdir("e")) == "ENOTEMPTY", "ENOTEMPTY")


def linking():
    write("l", "l")
    os.link("l", "l2")
    check(os.stat("l").st_nlink == 2, "links are counted")
    check(os.stat("l").st_ino == os.stat("l2").st_ino, "links are one file")
    os.symlink("l", "s")
    check(os.readlink("s") == "l" and text("s") == "l", "a symbolic link")
    os.symlink("/nowhere/at/all", "dangling")
    check(failure(lambda: os.stat("dangling")) == "ENOENT", "a dangling link")
    check(failure(lambda: os.symlink("x", "s")) == "EEXIST", "EEXIST")
    times = (1234567890123456789, 987654321987654321)
    os.utime("l", ns=times)
    status = os.stat("l")
    check((status.st_atime_ns, status.st_mtime_ns) == times, "nanoseconds")
    os.chown("l", os.getuid(), os.getgid())
    if os.getuid() != 0:
        check(failure(lambda: os.chown("l", 12345, -1)) in ("EPERM", "EINVAL"), "chown")


def mapping():
    write("m", os.urandom(300_000), "wb")
    with open("m", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        with open("m", "rb") as other:
            check(mapped[:] == other.read(), "a mapped file")
        mapped[10:13] = b"ABC"
        mapped.flush()
    with open("m", "rb") as file:
        check(file.read()[10:13] == b"ABC", "a write to a mapped file")
    with open("m", "r+b") as one, open("m", "r+b") as two:
        fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        busy = failure(lambda: fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB))
        check(busy == "EAGAIN", "flock")


def naming():
    name = b"\xff\xfe"
    write(name, "n")
    check(name in os.listdir(b".") and text(name) == "n", "a name that is no UTF-8")
    write("x" * 255, "")
    check(os.path.exists("x" * 255), "a name of 255 bytes")
    check(failure(lambda: open("x" * 256, "w")) == "ENAMETOOLONG", "a name of 256 bytes")


def listing():
    os.mkdir("many")
    for index in range(1000):
        write(f"many/{index}", "")
    check(len(os.listdir("many")) == 1000, "a directory of 1,000 entries")
    check(all(entry.stat().st_size == 0 for entry in os.scandir("many")), "their attributes")
    directory = os.open("many", os.O_RDONLY)
    os.listdir(directory)
    write("many/new", "")
    check("new" in os.listdir(directory), "a directory that is read once more, by the same descriptor")
    os.close(directory)
    os.unlink("many/new")
    for index in range(1000):
        os.unlink(f"many/{index}")
    check(os.listdir("many") == [], "an empty directory")
    check(failure(lambda: os.mkdir("many")) == "EEXIST", "mkdir")
    check(failure(lambda: open("many", "w")) == "EISDIR", "EISDIR")
    check(failure(lambda: os.listdir("l")) == "ENOTDIR", "ENOTDIR")


def changed_while_listed():
    os.mkdir("c")
    write("c/gone", "")
    write("c/grows", "")
    with os.scandir("c") as entries:
        os.unlink("c/gone")
        write("c/grows", "more", "a")
        list(entries)
    check(not os.path.exists("c/gone"), "a name that is removed while its directory is read")
    check(os.stat("c/grows").st_size == 4, "a file that grows meanwhile")


def sparse():
    file = os.open("h", os.O_RDWR | os.O_CREAT)
    os.pwrite(file, b"x", 1 << 20)
    check(os.lseek(file, 0, os.SEEK_DATA) == 1 << 20, "SEEK_DATA")
    check(os.lseek(file, 0, os.SEEK_HOLE) == 0, "SEEK_HOLE")
    check(failure(lambda: os.lseek(file, 2 << 20, os.SEEK_DATA)) == "ENXIO", "SEEK_DATA after the end")
    os.posix_fallocate(file, 0, 2 << 20)
    check(os.fstat(file).st_size == 2 << 20, "fallocate")
    os.fsync(file)
    os.close(file)


def executing():
    write("run", "#!/bin/sh\necho ran\n")
    os.chmod("run", 0o755)
    check(subprocess.run(["./run"], capture_output=True).stdout == b"ran\n", "a script")
    check(failure(lambda: os.execv("./l", ["l"])) == "EACCES", "exec without the right")
    os.mkfifo("f")
    check(stat.S_ISFIFO(os.stat("f").st_mode), "mkfifo")


os.makedirs(sys.argv[1])
os.chdir(sys.argv[1])
for part in (
    opening, unlinked, nameless, renaming, linking, mapping, naming, listing, changed_while_listed,
    sparse, executing,
):
    part()
print("done")
