#!/usr/bin/env python3
"""What a steady client notices while somebody floods the gateway (rows 73 to 99 of the threats).

  bench/floods.py                  every flood, one after the other
  bench/floods.py NAME...          these floods

Needs nginx, h2load and openssl on PATH, and the program: PORTCULLIS=path (default target/dist/portcullis). Everything is on 127.0.0.0/8.

The gateway has 2 workers and no CPU of its own. The steady client is h2load with 200 requests a second over HTTP/1.1 and as many over
HTTP/2, by TLS, paced, so that a request that takes long holds no other back. The flooder comes from another address, opens at most 40
connections a second, sends on each what the flood is as fast as it is taken, until it is cut off, and has the lowest priority on one
CPU: it is the gateway's work that is to be seen, not the flooder's own. Latency is from the request to the end of the answer,
for 4 s before and 4 s during the flood; memory and CPU are the gateway's.
"""
import collections, os, re, shutil, socket, ssl, statistics, subprocess, sys, tempfile, threading, time

PROGRAM = os.path.abspath(os.environ.get("PORTCULLIS", "target/dist/portcullis"))
SECONDS, RATE, CONNECTIONS_PER_SECOND = 4, 200, 40
ENDS_HEADERS, ENDS_STREAM = 4, 1
DATA, HEADERS, PRIORITY, RST, SETTINGS, PING, WINDOW, CONTINUATION = 0, 1, 2, 3, 4, 6, 8, 9
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HOST = "a.test"

def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

def text(value):
    value = value.encode() if isinstance(value, str) else value
    if len(value) < 127: return bytes([len(value)]) + value
    rest, out = len(value) - 127, [127]
    while rest >= 128: out.append(rest % 128 + 128); rest //= 128
    return bytes(out + [rest]) + value

def field(name, value, indexed=False): return (b"\x40" if indexed else b"\x00") + text(name) + text(value)

def block(path="/x", method="GET", *more):
    own = [(":method", method), (":scheme", "https"), (":authority", HOST), (":path", path), *more]
    return b"".join(field(name, value) for name, value in own)

def on_streams(count, of): return b"".join(of(stream) for stream in range(1, 2 * count, 2))

def h2(body, settings=b"", hold=0.0): return ("h2", PREFACE + frame(SETTINGS, 0, 0, settings) + body, hold)

def opened(*more, method="GET"): return lambda s: frame(HEADERS, ENDS_HEADERS, s, block("/x", method, *more))

def asked(*more): return lambda s: frame(HEADERS, ENDS_HEADERS | ENDS_STREAM, s, block("/x", "GET", *more))

def bomb(value, times):
    "A large entry of the table, then a reference of one byte to it, again and again."
    whole = block() + field("x-big", value, True) + b"\xbe" * times
    parts = [whole[at:at + 16000] for at in range(0, len(whole), 16000)]
    frames = [frame(HEADERS if at == 0 else CONTINUATION, ENDS_STREAM if at == 0 else 0, 1, part) for at, part in enumerate(parts)]
    return b"".join(frames[:-1]) + frame(CONTINUATION, ENDS_HEADERS, 1, parts[-1])

