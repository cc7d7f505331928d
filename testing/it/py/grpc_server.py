"""A server of gRPC, by `grpcio`, whose messages are bytes. Arguments: PORT_FILE [CERTIFICATE KEY].

/test.Echo/Unary     what came; `fail: CODE` in the metadata ends with that status and details, `hang` waits until the client is gone
/test.Echo/Down      so many messages as the number that came says
/test.Echo/Up        how many messages and bytes came
/test.Echo/Both      each message as it comes
/test.Echo/Gone      the `hang` of calls that have ended
/test.Echo/Checked   how often it was checked, and by whom last
/grpc.health.v1.Health/Check   by the name of the service: `bad`, `hang`, `unknown`, `unimplemented` are what they say
"""

import os
import sys
import threading
from concurrent import futures

import grpc

GONE = []
CHECKED = []
LOCK = threading.Lock()


def unary(request, context):
    metadata = dict(context.invocation_metadata())
    if "hang" not in metadata:
        context.send_initial_metadata([("x-begin", metadata.get("x-asked", "-"))])
    context.set_trailing_metadata([("x-end", "yes"), ("x-raw-bin", b"\x00\xff")])
    if "fail" in metadata:
        context.abort(grpc.StatusCode[metadata["fail"]], "as asked: 100 %")
    if "hang" in metadata:
        ended = threading.Event()

        def end():
            with LOCK:
                GONE.append(metadata["hang"])
            ended.set()

        context.add_callback(end)
        ended.wait(60)
    if "left" in metadata:
        return str(context.time_remaining()).encode()
    return request


def down(request, context):
    for number in range(int(request)):
        yield b"%d" % number


def up(requests, context):
    count = size = 0
    for request in requests:
        count += 1
        size += len(request)
    return b"%d %d" % (count, size)


def both(requests, context):
    yield from requests


def gone(request, context):
    with LOCK:
        return ",".join(map(str, GONE)).encode()


def checked(request, context):
    with LOCK:
        return f"{len(CHECKED)} {CHECKED[-1] if CHECKED else ''}".encode()


def check(request, context):
    service = request[2:].decode() if request else ""
    if service == "hang":
        threading.Event().wait(20)
    if service == "unknown":
        context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
    if service == "unimplemented":
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such method")
    if service == "bad":
        return b"\x08\x02"
    with LOCK:
        CHECKED.append(dict(context.invocation_metadata())["user-agent"])
    return b"\x08\x01"


def main():
    port_file, *tls = sys.argv[1:]
    server = grpc.server(futures.ThreadPoolExecutor(64), options=[("grpc.max_receive_message_length", 64 << 20)])
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Down": grpc.unary_stream_rpc_method_handler(down),
        "Up": grpc.stream_unary_rpc_method_handler(up),
        "Both": grpc.stream_stream_rpc_method_handler(both),
        "Gone": grpc.unary_unary_rpc_method_handler(gone),
        "Checked": grpc.unary_unary_rpc_method_handler(checked),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    health = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", health),))
    if tls:
        certificate, key = (open(name, "rb").read() for name in tls)
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with open(port_file + ".new", "w") as file:
        file.write(str(port))
    os.rename(port_file + ".new", port_file)
    sys.stdin.read()
    os._exit(0)


main()
