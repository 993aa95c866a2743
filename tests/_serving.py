"""What the tests of the service share: a saved model served by a process, and a plain client."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from urllib.parse import urlsplit

#: Seconds within which a service has to be there; importing torch on a busy machine takes long.
PATIENCE = 240


class Served:
    """A running `sklfusion serve`."""

    def __init__(self, process, log):
        self.process, self._log = process, log
        first = process.stdout.readline()
        assert " is served at " in first, first + self.logged()
        self.url = first.split(" is served at ")[1].split()[0]
        self.port = urlsplit(self.url).port

    def logged(self):
        """Return all that was logged, which is whole once the process has ended."""
        self._log.seek(0)
        return self._log.read()

    def send(self, method, path, body=None, **headers):
        """Return status, headers and body of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            if body is not None and not isinstance(body, bytes):
                body = json.dumps(body).encode()
            sent = {"Content-Type": "application/json"} if body is not None else {}
            sent |= {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, sent)
            reply = connection.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()

    def ask(self, path, body, **headers):
        """Return status and value of a POST."""
        status, _, told = self.send("POST", path, body, **headers)
        return status, json.loads(told)

    def until_ready(self):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                if self.send("GET", "/ready")[0] == 200:
                    return self
            time.sleep(0.1)
        raise AssertionError("not ready in time")

    def stop(self):
        """Send SIGTERM; return the exit status and what was logged."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE), self.logged()


@contextlib.contextmanager
def serving(path, *options, **variables):
    """Serve a saved model on a free port while the block runs."""
    command = [sys.executable, "-m", "sklfusion.cli", "serve", str(path), "--port", "0", *options]
    with tempfile.TemporaryFile("a+", encoding="utf-8") as log:  # a pipe that nobody reads fills
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **variables}
        )
        try:
            served = Served(process, log).until_ready()
            yield served
            served.stop()
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            process.stdout.close()


def counted(running, **headers):
    """Return the number of requests that a service has answered, this one included."""
    page = running.send("GET", "/metrics", **headers)[2].decode()
    lines = (line for line in page.splitlines() if line.startswith("sklfusion_requests_total"))
    return 1 + int(sum(float(line.split()[-1]) for line in lines))