# What is sent on a connection: how it is opened, the bytes, and how long it is held if it is not cut off. Row of the threats first.
FLOODS = {
    "73 rapid reset": lambda: h2(on_streams(5000, lambda s: asked()(s) + frame(RST, 0, s, b"\0\0\0\x08"))),
    "74 resets provoked": lambda: h2(on_streams(3000, lambda s: opened()(s) + frame(WINDOW, 0, s, b"\0\0\0\0"))),
    "75 malformed streams": lambda: h2(on_streams(3000, asked(("X-Upper", "v")))),
    "76 CONTINUATION": lambda: h2(frame(HEADERS, 0, 1, block()) + frame(CONTINUATION, 0, 1) * 100_000),
    "76 long header blocks": lambda: h2(frame(HEADERS, 0, 1, block()) + frame(CONTINUATION, 0, 1, field("x", "y" * 100) * 100) * 200),
    "77 windows of 0": lambda: h2(on_streams(100, asked()), b"\0\4\0\0\0\0", 3.0),
    "78 reference bomb": lambda: h2(bomb("z" * 3500, 20_000)),
    "80 PING": lambda: h2(frame(PING, 0, 0, b"12345678") * 100_000),
    "80 SETTINGS": lambda: h2(frame(SETTINGS, 0, 0, b"\0\4\0\0\xff\xff") * 100_000),
    "80 WINDOW_UPDATE": lambda: h2(frame(WINDOW, 0, 0, b"\0\0\0\1") * 100_000),
    "80 PRIORITY": lambda: h2(frame(PRIORITY, 0, 3, b"\0\0\0\5\x09") * 100_000),
    "81 empty DATA": lambda: h2(opened(method="POST")(1) + frame(DATA, 0, 1) * 200_000),
    "83 ever new names": lambda: h2(on_streams(400, lambda s: frame(HEADERS, ENDS_HEADERS | ENDS_STREAM, s, block() + b"".join(
        field(f"x-{s}-{n}", "v" * 40, True) for n in range(40)))), hold=0.2),
    "84 chunk extensions": lambda: ("h1", f"POST /x HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
                                    + (b"1;" + b"e" * 250 + b"\r\nx\r\n") * 20_000, 0.0),
    "85 huge lengths": lambda: ("h1", f"POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {2 ** 62}\r\n\r\n".encode(), 0.5),
    "86 heads that stall": lambda: ("h1", f"GET /x HTTP/1.1\r\nHost: {HOST}\r\nX-Slow: ".encode(), 4.0),
    "86 handshakes that stall": lambda: ("tcp", b"\x16\x03\x01\x02\0\x01\0", 4.0),
    "87 half prefaces": lambda: ("h2", PREFACE[:12], 4.0),
    "93 bodies without end": lambda: ("h1", f"POST /x HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
                                      + (b"4000\r\n" + b"x" * 0x4000 + b"\r\n") * 200, 0.0),
    "94 huge heads": lambda: ("h1", f"GET /x HTTP/1.1\r\nHost: {HOST}\r\nConnection: upgrade\r\nUpgrade: websocket\r\nX-Big: ".encode()
                              + b"y" * 1_000_000, 0.0),
    "95 garbage for TLS": lambda: ("tcp", b"\x16\x03\x01\x00\xff" + bytes(range(256)) * 4, 0.2),
    "98 ever new paths": lambda: h2(on_streams(90, lambda s: frame(HEADERS, ENDS_HEADERS | ENDS_STREAM, s, block(
        f"/{time.time_ns()}-{s}"))), hold=0.5),
    "99 heads against a pattern": lambda: ("h1", f"GET /x HTTP/1.1\r\nHost: {HOST}\r\nX-Probe: {'x' * 7000}\r\n\r\n".encode() * 20, 0.2),
}

def flood(name, port, seconds):
    "Runs as a process of its own, with the lowest priority, on one CPU."
    os.nice(19); os.sched_setaffinity(0, {os.cpu_count() - 1})
    context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
    kind, _, _ = FLOODS[name]()
    context.set_alpn_protocols(["h2" if kind == "h2" else "http/1.1"])
    counts = {"opened": 0, "refused": 0}
    threads, end, next_at = [], time.time() + seconds, time.time()
    body = FLOODS[name]()
    def one():
        kind, data, hold = body if "new paths" not in name else FLOODS[name]()
        try:
            s = socket.create_connection(("127.0.0.1", port), 2, ("127.0.0.9", 0))
            if kind != "tcp": s = context.wrap_socket(s, server_hostname=HOST)
            counts["opened"] += 1
        except OSError:
            counts["refused"] += 1
            return
        try:
            s.settimeout(2); s.sendall(data)
            until = time.time() + hold
            while time.time() < min(until, end):
                s.settimeout(max(0.01, min(until, end) - time.time()))
                if not s.recv(65536): break
        except OSError: pass
        finally: s.close()
    while time.time() < end:
        threads = [t for t in threads if t.is_alive()]
        if len(threads) < 400:
            threads.append(threading.Thread(target=one, daemon=True)); threads[-1].start()
        next_at = max(next_at + 1 / CONNECTIONS_PER_SECOND, time.time() - 0.5)
        time.sleep(max(0, next_at - time.time()))
    for thread in threads: thread.join(2)
    print(counts["opened"], counts["refused"])

