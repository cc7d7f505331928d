"""A WebSocket server that speaks HTTP/2 (RFC 8441) by `hypercorn` with `wsproto`, with prior knowledge; answers by path.

/ws/echo          each message, as text or as bytes, as it came
/ws/close/CODE    closes with this code and the reason "so it is" after the first message
/ws/burst/COUNT   sends so many messages at once
/ws/seen          says which version of HTTP, path, query, subprotocols and fields the handshake had, as JSON
/ws/agree         agrees to the subprotocol `chat`
/ws/last          says with which code and reason an echoing connection ended, each once, in order
/ws/refuse        refuses the handshake with 403
anything else     200 and no more, for requests that are no WebSocket
Listens on a port that the system chooses, writes it to the file that its argument names; ends when its standard input does.
"""

import asyncio
import json
import os
import socket
import sys

from hypercorn.asyncio import serve
from hypercorn.config import Config

CLOSED = asyncio.Queue()


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"plain"})
        return
    assert (await receive())["type"] == "websocket.connect"
    words = scope["path"].split("/")
    kind = words[2]
    if kind == "refuse":
        await send({"type": "websocket.http.response.start", "status": 403, "headers": [(b"x-why", b"because")]})
        await send({"type": "websocket.http.response.body", "body": b"not you"})
        return
    await send({"type": "websocket.accept", "subprotocol": "chat" if kind == "agree" else None})

    async def say(text):
        await send({"type": "websocket.send", "text": text})

    if kind in ("echo", "agree"):
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})
        CLOSED.put_nowait(f"{message['code']} {message.get('reason') or ''}")
    elif kind == "close":
        await receive()
        await send({"type": "websocket.close", "code": int(words[3]), "reason": "so it is"})
    elif kind == "burst":
        for number in range(int(words[3])):
            await say(f"{number}")
    elif kind == "seen":
        fields = [[name.decode(), value.decode()] for name, value in scope["headers"]]
        seen = {"http": scope["http_version"], "path": scope["path"], "query": scope["query_string"].decode()}
        await say(json.dumps(seen | {"subprotocols": scope["subprotocols"], "headers": fields}))
    elif kind == "last":
        await say(await CLOSED.get())
    await send({"type": "websocket.close", "code": 1000})


async def main():
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.websocket_max_message_size = 4 << 20
    config.errorlog = None
    stopped = asyncio.Event()
    serving = asyncio.create_task(serve(app, config, shutdown_trigger=stopped.wait))
    with open(sys.argv[1] + ".new", "w", encoding="ascii") as out:
        out.write(f"{listener.getsockname()[1]}\n")
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
    os._exit(0 if not serving.done() else 1)


asyncio.run(main())
