#!/usr/bin/env python3
"""What fifty consumers get beside one that asks for more than there is: an upstream that does ten requests of 50 ms at once, no limit for any consumer.

  bench/fairness.py [SECONDS] [PER_SECOND]   each of two runs takes SECONDS (default 60) after 15 that do not count; each of the fifty asks PER_SECOND times
                                             a second (default 3.8, which is 95 % of the upstream), at random moments

Alone, and beside one that asks 600 times a second. Tells the share of the time that the upstream's places were taken, Jain's index over what each got of its
weighted max-min share, and what the fifty waited. The program: PORTCULLIS=path (default target/dist/portcullis). Listens on 127.0.0.1 only.
"""
import asyncio, json, multiprocessing, os, random, shutil, subprocess, sys, tempfile, time
from scale import PROGRAM, Gateway, free_port, pin, wait_for

PLACES, SERVICE, NORMAL, GREEDY_RATE, WARM = 10, 0.050, 50, 600.0, 15

async def serve(port, told):
    places, busy = asyncio.Semaphore(PLACES), [0.0]
    async def one(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b"GET /busy" in head:
                    body = repr(busy[0]).encode()
                else:
                    async with places:
                        began = time.monotonic()
                        await asyncio.sleep(SERVICE * random.uniform(0.9, 1.1))
                        busy[0] += time.monotonic() - began
                    body = b"ok"
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)); await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
    server = await asyncio.start_server(one, "127.0.0.1", port, backlog=4096)
    told.set()
    await server.serve_forever()

async def fetch(port, path, key, pool):
    request = f"GET {path} HTTP/1.1\r\nHost: a.test\r\nX-Api-Key: {key}\r\n\r\n".encode()
    while True:
        kept = bool(pool)
        reader, writer = pool.pop() if kept else await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            break
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            if not kept: return 0, b""
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    body = await reader.readexactly(length)
    if b"connection: close" in head.lower(): writer.close()
    else: pool.append((reader, writer))
    return int(head.split()[1]), body

async def ask_for(port, key, rate, begin, end, served, times):
    pool, tasks = [], set()
    async def one():
        began = time.monotonic()
        status, _ = await fetch(port, "/work", key, pool)
        if began >= begin:
            served[status] = served.get(status, 0) + 1
            if status == 200: times.append(time.monotonic() - began)
    while time.monotonic() < end:
        task = asyncio.ensure_future(one()); tasks.add(task); task.add_done_callback(tasks.discard)
        await asyncio.sleep(random.expovariate(rate))
    if tasks: await asyncio.wait(tasks, timeout=10)

def clients(port, keys, rate, begin, end, queue):
    async def all_of_them():
        served, times = [{} for _ in keys], []
        await asyncio.gather(*(ask_for(port, key, rate, begin, end, one, times) for key, one in zip(keys, served)))
        return served, times
    queue.put(asyncio.run(all_of_them()))

def busy(port):
    return float(asyncio.run(fetch(port, "/busy", "", []))[1])

def run(port, upstream, keys, rate, greedy, seconds):
    begin = time.monotonic() + WARM; end = begin + seconds
    queues = [multiprocessing.Queue() for _ in range(2)]
    groups = [(keys[:NORMAL], rate, queues[0])] + ([(keys[NORMAL:], GREEDY_RATE, queues[1])] if greedy else [])
    processes = [multiprocessing.Process(target=clients, args=(port, some, pace, begin, end, queue)) for some, pace, queue in groups]
    for process in processes: process.start()
    time.sleep(max(0, begin - time.monotonic())); before = busy(upstream)
    time.sleep(max(0, end - time.monotonic())); used = (busy(upstream) - before) / (PLACES * seconds)
    results = [queue.get(timeout=60) for _, _, queue in groups]
    for process in processes: process.join(30)
    served, times = [one for counts, _ in results for one in counts], sorted(results[0][1])
    capacity = PLACES / SERVICE
    share = [rate] * NORMAL + ([max(capacity - NORMAL * rate, capacity / (NORMAL + 1))] if greedy else [])
    parts = [one.get(200, 0) / seconds / due for one, due in zip(served, share)]
    jain = sum(parts) ** 2 / (len(parts) * sum(part * part for part in parts))
    lost = sum(count for one in served[:NORMAL] for status, count in one.items() if status != 200)
    quantile = lambda q: times[min(len(times) - 1, int(len(times) * q))] * 1000
    print(f"{'beside one' if greedy else 'alone':>10}: utilisation {used:.3f}, Jain {jain:.4f}, p50 {quantile(0.5):.0f} ms, p99 {quantile(0.99):.0f} ms, "
          f"refused {lost} of {len(times) + lost}" + (f"; the greedy one: {served[NORMAL]}" if greedy else ""), flush=True)
    return quantile(0.99)

def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    rate = float(sys.argv[2]) if len(sys.argv) > 2 else 3.8
    folder = tempfile.mkdtemp(prefix="portcullis-fairness-")
    port, upstream, told = free_port(), free_port(), multiprocessing.Event()
    server = multiprocessing.Process(target=lambda: asyncio.run(serve(upstream, told)), daemon=True); server.start(); told.wait(10)
    keys = []
    for n in range(NORMAL + 1):
        made = subprocess.run([PROGRAM, "key", "create", "--file", "all.keys", "--role", "reader", "--name", f"c{n}"], cwd=folder, capture_output=True, text=True, check=True)
        keys.append(json.loads(made.stdout)["key"])
    names = "".join(f"  c{n}: {{ match: {{ api_key: all/c{n} }} }}\n" for n in range(NORMAL + 1))
    config = os.path.join(folder, "portcullis.yaml")
    with open(config, "w") as f:
        f.write(f"version: 1\nlisteners:\n  plain:\n    address: 127.0.0.1:{port}\n"
                f"    danger_plaintext: {{ reason: measurement, owner: bench, expires: 2099-01-01 }}\n"
                f"    limits: {{ connections: 20000, connections_per_client: 20000, connection_rate_per_client: 1000000/s }}\n"
                f"management: {{ socket: {folder}/run/p.sock }}\n"
                f"identity: {{ api_keys: {{ all: {{ store: {{ file: all.keys }} }} }} }}\nconsumers:\n{names}"
                f"upstreams: {{ app: {{ endpoints: [ {{ url: \"http://127.0.0.1:{upstream}\" }} ], concurrency: {{ mode: adaptive }} }} }}\n"
                f"apis:\n  a:\n    hosts: [a.test]\n    base_path: /\n    upstream: app\n    authenticate: {{ any_of: [all] }}\n    routes:\n"
                f"      - {{ name: work, methods: [GET], path: \"/work\", access: {{ allow: {{ roles: [all/reader] }} }} }}\n"
                f"      - {{ name: ready, methods: [GET], path: \"/busy\", access: {{ public: true }} }}\nrecord: {{ access_log: off }}\n")
    gateway = Gateway(config)
    try:
        wait_for(port, "/busy", 10)
        alone = run(port, upstream, keys, rate, False, seconds)
        beside = run(port, upstream, keys, rate, True, seconds)
        print(f"p99 beside / alone: {beside / alone:.3f}")
    finally:
        gateway.stop(); server.terminate(); shutil.rmtree(folder, ignore_errors=True)

if __name__ == "__main__":
    main()
