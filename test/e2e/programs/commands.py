"""Runs commands one after the other, as it is told: a line of JSON in for each, and one out when it has ended."""

import json
import subprocess
import sys

for line in sys.stdin:
    command = json.loads(line)
    done = subprocess.run(command["argv"], input=command["input"].encode(), capture_output=True)
    status = done.returncode if done.returncode >= 0 else 128 - done.returncode
    streams = {name: getattr(done, name).decode(errors="replace") for name in ("stdout", "stderr")}
    print(json.dumps({"status": status, **streams}), flush=True)
