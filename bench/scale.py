#!/usr/bin/env python3
"""How cost, memory and reload time grow with the number of routes, endpoints and upstreams.

  bench/scale.py routes            own CPU per request with 10 and 100,000 routes, interleaved, with the 95 % interval
  bench/scale.py load              seconds until ready with 100,000 routes in one file
  bench/scale.py reload            10,000 routes in 100 files under load: one file changed, all changed
  bench/scale.py balancing         own CPU per request with one endpoint and with four that are balanced and checked, interleaved
  bench/scale.py http2             own CPU per request with one nginx as the upstream, by HTTP/1.1 and by HTTP/2, interleaved
  bench/scale.py tokens            own CPU per request by a token that is known and by tokens that are all new, interleaved (needs Python's cryptography)
  bench/scale.py grants            1,000 keys of a provider, 100,000 API keys and 10,000 consumers: seconds until ready, and own CPU per request by a
                                   token and by a key against one of each, interleaved (needs openssl)
  bench/scale.py health            1,000 upstreams with 10 endpoints: memory, and the share of a core that their health checks take

Needs nginx and wrk on PATH, and the program: PORTCULLIS=path (default target/dist/portcullis). Listens on 127.0.0.1 only; every run is
bounded. The gateway is pinned to one CPU, load and upstream to another.
"""
import base64, json, os, random, re, resource, shutil, signal, socket, statistics, subprocess, sys, tempfile, threading, time

PROGRAM = os.path.abspath(os.environ.get("PORTCULLIS", "target/dist/portcullis"))
DESCRIPTORS = 131_072
BODY = "abcdefghijklmnopqrstuvwxyz012345" * 32

def free_port():
    s = socket.socket(); s.bind(("127.0.0.1", 0)); port = s.getsockname()[1]; s.close(); return port

def pin(cpu):
    def prepare():
        os.sched_setaffinity(0, {cpu % os.cpu_count()})
        try: resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        except (ValueError, OSError): pass  # not ours to raise: health checks keep half of what there is
    return prepare

class Upstream:
    def __init__(self, folder, ports=1, more=""):
        self.ports = [free_port() for _ in range(ports)]
        self.port = self.ports[0]
        os.makedirs(folder, exist_ok=True)
        conf = os.path.join(folder, "nginx.conf")
        temps = " ".join(f"{n}_temp_path {folder}/t-{n};" for n in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        with open(conf, "w") as f:
            f.write(f"worker_processes 1; worker_rlimit_nofile 20000; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.err;\n"
                    f"events {{ worker_connections 15000; }}\nhttp {{ access_log off; keepalive_requests 1000000000; {temps}\n"
                    f"server {{ {' '.join(f'listen 127.0.0.1:{port};' for port in self.ports)} {more} location / {{ return 200 \"{BODY}\"; }} }} }}\n")
        nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        self.process = subprocess.Popen([nginx, "-p", folder, "-c", conf], preexec_fn=pin(1), stderr=subprocess.DEVNULL)
        wait_for(self.port, "/", 10)
    def stop(self):
        self.process.terminate(); self.process.wait(10)

def wait_for(port, path, seconds, status=200):
    end = time.time() + seconds
    while time.time() < end:
        if ask(port, path) == status: return time.time()
        time.sleep(0.002)
    raise SystemExit(f"{path} on port {port} did not answer {status} in {seconds} s")

def ask(port, path):
    try:
        s = socket.create_connection(("127.0.0.1", port), 2)
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while b"\r\n" not in answer:
            part = s.recv(4096)
            if not part: return None
            answer += part
        s.close()
        return int(answer.split()[1])
    except OSError:
        return None

def base(port, folder, upstream):
    return (f"version: 1\nlisteners:\n  plain:\n    address: 127.0.0.1:{port}\n"
            f"    danger_plaintext: {{ reason: measurement, owner: bench, expires: 2099-01-01 }}\n"
            f"    limits: {{ connections: 10000, connections_per_client: 10000, connection_rate_per_client: 1000000/s }}\n"
            f"management: {{ socket: {folder}/run/p.sock }}\n"
            f"upstreams: {{ app: {{ endpoints: [ {{ url: \"http://127.0.0.1:{upstream}\" }} ] }} }}\n"
            f"record: {{ access_log: off }}\n")

def api(name, routes, mark=""):
    lines = [f"  {name}:\n    hosts: [a.test]\n    base_path: /{name}\n    upstream: app\n    routes:\n"]
    lines += [f"      - {{ name: r{n}, methods: [GET], path: \"/items-{n}/{{id}}\", access: {{ public: true }} }}\n" for n in range(routes)]
    if mark: lines.append(f"      - {{ name: {mark}, methods: [GET], path: \"/{mark}\", access: {{ public: true }} }}\n")
    return "".join(lines)

class Gateway:
    def __init__(self, config):
        self.begin = time.time()
        self.log = open(os.path.join(os.path.dirname(config.rstrip("/")), "gateway.log"), "ab")
        self.process = subprocess.Popen([PROGRAM, "run", "--config", config, "--workers", "1"], preexec_fn=pin(0),
                                        stdout=self.log, stderr=self.log)
    def cpu(self):
        total = 0
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            with open(f"/proc/{self.process.pid}/task/{task}/schedstat") as f: total += int(f.read().split()[0])
        return total / 1e9
    def memory_mb(self):
        with open(f"/proc/{self.process.pid}/status") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) / 1024
    def stop(self):
        self.process.send_signal(signal.SIGTERM); self.process.wait(30); self.log.close()

