"""
Files that come with their opening, in the directory of the arguments: `sizes` makes some of all kinds of sizes, `look` looks at
them, `crowd` has many processes open, read, map, write and cut off the same few at once.
"""
import mmap, multiprocessing, os, random, sys

SIZES = [1, 4095, 4096, 4097, 65536, 100001, 128000, 128001, 300000]
NAMES = ['a', 'b', 'c']
os.chdir(sys.argv[2])


def content(size):
    return random.Random(size).randbytes(size)


def sizes():
    for size in SIZES:
        with open(str(size), 'wb') as file: file.write(content(size))


def look():
    for size in SIZES:
        fd = os.open(str(size), os.O_RDONLY)
        mapped = mmap.mmap(fd, size, prot=mmap.PROT_READ)
        assert mapped[:] == content(size), size
        assert os.pread(fd, size + 1, 0) == content(size), size
        # What a page has beyond the end: zeros, whatever was there before.
        whole = (size + 4095) // 4096 * 4096
        assert os.fstat(fd).st_size == size, size
        with open('/proc/self/maps') as maps:
            start = next(int(line.split('-')[0], 16) for line in maps if line.endswith(f'/{size}\n'))
        with open('/proc/self/mem', 'rb') as memory:
            memory.seek(start + size)
            assert memory.read(whole - size) == bytes(whole - size), size
        os.close(fd)
        mapped.close()


def visit(seed):
    chance = random.Random(seed)
    letter = bytes([65 + seed])
    for _ in range(400):
        name = chance.choice(NAMES)
        length = chance.choice([1, 4096, 5000, 60000])
        what = chance.randrange(7)
        if what < 3:
            with open(name, 'rb', buffering=0) as file:
                if what == 0: seen = file.read()
                elif what == 1: seen = os.pread(file.fileno(), 10, 4090)
                else:
                    # Somebody may cut it off meanwhile, which is a SIGBUS on any disk: only the first byte, which stays.
                    with mmap.mmap(file.fileno(), 1, prot=mmap.PROT_READ) as mapped: seen = mapped[:]
            assert set(seen) <= set(b'ABCDEF\0'), (name, seen[:20])
        elif what == 3:
            with open(name, 'r+b', buffering=0) as file: os.pwrite(file.fileno(), letter * length, chance.choice([0, 1, 4096]))
        elif what == 4:
            with open(name, 'r+b') as file, mmap.mmap(file.fileno(), 1) as mapped: mapped[0:1] = letter
        elif what == 5: os.truncate(name, length)
        else:
            with open(name, 'ab', buffering=0) as file: file.write(letter * 100)


def crowd():
    for name in NAMES:
        with open(name, 'wb') as file: file.write(b'A' * 10000)
    everybody = [multiprocessing.Process(target=visit, args=(seed,)) for seed in range(6)]
    for one in everybody: one.start()
    for one in everybody: one.join()
    assert all(one.exitcode == 0 for one in everybody), [one.exitcode for one in everybody]


{'sizes': sizes, 'look': look, 'crowd': crowd}[sys.argv[1]]()
print('done')
