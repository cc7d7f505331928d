#!/usr/bin/env python3
"""Ordinary work for a program that is being profiled: what `cargo xtask dist` lets the instrumented program learn from.

  bench/train.py PROGRAM           runs PROGRAM under a short mix of traffic, ends it in order, and says what was asked

The mix is what a gateway sees by day: small and large answers and bodies over HTTP/1.1, TLS and HTTP/2, new connections, verified
tokens with a limit and a record, and what is refused. Needs nginx, h2load and openssl on PATH. Everything is on 127.0.0.1.
"""
import base64, json, os, re, signal, socket, subprocess, sys, tempfile, time

PROGRAM = os.path.abspath(sys.argv[1])
DEADLINE_SECONDS = 30

UPSTREAM = """daemon off; worker_processes 1; pid {d}/nginx.pid; error_log {d}/nginx.err;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {d}/t1; proxy_temp_path {d}/t2;
  fastcgi_temp_path {d}/t3; uwsgi_temp_path {d}/t4; scgi_temp_path {d}/t5; client_body_buffer_size 32k;
  server {{ listen 127.0.0.1:{up}; root {d}/www; location /post {{ proxy_pass http://127.0.0.1:{up}/k1; }} }} }}
"""
CONFIG = """version: 1
listeners:
  plain:
    address: 127.0.0.1:{plain}
    protocols: [h1]
    danger_plaintext: {{ reason: training on loopback, owner: bench, expires: 2099-01-01 }}
    limits: {{ connections: 2000, connections_per_client: 2000, connection_rate_per_client: 1000000/s }}
  tls:
    address: 127.0.0.1:{tls}
    protocols: [h1, h2]
    tls: {{ certificates: [ {{ hosts: [localhost], files: {{ certificate: {d}/c.pem, key: {d}/k.pem }} }} ] }}
    limits: {{ connections: 2000, connections_per_client: 2000, connection_rate_per_client: 1000000/s, handshakes_per_client: 10000 }}
management: {{ socket: "{d}/run/portcullis.sock" }}
identity:
  providers:
    idp: {{ issuer: "https://idp.train.test", keys: {{ file: "{d}/jwks.json" }}, algorithms: [RS256] }}
upstreams:
  app: {{ endpoints: [ {{ url: "http://127.0.0.1:{up}" }} ] }}
apis:
  open:
    hosts: ["*"]
    base_path: /
    upstream: app
    routes:
      - {{ name: all, methods: [GET, HEAD, POST], path: "/{{*path}}", access: {{ public: true }} }}
  closed:
    hosts: ["closed.test"]
    base_path: /
    upstream: app
    authenticate: {{ any_of: [idp], audiences: [train] }}
    limits: [ {{ per: principal, rate: 1000000/s }} ]
    routes:
      - {{ name: closed, methods: [GET], path: "/k1", access: {{ allow: {{ scopes: ["orders:read"] }} }} }}
record: {{ access_log: {{ to: file, path: "{d}/access.log", format: json }} }}
"""

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]

def openssl(*words, data=None):
    return subprocess.run(["openssl", *words], input=data, capture_output=True, check=True).stdout

def text64(data): return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

def token(folder, subject):
    head = text64(json.dumps({"alg": "RS256", "typ": "at+jwt", "kid": "k"}).encode())
    now = int(time.time())
    claims = {"iss": "https://idp.train.test", "sub": subject, "aud": "train", "exp": now + 3600, "iat": now,
              "client_id": subject, "jti": subject, "scope": "orders:read"}
    signed = f"{head}.{text64(json.dumps(claims).encode())}"
    return f"{signed}.{text64(openssl('dgst', '-sha256', '-sign', f'{folder}/jwt.pem', data=signed.encode()))}"