def wrk(port, path, seconds, connections=16, fields=(), script=None):
    more = [part for field in fields for part in ("-H", field)] + (["-s", script] if script else [])
    out = subprocess.run(["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "-H", "Host: a.test", *more, f"http://127.0.0.1:{port}{path}"],
                         capture_output=True, text=True, preexec_fn=pin(1), timeout=seconds + 30).stdout
    requests = int(re.search(r"(\d+) requests in", out).group(1))
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out); errors = re.search(r"Socket errors: (.*)", out)
    return requests, int(bad.group(1)) if bad else 0, errors.group(1) if errors else ""

def cpu_per_request(gateway, port, path, seconds, **how):
    """Own CPU microseconds of the gateway for each request; none may fail."""
    before = gateway.cpu(); requests, bad, errors = wrk(port, path, seconds, **how); after = gateway.cpu()
    if bad or errors: raise SystemExit(f"failed requests: {bad} {errors}")
    return (after - before) * 1e6 / requests

def routes(folder, upstream, pairs=15, seconds=1):
    gateways = {}
    for count in (10, 100_000):
        sub = os.path.join(folder, str(count)); os.makedirs(sub)
        port = free_port(); config = os.path.join(sub, "portcullis.yaml")
        with open(config, "w") as f: f.write(base(port, sub, upstream.port) + "apis:\n" + api("svc", count))
        gateways[count] = (Gateway(config), port)
        wait_for(port, "/svc/items-7/1", 30)
    def one(count):
        gateway, port = gateways[count]
        return cpu_per_request(gateway, port, f"/svc/items-{count // 2}/42", seconds)
    for count in gateways: one(count)
    result = interleaved(10, 100_000, one, pairs)
    memory = gateways[100_000][0].memory_mb()
    for gateway, _ in gateways.values(): gateway.stop()
    print(json.dumps(dict(what="CPU per request, 100,000 routes against 10", **result, resident_mb_100000=round(memory, 1))))

def interleaved(first, second, one, pairs):
    """Figures of both by turns, so that what drifts meets both alike; their ratio with its 95 % interval (Student's t)."""
    firsts, seconds, ratios = [], [], []
    for pair in range(pairs):
        order = (first, second) if pair % 2 == 0 else (second, first)
        got = {which: one(which) for which in order}
        firsts.append(got[first]); seconds.append(got[second]); ratios.append(got[second] / got[first])
    t = {15: 2.145, 20: 2.093, 30: 2.045}[pairs]
    mean = statistics.mean(ratios); half = t * statistics.stdev(ratios) / pairs ** 0.5
    return dict(pairs=pairs, cpu_us_first=round(statistics.median(firsts), 2), cpu_us_second=round(statistics.median(seconds), 2), ratio=round(mean, 4),
                interval95=[round(mean - half, 4), round(mean + half, 4)], median_ratio=round(statistics.median(ratios), 4))

