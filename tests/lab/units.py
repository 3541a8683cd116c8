"""The units every lab guest has, and what each is there to prove."""

from __future__ import annotations

ESC = "\x1b"
WEIRD_DESCRIPTION = f"odd {ESC}[31mred [/x] [bold]幅広 \u202etxet"

_INSTALL = "\n[Install]\nWantedBy=multi-user.target\n"


def _service(command: str, *, more: str = "", unit: str = "", install: bool = False, description: str = "Lab") -> str:
    body = f"[Unit]\nDescription={description}\n{unit}\n[Service]\nExecStart={command}\n{more}\n"
    return body + (_INSTALL if install else "")


UNITS = {
    "work.service": _service("/usr/bin/sleep infinity", install=True, description="Works"),
    "work@.service": _service("/usr/bin/sleep infinity", install=True, description="Works for %I"),
    "broken.service": _service("/bin/sh -c 'echo about to fail; exit 3'", install=True, description="Always fails"),
    "crashloop.service": _service(
        "/bin/sh -c 'exit 1'",
        unit="StartLimitIntervalSec=0",
        more="Restart=always\nRestartSec=0.5",
        install=True,
        description="Crashes again and again",
    ),
    "slowstop.service": _service(
        "/bin/sh -c 'trap \"sleep 3; exit 0\" TERM; while :; do sleep 0.2; done'",
        more="KillMode=mixed\nTimeoutStopSec=20",
        description="Takes its time to stop",
    ),
    "static.service": _service("/usr/bin/sleep infinity", description="Has no install section"),
    "reloads.service": _service("/usr/bin/sleep infinity", more="ExecReload=/bin/true", description="Can reload"),
    "conditional.service": _service(
        "/usr/bin/sleep infinity",
        unit="ConditionPathExists=/nonexistent",
        install=True,
        description="Its condition is never met",
    ),
    "refuses.service": _service(
        "/usr/bin/sleep infinity", unit="RefuseManualStart=yes\nRefuseManualStop=yes", description="Not by hand"
    ),
    "needswork.service": _service("/usr/bin/sleep infinity", unit="Requires=work.service\nAfter=work.service"),
    "boundtowork.service": _service("/usr/bin/sleep infinity", unit="BindsTo=work.service\nAfter=work.service"),
    "chatty.service": _service(
        "/bin/sh -c 'i=0; while :; do i=$$((i+1)); echo line $$i; sleep 0.02; done'", description="Talks all the time"
    ),
    "weird.service": _service("/usr/bin/sleep infinity", install=True, description=WEIRD_DESCRIPTION),
}
ENABLED = ("work.service", "broken.service", "crashloop.service", "weird.service", "conditional.service")
ENABLED_INSTANCES = ("work@a.service", r"work@with\x2ddash.service")
STARTED_BUT_NOT_ENABLED = "work@b.service"
INSTANCE_CONFIGS = {"work@.service": "/etc/labwork/*.conf"}
CONFIG_ONLY_INSTANCE = "work@fromconfig.service"
MASKED = "masked.service"
