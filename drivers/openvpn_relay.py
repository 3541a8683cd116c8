"""What runs on the other machine when its management socket opens only to root there: plain Python, no file written.

It takes one JSON object on standard input, asks one command after the other, and passes every byte on.
"""

from __future__ import annotations

WAITED = 75
"""Its exit status when the daemon said nothing, which is what one does that serves somebody else."""

RELAY = """\
import json, socket, sys
q = json.load(sys.stdin)
out = sys.stdout.buffer
if q['path'] is not None:
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(q['greeting'])
    s.connect(q['path'])
else:
    s = socket.create_connection((q['host'], q['port']), q['greeting'])
rest = b''
def until(enough):
    global rest
    while True:
        data = s.recv(65536)
        if not data:
            sys.exit(0)
        out.write(data)
        out.flush()
        *lines, rest = (rest + data).split(b'\\n')
        found = [line for line in lines if enough(line.rstrip(b'\\r'))]
        if found or rest.endswith(b'ENTER PASSWORD:'):
            return found
def greets(line):
    if line and not line.startswith((b'>', b'ENTER PASSWORD:', b'SUCCESS: password', b'ERROR: bad')):
        sys.exit(0)
    return line.startswith((b'>INFO:', b'ERROR: bad'))
def ends(line):
    return line == b'END' or line.startswith((b'SUCCESS:', b'ERROR:'))
try:
    until(greets)
except socket.timeout:
    sys.exit(75)
s.settimeout(60)
if rest.endswith(b'ENTER PASSWORD:'):
    if q['password'] is None:
        sys.exit(0)
    rest = b''
    s.sendall(q['password'].encode() + b'\\n')
    if any(line.startswith(b'ERROR') for line in until(greets)):
        sys.exit(0)
for command in q['commands']:
    s.sendall(command.encode() + b'\\n')
    until(ends)
s.settimeout(1)
s.sendall(b'quit\\n')
try:
    while s.recv(65536):
        pass
except OSError:
    pass
"""
