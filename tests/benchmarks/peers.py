"""Small programs measured beside ours, each run as `python -c`: the least that any Python program would do."""

SQLITE_HOSTS = """
import json, sqlite3, sys
db = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
db.row_factory = sqlite3.Row
count = db.execute("select count(*) from host").fetchone()[0]
rows = [dict(row) for row in db.execute("select * from host order by id limit 10")]
print(json.dumps({"count": count, "results": rows}))
"""

SQLITE_SERVICES = """
import json, sqlite3, sys, zlib
db = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
found = []
query = "select name, payload from host_observation join host on host.id = host_id where kind = 'services'"
for name, payload in db.execute(query):
    rows = json.loads(zlib.decompress(payload))["rows"]
    found += [{"host": name, **row} for row in rows if row["parent"] is None]
print(json.dumps({"services": found}))
"""

SQLITE_AUDIT = """
import hashlib, hmac, json, sqlite3, sys
db = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
cursor = db.execute("select * from audit order by seq")
names = [column[0] for column in cursor.description]
count = 0
for row in cursor:
    content = dict(zip(names, row))
    for name in ("detail", "before", "after"):
        content[name] = json.loads(content[name]) if content[name] else None
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    hmac.new(b"0" * 32, text.encode(), hashlib.sha256).hexdigest()
    count += 1
print(count)
"""

MINIMAL_APP = """
from textual.app import App
from textual.widgets import Footer, Static

class Minimal(App):
    BINDINGS = [("q", "quit", "leave")]
    ENABLE_COMMAND_PALETTE = False

    def compose(self):
        yield Static("hello there")
        yield Footer()

Minimal().run()
"""
