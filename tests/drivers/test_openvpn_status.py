"""Status texts, recorded and hostile."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from drivers.openvpn_status import parse_status

RECORDED_3 = (
    "TITLE\tOpenVPN 2.6.14 x86_64-pc-linux-gnu [SSL (OpenSSL)] [LZO] [LZ4] [EPOLL] [PKCS11] [MH/PKTINFO] [AEAD]"
    " [DCO]\r\n"
    "TIME\t2026-11-26 10:48:27\t1795690107\r\n"
    "HEADER\tCLIENT_LIST\tCommon Name\tReal Address\tVirtual Address\tVirtual IPv6 Address\tBytes Received\tBytes Sent"
    "\tConnected Since\tConnected Since (time_t)\tUsername\tClient ID\tPeer ID\tData Channel Cipher\r\n"
    "CLIENT_LIST\tclient1\t10.99.1.2:44916\t10.98.0.2\t\t2617\t2523\t2026-11-26 10:48:06\t1795690086\tUNDEF\t0\t0"
    "\tAES-256-GCM\r\n"
    "CLIENT_LIST\tUNDEF\t10.99.1.9:1\t\t\t0\t0\t2026-11-26 10:48:06\t1795690086\tUNDEF\t7\t1\t\r\n"
    "HEADER\tROUTING_TABLE\tVirtual Address\tCommon Name\tReal Address\tLast Ref\tLast Ref (time_t)\r\n"
    "ROUTING_TABLE\t10.98.0.2\tclient1\t10.99.1.2:44916\t2026-11-26 10:48:06\t1795690086\r\n"
    "GLOBAL_STATS\tMax bcast/mcast queue length\t1\r\n"
    "GLOBAL_STATS\tdco_enabled\t0\r\n"
    "END\r\n"
)
OLD_2 = """\
TITLE,OpenVPN 2.3.10 x86_64-pc-linux-gnu
TIME,Thu Jun 18 04:23:03 2015,1434597783
HEADER,CLIENT_LIST,Common Name,Real Address,Virtual Address,Bytes Received,Bytes Sent,Connected Since,\
Connected Since (time_t),Username
CLIENT_LIST,site-a,192.0.2.1:1194,10.8.0.6,11,22,Thu Jun 18 04:20:00 2015,1434597600,UNDEF
CLIENT_LIST,a,b,192.0.2.1:1194,10.8.0.6,11,22,Thu Jun 18 04:20:00 2015,1434597600,UNDEF
END
"""


def test_version_3_as_recorded() -> None:
    status = parse_status(RECORDED_3)
    assert status.complete and status.odd == 0
    assert status.title.startswith("OpenVPN 2.6.14")
    assert status.at == datetime.fromtimestamp(1795690107, UTC)
    known, unknown = status.sessions
    assert (known.common_name, known.client_id, known.peer_id, known.cipher) == ("client1", 0, 0, "AES-256-GCM")
    assert (known.bytes_received, known.bytes_sent, known.virtual_ipv6) == (2617, 2523, None)
    assert known.since == datetime.fromtimestamp(1795690086, UTC)
    assert unknown.common_name is None and unknown.client_id == 7
    assert [(route.network, route.common_name) for route in status.routes] == [("10.98.0.2", "client1")]
    assert status.stats == {"Max bcast/mcast queue length": "1", "dco_enabled": "0"}


def test_an_old_version_without_client_ids_and_a_comma_in_a_name() -> None:
    status = parse_status(OLD_2)
    assert [(one.common_name, one.client_id, one.bytes_sent) for one in status.sessions] == [("site-a", None, 22)]
    assert status.odd == 1, "a row whose columns moved is counted, never read"


def test_columns_are_found_by_name_wherever_they_stand() -> None:
    text = "HEADER\tCLIENT_LIST\tClient ID\tNew Thing\tCommon Name\nCLIENT_LIST\t42\tx\tname with\u202e bidi\nEND\n"
    (one,) = parse_status(text).sessions
    assert one.client_id == 42 and one.common_name == "name with\u202e bidi"


def test_what_is_cut_is_not_complete() -> None:
    assert not parse_status(RECORDED_3[: RECORDED_3.index("GLOBAL")]).complete


def test_numbers_that_are_none_are_unknown() -> None:
    head = "HEADER\tCLIENT_LIST\tCommon Name\tClient ID\tBytes Sent\tConnected Since (time_t)\n"
    for bad in ("-1", "0x10", "١", "1e9", "99999999999999999999", " 1"):
        (one,) = parse_status(f"{head}CLIENT_LIST\tn\t{bad}\t{bad}\t{bad}\n").sessions
        assert (one.client_id, one.bytes_sent, one.since) == (None, None, None), bad


def test_a_row_before_its_header_is_not_guessed() -> None:
    status = parse_status("CLIENT_LIST\tclient1\t10.0.0.1:1\t10.8.0.2\nEND\n")
    assert status.sessions == [] and status.odd == 1


@given(st.text(alphabet=st.sampled_from("HEADRCLINT_S\t,\n\r0129 aEND\x00\x1b"), max_size=400))
def test_nothing_makes_it_raise(text: str) -> None:
    parse_status(text)
