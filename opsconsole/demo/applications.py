"""What runs on the simulated fleet, as a CMDB knows it: five product lines, 200 applications three levels deep, 400
instances, what requires what, and the people who answer for it. The same every time."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

from sqlmodel import Session

from data.models import AppInstance, Application, ApplicationRequirement, Host, Production, ResponsePerson, User
from opsconsole.demo.catalogue import FLEET

LINES: Mapping[str, tuple[str, str]] = {
    "Webshop": ("shop", "Everything a customer sees and buys"),
    "Payments": ("pay", "Cards, invoices, refunds; audited every quarter"),
    "Logistics": ("ship", "Stock, picking, carriers, returns"),
    "Customer Care": ("care", "Tickets, telephone, the knowledge base"),
    "Platform": ("base", "What all the others stand on"),
}
PARTS = ("web", "api", "worker", "db", "cache", "search", "reports", "admin")
_PIECES: Mapping[str, tuple[str, ...]] = {
    "web": ("front", "static", "sessions", "edge"),
    "api": ("public", "internal", "gateway", "limits"),
    "worker": ("mail", "invoices", "thumbnails", "sync"),
    "db": ("primary", "replica", "pooler", "archive"),
    "cache": ("pages", "sessions", "sentinel", "warmer"),
    "search": ("index", "query", "feeder", "suggest"),
    "reports": ("nightly", "export", "charts"),
    "admin": ("console", "audit", "jobs", "flags"),
}
_ROLES: Mapping[str, tuple[str, ...]] = {
    "web": ("web", "lb"),
    "api": ("app",),
    "worker": ("app", "queue"),
    "db": ("db",),
    "cache": ("cache", "db"),
    "search": ("app", "cache"),
    "reports": ("app", "build", "backup"),
    "admin": ("app", "monitor", "container"),
}
_REQUIRES: Mapping[str, tuple[str, ...]] = {
    "web": ("api", "cache"),
    "api": ("db", "cache", "search"),
    "worker": ("db",),
    "search": ("db",),
    "reports": ("db",),
    "admin": ("api",),
}
_ACROSS = (("shop.api", "pay.api"), ("shop.api", "ship.api"), ("care.web", "shop.api"), ("pay.api", "base.api"),
           ("ship.worker", "base.worker"), ("care.worker", "base.worker"))  # fmt: skip
PEOPLE = (
    ("mlind", "Maja Lind", "+46 70 174 06 11"),
    ("tokafor", "Tunde Okafor", "+44 7700 900321"),
    ("ysato", "佐藤 由美", "+81 90 1790 1234"),
    ("pnovak", "Petra Nováková", "+420 601 123 456"),
    ("rdiaz", "Ramón Díaz", "+34 600 11 22 33"),
    ("kbauer", "Kim Bauer", "+49 151 23456789"),
    ("szhang", "张三", "18834584567"),
    ("fmoreau", "Fleur Moreau", "+33 6 12 34 56 78"),
)
INSTANCES = 400
LOG_DIRECTORY = "/var/log/apps"


def fill(tx: Session, hosts: Mapping[str, Host]) -> None:
    """Make it all; `hosts` are the rows of the fleet by name."""
    rng = random.Random("applications")  # noqa: S311 - believable, not secret
    people = [
        User(username=name, full_name=full, phone=phone, email=f"{name}@example.com") for name, full, phone in PEOPLE
    ]
    tx.add_all(people)
    lines = {name: Production(name=name, description=text) for name, (_, text) in LINES.items()}
    tx.add_all(lines.values())
    tx.flush()
    made: dict[str, Application] = {}
    for name, (root, text) in LINES.items():
        for full_name, description in _names(root, text):
            parent = made.get(full_name.rpartition(".")[0])
            row = _application(full_name, description, parent, lines[name])
            tx.add(row)
            tx.flush()
            made[full_name] = row
    _require(tx, made)
    _people(tx, made, people, rng)
    tx.add_all(_instances(made, hosts, rng))
    tx.flush()


def _names(root: str, text: str) -> Iterator[tuple[str, str]]:
    """40 per line: the root, eight parts, and 31 pieces."""
    yield root, text
    for part in PARTS:
        yield f"{root}.{part}", f"The {part} part of {root}"
        for piece in _PIECES[part]:
            yield f"{root}.{part}.{piece}", f"{piece.capitalize()} of {root} {part}"


def _application(full_name: str, description: str, parent: Application | None, line: Production) -> Application:
    name = full_name.rpartition(".")[2]
    flat = full_name.replace(".", "-")
    runs = full_name.count(".") > 0
    return Application(
        name=name,
        full_name=full_name,
        description=description,
        application_type="service" if runs else "system",
        parent_id=parent.id if parent is not None else None,
        production_id=line.id,
        run_user="app" if runs else None,
        directory=f"/srv/{flat}" if runs else None,
        startup_cmd=f"/srv/{flat}/bin/start" if runs else None,
        stop_cmd=f"/srv/{flat}/bin/stop" if runs else None,
        stdout_path=f"{LOG_DIRECTORY}/{flat}.log" if runs else None,
        stderr_path=f"{LOG_DIRECTORY}/{flat}.err" if runs else None,
        pid_path=f"/run/apps/{flat}.pid" if runs else None,
        protected=full_name == "pay.db.primary",
    )


def _require(tx: Session, made: Mapping[str, Application]) -> None:
    wanted = [
        (f"{root}.{part}", f"{root}.{other}")
        for root, _ in LINES.values()
        for part, others in _REQUIRES.items()
        for other in others
    ]
    for root, _ in LINES.values():
        wanted += [
            (f"{root}.{part}.{piece}", f"{root}.db.primary") for part, piece in (("api", "public"), ("worker", "sync"))
        ]
    tx.add_all(
        [
            ApplicationRequirement(application_id=made[one].id, required_id=made[two].id)
            for one, two in [*wanted, *_ACROSS]
        ]
    )


def _people(tx: Session, made: Mapping[str, Application], people: list[User], rng: random.Random) -> None:
    for full_name, row in made.items():
        if full_name.count(".") == 2:
            continue
        kinds = ("dev", "ops", "pm") if "." not in full_name else ("dev", "ops")
        for kind, user in zip(kinds, rng.sample(people, len(kinds)), strict=True):
            tx.add(ResponsePerson(application_id=row.id, user_id=user.id, type=kind))


def _instances(made: Mapping[str, Application], hosts: Mapping[str, Host], rng: random.Random) -> list[AppInstance]:
    """On hosts whose roles fit, two or three each; most run, some do not."""
    found: list[AppInstance] = []
    running = [name for name in made if "." in name]
    more = set(rng.sample(running, INSTANCES - 2 * len(running)))
    for full_name in running:
        roles = set(_ROLES[full_name.split(".")[1]])
        fitting = [plan.name for plan in FLEET if roles & set(plan.roles)]
        for host in sorted(rng.sample(fitting, 3 if full_name in more else 2)):
            hosts[host].status = "attached"
            status = rng.choices(("running", "stopped", "restarting"), (92, 7, 1))[0]
            version = f"2026.{rng.randint(1, 10)}.{rng.randint(0, 9)}"
            found.append(
                AppInstance(application_id=made[full_name].id, host_id=hosts[host].id, status=status, version=version)
            )
    return found
