"""A WebSocket client by the library `websockets`, over TLS: one conversation by its name, else it fails and says why.

Arguments: the conversation, the port on 127.0.0.1, the file with the authority's certificate.
"""

import asyncio
import os
import socket
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

NAME, PORT, AUTHORITY = sys.argv[1], int(sys.argv[2]), sys.argv[3]
TLS = ssl.create_default_context(cafile=AUTHORITY)


def gateway(path, **more):
    """A connection to the gateway by the name that its certificate is for."""
    sock = socket.create_connection(("127.0.0.1", PORT))
    more = {"max_size": 4 << 20, "ping_interval": None, "open_timeout": 25, "close_timeout": 25} | more
    return connect(f"wss://a.test:{PORT}{path}", sock=sock, ssl=TLS, proxy=None, **more)


async def echo():
    async with gateway("/ws/echo") as ws:
        for message in ["", "hello", "ümläut ☃ 🦀", b"", b"\x00\xff" * 100, "x" * 125, "x" * 126, b"y" * 65_535, b"y" * 65_536]:
            await ws.send(message)
            answer = await ws.recv()
            assert type(answer) is type(message) and answer == message, f"{message[:20]!r} came back as {answer[:20]!r}"
        # A message in several frames is one message.
        await ws.send(["in ", "three ", "frames"])
        assert await ws.recv() == "in three frames"


async def large():
    # Without compression, and bytes that could not be compressed: 1 MiB is 1 MiB on the wire, in one frame.
    async with gateway("/ws/echo", compression=None) as ws:
        for message in [os.urandom(1 << 20), "é" * (1 << 19)]:
            await ws.send(message)
            assert await ws.recv() == message


async def compressed():
    async with gateway("/ws/echo") as ws:
        agreed = ws.response.headers.get("Sec-WebSocket-Extensions", "")
        assert "permessage-deflate" in agreed, f"agreed on {agreed!r}"
        message = "again and again " * 65_536
        await ws.send(message)
        assert await ws.recv() == message


async def pings():
    async with gateway("/ws/echo") as ws:
        for data in [b"", b"one", b"x" * 125]:
            await asyncio.wait_for(await ws.ping(data), 25)
        await ws.send("after the pings")
        assert await ws.recv() == "after the pings"
    async with gateway("/ws/ping") as ws:
        # The library answers the server's ping by itself, while it reads.
        assert await ws.recv() == "answered"


async def server_closes():
    for code in [1000, 1001, 1008, 1011, 3000, 4999]:
        async with gateway(f"/ws/close/{code}") as ws:
            await ws.send("close, please")
            try:
                raise AssertionError(f"got {await ws.recv()!r} instead of the close")
            except ConnectionClosed as closed:
                assert closed.rcvd and (closed.rcvd.code, closed.rcvd.reason) == (code, "so it is"), closed


async def closes():
    await server_closes()
    for code in [1000, 1001, 1008, 1011, 3000, 4999]:
        ws = await gateway("/ws/echo")
        await ws.send("x")
        assert await ws.recv() == "x"
        await ws.close(code, "I leave")
        assert ws.close_code == code, f"closed with {code}, and {ws.close_code} came back"
        async with gateway("/ws/last") as ws:
            last = await ws.recv()
            assert last == f"{code} I leave", f"the server heard of {last!r}"


async def burst():
    count = 20_000
    async with gateway(f"/ws/burst/{count}", max_queue=None) as ws:
        for number in range(count):
            message = await ws.recv()
            assert message == f"{number}", f"{message!r} instead of {number}"


async def together():
    async def one(number):
        async with gateway("/ws/echo", max_queue=None) as ws:
            messages = [f"{number}:{at}" if at % 2 else f"{number}:{at}".encode() for at in range(100)]

            async def send():
                for message in messages:
                    await ws.send(message)

            sending = asyncio.create_task(send())
            got = [await ws.recv() for _ in messages]
            await sending
            assert got == messages, f"connection {number}"

    await asyncio.gather(*(one(number) for number in range(40)))


async def refused():
    for path, status in [("/other/x", 404), ("/plain/x", 400)]:
        try:
            await gateway(path)
            raise AssertionError(f"{path} was opened")
        except InvalidStatus as error:
            assert error.response.status_code == status, f"{path}: {error}"
            assert b'"code"' in error.response.body, f"{path}: {error.response.body!r}"


asyncio.run(asyncio.wait_for(globals()[NAME](), 28))
