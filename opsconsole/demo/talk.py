"""What the services of the simulated fleet write into their journals, and the one function that fills it in."""

from __future__ import annotations

import random

Line = tuple[int, str]
"""Priority (0 emerg … 7 debug) and a template."""

_WORDS = {
    "user": ("deploy", "ops", "alice", "bob", "backup", "monitor"),
    "path": ("/", "/api/v2/orders", "/login", "/static/app.js", "/health", "/api/v2/invoices/4711", "/search?q=rack"),
    "method": ("GET", "GET", "GET", "POST", "PUT"),
    "status": ("200", "200", "200", "204", "304", "404", "301"),
    "queue": ("mail", "invoices", "thumbnails", "exports"),
    "table": ("orders", "sessions", "audit_log", "stock"),
    "domain": ("example.net", "example.com", "branch.example.org"),
    "branch": ("branch-3", "branch-7", "branch-12", "hq"),
    "disk": ("sda", "sdb", "nvme0n1"),
}

TALK: dict[str, tuple[Line, ...]] = {
    "quiet": ((6, "still here"), (7, "timer tick, nothing to do")),
    "ssh": (
        (6, "Accepted publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:c2ltdWxhdGVk"),
        (6, "pam_unix(sshd:session): session opened for user {user}(uid=1000) by (uid=0)"),
        (6, "Disconnected from user {user} {ip} port {port}"),
        (6, "Invalid user admin from {ip} port {port}"),
        (4, "error: maximum authentication attempts exceeded for invalid user root from {ip} port {port}"),
    ),
    "cron": (
        (6, "pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)"),
        (6, "(root) CMD (test -x /usr/sbin/anacron || run-parts /etc/cron.hourly)"),
        (6, "pam_unix(cron:session): session closed for user root"),
    ),
    "system": (
        (6, "Time has been changed"),
        (6, "New session {n} of user {user}."),
        (6, "Session {n} logged out. Waiting for processes to exit."),
        (7, "Got message type=signal sender=:1.{n} path=/org/freedesktop/systemd1"),
        (5, "Using degraded feature set UDP instead of UDP+EDNS0 for DNS server {ip}."),
    ),
    "web": (
        (6, '{ip} - - "{method} {path} HTTP/2.0" {status} {n} "-" "Mozilla/5.0"'),
        (6, '{ip} - - "{method} {path} HTTP/1.1" {status} {n} "-" "curl/8.5.0"'),
        (4, "[warn] {n}#0: *{n} an upstream response is buffered to a temporary file"),
        (3, "[error] {n}#0: *{n} upstream timed out (110: Connection timed out) while reading from {ip}:8080"),
        (5, "[notice] {n}#0: signal process started"),
    ),
    "lb": (
        (6, "{ip}:{port} [web] app/{host} 0/0/1/{ms}/{ms} {status} {n} - - ---- 12/12/3/1/0 0/0"),
        (4, "Server app/app-2 is going DOWN for maintenance."),
        (5, "Health check for server app/app-1 succeeded, reason: Layer7 check passed, code: 200, {ms}ms"),
    ),
    "db": (
        (6, "LOG:  checkpoint starting: time"),
        (6, "LOG:  checkpoint complete: wrote {n} buffers (2.1%); write={ms}.1 s, sync=0.02 s"),
        (6, "LOG:  duration: {ms}.304 ms  statement: SELECT * FROM {table} WHERE id = {n}"),
        (6, 'LOG:  automatic vacuum of table "shop.public.{table}": index scans: 1'),
        (4, "WARNING:  there is already a transaction in progress"),
        (3, 'ERROR:  duplicate key value violates unique constraint "{table}_pkey"'),
        (7, "DEBUG:  autovacuum: processing database \"shop\""),
    ),
    "vpn": (
        (6, "{branch}/{ip}:{port} VERIFY OK: depth=0, CN={branch}.{domain}"),
        (6, "{branch}/{ip}:{port} Data Channel: cipher 'AES-256-GCM', peer-id: {n}"),
        (6, "{branch}/{ip}:{port} TLS: soft reset sec=3600/3600 bytes={n}/0 pkts={n}/0"),
        (5, "{ip}:{port} TLS Error: TLS key negotiation failed to occur within 60 seconds"),
        (3, "{ip}:{port} VERIFY ERROR: depth=0, error=certificate has expired: CN={branch}.{domain}"),
    ),
    "queue": (
        (6, "connection <0.{n}.0> ({ip}:{port} -> 10.0.0.9:5672): user '{user}' authenticated and granted access"),
        (4, "closing AMQP connection <0.{n}.0> ({ip}:{port}): client unexpectedly closed TCP connection"),
        (6, "queue {queue}: {n} messages ready"),
    ),
    "cache": (
        (5, "{n} changes in 300 seconds. Saving..."),
        (5, "Background saving started by pid {port}"),
        (5, "DB saved on disk"),
        (4, "Asynchronous AOF fsync is taking too long (disk is busy?)."),
    ),
    "app": (
        (6, "request id={n} {method} {path} {status} in {ms} ms"),
        (6, "job {queue}#{n} done in {ms} ms"),
        (7, "pool: 7 idle, 3 busy, 0 waiting"),
        (4, "slow query ({ms} ms) on {table}"),
        (3, "job {queue}#{n} failed: ConnectionResetError: peer {ip}:{port} closed the connection"),
        (5, "configuration reloaded, {n} keys"),
    ),
    "mail": (
        (6, "{n}A7: from=<{user}@{domain}>, size={n}, nrcpt=1 (queue active)"),
        (6, "{n}A7: to=<{user}@{domain}>, relay=mx.{domain}[{ip}]:25, delay={ms}, status=sent (250 2.0.0 Ok)"),
        (4, "warning: hostname mail.{domain} does not resolve to address {ip}"),
        (3, "fatal: no SASL authentication mechanisms"),
    ),
    "dns": (
        (6, "client @0x7f {ip}#{port} (www.{domain}): query: www.{domain} IN A +E(0)K"),
        (5, "zone {domain}/IN: sending notifies (serial 20261121{ms})"),
        (4, "client @0x7f {ip}#{port}: request has invalid signature: TSIG ddns: tsig verify failure (BADTIME)"),
    ),
    "metrics": (
        (6, "scrape of {host} took {ms} ms, {n} samples"),
        (4, "active check \"vfs.fs.size[/var,pfree]\" is not supported"),
        (7, "compacting block {n}"),
    ),
    "backup": (
        (6, "archive {host}-{n}: {ms} files added, {n} bytes deduplicated"),
        (5, "prune: keeping 7 daily, 4 weekly, 6 monthly archives"),
        (4, "repository lock held by {host}-pid-{port}, waiting"),
        (2, "No space left on device: /srv/backup/{host}"),
    ),
    "storage": (
        (6, "Device: /dev/{disk} [SAT], SMART Usage Attribute: 194 Temperature_Celsius changed from 34 to 36"),
        (1, "Device: /dev/{disk} [SAT], 8 Currently unreadable (pending) sectors"),
        (0, "md/raid1: Disk failure on {disk}1, disabling device. Operation continuing on 1 device."),
    ),
    "ban": ((5, "[sshd] Ban {ip}"), (6, "[sshd] Found {ip} - 2026-11-21 03:14:07"), (5, "[sshd] Unban {ip}")),
    "container": (
        (6, 'time="2026-11-21T03:14:07Z" level=info msg="ignoring event" container=9f{n} topic=/tasks/delete'),
        (4, 'time="2026-11-21T03:14:07Z" level=warning msg="Health check for container 4c{n} error: timeout"'),
    ),
    "hostile": (
        (6, "colour \x1b[31mred\x1b[0m, title \x1b]0;owned\x07 and cursor \x1b[2J\x1b[1;1H of a log line"),
        (5, "clipboard \x1b]52;c;cm0gLXJmIC8=\x07 and a C1 sequence \x9b31m"),
        (4, "markup [bold red]not bold[/] [@click=app.quit]not a link[/] [/nothing"),
        (3, "wide 幅広い文字列 ｆｕｌｌ 👩‍👩‍👧 and zero\u200bwidth e\u0301 \ufeff"),
        (6, "bidi \u202eesrever\u202c and \u2066isolate\u2069"),
        (6, "tabs\tand\rcarriage returns\rand\x00nul and \x08\x08backspaces"),
        (4, "\udcff\udcfe bytes that are no UTF-8 \udc80\udcc3("),
        (6, "long " + "x" * 3000),
    ),
}  # fmt: skip


def speak(rng: random.Random, talk: str, host: str) -> Line:
    """One line of this kind, important ones seldom."""
    lines = TALK[talk]
    weights = [1 if priority <= 2 else 6 if priority == 3 else 12 if priority == 4 else 60 for priority, _ in lines]
    priority, template = rng.choices(lines, weights)[0]
    if "{" not in template or talk == "hostile":
        return priority, template
    values = {key: rng.choice(words) for key, words in _WORDS.items()}
    values |= {
        "ip": f"10.{rng.randrange(0, 40)}.{rng.randrange(256)}.{rng.randrange(1, 255)}",
        "port": str(rng.randrange(30000, 61000)),
        "n": str(rng.randrange(1000, 99999)),
        "ms": str(rng.randrange(1, 900)),
        "host": host,
    }
    return priority, template.format_map(values)
