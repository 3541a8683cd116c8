"""The services of the simulated fleet, and which machine has which. Pure data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

Behaviour = Literal["runs", "fails", "loops", "oneshot", "remains", "slow", "unmet"]


@dataclass(frozen=True, slots=True)
class Spec:
    """One unit as it is installed. `name` is without `.service`; `memory` in MiB when it runs.

    `behaviour` is what happens on start: it `runs`, `fails`, `loops` (crashes and is restarted), is a `oneshot` that
    runs through (or `remains` active), takes a `slow` while to stop, or its condition is `unmet`. `initially` is the
    active state at boot when it is not what `state` (the unit file's) and the behaviour lead to.
    """

    name: str
    description: str
    talk: str = "quiet"
    state: str = "enabled"
    behaviour: Behaviour = "runs"
    initially: str = ""
    memory: int = 8
    reload: bool = False
    requires: tuple[str, ...] = ()
    binds_to: tuple[str, ...] = ()
    part_of: tuple[str, ...] = ()
    triggered_by: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    pending_reload: bool = False
    refuse_manual: bool = False
    vendor: bool = True

    @property
    def unit(self) -> str:
        return f"{self.name}.service"


def _timer(name: str, description: str) -> Spec:
    return Spec(name, description, state="static", behaviour="oneshot", triggered_by=(f"{name}.timer",))


def _early(name: str, description: str) -> Spec:
    return Spec(name, description, state="static", behaviour="remains")


BASE = (
    Spec("ssh", "OpenBSD Secure Shell server", "ssh", reload=True, aliases=("sshd",), memory=6),
    Spec("cron", "Regular background program processing daemon", "cron", memory=3),
    Spec("dbus", "D-Bus System Message Bus", "system", state="static", triggered_by=("dbus.socket",), memory=4),
    Spec("rsyslog", "System Logging Service", memory=5),
    Spec("systemd-journald", "Journal Service", "system", state="static", memory=38),
    Spec("auditd", "Security Auditing Service", "system", memory=5, refuse_manual=True),
    Spec("systemd-logind", "User Login Management", "system", state="static", memory=7),
    Spec("systemd-networkd", "Network Configuration", "system", memory=9, reload=True),
    Spec("systemd-resolved", "Network Name Resolution", "system", memory=13),
    Spec("systemd-timesyncd", "Network Time Synchronization", "system", memory=7),
    Spec("systemd-udevd", "Rule-based Manager for Device Events and Files", "system", state="static", memory=12),
    Spec("systemd-networkd-wait-online", "Wait for Network to be Configured", state="disabled", behaviour="oneshot"),
    Spec("getty@tty1", "Getty on tty1", memory=1),
    Spec("polkit", "Authorization Manager", state="static", memory=10),
    Spec("nftables", "nftables", behaviour="remains", reload=True),
    Spec("zabbix-agent2", "Zabbix Agent 2", "metrics", memory=31, vendor=False),
    Spec("node-exporter", "Prometheus exporter for machine metrics", "metrics", memory=22, vendor=False),
    Spec("unattended-upgrades", "Unattended Upgrades Shutdown", memory=18),
    Spec("apparmor", "Load AppArmor profiles", behaviour="remains", reload=True),
    Spec("ModemManager", "Modem Manager", state="masked"),
    Spec("multipathd", "Device-Mapper Multipath Device Controller", state="disabled", reload=True),
    Spec("nfs-client-helper", "NFS mounts of this machine", state="generated", behaviour="remains"),
    _timer("apt-daily", "Daily apt download activities"),
    _timer("apt-daily-upgrade", "Daily apt upgrade and clean activities"),
    _timer("logrotate", "Rotate log files"),
    _timer("man-db", "Daily man-db regeneration"),
    _timer("fstrim", "Discard unused blocks on filesystems from /etc/fstab"),
    _timer("systemd-tmpfiles-clean", "Cleanup of Temporary Directories"),
    _early("systemd-tmpfiles-setup", "Create Volatile Files and Directories"),
    _early("systemd-sysctl", "Apply Kernel Variables"),
    _early("systemd-random-seed", "Load/Save OS Random Seed"),
    _early("kmod-static-nodes", "Create List of Static Device Nodes"),
    Spec("emergency", "Emergency Shell", state="static", initially="inactive"),
    Spec("rescue", "Rescue Shell", state="static", initially="inactive"),
)

PHYSICAL = (
    Spec("smartmontools", "Self Monitoring and Reporting Technology (SMART) Daemon", "storage", memory=5),
    Spec("mdmonitor", "MD array monitor", "storage", memory=2),
    Spec("lldpd", "LLDP daemon", memory=6),
    Spec("irqbalance", "irqbalance daemon", memory=2),
)
VIRTUAL = (
    Spec("qemu-guest-agent", "QEMU Guest Agent", memory=3, state="static"),
    Spec("cloud-init", "Cloud-init: Network Stage", behaviour="remains"),
)

ROLES: dict[str, tuple[Spec, ...]] = {
    "web": (
        Spec("nginx", "A high performance web server and a reverse proxy server", "web", memory=46, reload=True),
        Spec("php8.2-fpm", "The PHP 8.2 FastCGI Process Manager", "app", memory=180, reload=True),
        Spec("fail2ban", "Fail2Ban Service", "ban", memory=28, reload=True),
        Spec("certbot", "Certbot", state="static", behaviour="oneshot", triggered_by=("certbot.timer",)),
        Spec("varnish", "Varnish Cache, a high-performance HTTP accelerator", "web", memory=512, state="disabled"),
    ),
    "app": (
        Spec("shop-api", "Shop: HTTP API", "app", memory=620, requires=("redis-server",), vendor=False),
        Spec("shop-worker@mail", "Shop: worker for mail", "app", memory=140, part_of=("shop-api",), vendor=False),
        Spec("shop-worker@invoices", "Shop: worker for invoices", "app", memory=155, part_of=("shop-api",),
             vendor=False),
        Spec("shop-worker@thumbnails", "Shop: worker for thumbnails", "app", memory=300, part_of=("shop-api",),
             vendor=False),
        Spec("shop-scheduler", "Shop: scheduler", "app", behaviour="slow", memory=80, binds_to=("shop-api",),
             vendor=False),
        Spec("billing-export", "Shop: nightly billing export", "app", state="static", behaviour="oneshot",
             triggered_by=("billing-export.timer",), vendor=False),
        Spec("redis-server", "Advanced key-value store", "cache", memory=96),
        Spec("memcached", "memcached daemon", memory=64, state="disabled"),
    ),
    "db": (
        Spec("postgresql", "PostgreSQL RDBMS", behaviour="remains"),
        Spec("postgresql@15-main", "PostgreSQL Cluster 15-main", "db", memory=4200, part_of=("postgresql",),
             reload=True),
        Spec("pgbouncer", "Connection pooler for PostgreSQL", "db", memory=24, reload=True,
             requires=("postgresql@15-main",)),
        Spec("postgres-exporter", "Prometheus exporter for PostgreSQL", "metrics", memory=19,
             binds_to=("postgresql@15-main",), vendor=False),
        Spec("pg-basebackup", "Nightly base backup", "backup", state="static", behaviour="oneshot",
             triggered_by=("pg-basebackup.timer",), vendor=False),
    ),
    "vpn": (
        Spec("openvpn", "OpenVPN service", behaviour="remains"),
        *(Spec(f"openvpn@branch-{n}", f"OpenVPN connection to branch-{n}", "vpn", memory=7, part_of=("openvpn",),
               reload=True) for n in range(1, 13)),
        Spec("openvpn@hq", "OpenVPN connection to hq", "vpn", memory=9, part_of=("openvpn",), reload=True),
        Spec("wg-quick@wg0", "WireGuard via wg-quick(8) for wg0", behaviour="remains", reload=True),
        Spec("bird", "BIRD Internet Routing Daemon", "system", memory=14, reload=True),
    ),
    "dns": (
        Spec("named", "BIND Domain Name Server", "dns", memory=120, reload=True, aliases=("bind9",)),
        Spec("isc-dhcp-server", "ISC DHCP IPv4 server", "dns", memory=11),
    ),
    "lb": (
        Spec("haproxy", "HAProxy Load Balancer", "lb", memory=88, reload=True),
        Spec("keepalived", "Keepalive Daemon (LVS and VRRP)", "lb", memory=7, reload=True),
    ),
    "cache": (
        Spec("redis-server@sessions", "Advanced key-value store (sessions)", "cache", memory=700),
        Spec("redis-server@pages", "Advanced key-value store (pages)", "cache", memory=1900),
        Spec("redis-sentinel", "Advanced key-value store, sentinel", "cache", memory=12),
        Spec("memcached", "memcached daemon", memory=512),
    ),
    "queue": (
        Spec("rabbitmq-server", "RabbitMQ broker", "queue", memory=330),
        Spec("epmd", "Erlang Port Mapper Daemon", memory=2, triggered_by=("epmd.socket",)),
    ),
    "mail": (
        Spec("postfix", "Postfix Mail Transport Agent", behaviour="remains", reload=True),
        Spec("postfix@-", "Postfix Mail Transport Agent (instance -)", "mail", memory=14, part_of=("postfix",),
             reload=True),
        Spec("dovecot", "Dovecot IMAP/POP3 email server", "mail", memory=36, reload=True),
        Spec("rspamd", "rapid spam filtering system", "mail", memory=210, reload=True),
        Spec("opendkim", "OpenDKIM Milter", "mail", memory=9),
    ),
    "monitor": (
        Spec("prometheus", "Monitoring system and time series database", "metrics", memory=2100, reload=True),
        Spec("alertmanager", "Prometheus alert manager", "metrics", memory=60, reload=True),
        Spec("grafana-server", "Grafana instance", "metrics", memory=190, vendor=False),
        Spec("zabbix-server", "Zabbix Server", "metrics", memory=410, vendor=False),
        Spec("loki", "Log aggregation", "metrics", memory=900, vendor=False),
    ),
    "backup": (
        Spec("borg-serve", "Borg repositories", "backup", memory=55, vendor=False),
        *(Spec(f"borg-prune@{name}", f"Prune the archives of {name}", "backup", state="static", behaviour="oneshot",
               triggered_by=(f"borg-prune@{name}.timer",), vendor=False) for name in ("web-1", "db-1", "mail-1")),
        Spec("minio", "S3 compatible object storage", "backup", memory=260, vendor=False),
    ),
    "container": (
        Spec("docker", "Docker Application Container Engine", "container", memory=95, reload=True,
             requires=("containerd",), triggered_by=("docker.socket",)),
        Spec("containerd", "containerd container runtime", "container", memory=48),
        Spec("kubelet", "kubelet: The Kubernetes Node Agent", "container", memory=120, vendor=False),
    ),
    "build": (
        Spec("gitlab-runner", "GitLab Runner", "app", memory=70, vendor=False),
        Spec("jenkins", "Jenkins Continuous Integration Server", "app", memory=1400, behaviour="slow"),
        Spec("nexus", "Artifact repository", "app", memory=2200, vendor=False, state="disabled"),
    ),
    "hostile": (
        Spec("legacy-report", "odd \x1b[31mred [/x] [bold]幅広 \u202etxet", "hostile", memory=12, vendor=False),
        Spec(r"import@with\x2ddash", "Import of with-dash \x1b]0;title\x07", "hostile", memory=4, vendor=False),
        Spec("wide-names", "ＷＩＤＥ 👩‍👩‍👧 zero\u200bwidth", "hostile", vendor=False),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Machine:
    """One host of the fleet. `way`: it answers, `refuses` connections, `swallows` them, or is `slow`.

    `changed` replaces fields of single units; `skew` is its clock minus ours in seconds.
    """

    name: str
    environment: str
    roles: tuple[str, ...]
    tags: tuple[str, ...] = ()
    way: Literal["answers", "refuses", "swallows", "slow"] = "answers"
    user: str = "ops"
    sudo: bool = True
    physical: bool = False
    version: int = 252
    skew: float = 0.0
    rate: float = 2.5
    protected: bool = False
    changed: tuple[tuple[str, dict[str, Any]], ...] = ()
    extra: tuple[Spec, ...] = ()

    def specs(self) -> tuple[Spec, ...]:
        """Everything installed there, by name."""
        found = {spec.name: spec for spec in (*BASE, *(PHYSICAL if self.physical else VIRTUAL), *self.extra)}
        found |= {spec.name: spec for role in self.roles for spec in ROLES[role]}
        for name, fields in self.changed:
            found[name] = replace(found[name], **fields)
        return tuple(found[name] for name in sorted(found))


_LOOP = Spec("report-generator", "Reports for the back office", "app", behaviour="loops", memory=90, vendor=False)
_FAILED = Spec("billing-worker", "Sends the invoices", "app", initially="failed", memory=70, vendor=False)
_OLD_CLUSTER = Spec(
    "postgresql@13-main", "PostgreSQL Cluster 13-main", "db", behaviour="fails", part_of=("postgresql",)
)
_UNMET = Spec("cluster-join", "Join the cluster on first boot", behaviour="unmet", vendor=False)

FLEET = (
    Machine("web-1", "prod", ("web",), ("web", "frontend")),
    Machine("web-2", "prod", ("web",), ("web", "frontend"), changed=(("nginx", {"pending_reload": True}),), rate=8.0),
    Machine("web-3", "prod", ("web",), ("web", "frontend"), changed=(("php8.2-fpm", {"behaviour": "fails"}),)),
    Machine("web-4", "prod", ("web",), ("web", "frontend"), way="refuses"),
    Machine("app-1", "prod", ("app",), ("app", "shop")),
    Machine("app-2", "prod", ("app",), ("app", "shop"), extra=(_FAILED,)),
    Machine("app-3", "prod", ("app",), ("app", "shop"), version=255),
    Machine("db-1", "prod", ("db",), ("db", "primary"), physical=True, protected=True),
    Machine("db-2", "prod", ("db",), ("db", "replica"), physical=True, extra=(_OLD_CLUSTER,)),
    Machine("cache-1", "prod", ("cache",), ("cache",)),
    Machine("lb-1", "prod", ("lb",), ("lb", "edge"), user="root"),
    Machine("lb-2", "prod", ("lb",), ("lb", "edge"), user="root", changed=(("keepalived", {"pending_reload": True}),)),
    Machine("vpn-1", "prod", ("vpn", "dns"), ("vpn", "edge"), physical=True,
            changed=(("openvpn@branch-7", {"behaviour": "fails"}), ("openvpn@branch-11", {"initially": "inactive"}))),
    Machine("mail-1", "prod", ("mail",), ("mail",)),
    Machine("mon-1", "prod", ("monitor",), ("monitoring",), rate=4.0),
    Machine("backup-1", "prod", ("backup",), ("backup",), way="slow", physical=True, version=247),
    Machine("stage-web-1", "stage", ("web",), ("web", "frontend")),
    Machine("stage-app-1", "stage", ("app",), ("app", "shop")),
    Machine("stage-app-2", "stage", ("app",), ("app", "shop"), extra=(_LOOP,)),
    Machine("stage-db-1", "stage", ("db",), ("db",), version=255),
    Machine("stage-vpn-1", "stage", ("vpn",), ("vpn",), skew=47.0),
    Machine("stage-mq-1", "stage", ("queue", "cache"), ("queue",)),
    Machine("stage-ci-1", "stage", ("build",), ("ci",), way="swallows"),
    Machine("dev-app-1", "dev", ("app", "web"), ("app", "shop")),
    Machine("dev-db-1", "dev", ("db", "cache"), ("db",)),
    Machine("dev-k8s-1", "dev", ("container",), ("containers",), version=256, extra=(_UNMET,)),
    Machine("dev-build-1", "dev", ("build", "container"), ("ci", "containers")),
    Machine("dev-weird-1", "dev", ("hostile",), ("hostile",), rate=4.0),
    Machine("dev-sandbox-1", "dev", ("web", "queue", "mail"), (), version=249, extra=(_FAILED, _LOOP)),
    Machine("dev-lab-1", "dev", ("dns", "monitor"), ("lab",), sudo=False, physical=True),
)  # fmt: skip
