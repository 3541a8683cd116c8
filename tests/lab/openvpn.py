"""A real OpenVPN server and its clients, each in a network namespace, and a real sshd beside the server.

    this machine ── 10.82.N.0/30 ── server's namespace ── 10.81.N.0/24 ── client's namespace
       (console)         ssh          openvpn, sshd            udp            openvpn

Every test process owns a numbered slot N, so that runs go side by side; a new owner clears away what a killed one left.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.packages import SSHD, LabMissing, ensure, need_root, run, take_slot

OPENVPN = ("openvpn", "iproute2", "util-linux", "openssl")
PORT = 1194
_SSHD = """\
ListenAddress 0.0.0.0:22
HostKey {directory}/hk
PidFile none
AuthorizedKeysFile {directory}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UseDNS no
MaxSessions 50
Subsystem sftp internal-sftp
"""
_SERVER = """\
local {address}
port 1194
proto udp4
dev tun
topology subnet
server {net}.0 255.255.255.0
ca ca.crt
cert server.crt
key server.key
dh none
tls-crypt tc.key
{crl}
keepalive 2 10
management {management}
client-config-dir ccd
user nobody
group nogroup
persist-key
persist-tun
verb 3
{more}
"""
_BANNER = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 3) as s:
    s.settimeout(3)
    sys.exit(0 if s.recv(4) == b"SSH-" else 1)
"""


