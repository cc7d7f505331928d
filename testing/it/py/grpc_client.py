"""Calls a server of gRPC through the gateway, by `grpcio`, and checks what comes back. Arguments: ADDRESS AUTHORITY WHAT [TOKEN]."""

import sys
import threading
import time

import grpc

address, authority, what, *token = sys.argv[1:]
credentials = grpc.ssl_channel_credentials(open(authority, "rb").read())
options = [
    ("grpc.ssl_target_name_override", "a.test"),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.enable_retries", 0),
]
channel = grpc.secure_channel(address, credentials, options)
unary = channel.unary_unary("/test.Echo/Unary")
down = channel.unary_stream("/test.Echo/Down")
up = channel.stream_unary("/test.Echo/Up")
both = channel.stream_stream("/test.Echo/Both")


def fails(call, code, details=None):
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, (error.code(), error.details())
        assert details is None or error.details() == details, error.details()
        return error
    raise AssertionError(f"no {code}")


def kinds():
    answer, call = unary.with_call(b"hello", metadata=[("x-asked", "by me")], timeout=30)
    assert answer == b"hello"
    assert ("x-begin", "by me") in call.initial_metadata(), call.initial_metadata()
    end = dict(call.trailing_metadata())
    assert end["x-end"] == "yes" and end["x-raw-bin"] == b"\x00\xff", end
    assert [int(one) for one in down(b"1000", timeout=30)] == list(range(1000))
    assert list(down(b"0", timeout=30)) == []
    assert up((b"ab" for _ in range(500)), timeout=30) == b"500 1000"
    assert up(iter([]), timeout=30) == b"0 0"
    # Each message is answered before the next one is sent.
    answered = threading.Semaphore(0)

    def messages():
        for number in range(50):
            yield b"%d" % number
            assert answered.acquire(timeout=30)

    for number, answer in enumerate(both(messages(), timeout=60)):
        assert answer == b"%d" % number
        answered.release()
    assert number == 49
    large = b"x" * (3 << 20)
    assert unary(large, timeout=60) == large


def errors():
    error = fails(lambda: unary(b"", metadata=[("fail", "NOT_FOUND")], timeout=30), grpc.StatusCode.NOT_FOUND, "as asked: 100 %")
    assert ("x-end", "yes") in error.trailing_metadata(), error.trailing_metadata()
    fails(lambda: channel.unary_unary("/test.Echo/None")(b"", timeout=30), grpc.StatusCode.UNIMPLEMENTED)
    fails(lambda: unary(b"", metadata=[("hang", "deadline")], timeout=0.5), grpc.StatusCode.DEADLINE_EXCEEDED)
    left = float(unary(b"", metadata=[("left", "?")], timeout=50))
    assert 0 < left <= 51, left
    call = unary.future(b"", metadata=[("hang", "cancelled")], timeout=50)
    time.sleep(0.2)
    call.cancel()
    gone = channel.unary_unary("/test.Echo/Gone")
    end = time.monotonic() + 30
    while sorted(gone(b"", timeout=30).split(b",")) != [b"cancelled", b"deadline"]:
        assert time.monotonic() < end, gone(b"", timeout=30)
        time.sleep(0.02)


def many():
    calls = [unary.future(b"%d" % number, timeout=60) for number in range(300)]
    assert [int(call.result()) for call in calls] == list(range(300))
    streams = [both(iter([b"a", b"b"]), timeout=60) for _ in range(80)]
    assert all(list(stream) == [b"a", b"b"] for stream in streams)


def total():
    begun = time.monotonic()
    error = fails(lambda: unary(b"", metadata=[("hang", "total")], timeout=50), grpc.StatusCode.UNAVAILABLE)
    assert "did not answer in time" in error.details() and time.monotonic() - begun < 40, error.details()


def refused():
    assert unary(b"first", timeout=30) == b"first"
    for path, code, details in [
        ("/nowhere/Method", grpc.StatusCode.UNIMPLEMENTED, "there is no such resource"),
        ("/denied.To/Method", grpc.StatusCode.PERMISSION_DENIED, "requests from this address are not allowed"),
        ("/dead.End/Method", grpc.StatusCode.UNAVAILABLE, "the service could not be reached"),
    ]:
        fails(lambda: channel.unary_unary(path)(b"x", timeout=30), code, details)
    assert unary(b"last", timeout=30) == b"last"


def checked():
    end = time.monotonic() + 30
    while True:
        count, agent = channel.unary_unary("/test.Echo/Checked")(b"", timeout=30).split(b" ")
        if int(count) >= 3:
            assert agent == b"portcullis-health", agent
            return
        assert time.monotonic() < end, count
        time.sleep(0.02)


def held():
    """A stream that is open before its mark, and goes on when the other mark is there."""
    begun = threading.Event()

    def messages():
        yield b"one"
        begun.wait(600)
        yield b"two"

    stream = both(messages(), timeout=600)
    assert next(stream) == b"one"
    print("open", flush=True)
    sys.stdin.readline()
    begun.set()
    assert next(stream) == b"two"
    assert list(stream) == []


def ended():
    """A stream that the gateway ends because its caller's credential has; what was said before has arrived."""
    over = threading.Event()

    def messages():
        yield b"one"
        over.wait(600)

    stream = both(messages(), metadata=[("authorization", f"Bearer {token[0]}")], timeout=600)
    assert next(stream) == b"one"
    print("open", flush=True)
    error = fails(lambda: next(stream), grpc.StatusCode.UNAUTHENTICATED)
    print(error.details(), flush=True)
    over.set()


try:
    globals()[what]()
except grpc.RpcError as error:
    sys.exit(f"{what}: {error.code()} {error.details()} {error.debug_error_string()}")