def prepare(folder):
    os.chmod(folder, 0o755)  # the upstream's worker may be another user
    os.makedirs(f"{folder}/www"); os.makedirs(f"{folder}/run")
    for name, size in (("k1", 1024), ("k64", 65536), ("post16k", 16384)):
        with open(f"{folder}/www/{name}", "wb") as f: f.write(b"abcdefghijklmnop" * (size // 16))
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{folder}/k.pem",
            "-out", f"{folder}/c.pem", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    openssl("genrsa", "-out", f"{folder}/jwt.pem", "2048")
    modulus = openssl("rsa", "-in", f"{folder}/jwt.pem", "-noout", "-modulus").decode().strip().split("=")[1]
    key = {"kty": "RSA", "kid": "k", "alg": "RS256", "use": "sig", "n": text64(bytes.fromhex(modulus)), "e": "AQAB"}
    with open(f"{folder}/jwks.json", "w") as f: json.dump({"keys": [key]}, f)
    for name in ("k.pem", "jwt.pem"): os.chmod(f"{folder}/{name}", 0o600)

def answered(port, deadline):
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as s:
                s.sendall(b"GET /k1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                if s.recv(64).startswith(b"HTTP/1.1 200"): return True
        except OSError: pass
        time.sleep(0.05)
    return False

def load(*words):
    out = subprocess.run(["h2load", *words], capture_output=True, text=True, timeout=120).stdout
    done = re.search(r"requests: \d+ total, \d+ started, (\d+) done", out)
    return int(done.group(1)) if done else 0

def refused(port, count):
    for at in range(count):
        message = (b"GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n", b"DELETE /k1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
                   b"GET /a/../../k1 HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                   b"GET /k1 HTTP/1.1\r\nHost: closed.test\r\n\r\n")[at % 5]
        with socket.create_connection(("127.0.0.1", port), 5) as s:
            s.sendall(message); s.recv(4096)
    return count

def work(folder, plain, tls):
    h1, many = "--h1", ["-c", "16"]
    asked = load(h1, *many, "-n", "60000", f"http://127.0.0.1:{plain}/k1")
    asked += load(h1, *many, "-n", "6000", f"http://127.0.0.1:{plain}/k64")
    asked += load(h1, *many, "-n", "10000", "-d", f"{folder}/www/post16k", f"http://127.0.0.1:{plain}/post")
    asked += load(h1, *many, "-n", "40000", f"https://127.0.0.1:{tls}/k1")
    asked += load("-c", "8", "-m", "10", "-n", "40000", f"https://127.0.0.1:{tls}/k1")
    asked += load("-c", "8", "-m", "10", "-n", "3000", f"https://127.0.0.1:{tls}/k64")
    for _ in range(10): asked += load(h1, "-c", "60", "-n", "60", f"https://127.0.0.1:{tls}/k1")
    for subject in ("one", "two", "three", "four"):
        asked += load(h1, *many, "-n", "8000", "-H", "Host: closed.test", "-H", f"Authorization: Bearer {token(folder, subject)}",
                      f"http://127.0.0.1:{plain}/k1")
    return asked + refused(plain, 1000)

def main():
    with tempfile.TemporaryDirectory() as folder:
        prepare(folder)
        up, plain, tls = free_port(), free_port(), free_port()
        for name, content in (("nginx.conf", UPSTREAM), ("portcullis.yaml", CONFIG)):
            with open(f"{folder}/{name}", "w") as f: f.write(content.format(d=folder, up=up, plain=plain, tls=tls))
        upstream = subprocess.Popen(["nginx", "-p", folder, "-c", f"{folder}/nginx.conf", "-e", f"{folder}/nginx.err"])
        gateway = subprocess.Popen([PROGRAM, "run", "--config", f"{folder}/portcullis.yaml", "--workers", "1"],
                                   stdout=subprocess.DEVNULL)
        try:
            if not answered(plain, time.monotonic() + DEADLINE_SECONDS): sys.exit("the gateway does not answer")
            print(f"{work(folder, plain, tls)} requests answered")
            gateway.send_signal(signal.SIGTERM)
            if gateway.wait(DEADLINE_SECONDS) != 0: sys.exit("the gateway did not end in order; its profile is not whole")
        finally:
            for child in (gateway, upstream):
                if child.poll() is None: child.terminate(); child.wait(DEADLINE_SECONDS)

main()
