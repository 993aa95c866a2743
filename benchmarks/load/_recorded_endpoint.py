"""An endpoint on this machine that gives recorded answers and takes its time over each.

    python -m benchmarks.load._recorded_endpoint ANSWERS.json

``ANSWERS.json`` holds ``{"answers": {digest of a text: label}, "median_s": s, "sigma": s}``. How
long a text takes is drawn once from a log-normal distribution, by the digest of the text: every
method waits equally long for the same text.
"""

import asyncio
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import NormalDist

from benchmarks._common import ROOT
from sklfusion.testing import FaultServer, server, text_digest
from sklfusion.testing._script import ServerSettings

_DIGITS = 13  # of the digest: 52 bits, as many as a float holds


def seconds_of(digest, median_s, sigma):
    """Seconds that the answer to a text takes; log-normal over texts."""
    place = (int(digest[:_DIGITS], 16) + 0.5) / 16**_DIGITS
    return median_s * math.exp(sigma * NormalDist().inv_cdf(place))


class RecordedServer(server.LoopbackServer):
    """The loopback endpoint with somebody else's answers."""

    def __init__(self, told):
        super().__init__(ServerSettings())
        self.told = told

    def completion(self, body, dialect, entry, fault):
        """The proper reply, with the recorded label in place of the one by rule."""
        reply = super().completion(body, dialect, entry, fault)
        for choice in reply["choices"]:
            choice["message"]["content"] = self.told["answers"][entry.text]
        return reply

    async def respond(self, completion, entry, *rest):
        """Wait, then answer."""
        await asyncio.sleep(seconds_of(entry.text, self.told["median_s"], self.told["sigma"]))
        return await super().respond(completion, entry, *rest)


class RecordedEndpoint(FaultServer):
    """The process, as `FaultServer` is driven.

    Parameters
    ----------
    answers : dict of str to str
        Text to the label that was recorded for it.
    median_s, sigma : float
        Of the log-normal distribution of seconds.
    """

    def __init__(self, answers, *, median_s, sigma):
        super().__init__()
        answers = {text_digest(text): label for text, label in answers.items()}
        self.told = {"answers": answers, "median_s": median_s, "sigma": sigma}

    def start(self):
        """Start the process; returns when it accepts connections."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "answers.json"
            path.write_text(json.dumps(self.told))
            self.process = subprocess.Popen(
                [sys.executable, "-m", __spec__.name, str(path)],
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
            line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the endpoint ended at once with {self.process.wait()}")
        self.port = json.loads(line)["port"]
        return self


async def serve(told):
    """Serve until the parent process ends."""
    parent, endpoint = os.getppid(), RecordedServer(told)
    await endpoint.listen(0)
    print(json.dumps({"port": endpoint.port}), flush=True)
    while os.getppid() == parent:
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(serve(json.loads(Path(sys.argv[1]).read_text())))
