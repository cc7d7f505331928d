"""A WebSocket server by the library `websockets`, which answers by path.

/ws/echo          each message, as text or as bytes, as it came
/ws/close/CODE    closes with this code and the reason "so it is" after the first message
/ws/ping          pings, and says "answered" when the pong has come
/ws/burst/COUNT   sends so many messages at once
/ws/last          says with which code and reason an echoing connection ended, each once, in order
Listens on a port that the system chooses, writes it to the file that its argument names; ends when its standard input does.
"""

import asyncio
import os
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

CLOSED = asyncio.Queue()


async def answer(socket):
    words = socket.request.path.split("/")
    kind = words[2]
    if kind == "echo":
        try:
            while True:
                await socket.send(await socket.recv())
        except ConnectionClosed:
            await socket.wait_closed()
        CLOSED.put_nowait(f"{socket.close_code} {socket.close_reason}")
    elif kind == "close":
        await socket.recv()
        await socket.close(int(words[3]), "so it is")
    elif kind == "ping":
        await (await socket.ping(b"are you there"))
        await socket.send("answered")
    elif kind == "burst":
        for number in range(int(words[3])):
            await socket.send(f"{number}")
    elif kind == "last":
        await socket.send(await CLOSED.get())


async def handle(socket):
    try:
        await answer(socket)
    except ConnectionClosed:
        pass


async def main():
    async with serve(handle, "127.0.0.1", 0, max_size=4 << 20, ping_interval=None) as server:
        port = server.sockets[0].getsockname()[1]
        with open(sys.argv[1] + ".new", "w", encoding="ascii") as out:
            out.write(f"{port}\n")
        os.rename(sys.argv[1] + ".new", sys.argv[1])
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)


asyncio.run(main())
