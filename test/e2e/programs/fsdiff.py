"""fsdiff.py DIRECTORY DIRECTORY SEED COUNT: random operations, the same in both; says where they differ.

After fsx and fsstress: few names, few open files and small offsets, so that operations meet each other. Compared are
errno, data, and what stat(2) tells of the files that were touched; at the end the whole of both trees.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import random
import stat
import sys

libc = ctypes.CDLL(None, use_errno=True)
NOREPLACE, EXCHANGE = 1, 2
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
LARGEST = 200_000
SLOTS = 6
DIRECTORIES = ["", "d", "e", "d/f"]
NAMES = ["a", "b", "c", "long" * 63, b"\xff\xfe".decode(errors="surrogateescape")]
ATTRIBUTES = ["user.a", "user.b"]


def call(function, *arguments):
    result = function(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def fallocate(file, mode, offset, length):
    call(libc.fallocate, file, mode, ctypes.c_long(offset), ctypes.c_long(length))


def renameat2(old, new, flags):
    call(libc.renameat2, -100, os.fsencode(old), -100, os.fsencode(new), flags)


def times(status):
    return status.st_atime_ns, status.st_mtime_ns


def told(status):
    """What must be the same. A directory's size is its file system's business."""
    size = None if stat.S_ISDIR(status.st_mode) else status.st_size
    return oct(status.st_mode), status.st_nlink, size, status.st_uid, status.st_gid


class Side:
    """One of both directories, with what is open in it."""

    def __init__(self, root):
        # One deeper than what is ours: a link may lead to its parent.
        self.root = os.path.join(root, "root")
        self.slots = [None] * SLOTS
        for path in (self.root, self.at("d"), self.at("e")):
            os.mkdir(path)

    def at(self, path):
        return os.path.join(self.root, path)

    def file(self, slot):
        if self.slots[slot] is None:
            raise OSError(errno.EBADF, "not open")
        return self.slots[slot]

    # Open files.

    def open(self, slot, path, flags, mode):
        if os.path.exists(self.at(path)) and stat.S_ISFIFO(os.stat(self.at(path)).st_mode):
            return "fifo"  # the kernel here has it alone, and asks nobody
        file = os.open(self.at(path), flags, mode)
        self.close(slot)
        self.slots[slot] = file
        return told(os.fstat(self.slots[slot]))

    def close(self, slot):
        if self.slots[slot] is not None:
            os.close(self.slots[slot])
        self.slots[slot] = None

    def read(self, slot, size):
        return os.read(self.file(slot), size)

    def pread(self, slot, size, offset):
        return os.pread(self.file(slot), size, offset)

    def write(self, slot, data):
        return os.write(self.file(slot), data), os.lseek(self.file(slot), 0, os.SEEK_CUR)

    def pwrite(self, slot, data, offset):
        return os.pwrite(self.file(slot), data, offset), told(os.fstat(self.file(slot)))

    def writev(self, slot, *data):
        return os.writev(self.file(slot), data)

    def seek(self, slot, offset, whence):
        # What a place in a directory is, its file system says; and where holes are, tmpfs by what was looked at.
        if stat.S_ISDIR(os.fstat(self.file(slot)).st_mode):
            return None
        return os.lseek(self.file(slot), offset, whence)

    def ftruncate(self, slot, size):
        os.ftruncate(self.file(slot), size)
        return told(os.fstat(self.file(slot)))

    def allocate(self, slot, mode, offset, length):
        fallocate(self.file(slot), mode, offset, length)
        return told(os.fstat(self.file(slot)))

    def sync(self, slot, data_only):
        (os.fdatasync if data_only else os.fsync)(self.file(slot))

    def fstat(self, slot):
        return told(os.fstat(self.file(slot)))

    def fchmod(self, slot, mode):
        if stat.S_ISDIR(os.fstat(self.file(slot)).st_mode):
            mode |= 0o700
        os.fchmod(self.file(slot), mode)
        return told(os.fstat(self.file(slot)))

    def futime(self, slot, accessed, modified):
        os.utime(self.file(slot), ns=(accessed, modified))
        return times(os.fstat(self.file(slot)))

    def copy(self, source, target, size, offset):
        return os.copy_file_range(self.file(source), self.file(target), size, offset, offset)

    def lock(self, slot, how):
        fcntl.flock(self.file(slot), how | fcntl.LOCK_NB)

    def lock_range(self, slot, how, start, length):
        fcntl.lockf(self.file(slot), how | fcntl.LOCK_NB, length, start)

    def map_read(self, slot):
        with mmap.mmap(self.file(slot), 0, mmap.MAP_SHARED, mmap.PROT_READ) as mapped:
            return mapped[:]

    def map_write(self, slot, shared, offset, data):
        flags = mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE
        with mmap.mmap(self.file(slot), 0, flags, mmap.PROT_READ | mmap.PROT_WRITE) as mapped:
            end = min(offset + len(data), len(mapped))
            mapped[min(offset, end):end] = data[:max(0, end - offset)]
            mapped.flush()
            return mapped[:], os.pread(self.file(slot), LARGEST, 0)

    # Names.

    def status(self, path, follows):
        return told(os.stat(self.at(path), follow_symlinks=follows))

    def truncate(self, path, size):
        os.truncate(self.at(path), size)
        return self.status(path, True)

    def chmod(self, path, mode):
        # The kernel doesn't ask who may search a directory as long as it remembers what is in it.
        if os.path.isdir(self.at(path)):
            mode |= 0o700
        os.chmod(self.at(path), mode)
        return self.status(path, True)

    def chown(self, path, follows):
        os.chown(self.at(path), os.getuid(), os.getgid(), follow_symlinks=follows)
        return self.status(path, follows)

    def utime(self, path, accessed, modified, follows):
        os.utime(self.at(path), ns=(accessed, modified), follow_symlinks=follows)
        return times(os.stat(self.at(path), follow_symlinks=follows))

    def access(self, path, mode):
        return os.access(self.at(path), mode)

    def mkdir(self, path, mode):
        os.mkdir(self.at(path), mode)
        return self.status(path, False)

    def mkfifo(self, path, mode):
        os.mkfifo(self.at(path), mode)
        return self.status(path, False)

    def rmdir(self, path):
        os.rmdir(self.at(path))

    def unlink(self, path):
        os.unlink(self.at(path))

    def rename(self, old, new):
        os.rename(self.at(old), self.at(new))
        return self.status(new, False)

    def rename2(self, old, new, flags):
        renameat2(self.at(old), self.at(new), flags)
        return self.status(new, False)

    def link(self, old, new):
        os.link(self.at(old), self.at(new), follow_symlinks=False)
        return self.status(old, False), self.status(new, False)

    def symlink(self, target, path):
        os.symlink(target, self.at(path))
        return self.status(path, False)

    def readlink(self, path):
        return os.readlink(self.at(path))

    def list(self, path):
        return sorted(os.listdir(self.at(path)))

    def scan(self, path):
        return sorted((entry.name, told(entry.stat(follow_symlinks=False))) for entry in os.scandir(self.at(path)))

    def content(self, path):
        with open(self.at(path), "rb") as file:
            return file.read()

    def set_attribute(self, path, name, value, flags):
        os.setxattr(self.at(path), name, value, flags)

    def get_attribute(self, path, name):
        return os.getxattr(self.at(path), name)

    def attributes(self, path):
        return sorted(os.listxattr(self.at(path)))

    def remove_attribute(self, path, name):
        os.removexattr(self.at(path), name)

    def tree(self):
        """All there is, with its content."""
        found = []
        for directory, names, files in os.walk(self.root):
            for name in sorted(names + files):
                path = os.path.relpath(os.path.join(directory, name), self.root)
                try:
                    status = os.lstat(self.at(path))
                except PermissionError:
                    found.append((path, "not to be searched", None))
                    continue
                kind = stat.S_IFMT(status.st_mode)
                detail = None
                if kind == stat.S_IFLNK:
                    detail = os.readlink(self.at(path))
                elif kind == stat.S_IFREG and os.access(self.at(path), os.R_OK):
                    detail = self.content(path)
                found.append((path, told(status), detail))
        return sorted(found, key=lambda item: item[0])


class Choice:
    """What is done next."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def path(self):
        return os.path.join(self.random.choice(DIRECTORIES), self.random.choice(NAMES))

    def directory(self):
        return self.random.choice(DIRECTORIES[1:] + [self.path()])

    def offset(self):
        return self.random.choice([0, 1, 4095, 4096, 8192, self.random.randrange(LARGEST // 2)])

    def data(self):
        return self.random.randbytes(self.random.choice([0, 1, 100, 4096, self.random.randrange(LARGEST // 4)]))

    def mode(self):
        return self.random.choice([0o644, 0o600, 0o755, 0o700, 0o777, 0o666, 0o400, 0o000])

    def nanoseconds(self):
        return self.random.randrange(2 * 10**18)

    def flags(self):
        flags = self.random.choice([os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR, os.O_RDWR])
        if self.random.random() < 0.6:
            flags |= os.O_CREAT
        for flag, share in (
            (os.O_EXCL, 0.2), (os.O_TRUNC, 0.2), (os.O_APPEND, 0.25), (os.O_NOFOLLOW, 0.1), (os.O_SYNC, 0.05),
            (os.O_DIRECTORY, 0.03),
        ):
            # What O_EXCL does without O_CREAT is undefined (open(2)); O_DIRECTORY with it as well.
            if self.random.random() < share and (flags & os.O_CREAT or flag != os.O_EXCL):
                flags |= flag
        # A fifo would wait for its other end.
        return (flags & ~os.O_CREAT if flags & os.O_DIRECTORY else flags) | os.O_NONBLOCK

    def next(self):
        r = self.random
        slot = r.randrange(SLOTS)
        name = r.choice([
            *["open"] * 8, "close", *["read"] * 2, *["pread"] * 4, *["write"] * 6, *["pwrite"] * 6, "writev", "seek", "seek",
            *["ftruncate"] * 2, "allocate", "sync", "fstat", "fchmod", "futime", "copy", "lock", "lock_range",
            *["map_read"] * 2, *["map_write"] * 3,
            *["status"] * 3, "truncate", "chmod", "chown", "utime", "access", *["mkdir"] * 2, "mkfifo", *["rmdir"] * 2,
            *["unlink"] * 3, *["rename"] * 3, "rename2", "rename2", *["link"] * 2, "symlink", "readlink", "list", "scan",
            *["content"] * 2, "set_attribute", "get_attribute", "attributes", "remove_attribute",
        ])
        arguments = {
            "open": lambda: (slot, self.path(), self.flags(), self.mode()),
            "close": lambda: (slot,),
            "read": lambda: (slot, r.randrange(LARGEST)),
            "pread": lambda: (slot, r.randrange(LARGEST), self.offset()),
            "write": lambda: (slot, self.data()),
            "pwrite": lambda: (slot, self.data(), self.offset()),
            "writev": lambda: (slot, self.data(), self.data()),
            "seek": lambda: (slot, self.offset(), r.choice([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END])),
            "ftruncate": lambda: (slot, self.offset()),
            "allocate": lambda: (slot, r.choice([0, KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE]), self.offset(), self.offset()),
            "sync": lambda: (slot, r.random() < 0.5),
            "fstat": lambda: (slot,),
            "fchmod": lambda: (slot, self.mode()),
            "futime": lambda: (slot, self.nanoseconds(), self.nanoseconds()),
            "copy": lambda: (slot, r.randrange(SLOTS), r.randrange(LARGEST), self.offset()),
            "lock": lambda: (slot, r.choice([fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_UN])),
            "lock_range": lambda: (slot, r.choice([fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_UN]), self.offset(), self.offset()),
            "map_read": lambda: (slot,),
            "map_write": lambda: (slot, r.random() < 0.5, self.offset(), self.data()),
            "status": lambda: (r.choice([self.path(), self.directory()]), r.random() < 0.5),
            "truncate": lambda: (self.path(), self.offset()),
            "chmod": lambda: (self.path(), self.mode()),
            "chown": lambda: (self.path(), r.random() < 0.5),
            "utime": lambda: (self.path(), self.nanoseconds(), self.nanoseconds(), r.random() < 0.5),
            "access": lambda: (self.path(), r.randrange(8)),
            "mkdir": lambda: (self.directory(), r.choice([0o755, 0o700])),
            "mkfifo": lambda: (self.path(), 0o644),
            "rmdir": lambda: (self.directory(),),
            "unlink": lambda: (self.path(),),
            "rename": lambda: r.choice([(self.path(), self.path()), (self.directory(), self.directory())]),
            "rename2": lambda: (self.path(), self.path(), r.choice([NOREPLACE, EXCHANGE])),
            "link": lambda: (self.path(), self.path()),
            "symlink": lambda: (r.choice(["a", "../a", "d/b", "nowhere", "", "x" * 255]), self.path()),
            "readlink": lambda: (self.path(),),
            "list": lambda: (self.directory(),),
            "scan": lambda: (self.directory(),),
            "content": lambda: (self.path(),),
            "set_attribute": lambda: (self.path(), r.choice(ATTRIBUTES), self.data()[:1000], r.choice([0, os.XATTR_CREATE, os.XATTR_REPLACE])),
            "get_attribute": lambda: (self.path(), r.choice(ATTRIBUTES)),
            "attributes": lambda: (self.path(),),
            "remove_attribute": lambda: (self.path(), r.choice(ATTRIBUTES)),
        }[name]()
        return name, arguments


def outcome(side, name, arguments):
    try:
        return "value", getattr(side, name)(*arguments)
    except OSError as error:
        return "errno", errno.errorcode.get(error.errno, error.errno)
    except ValueError as error:  # to map an empty file
        return "value error", str(error)


def short(value):
    text = repr(value)
    return text if len(text) < 300 else f"{text[:200]}... ({len(text)}, {hash(text):x})"


def main(one, other, seed, count):
    os.umask(0o022)
    sides = [Side(one), Side(other)]
    choice = Choice(seed)
    history = []
    succeeded = 0
    for step in range(count):
        name, arguments = choice.next()
        if name == "content" and any(stat.S_ISFIFO(os.stat(side.at(arguments[0])).st_mode) for side in sides
                                     if os.path.exists(side.at(arguments[0]))):
            continue
        first, second = (outcome(side, name, arguments) for side in sides)
        history.append(f"{step} {name}{short(arguments)} {short(first)}")
        succeeded += first[0] == "value"
        if first != second:
            print(*history[-60:], sep="\n")
            print(f"seed {seed}, step {step}: {name}{short(arguments)}: {short(first)} there, {short(second)} here")
            sys.exit(1)
    first, second = (side.tree() for side in sides)
    for there, here in zip(first, second):
        if there != here:
            print(f"seed {seed}, at the end: {short(there)} there, {short(here)} here")
            sys.exit(1)
    print(f"seed {seed}: {count} operations, {succeeded * 100 // count} % succeeded, {len(first)} files: no difference")


main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