def start(folder, name, port, text):
    sub = os.path.join(folder, name); os.makedirs(sub)
    config = os.path.join(sub, "portcullis.yaml")
    with open(config, "w") as f: f.write(text)
    return Gateway(config)

def balancing(folder, upstream, pairs=30, seconds=1):
    upstream = Upstream(os.path.join(folder, "nginx-four"), 4)
    urls = ", ".join(f'{{ url: "http://127.0.0.1:{port}" }}' for port in upstream.ports)
    checked = f"endpoints: [ {urls} ], balance: least_requests, health: {{ path: / }}"
    gateways = {}
    for which, app in (("one", None), ("four", checked)):
        port = free_port(); text = base(port, os.path.join(folder, which), upstream.port) + "apis:\n" + api("svc", 10)
        if app: text = re.sub(r"upstreams: .*", f"upstreams: {{ app: {{ {app} }} }}", text)
        gateways[which] = (start(folder, which, port, text), port)
        wait_for(port, "/svc/items-7/1", 30)
    one = lambda which: cpu_per_request(*gateways[which], "/svc/items-5/42", seconds)
    try:
        for which in gateways: one(which)
        result = interleaved("one", "four", one, pairs)
    finally:
        for gateway, _ in gateways.values(): gateway.stop()
        upstream.stop()
    print(json.dumps(dict(what="CPU per request, four endpoints balanced and checked against one", **result)))

def http2(folder, upstream, pairs=15, seconds=1):
    upstream = Upstream(os.path.join(folder, "nginx-h2"), more=f"listen 127.0.0.1:{(port_h2 := free_port())} http2;")
    gateways = {}
    for which, up_port, protocol in (("h1", upstream.port, "h1"), ("h2", port_h2, "h2")):
        port = free_port(); text = base(port, os.path.join(folder, which), up_port) + "apis:\n" + api("svc", 10)
        gateways[which] = (start(folder, which, port, text.replace("{ app: {", f"{{ app: {{ protocol: {protocol},")), port)
        wait_for(port, "/svc/items-7/1", 30)
    one = lambda which: cpu_per_request(*gateways[which], "/svc/items-5/42", seconds)
    try:
        for which in gateways: one(which)
        result = interleaved("h1", "h2", one, pairs)
    finally:
        for gateway, _ in gateways.values(): gateway.stop()
        upstream.stop()
    print(json.dumps(dict(what="CPU per request, upstream by HTTP/2 against the same by HTTP/1.1", **result)))

