"""Configuration files: quoting, paths below a chroot, what the console must not touch, and client files that clash."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.openvpn_ccd import check, client_file
from drivers.openvpn_conf import parse, server_config, split_line

SERVER = """\
port 1194 # the port
proto udp4 ; and this
dev tun0
topology subnet
server 10.98.0.0 255.255.255.0
crl-verify crl.pem
management /run/openvpn/site.sock unix
client-config-dir ccd
route 192.168.10.0 255.255.255.0
route 192.168.30.0 255.255.255.0
push "route 192.168.10.0 255.255.255.0"
<key>
crl-verify /hidden/in/a/secret
</key>
"""


def test_the_words_of_a_line() -> None:
    assert split_line("""push "route 10.0.0.0 \\"x\\"" 'a b\\' c#d # e""") == (
        ["push", 'route 10.0.0.0 "x"', "a b\\", "c#d"],
        None,
    )
    assert split_line("a\\ b ;c") == (["a b"], None)
    assert split_line('a ""') == (["a", ""], None)
    assert split_line('a "b')[1] == "a quote without its end"
    assert split_line("a \\")[1] == "a backslash at the end"


def test_a_server() -> None:
    config = server_config(SERVER, path="/etc/openvpn/server/site.conf")
    assert config.crl_path == config.crl_seen_path == "/etc/openvpn/server/crl.pem"
    assert config.crl_mode == "file"
    assert str(config.management) == "unix:/run/openvpn/site.sock" and config.management_refusal is None
    assert config.client_config_dir == "/etc/openvpn/server/ccd"
    assert config.networks == [ipaddress.ip_network("10.98.0.0/24")]
    assert [str(net) for net in config.routes] == ["192.168.10.0/24", "192.168.30.0/24"]
    assert config.topology == "subnet" and config.problems == []


def test_below_a_chroot() -> None:
    text = "chroot /var/lib/vpn\ncrl-verify /etc/crl.pem\nclient-config-dir ../../ccd\nmanagement m.sock unix\n"
    config = server_config(text, path="/etc/openvpn/s.conf")
    assert config.crl_path == "/var/lib/vpn/etc/crl.pem" and config.crl_seen_path == "/etc/crl.pem"
    assert config.client_config_dir == "/var/lib/vpn/ccd", "nothing leads out of a chroot"
    assert str(config.management) == "unix:/etc/openvpn/m.sock", "the socket is made before the chroot"


def test_directories_and_working_directories() -> None:
    text = "cd /srv/vpn\ncrl-verify blocked dir\nmanagement 127.0.0.1 7505 pw\n"
    config = server_config(text, path="/etc/openvpn/s.conf")
    assert (config.crl_path, config.crl_mode) == ("/srv/vpn/blocked", "dir")
    assert config.management_password_file == "/srv/vpn/pw"
    assert server_config(text, path="/etc/openvpn/s.conf", cwd="/proc-says").crl_path == "/proc-says/blocked"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("management 127.0.0.1 7505\nmanagement-signal", "ends every session"),
        ("management 127.0.0.1 7505\nmanagement-client", "nobody can connect"),
        ("management 127.0.0.1 7505 stdin", "typed at its start"),
        ("management tunnel 7505", "inside the tunnel"),
    ],
)
def test_interfaces_that_must_be_left_alone(line: str, why: str) -> None:
    assert why in (server_config(line, path="/s.conf").management_refusal or "")


def test_what_lets_revoked_ones_in_is_a_problem() -> None:
    assert any("no crl-verify" in said for said in server_config("port 1", path="/s.conf").problems)
    inline = server_config("<crl-verify>\nx\n</crl-verify>\n", path="/s.conf")
    assert inline.crl_inline and any("needs a restart" in said for said in inline.problems)
    open_block = parse("<key>\nabc\ncrl-verify /x\n")
    assert open_block.directives == [] and "has no end" in open_block.problems[0]


@given(st.text(alphabet=st.sampled_from("abr-<>/\"'\\#; \n\t01.:route push"), max_size=300))
def test_no_text_makes_it_raise(text: str) -> None:
    server_config(text, path="/etc/openvpn/s.conf")
    client_file("x", text)


def _check(*files: tuple[str, str], server: str = SERVER) -> str:
    config = server_config(server, path="/etc/openvpn/server/site.conf")
    return "\n".join(check(config, {name: client_file(name, text) for name, text in files}))


def test_routes_and_iroutes_that_fit_say_nothing() -> None:
    good = (
        (
            "a",
            'iroute 192.168.10.0 255.255.255.0\npush "route 10.1.0.0 255.255.0.0"\n'
            "ifconfig-push 10.98.0.9 255.255.255.0\n",
        ),
        ("b", "iroute 192.168.30.0 255.255.255.128\n"),
    )
    assert _check(*good) == ""


def test_each_mismatch_is_named() -> None:
    said = _check(
        ("a", "iroute 192.168.10.0 255.255.255.0\nifconfig-push 10.98.0.9 255.255.255.0"),
        ("b", "iroute 192.168.10.128 255.255.255.128\nifconfig-push 10.98.0.9 10.98.0.10"),
        ("c", "iroute 172.16.0.0 255.255.0.0\nifconfig-push 10.9.9.9 255.255.255.0"),
        ("d", "iroute 10.98.0.0 255.255.255.0"),
        ("e", "iroute 192.168.1.1 255.255.255.0\nscript-security 3"),
    )
    assert "a: iroute 192.168.10.0/24 overlaps iroute 192.168.10.128/25 of b" in said
    assert "c: iroute 172.16.0.0/16 has no route line" in said
    assert "d: iroute 10.98.0.0/24 overlaps the tunnel's own network" in said
    assert "e: line 1: 192.168.1.1/24 has host bits set" in said
    assert "e: script-security in it is not looked at" in said
    assert "b: ifconfig-push 10.98.0.9 is given to a too" in said
    assert "b: ifconfig-push needs a mask under topology subnet" in said
    assert "c: ifconfig-push 10.9.9.9 is outside of the tunnel's network" in said
    assert "route 192.168.30.0/24 in the server's configuration has no iroute" in said


def test_ten_thousand_client_files_are_compared_quickly() -> None:
    files = [(f"c{n}", f"iroute 10.{n >> 8}.{n & 255}.0 255.255.255.0") for n in range(10_000)]
    routes = "".join(f"route 10.{n >> 8}.{n & 255}.0 255.255.255.0\n" for n in range(10_000))
    assert _check(*files, server=routes + "crl-verify x\n") == ""
