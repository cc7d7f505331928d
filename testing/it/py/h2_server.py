"""An upstream that speaks HTTP/2, by the `h2` package: answers by path.

Arguments: PORT_FILE [CERTIFICATE KEY [PROTOCOL]]. With a certificate by TLS, agreeing on PROTOCOL (`h2`); else with prior knowledge.

/trailers        a body, and a trailer behind it
/chunks/COUNT    so many DATA frames of 1000 bytes, without a length
/interim         103 before the answer
/empty/STATUS    a head and no more
/length          a HEAD says five bytes
/early           403 before the body has been read, and then a reset that says that nothing is wrong
/reset           a reset before a head; /cut: one in the middle of a body
/late/NAME       an answer only after a request of /go/NAME, by another connection or this one
/begun/NAME      lets /late/NAME go as soon as its head has come
/forever         a head, and then nothing
/resets          how many streams clients have reset, as JSON
anything else    what came, as JSON, once it has come whole
"""

import json
import os
import socket
import ssl
import sys
import threading

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

GO = {}
LOCK = threading.Lock()
RESETS = []
CONNECTIONS = 0


def go(name):
    with LOCK:
        return GO.setdefault(name, threading.Event())


class Stream:
    def __init__(self, headers):
        self.headers, self.body, self.trailers = headers, b"", []
        self.fields = dict(headers)
        self.path = self.fields[":path"].split("?")[0]


class Connection:
    def __init__(self, sock, number):
        self.sock, self.number, self.streams, self.unsent = sock, number, {}, {}
        self.lock = threading.RLock()
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8", validate_outbound_headers=False)
        self.h2 = h2.connection.H2Connection(config=config)

    def run(self):
        self.h2.initiate_connection()
        self.flush()
        while True:
            data = self.sock.recv(65536)
            if not data:
                return
            with self.lock:
                for event in self.h2.receive_data(data):
                    self.handle(event)
                self.flush()

    def flush(self):
        with self.lock:
            self.sock.sendall(self.h2.data_to_send())

    def handle(self, event):
        if isinstance(event, h2.events.RequestReceived):
            stream = self.streams[event.stream_id] = Stream(event.headers)
            if stream.path == "/early":
                self.head(event.stream_id, 403, [], True)
                self.h2.reset_stream(event.stream_id, h2.errors.ErrorCodes.NO_ERROR)
            elif stream.path.startswith("/begun/"):
                go(stream.path[7:]).set()
            elif stream.path == "/reset":
                self.h2.reset_stream(event.stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
        elif isinstance(event, h2.events.DataReceived):
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.streams[event.stream_id].body += event.data
        elif isinstance(event, h2.events.TrailersReceived):
            self.streams[event.stream_id].trailers = event.headers
        elif isinstance(event, h2.events.StreamReset):
            with LOCK:
                RESETS.append(int(event.error_code))
        elif isinstance(event, h2.events.WindowUpdated):
            for stream_id in list(self.unsent):
                self.send_more(stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.answer(event.stream_id, self.streams[event.stream_id])

    def head(self, stream_id, status, fields, ends=False):
        self.h2.send_headers(stream_id, [(":status", str(status))] + fields, end_stream=ends)

    def send(self, stream_id, data, trailers=None):
        self.unsent[stream_id] = [data, trailers]
        self.send_more(stream_id)

    def send_more(self, stream_id):
        data, trailers = self.unsent[stream_id]
        while data:
            room = min(self.h2.local_flow_control_window(stream_id), self.h2.max_outbound_frame_size, 1000)
            if room <= 0:
                self.unsent[stream_id][0] = data
                return
            self.h2.send_data(stream_id, data[:room])
            data = data[room:]
        del self.unsent[stream_id]
        if trailers:
            self.h2.send_headers(stream_id, trailers, end_stream=True)
        else:
            self.h2.end_stream(stream_id)

    def answer(self, stream_id, stream):
        path = stream.path
        if path == "/trailers":
            self.head(stream_id, 200, [])
            self.send(stream_id, b"body", [("x-sum", "4"), ("x-late", "yes")])
        elif path.startswith("/chunks/"):
            self.head(stream_id, 200, [])
            self.send(stream_id, b"x" * (1000 * int(path[8:])))
        elif path == "/interim":
            self.h2.send_headers(stream_id, [(":status", "103"), ("link", "</style.css>")])
            self.head(stream_id, 200, [])
            self.send(stream_id, b"after all")
        elif path.startswith("/empty/"):
            self.head(stream_id, int(path[7:]), [], True)
        elif path == "/length":
            self.head(stream_id, 200, [("content-length", "5")], stream.fields[":method"] == "HEAD")
            if stream.fields[":method"] != "HEAD":
                self.send(stream_id, b"hello")
        elif path == "/cut":
            self.head(stream_id, 200, [])
            self.h2.send_data(stream_id, b"a part")
            self.h2.reset_stream(stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
        elif path == "/forever":
            self.head(stream_id, 200, [])
        elif path.startswith("/late/"):
            threading.Thread(target=self.late, args=(stream_id, stream, path[6:]), daemon=True).start()
        elif path == "/resets":
            with LOCK:
                body = json.dumps(RESETS).encode()
            self.head(stream_id, 200, [])
            self.send(stream_id, body)
        elif path not in ("/early", "/reset"):
            if path.startswith("/go/"):
                go(path[4:]).set()
            self.echo(stream_id, stream)

    def late(self, stream_id, stream, name):
        go(name).wait(60)
        with self.lock:
            try:
                self.echo(stream_id, stream)
                self.flush()
            except h2.exceptions.ProtocolError:
                pass

    def echo(self, stream_id, stream):
        seen = {
            "headers": [list(field) for field in stream.headers],
            "body": stream.body.decode("latin-1"),
            "trailers": [list(field) for field in stream.trailers],
            "connection": self.number,
            "stream": stream_id,
        }
        body = json.dumps(seen).encode()
        self.head(stream_id, 200, [("content-type", "application/json"), ("content-length", str(len(body)))])
        self.send(stream_id, body)


def serve(sock, context, number):
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context:
            sock = context.wrap_socket(sock, server_side=True)
            if sock.selected_alpn_protocol() not in ("h2", None):
                sock.recv(65536)
                return
        Connection(sock, number).run()
    except (OSError, h2.exceptions.ProtocolError):
        pass
    finally:
        sock.close()


def main():
    port_file, *tls = sys.argv[1:]
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls[0], tls[1])
        protocol = tls[2] if len(tls) > 2 else "h2"
        if protocol != "none":
            context.set_alpn_protocols([protocol])
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    with open(port_file + ".new", "w") as file:
        file.write(str(listener.getsockname()[1]))
    os.rename(port_file + ".new", port_file)

    def accept():
        number = 0
        while True:
            sock, _ = listener.accept()
            number += 1
            threading.Thread(target=serve, args=(sock, context, number), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


main()