def tokens(folder, upstream, pairs=15, seconds=1, count=30_000):
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding
    signer = Signer(folder)
    with open(signer.file, "rb") as f: key = serialization.load_pem_private_key(f.read(), None)
    sign = lambda text: key.sign(text, padding.PKCS1v15(), hashes.SHA256())
    scripts = {}
    for which, number in dict(known=1, new=count).items():
        with open(os.path.join(folder, f"{which}.txt"), "w") as f: f.writelines(signer.token(str(n), sign) + "\n" for n in range(number))
        scripts[which] = os.path.join(folder, f"{which}.lua")
        with open(scripts[which], "w") as f:
            f.write(f"local all, n = {{}}, 0\nfor line in io.lines('{folder}/{which}.txt') do all[#all + 1] = line end\n"
                    "request = function() n = n + 1; wrk.headers['Authorization'] = 'Bearer ' .. all[(n - 1) % #all + 1]; return wrk.format() end\n")
    sub = os.path.join(folder, "tokens"); os.makedirs(sub)
    with open(os.path.join(sub, "id.json"), "w") as f: f.write(signer.key_set(1))
    text = (base(port := free_port(), sub, upstream.port).replace("access_log: off", "access_log: { to: file, path: access.log, format: json }")
            + "identity: { providers: { corp: { issuer: \"https://id.test\", keys: { file: id.json } } } }\n"
            "apis:\n  svc:\n    hosts: [a.test]\n    base_path: /\n    upstream: app\n    limits: [ { per: principal, rate: 100000000/s } ]\n"
            "    authenticate: { any_of: [corp], audiences: [\"https://api.test\"] }\n"
            "    routes:\n      - { name: r, methods: [GET], path: /x, access: { allow: { scopes: [read] } } }\n"
            "      - { name: open, methods: [GET], path: /open, access: { public: true } }\n")
    with open(os.path.join(sub, "portcullis.yaml"), "w") as f: f.write(text)
    def one(which):
        gateway = Gateway(os.path.join(sub, "portcullis.yaml"))  # each time another, which knows no token
        try:
            wait_for(port, "/open", 30)
            before = gateway.cpu(); requests, bad, errors = wrk(port, "/x", seconds, script=scripts[which]); after = gateway.cpu()
        finally: gateway.stop()
        if bad or errors or (which == "new" and requests > count): raise SystemExit(f"{requests} requests, failed: {bad} {errors}")
        return (after - before) * 1e6 / requests
    one("known")
    print(json.dumps(dict(what="CPU per request, RS256 tokens that are all new against one that is known; a limit for each caller, a log in JSON",
                          **interleaved("known", "new", one, pairs))))

def health(folder, upstream, count=1000, seconds=20):
    upstream = Upstream(os.path.join(folder, "ten"), 10)
    urls = ", ".join(f'{{ url: "http://127.0.0.1:{port}" }}' for port in upstream.ports)
    figures = {}
    try:
        for which in ("one", "many", "many, checked"):
            port = free_port(); sub = os.path.join(folder, which.replace(", ", "-"))
            check = ", health: { path: / }" if "checked" in which else ""
            ups = "" if which == "one" else "".join(f"  up{n}: {{ endpoints: [ {urls} ]{check} }}\n" for n in range(count))
            apis = "".join(
                f"  svc{n}:\n    hosts: [a.test]\n    base_path: /svc{n}\n    upstream: {'app' if which == 'one' else f'up{n}'}\n    routes: [ {{ name: r, methods: [GET], path: \"/x\", access: {{ public: true }} }} ]\n"
                for n in range(count))
            text = re.sub(r"upstreams: \{ (app: .*) \}\n", lambda found: f"upstreams:\n  {found.group(1)}\n{ups}", base(port, sub, upstream.port))
            gateway = start(folder, os.path.basename(sub), port, text + "apis:\n" + api("svc", 1) + apis)  # the same number of APIs each time
            wait_for(port, "/svc/items-0/1", 60)
            time.sleep(12 if check else 2)
            before = gateway.cpu(); time.sleep(seconds); share = (gateway.cpu() - before) / seconds
            figures[which] = dict(resident_mb=round(gateway.memory_mb(), 1), core_percent=round(share * 100, 2))
            gateway.stop()
    finally:
        upstream.stop()
    print(json.dumps(dict(what=f"{count} upstreams with 10 endpoints, default interval of checks", **figures)))

def load(folder, upstream, times=3):
    took = []
    for number in range(times):
        sub = os.path.join(folder, f"load{number}"); os.makedirs(sub)
        port = free_port(); config = os.path.join(sub, "portcullis.yaml")
        with open(config, "w") as f: f.write(base(port, sub, upstream.port) + "apis:\n" + api("svc", 100_000))
        gateway = Gateway(config); ready = wait_for(port, "/svc/items-99999/1", 60)
        took.append(ready - gateway.begin); gateway.stop()
    print(json.dumps(dict(what="100,000 routes in one file: start to first answer, seconds", median=round(statistics.median(took), 2), all=[round(t, 2) for t in took])))

