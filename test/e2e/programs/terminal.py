"""terminal.py STEPS COMMAND ARG...: runs a command on a terminal of its own and goes through the steps, a JSON list of
{"expect": PATTERN}, {"send": TEXT} and {"resize": [ROWS, COLUMNS]}. Ends with the command's status; prints what was on
the screen, and says on stderr which step failed."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

DEADLINE = 20
steps, command = json.loads(sys.argv[1]), sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(command[0], command)

screen, seen = "", 0


def read(until):
    """Adds what comes to the screen; false at the end of the terminal, or when the time is over."""
    global screen
    if not select.select([terminal], [], [], max(0, until - time.monotonic()))[0]:
        return False
    try:
        data = os.read(terminal, 65536)
    except OSError:  # EIO: nobody has the other end open any more
        return False
    screen += data.decode(errors="replace")
    return bool(data)


def expect(pattern):
    global seen
    until = time.monotonic() + DEADLINE
    while not (match := re.compile(pattern, re.M).search(screen, seen)):
        if not read(until):
            fail(f"expected {pattern!r}")
    seen = match.end()


def fail(why):
    os.kill(pid, signal.SIGKILL)
    sys.exit(f"{why}; the screen was:\n{screen}")


def resize(rows, columns):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


resize(24, 80)
for step in steps:
    if "expect" in step:
        expect(step["expect"])
    elif "send" in step:
        os.write(terminal, step["send"].encode())
    else:
        resize(*step["resize"])
until = time.monotonic() + DEADLINE
while read(until):
    pass
if time.monotonic() > until:
    fail("expected the end")
print(screen)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