@dataclass
class Process:
    """One openvpn. `log` is its log file; it grows over restarts."""

    name: str
    namespace: str
    directory: Path
    config: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        return self.directory / f"{self.name}.log"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        with self.log.open("ab") as log:
            argv = ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", self.namespace, "openvpn"]
            self.process = subprocess.Popen(
                [*argv, "--cd", str(self.directory), "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.process = None

    def says(self, text: str, *, after: int = 0, within: float = 20) -> bool:
        """Whether the log says `text` behind byte `after`, soon."""
        deadline = time.monotonic() + within
        while text not in self.said(after):
            if time.monotonic() > deadline or self.process is None:
                return False
            if self.process.poll() is not None:
                return text in self.said(after)
            time.sleep(0.05)
        return True

    def said(self, after: int = 0) -> str:
        if not self.log.exists():
            return ""
        return self.log.read_bytes()[after:].decode("utf-8", "replace")

    @property
    def mark(self) -> int:
        """The end of the log now, for `says(after=…)`."""
        return self.log.stat().st_size if self.log.exists() else 0


class VpnLab:
    """The slot of this process: two namespaces, sshd in the server's one, and a place for files anybody may enter."""

    name = "vpnhost"
    port = 22

    def __init__(self) -> None:
        need_root()
        if not Path("/dev/net/tun").exists():
            raise LabMissing("there is no /dev/net/tun")
        ensure(OPENVPN + SSHD)
        self.slot, self._lock = take_slot("vpn")
        # Not below the lab's own directory: the daemon must reach it as nobody.
        self.directory = Path(tempfile.gettempdir()) / f"opsconsole-vpn-{self.slot}"
        self.server_space, self.client_space = f"opsv{self.slot}s", f"opsv{self.slot}c"
        self.address = f"10.82.{self.slot}.2"
        self.outside = f"10.81.{self.slot}.1"
        self.net = f"10.98.{self.slot}"
        self.inside = f"{self.net}.1"
        self.processes: list[Process] = []
        self.known_hosts = ""
        self._sshd: subprocess.Popen[bytes] | None = None
        self._clean()
        self.directory.mkdir(mode=0o755)
        try:
            self._links()
            self._start_sshd()
        except LabMissing:
            self.close()
            raise

    @property
    def key(self) -> Path:
        return self.directory / "id"

    def _links(self) -> None:
        server, client = self.server_space, self.client_space
        for space in (server, client):
            run("ip", "netns", "add", space)
            run("ip", "-n", space, "link", "set", "lo", "up")
        outer = f"opsv{self.slot}"
        run("ip", "link", "add", outer, "type", "veth", "peer", "name", "out0", "netns", server)
        run("ip", "addr", "add", f"10.82.{self.slot}.1/30", "dev", outer)
        run("ip", "link", "set", outer, "up")
        run("ip", "-n", server, "addr", "add", f"{self.address}/30", "dev", "out0")
        run("ip", "-n", server, "link", "set", "out0", "up")
        run("ip", "-n", server, "link", "add", "wan0", "type", "veth", "peer", "name", "wan0", "netns", client)
        for space, host in ((server, 1), (client, 2)):
            run("ip", "-n", space, "addr", "add", f"10.81.{self.slot}.{host}/24", "dev", "wan0")
            run("ip", "-n", space, "link", "set", "wan0", "up")

    def _start_sshd(self) -> None:
        directory = self.directory
        for name in ("id", "hk"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(directory / name))
        shutil.copy(directory / "id.pub", directory / "authorized_keys")
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        (directory / "sshd_config").write_text(_SSHD.format(directory=directory), "ascii")
        public = (directory / "hk.pub").read_text("ascii").split()
        self.known_hosts = f"{self.address} {public[0]} {public[1]}"
        argv = ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", self.server_space, "/usr/sbin/sshd"]
        with (directory / "sshd.log").open("ab") as log:
            self._sshd = subprocess.Popen(
                [*argv, "-D", "-e", "-f", str(directory / "sshd_config")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 20
        while not self._answers():
            if self._sshd.poll() is not None or time.monotonic() > deadline:
                raise LabMissing(f"sshd: {(directory / 'sshd.log').read_text('utf-8', 'replace')[-300:]}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.address, 22), timeout=1) as one:
            return one.recv(4) == b"SSH-"
        return False

    def cut_ssh(self) -> None:
        """The way to the server's host is broken; its daemon goes on."""
        run("ip", "link", "set", f"opsv{self.slot}", "down")

    def mend_ssh(self) -> None:
        run("ip", "link", "set", f"opsv{self.slot}", "up")

    def server(self, name: str, files: dict[str, str], *, crl: str, management: str = "", more: str = "") -> Process:
        """A server with a directory of its own, running. `files` are written there first: ca.crt, server.crt,
        server.key and what else is wanted; `crl` is its crl-verify line."""
        directory = self.directory / name
        shutil.rmtree(directory, ignore_errors=True)
        (directory / "ccd").mkdir(parents=True)
        for file, text in files.items():
            (directory / file).parent.mkdir(exist_ok=True)
            (directory / file).write_text(text, "utf-8")
        run("openvpn", "--genkey", "tls-crypt", str(directory / "tc.key"))
        config = directory / "server.conf"
        values = {"address": self.outside, "net": self.net, "crl": crl, "more": more}
        config.write_text(_SERVER.format(**values, management=management or f"{directory}/m.sock unix"), "ascii")
        server = Process(name, self.server_space, directory, config)
        self._begin(server)
        return server

    def _begin(self, process: Process) -> None:
        self.processes.append(process)
        process.start()
        if not process.says("Initialization Sequence Completed"):
            raise LabMissing(f"openvpn does not start: {process.said()[-500:]}")

    def restart(self, process: Process) -> None:
        mark = process.mark
        process.stop()
        process.start()
        if not process.says("Initialization Sequence Completed", after=mark):
            raise LabMissing(f"openvpn does not start again: {process.said(mark)[-500:]}")

    def client(self, name: str, ovpn: str) -> Process:
        """A client with exactly this configuration, started; whether it gets in is for the test to see."""
        directory = self.directory / f"client-{name}"
        directory.mkdir(exist_ok=True)
        config = directory / "client.ovpn"
        config.write_text(ovpn, "utf-8")
        client = Process(name, self.client_space, directory, config)
        self.processes.append(client)
        client.start()
        return client

    def through(self) -> bool:
        """Whether the client's side reaches the server through the tunnel now: sshd answers at the inner address."""
        argv = ["ip", "netns", "exec", self.client_space, "python3", "-c", _BANNER, self.inside, "22"]
        return subprocess.run(argv, capture_output=True, timeout=20, check=False).returncode == 0

    def end(self, process: Process) -> None:
        process.stop()
        if process in self.processes:
            self.processes.remove(process)

    def stop_all(self) -> None:
        """End every openvpn; the namespaces stay."""
        for process in list(self.processes):
            process.stop(signal.SIGKILL)
        self.processes.clear()

    def close(self) -> None:
        self.stop_all()
        if self._sshd is not None:
            self._sshd.kill()
            self._sshd.wait(10)
        self._clean()
        self._lock.close()

    def _clean(self) -> None:
        for space in (f"opsv{self.slot}s", f"opsv{self.slot}c"):
            if not (Path("/run/netns") / space).exists():
                continue
            for pid in run("ip", "netns", "pids", space, check=False).stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            run("ip", "netns", "del", space, check=False)
        if (Path("/sys/class/net") / f"opsv{self.slot}").exists():
            run("ip", "link", "del", f"opsv{self.slot}", check=False)
        shutil.rmtree(self.directory, ignore_errors=True)