def reload(folder, upstream, files=100, per_file=100, rounds=10):
    parts = os.path.join(folder, "parts"); os.makedirs(parts)
    port = free_port()
    with open(os.path.join(parts, "00-base.yaml"), "w") as f: f.write(base(port, folder, upstream.port))
    def write(number, mark):
        path = os.path.join(parts, f"api-{number:03}.yaml"); temporary = path + ".tmp"
        with open(temporary, "w") as f: f.write("apis:\n" + api(f"svc{number}", per_file, mark))
        os.rename(temporary, path)
    for number in range(files): write(number, "")
    gateway = Gateway(parts); wait_for(port, "/svc0/items-1/1", 30)
    result = {}; total = dict(requests=0, bad=0, errors=[])
    stop = threading.Event()
    def hammer():
        while not stop.is_set():
            requests, bad, errors = wrk(port, "/svc5/items-50/1", 3, connections=8)
            total["requests"] += requests; total["bad"] += bad
            if errors: total["errors"].append(errors)
    thread = threading.Thread(target=hammer); thread.start(); time.sleep(0.5)
    held = socket.create_connection(("127.0.0.1", port)); ask_on(held)
    one, all_ = [], []
    for number in range(rounds):
        begin = time.time(); write(3, f"one{number}"); one.append((wait_for(port, f"/svc3/one{number}", 10) - begin) * 1000); time.sleep(0.2)
    for number in range(rounds):
        for file in range(files): write(file, f"all{number}")
        begin = time.time(); all_.append((wait_for(port, f"/svc{files - 1}/all{number}", 10) - begin) * 1000); time.sleep(0.3)
    while total["requests"] < 100_000: time.sleep(0.5)
    alive = ask_on(held) == 200
    stop.set(); thread.join(); gateway.stop()
    print(json.dumps(dict(what="10,000 routes in 100 files, reload under load, ms until in force", one_file_median=round(statistics.median(one), 1),
                          one_file_max=round(max(one), 1), all_files_median=round(statistics.median(all_), 1), all_files_max=round(max(all_), 1),
                          requests=total["requests"], failed=total["bad"], socket_errors=total["errors"], old_connection_alive=alive)))

def ask_on(connection):
    connection.sendall(b"GET /svc5/items-50/1 HTTP/1.1\r\nHost: a.test\r\n\r\n")
    answer = b""
    while not answer.endswith(BODY[-8:].encode()):
        part = connection.recv(65536)
        if not part: return None
        answer += part
    return int(answer.split()[1])

def unpadded(data): return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

class Signer:
    """An RSA key of openssl's making; the other keys of a set are moduli that nobody has the factors of."""
    def __init__(self, folder):
        self.file = os.path.join(folder, "signer.pem")
        subprocess.run(["openssl", "genrsa", "-out", self.file, "2048"], check=True, capture_output=True)
        out = subprocess.run(["openssl", "rsa", "-in", self.file, "-noout", "-modulus"], check=True, capture_output=True, text=True).stdout
        self.modulus = bytes.fromhex(out.strip().split("=")[1])
    def key_set(self, count):
        chance = random.Random(1)
        other = lambda: bytes([chance.randrange(128, 256)]) + chance.randbytes(254) + bytes([chance.randrange(256) | 1])
        key = lambda kid, n: dict(kty="RSA", use="sig", alg="RS256", kid=kid, e="AQAB", n=unpadded(n))
        return json.dumps(dict(keys=[key(f"k{n}", other()) for n in range(count - 1)] + [key("mine", self.modulus)]))
    def token(self, jti="1", sign=None):
        now = int(time.time())
        claims = dict(iss="https://id.test", aud="https://api.test", sub="alice", azp="app-7", iat=now, exp=now + 3000, jti=jti, client_id="app-7", scope="read")
        text = ".".join(unpadded(json.dumps(part).encode()) for part in (dict(alg="RS256", typ="at+jwt", kid="mine"), claims))
        sign = sign or (lambda text: subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.file], input=text, check=True, capture_output=True).stdout)
        signature = sign(text.encode())
        return f"{text}.{unpadded(signature)}"

