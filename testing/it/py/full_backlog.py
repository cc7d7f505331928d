"""A server that nobody can connect to and that does not refuse either: its queue of connections is full, so what comes is not answered.

After SIGUSR1 it takes its connections and answers each request. Its argument names the file that the port is written to; it ends when
its standard input does.
"""

import os
import signal
import socket
import sys
import threading

QUEUED_MAX = 64


def fill(address):
    """Connects until the queue takes no more: then the system lets the first packet of a connection go unanswered."""
    held = []
    while len(held) < QUEUED_MAX:
        sock = socket.socket()
        sock.settimeout(0.3)
        held.append(sock)
        try:
            sock.connect(address)
        except TimeoutError:
            return held
    raise RuntimeError("the queue of connections does not fill")


def serve(listener):
    while True:
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(5)
            try:
                if sock.recv(65536):
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            except OSError:
                pass


def main():
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    held = fill(listener.getsockname())

    def go_on(_signal, _frame):
        for sock in held:
            sock.close()
        threading.Thread(target=serve, args=(listener,), daemon=True).start()

    signal.signal(signal.SIGUSR1, go_on)
    with open(sys.argv[1] + ".new", "w", encoding="ascii") as out:
        out.write(f"{listener.getsockname()[1]}\n")
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    sys.stdin.buffer.read()


main()
