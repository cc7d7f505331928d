"""An upstream for tests, in the standard library alone: answers by path.

/echo            the exact bytes of the request, as JSON {"raw": text in Latin-1, "connection": number}
/events/NAME     server-sent events: one at once, the second only after a GET of /go/NAME
/late/NAME       an answer only after a GET of /go/NAME
/half            a head that promises 1,000,000 bytes, and half of them
/dribble/COUNT   so many chunks of one byte, 20 ms apart
/chunks          three chunks and a trailer
/early           an answer before the body has been read, then the connection is closed
/until-close     a body without a length, ended by the end of the connection
/continue        says 100 (Continue) before it reads the body, then echoes
/ws              a WebSocket that echoes; also with text that comes in the same segment as the request
/redirect        307 to another path
Ends when its standard input does.
"""

import base64
import hashlib
import json
import os
import socket
import struct
import sys
import threading
import time

LIMIT = 64 << 20
GO = {}
GO_LOCK = threading.Lock()


def go(name):
    with GO_LOCK:
        return GO.setdefault(name, threading.Event())


class Connection:
    def __init__(self, sock, number):
        self.sock = sock
        self.number = number
        self.unread = b""

    def more(self):
        data = self.sock.recv(65536)
        self.unread += data
        if len(self.unread) > LIMIT:
            raise ValueError("too much")
        return bool(data)

    def until(self, mark):
        while mark not in self.unread:
            if not self.more():
                return None
        at = self.unread.index(mark) + len(mark)
        data, self.unread = self.unread[:at], self.unread[at:]
        return data

    def exactly(self, count):
        while len(self.unread) < count:
            if not self.more():
                return None
        data, self.unread = self.unread[:count], self.unread[count:]
        return data

    def body(self, fields):
        """The body with its framing, or None if the connection ended."""
        if fields.get("transfer-encoding") == "chunked":
            whole = b""
            while True:
                line = self.until(b"\r\n")
                if line is None:
                    return None
                whole += line
                size = int(line.split(b";")[0], 16)
                if size == 0:
                    break
                data = self.exactly(size + 2)
                if data is None:
                    return None
                whole += data
            while True:
                line = self.until(b"\r\n")
                if line is None:
                    return None
                whole += line
                if line == b"\r\n":
                    return whole
        return self.exactly(int(fields.get("content-length", "0")))

    def send(self, status, body, extra=""):
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nContent-Type: application/json\r\n{extra}\r\n"
        self.sock.sendall(head.encode("latin-1") + body)


def echo(connection, head, fields, interim=False):
    if interim:
        connection.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = connection.body(fields)
    if body is None:
        return False
    answer = {"raw": (head + body).decode("latin-1"), "connection": connection.number}
    connection.send("200 OK", json.dumps(answer).encode())
    return True


def events(connection, name):
    connection.sock.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    send_chunk(connection, b"data: first\n\n")
    go(name).wait(60)
    send_chunk(connection, b"data: second\n\n")
    connection.sock.sendall(b"0\r\n\r\n")
    return True


def half(connection):
    connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 500_000)
    return connection.more()


def dribble(connection, count):
    connection.sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(count):
        send_chunk(connection, b"x")
        time.sleep(0.02)
    connection.sock.sendall(b"0\r\n\r\n")
    return True


def send_chunk(connection, data):
    connection.sock.sendall(b"%x\r\n%s\r\n" % (len(data), data))


def chunks(connection):
    connection.sock.sendall(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        b"3;name=value\r\none\r\n4\r\ntwo!\r\n5\r\nthree\r\n0\r\nX-Sum: 12\r\nContent-Length: 99\r\n\r\n"
    )
    return True


def websocket(connection, fields):
    key = fields.get("sec-websocket-key", "") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    connection.sock.sendall(
        f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )
    while True:
        start = connection.exactly(2)
        if start is None:
            return False
        kind, length = start[0] & 15, start[1] & 127
        if length == 126:
            length = struct.unpack(">H", connection.exactly(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", connection.exactly(8))[0]
        mask, data = connection.exactly(4), connection.exactly(length)
        data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
        size = bytes([length]) if length < 126 else b"\x7e" + struct.pack(">H", length)
        connection.sock.sendall(bytes([0x80 | kind]) + size + data)
        if kind == 8:
            return False


def answer(connection, head):
    lines = head.decode("latin-1").split("\r\n")
    path = lines[0].split(" ")[1].split("?")[0]
    fields = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            fields[name.lower()] = value.strip()
    if path.startswith("/events/"):
        return events(connection, path[8:])
    if path.startswith("/go/"):
        go(path[4:]).set()
    elif path.startswith("/late/"):
        go(path[6:]).wait(60)
    elif path == "/half":
        return half(connection)
    elif path.startswith("/dribble/"):
        return dribble(connection, int(path[9:]))
    elif path == "/chunks":
        return chunks(connection)
    elif path == "/early":
        connection.send("403 Forbidden", b"{}", "Connection: close\r\n")
        return False
    elif path == "/until-close":
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nto the end")
        return False
    elif path == "/ws":
        return websocket(connection, fields)
    elif path == "/redirect":
        connection.send("307 Temporary Redirect", b"", "Location: /elsewhere\r\n")
        return True
    return echo(connection, head, fields, interim=path == "/continue")


def serve(sock, number):
    connection = Connection(sock, number)
    with sock:
        try:
            while True:
                head = connection.until(b"\r\n\r\n")
                if head is None or not answer(connection, head):
                    return
        except (OSError, ValueError, IndexError, TypeError):
            return


def accept_all(listener):
    number = 0
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number += 1
        threading.Thread(target=serve, args=(sock, number), daemon=True).start()


def main():
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    threading.Thread(target=accept_all, args=(listener,), daemon=True).start()
    with open(sys.argv[1] + ".new", "w", encoding="ascii") as out:
        out.write(f"{listener.getsockname()[1]}\n")
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    sys.stdin.buffer.read()


main()