def grants(folder, upstream, pairs=15, seconds=1):
    signer = Signer(folder); token = signer.token()
    api_key = lambda number: f"legacy-{number:06}-3f0d6a5e93b14f77"
    gateways, ready = {}, {}
    for which, (keys, api_keys, consumers) in dict(few=(1, 1, 1), many=(1000, 100_000, 10_000)).items():
        sub = os.path.join(folder, which); os.makedirs(sub)
        with open(os.path.join(sub, "id.json"), "w") as f: f.write(signer.key_set(keys))
        with open(os.path.join(sub, "old.jsonl"), "w") as f:
            for number in range(api_keys): f.write(json.dumps(dict(key=api_key(number), name=f"partner-{number}", scopes=["read"])) + "\n")
        subprocess.run([PROGRAM, "key", "import", "--file", f"{sub}/partners.keys", f"{sub}/old.jsonl"], check=True, capture_output=True)
        who = "".join(f"  c{n}: {{ match: {{ api_key: partners/partner-{n} }} }}\n" for n in range(consumers - 1 if consumers > 1 else 0))
        text = (base(port := free_port(), sub, upstream.port) + "identity:\n  api_keys: { partners: { store: { file: partners.keys } } }\n"
                "  providers: { corp: { issuer: \"https://id.test\", keys: { file: id.json } } }\n"
                f"consumers:\n{who}  app: {{ match: {{ provider: corp, claim: {{ azp: app-7 }} }} }}\n"
                "apis:\n  svc:\n    hosts: [a.test]\n    base_path: /\n    upstream: app\n    limits: [ { per: consumer, rate: 100000000/s } ]\n"
                "    authenticate: { any_of: [corp, partners], audiences: [\"https://api.test\"] }\n"
                "    routes:\n      - { name: r, methods: [GET], path: /x, access: { allow: { scopes: [read] } } }\n"
                "      - { name: open, methods: [GET], path: /open, access: { public: true } }\n")
        with open(os.path.join(sub, "portcullis.yaml"), "w") as f: f.write(text)
        times = []
        for _ in range(3):
            gateway = Gateway(os.path.join(sub, "portcullis.yaml")); times.append(wait_for(port, "/open", 30) - gateway.begin); gateway.stop()
        gateways[which] = (Gateway(os.path.join(sub, "portcullis.yaml")), port); wait_for(port, "/open", 30); ready[which] = times
    last = dict(few=0, many=50_000)
    fields = dict(token=lambda which: f"Authorization: Bearer {token}", key=lambda which: f"X-Api-Key: {api_key(last[which])}")
    result = {}
    for credential, field in fields.items():
        def one(which):
            gateway, port = gateways[which]
            return cpu_per_request(gateway, port, "/x", seconds, fields=(field(which),))
        for which in gateways: one(which)
        result[credential] = interleaved("few", "many", one, pairs)
    memory = {which: round(gateway.memory_mb(), 1) for which, (gateway, _) in gateways.items()}
    for gateway, _ in gateways.values(): gateway.stop()
    print(json.dumps(dict(what="1,000 keys of a provider, 100,000 API keys, 10,000 consumers against one of each",
                          ready_seconds={which: [round(t, 2) for t in times] for which, times in ready.items()}, resident_mb=memory, **result)))

COMMANDS = dict(grants=grants, http2=http2, tokens=tokens, routes=routes, load=load, reload=reload, balancing=balancing, health=health)

def main():
    if len(sys.argv) != 2 or sys.argv[1] not in COMMANDS: raise SystemExit(__doc__)
    folder = tempfile.mkdtemp(prefix="portcullis-scale-"); upstream = None
    try:
        upstream = Upstream(folder)
        COMMANDS[sys.argv[1]](folder, upstream)
    finally:
        if upstream: upstream.stop()
        shutil.rmtree(folder, ignore_errors=True)

if __name__ == "__main__":
    main()
