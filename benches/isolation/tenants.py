#!/usr/bin/env python3
"""What one tenant feels of another one's costly work: tenants.py POSTHASTE [SECONDS]

Measures, as a tenant with one endpoint, `/healthz`, the acceptance of an event and its delivery: first alone, then beside each
kind of work of another tenant. Prints the 99th percentiles, and their ratio to the quiet ones (aim 2). Python's standard
library alone. Client, receiver and server share the machine's cores: measure on an idle one, with a release build.
"""

import http.client
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

DEAR = "data.exists(x, data.exists(y, data.exists(z, z == 99999999)))"
DEAR_TEMPLATE = (
    "{% for a in data %}{% for b in data %}{% for c in data %}{{ a }}{% endfor %}{% endfor %}{% endfor %}"
)
NUMBERS = list(range(200))
PER_SECOND = 50


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=120)
        self.path = path

    def connect(self):
        import socket

        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(connection, method, path, body=None, key=None):
    headers = {"Authorization": "Bearer " + key} if key else {}
    if body is not None:
        body, headers["Content-Type"] = json.dumps(body), "application/json"
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    came = {}

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.came[self.headers.get("webhook-id")] = time.monotonic()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class World:
    def __init__(self, binary):
        self.dir = tempfile.TemporaryDirectory(prefix="isolation-")
        self.data = os.path.join(self.dir.name, "data")
        log = os.path.join(self.dir.name, "log")
        command = [binary, "serve", "--dev", "--data", self.data, "--listen", "127.0.0.1:0"]
        self.server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=open(log, "w"))
        self.port = None
        while self.port is None:
            time.sleep(0.05)
            for line in open(log):
                if "listening" in line and "address=" in line:
                    self.port = int(line.split("address=")[1].split()[0].rsplit(":", 1)[1])
        while ask(self.tcp(), "GET", "/readyz")[0] != 200:
            time.sleep(0.05)
        self.receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        self.receiver.daemon_threads = True
        threading.Thread(target=self.receiver.serve_forever, daemon=True).start()
        self.url = "http://127.0.0.1:%d/" % self.receiver.server_port
        self.socket = Unix(os.path.join(self.data, "posthaste.sock"))
        self.make("/v1/endpoints", {"url": self.url, "tenant": "good"})
        self.good = self.key("sender", "good")

    def tcp(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def make(self, path, document):
        status, answer = ask(self.socket, "POST", path, document)
        assert status in (201, 202), answer
        return json.loads(answer)

    def key(self, role, tenant):
        return self.make("/v1/keys", {"role": role, "name": role, "tenant": tenant})["key"]

    def evil(self, count, **more):
        for _ in range(count):
            self.make("/v1/endpoints", {"url": self.url, "tenant": "evil", **more})

    def measure(self, seconds):
        probe, sender = self.tcp(), self.tcp()
        times = {"healthz": [], "accept": [], "delivery": []}
        sent, end = {}, time.monotonic() + seconds
        while (began := time.monotonic()) < end:
            ask(probe, "GET", "/healthz")
            probed = time.monotonic()
            times["healthz"].append(probed - began)
            status, answer = ask(sender, "POST", "/v1/events", {"type": "good.thing", "data": 1}, self.good)
            assert status == 202, answer
            times["accept"].append(time.monotonic() - probed)
            sent[json.loads(answer)["id"]] = probed
            time.sleep(max(0.0, began + 1 / PER_SECOND - time.monotonic()))
        patience = time.monotonic() + 60
        while not sent.keys() <= Receiver.came.keys() and time.monotonic() < patience:
            time.sleep(0.01)
        times["delivery"] = [Receiver.came.get(id, patience) - at for id, at in sent.items()]
        return {name: sorted(all)[int(len(all) * 0.99)] * 1000 for name, all in times.items()}


def again_and_again(stop, world, count, pause, method, path, key, body=None):
    def attack():
        while not stop.wait(pause):
            try:
                ask(world.tcp(), method, path, body, key)
            except OSError:
                return

    for _ in range(count):
        threading.Thread(target=attack, daemon=True).start()


def main():
    binary, seconds = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 10.0
    world = World(binary)
    try:
        sender, viewer = world.key("sender", "evil"), world.key("viewer", "evil")
        ask(world.tcp(), "POST", "/v1/events", {"type": "bomb", "id": "bomb", "data": NUMBERS}, sender)
        world.evil(200, events=["bomb"], condition=DEAR)
        world.evil(100, events=["form"], transform=DEAR_TEMPLATE, disable_on="never")
        world.measure(1)
        quiet = world.measure(seconds)
        bomb, form = ({"type": kind, "data": NUMBERS} for kind in ("bomb", "form"))
        attacks = {
            "2 events for 200 costly conditions": (2, 0, "POST", "/v1/events", sender, bomb),
            "2 explanations of 200 endpoints": (2, 0, "GET", "/v1/events/bomb/explain?limit=500", viewer),
            # More often than they can be made; not so often that the rate of events is what is felt.
            "an event/s for 100 costly templates": (1, 1, "POST", "/v1/events", sender, form),
        }
        print("%-36s %-9s %9s %9s %6s" % ("beside", "p99 of", "quiet ms", "ms", "ratio"))
        for name, (count, *attack) in attacks.items():
            stop = threading.Event()
            again_and_again(stop, world, count, *attack)
            time.sleep(0.5)
            felt = world.measure(seconds)
            stop.set()
            for what, millis in felt.items():
                print("%-36s %-9s %9.2f %9.2f %6.2f" % (name, what, quiet[what], millis, millis / quiet[what]))
            time.sleep(2)
    finally:
        world.server.kill()
        world.server.wait()
        world.dir.cleanup()


if __name__ == "__main__":
    main()