def free_port():
    s = socket.socket(); s.bind(("127.0.0.1", 0)); port = s.getsockname()[1]; s.close(); return port

class Site:
    def __init__(self, folder):
        self.folder, self.port, upstream = folder, free_port(), free_port()
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj",
                        f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}", "-keyout", f"{folder}/k", "-out", f"{folder}/c"],
                       check=True, stderr=subprocess.DEVNULL)
        temps = " ".join(f"{n}_temp_path {folder}/t-{n};" for n in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        with open(f"{folder}/nginx.conf", "w") as f:
            f.write(f"worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.err;\nevents {{ worker_connections "
                    f"4000; }}\nhttp {{ access_log off; keepalive_requests 1000000000; client_max_body_size 0; {temps}\nserver {{ listen "
                    f"127.0.0.1:{upstream}; location / {{ return 200 \"{'abcdefgh' * 128}\"; }} }} }}\n")
        with open(f"{folder}/portcullis.yaml", "w") as f:
            f.write(f"version: 1\nlisteners:\n  secure:\n    address: 127.0.0.1:{self.port}\n    tls: {{ certificates: [ {{ hosts: [{HOST}], "
                    f"files: {{ certificate: c, key: k }} }} ] }}\nmanagement: {{ socket: run/p.sock }}\nupstreams: {{ app: {{ endpoints: "
                    f"[ {{ url: \"http://127.0.0.1:{upstream}\" }} ] }} }}\nrecord: {{ access_log: {{ to: file, path: access.log, format: json }} }}\n"
                    f"apis:\n  a:\n    hosts: [{HOST}]\n    base_path: /\n    upstream: app\n    disabled: {{ refuse: [ {{ reason: probes, "
                    f"expires: 2099-01-01, header: {{ X-Probe: '.*.*=.*' }} }} ] }}\n    routes: [ {{ name: all, methods: [GET, POST], path: "
                    f"\"/{{*rest}}\", access: {{ public: true }} }} ]\n")
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        self.nginx = subprocess.Popen([nginx, "-p", folder, "-c", f"{folder}/nginx.conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        log = open(f"{folder}/gateway.log", "ab")
        self.gateway = subprocess.Popen([PROGRAM, "run", "--config", f"{folder}/portcullis.yaml", "--workers", "2"], stdout=subprocess.DEVNULL, stderr=log)
        for _ in range(500):
            try: socket.create_connection(("127.0.0.1", self.port), 1).close(); break
            except OSError: time.sleep(0.02)
        else:
            self.stop()
            raise SystemExit(open(f"{folder}/gateway.log").read())
    def rss(self):
        with open(f"/proc/{self.gateway.pid}/statm") as f: return int(f.read().split()[1]) * 4 // 1024
    def cpu(self):
        with open(f"/proc/{self.gateway.pid}/stat") as f: parts = f.read().rsplit(")", 1)[1].split()
        return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")
    def log_bytes(self): return os.path.getsize(f"{self.folder}/access.log")
    def reasons(self, at):
        "What the access log says of the steady client's requests since then, by reason."
        with open(f"{self.folder}/access.log", "rb") as f:
            f.seek(at); lines = f.read().decode(errors="replace").splitlines()
        return collections.Counter(m[1] for line in lines if '"127.0.0.1"' in line for m in [re.search(r'"reason":"(\w+)"', line)] if m).most_common(5)
    def stop(self):
        for process in (self.gateway, self.nginx): process.terminate()
        for process in (self.gateway, self.nginx): process.wait(60)

def steady(site, seconds):
    "Runs the steady client; gives the latencies in microseconds by protocol, and how many requests failed."
    runs = {}
    for name, how in (("h1", ["--h1", "-c", "8", f"--rps={RATE / 8}"]), ("h2", ["-c", "2", "-m", "50", f"--rps={RATE / 2}"])):
        log = f"{site.folder}/{name}.log"
        if os.path.exists(log): os.unlink(log)
        command = ["h2load", *how, "-D", str(seconds), f"--log-file={log}", f"--connect-to=127.0.0.1:{site.port}", f"https://{HOST}:{site.port}/x"]
        runs[name] = (subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), log)
    found, failed, most = {}, 0, site.rss()
    while any(run.poll() is None for run, _ in runs.values()):
        most = max(most, site.rss()); time.sleep(0.05)
    for name, (_, log) in runs.items():
        rows = [line.split() for line in open(log)]
        failed += sum(row[1] != "200" for row in rows)
        found[name] = sorted(int(row[2]) for row in rows if row[1] == "200")
        expected = RATE * seconds * 9 // 10
        failed += max(0, expected - len(found[name]))
    return found, failed, most

def quantile(sorted_values, q): return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * q))] if sorted_values else float("nan")

