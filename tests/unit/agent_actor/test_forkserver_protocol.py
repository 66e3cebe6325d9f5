"""What a launcher and the fork server say to each other, and who may say it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_actor.forkserver import protocol, server
from agent_actor.forkserver.protocol import BadRequest, Request

TEXT = st.binary(max_size=40).map(lambda each: each.replace(b"\0", b"."))
NAME = TEXT.map(lambda each: b"N" + each.replace(b"=", b"."))


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    launcher, server_end = socket.socketpair()
    server_end.settimeout(5)
    with launcher, server_end:
        yield launcher, server_end


def message() -> bytes:
    return protocol.encode(protocol.FORK, Request([b"worker.py", b""], b"/", {b"A": b"1=2"}))


@given(st.lists(TEXT, min_size=1, max_size=5), TEXT, st.dictionaries(NAME, TEXT, max_size=5))
def test_what_is_sent_is_what_arrives(
    argv: list[bytes], cwd: bytes, env: dict[bytes, bytes]
) -> None:
    sent = protocol.encode(protocol.FORK, Request(argv, cwd, env))
    kind, size = protocol.decode_header(sent[: protocol.HEADER_BYTES])
    assert (kind, size) == (protocol.FORK, len(sent) - protocol.HEADER_BYTES)
    got = protocol.decode_body(sent[protocol.HEADER_BYTES :])
    assert (got.argv, got.cwd, got.env) == (argv, cwd, env)


@pytest.mark.parametrize("cut", [0, 1, 5, 12, 20])
def test_a_body_cut_short_is_refused(cut: int) -> None:
    body = message()[protocol.HEADER_BYTES :]
    with pytest.raises(BadRequest):
        protocol.decode_body(body[:cut])


def test_another_protocol_is_refused() -> None:
    header = message()[: protocol.HEADER_BYTES]
    for other in (b"X" + header[1:], header[:-1], header.replace(b"1F", b"1?"), b""):
        with pytest.raises(BadRequest):
            protocol.decode_header(other)


def test_a_size_beyond_what_linux_allows_is_refused() -> None:
    header = protocol.MAGIC + protocol.FORK + b"\xff\xff\xff\xff"
    with pytest.raises(BadRequest):
        protocol.decode_header(header)


def test_what_no_process_can_have_is_not_sent() -> None:
    with pytest.raises(ValueError, match="NUL"):
        protocol.encode(protocol.FORK, Request([b"a\0b"], b"/", {}))


@pytest.mark.parametrize(("status", "line"), [(0, b"0\n"), (3 << 8, b"3\n"), (9, b"137\n")])
def test_an_exit_is_told_as_a_shell_tells_it(status: int, line: bytes) -> None:
    assert protocol.encode_exit(status) == line


def test_the_server_takes_three_descriptors(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    launcher, server_end = pair
    read, write = os.pipe()
    socket.send_fds(launcher, [message()], [read, write, write])
    request, handles = server.receive(server_end)
    assert request is not None
    assert request.argv == [b"worker.py", b""]
    os.write(handles[1], b"through")
    assert os.read(read, 7) == b"through"
    for handle in (read, write, *handles):
        os.close(handle)


def test_a_request_without_descriptors_is_refused(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    pair[0].sendall(message())
    with pytest.raises(BadRequest, match="descriptors"):
        server.receive(pair[1])


def test_a_refused_request_leaves_no_descriptor_open(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    before = os.listdir("/proc/self/fd")
    socket.send_fds(pair[0], [b"nonsense" * 4], [0, 1, 2])
    with pytest.raises(BadRequest):
        server.receive(pair[1])
    assert os.listdir("/proc/self/fd") == before


def test_a_launcher_that_dies_while_asking_is_refused(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    socket.send_fds(pair[0], [message()[:-4]], [0, 1, 2])
    pair[0].close()
    with pytest.raises(BadRequest, match="cut short"):
        server.receive(pair[1])


def test_another_user_is_refused(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.os, "getuid", lambda: os.geteuid() + 1)
    socket.send_fds(pair[0], [message()], [0, 1, 2])
    with pytest.raises(BadRequest, match="user"):
        server.receive(pair[1])
