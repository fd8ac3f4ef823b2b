from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from committee.addresses import NetworkAddress, can_be_reached, is_name, is_public, is_registrable
from committee.errors import InvalidAddress

LABEL = st.from_regex(r"[a-z][a-z0-9_-]{0,20}", fullmatch=True)
HOSTS = st.one_of(
    st.lists(LABEL, min_size=1, max_size=5).map(".".join),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda ip: f"[{ip}]"),
)
GOOD = st.builds("{}://{}:{}".format, st.sampled_from(["http", "https"]), HOSTS, st.integers(1, 65_535))


@given(GOOD)
def test_an_address_is_read_as_it_is_written(address: str) -> None:
    read = NetworkAddress.parse(address)
    assert str(read) == address
    assert is_registrable(address)


@given(st.one_of(st.text(max_size=300), GOOD.flatmap(lambda good: st.text().map(lambda more: good + more))))
def test_what_can_be_read_is_registrable_and_has_one_form(address: str) -> None:
    try:
        read = NetworkAddress.parse(address)
    except InvalidAddress as error:
        assert str(error).isprintable()
        return
    assert is_registrable(address)
    assert NetworkAddress.parse(str(read)) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("https://Node.Example", "https://node.example:443"),
        ("http://node", "http://node:80"),
        ("http://[2001:DB8:0:0::1]:9000", "http://[2001:db8::1]:9000"),
        ("http://my_node.xn--bcher-kva.example:1", "http://my_node.xn--bcher-kva.example:1"),
    ],
)
def test_case_ports_and_zeros_have_one_form(written: str, read: str) -> None:
    assert str(NetworkAddress.parse(written)) == read


@pytest.mark.parametrize(
    "address",
    [
        *("", "/", "node.example:9000", "ftp://node:1", "http://", "http://:9000", "http:///x", "http://[v1.a]@"),
        *("http://node:9000/", "http://node:9000/path", "http://node?query", "http://node:1#part"),
        *("http://user@node:1", "http://user:word@node:1", "http://node:1@evil", "http://node\\evil:1"),
        *("http://node:0", "http://node:65536", "http://node:", "http://node:01", "http://node:1:2", "http://node:-1"),
        *("http://a..b:1", "http://.a:1", "http://a.:1", "http://" + "a" * 64 + ":1", "http://" + "a." * 127 + "a"),
        *("http://127.1:1", "http://2130706433:1", "http://0x7f.0.0.1", "http://017700000001", "http://0x7f000001"),
        *("http://0127.0.0.1", "http://256.0.0.1", "http://1.2.3.4.5", "http://node.0x10", "http://node.7", "http://0x"),
        *("http://[::1", "http://::1:9000", "http://[::g]", "http://[fe80::1%25lo]:1", "http://[::1]9000", "http://[]:1"),
        *("http://bücher.example:1", "http://１２７.0.0.1:1", "http://node\n:1", "http://node:1\n", " http://node:1"),
        *("http://no de:1", "http://node:１", "http://node:1\x00", "HTTP://node:1", "http://" + "a" * 250 + ":1"),
    ],
)  # fmt: skip
def test_anything_else_is_no_address(address: str) -> None:
    with pytest.raises(InvalidAddress, match="no address of a node"):
        NetworkAddress.parse(address)


@pytest.mark.parametrize(
    "ip",
    [
        *("127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fec0::1", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1", "100::1"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1"),
        *("2002:7f00:1::", "2002:a00:1::1", "2001:0:7f00:1::", "::ffff:0:127.0.0.1", "fe80::1%eth0"),
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(ip: str) -> None:
    assert not is_public(ip_address(ip))


@pytest.mark.parametrize(
    "ip", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"]
)
def test_addresses_that_are_public(ip: str) -> None:
    assert is_public(ip_address(ip))


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_what_it_stands_for(ip: IPv4Address) -> None:
    for form in (f"::ffff:{ip}", f"64:ff9b::{ip}"):
        assert is_public(IPv6Address(form)) == is_public(ip)


@pytest.mark.parametrize(
    ("host", "may_be"),
    [
        *((host, False) for host in ("localhost", "a.localhost", "node", "x.local", "db.internal", "nas.home.arpa")),
        *((host, False) for host in ("127.0.0.1", "[::1]", "0.0.0.0", "[::]", "192.168.0.7", "[::ffff:10.0.0.1]")),
        *((host, True) for host in ("node.example", "1.1.1.1", "[2606:4700::1111]", "notlocal.example")),
    ],
)  # fmt: skip
def test_hosts_that_others_may_reach(host: str, may_be: bool) -> None:
    assert NetworkAddress.parse(f"http://{host}:1").may_be_public is may_be


def test_every_interface_is_no_address_for_others_even_if_private_ones_are_allowed() -> None:
    assert not can_be_reached("http://0.0.0.0:1", allow_private=True)
    assert not can_be_reached("http://[::]:1", allow_private=True)
    assert can_be_reached("http://10.0.0.1:1", allow_private=True)
    assert not can_be_reached("http://10.0.0.1:1", allow_private=False)
    assert can_be_reached("http://node.example", allow_private=False)


@pytest.mark.parametrize("name", ["a", "baffin", "Baffin Island 7!", "x" * 64, "~"])
def test_names(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize(
    "name", ["", " ", " a", "a ", "x" * 65, "Bär", "a\nb", "a\x7f", "\x1b[2J", "a\n", "🐻", "\ud800"]
)
def test_no_names(name: str) -> None:
    assert not is_name(name)


@pytest.mark.parametrize("host", ["münchen.example", "127。0。0。1", "ｎode.example"])
def test_a_host_beyond_ascii_is_to_be_written_as_dns_has_it(host: str) -> None:
    """benoitc/hackney#920: nothing of it is converted, so that it stands for no other host than it shows."""
    with pytest.raises(InvalidAddress, match=r"as DNS has it, such as xn--mnchen-3ya\.example"):
        NetworkAddress.parse(f"http://{host}:9000")
    assert (
        str(NetworkAddress.parse("http://xn--mnchen-3ya.example:9000"))
        == "http://xn--mnchen-3ya.example:9000"
    )