def measure(site, name):
    before, _, _ = steady(site, SECONDS)
    rss, cpu, log_at = site.rss(), site.cpu(), site.log_bytes()
    own = subprocess.Popen([sys.executable, __file__, "--flood", name, str(site.port), str(SECONDS + 1)], stdout=subprocess.PIPE, text=True)
    time.sleep(0.7)
    during, failed, most = steady(site, SECONDS)
    opened, refused = own.communicate(timeout=60)[0].split()
    busy = site.cpu() - cpu
    cells, worst = [], 0.0
    for protocol in ("h1", "h2"):
        for q in (0.5, 0.99):
            a, b = quantile(before[protocol], q), quantile(during[protocol], q)
            worst = max(worst, b / a)
            cells.append(f"{a / 1000:.2f} → {b / 1000:.2f} ({b / a:.2f})")
    alive = site.gateway.poll() is None
    print(f"| {name} | {opened}, {refused} | {' | '.join(cells)} | {failed} | {rss} → {most} | {100 * busy / (SECONDS + 1):.0f} % |"
          + ("" if alive else " DIED"), flush=True)
    if failed: print(f"  what was refused during {name}: {site.reasons(log_at)}", file=sys.stderr, flush=True)
    return worst, alive and failed == 0

def main(names):
    print("| flood | connections opened, refused | h1 p50 ms | h1 p99 ms | h2 p50 ms | h2 p99 ms | failed | MiB | CPU |", flush=True)
    print("|---|---|---|---|---|---|--:|---|--:|")
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        site = Site(folder)
        try:
            steady(site, 2)
            for name in names:
                results[name] = measure(site, name)
                time.sleep(1)
        finally:
            site.stop()
    beyond = [name for name, (worst, _) in results.items() if worst > 2]
    bad = [name for name, (_, well) in results.items() if not well]
    print(f"\nbeyond a factor of two: {', '.join(beyond) or 'none'}; clients failed: {', '.join(bad) or 'none'}; highest ratio "
          f"{max(worst for worst, _ in results.values()):.2f}, median {statistics.median(worst for worst, _ in results.values()):.2f}")

if __name__ == "__main__":
    if sys.argv[1:2] == ["--flood"]: flood(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    else: main([name for name in FLOODS if not sys.argv[1:] or any(name.startswith(one) for one in sys.argv[1:])])
