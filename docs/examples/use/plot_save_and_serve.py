"""
Save, load and serve a model
============================

A fitted model becomes one file that holds no pickle and no key, and a service that answers over
HTTP.
"""

# %%
import tempfile
from pathlib import Path

from sklfusion import AutoFusionClassifier, RecordedScorer, persistence
from sklfusion.datasets import load_newsdesk

desk = load_newsdesk()
recorded = RecordedScorer(desk.answers, texts=desk.data)
clf = AutoFusionClassifier(llm=recorded, random_state=0).fit(desk.data[::3], desk.target[::3])

folder = tempfile.TemporaryDirectory()
file = Path(folder.name) / "model.sklf"
persistence.save(clf, file)
print(f"{file.stat().st_size / 1000:.0f} kB")

# %%
# What is in a file can be read before anything in it is built.

persistence.info(file)

# %%
# What was loaded answers as what was saved.

loaded = persistence.load(file)
new_texts = desk.data[1:40:6]
(loaded.predict(new_texts) == clf.predict(new_texts)).all()

# %%
# ``sklfusion serve model.sklf`` puts it behind HTTP. In a program, ``create_app`` makes the
# application that any ASGI server runs.

import json
import threading
import time
import urllib.request

import uvicorn

from sklfusion.serve import create_app

server = uvicorn.Server(uvicorn.Config(create_app(loaded), port=0, log_level="warning"))
thread = threading.Thread(target=server.run)
thread.start()
while not server.started:
    time.sleep(0.05)
port = server.servers[0].sockets[0].getsockname()[1]

request = urllib.request.Request(
    f"http://127.0.0.1:{port}/predict",
    json.dumps({"texts": new_texts[:1]}).encode(),
    {"Content-Type": "application/json"},
)
with urllib.request.urlopen(request) as reply:
    answer = json.load(reply)
server.should_exit = True
thread.join()
folder.cleanup()
prediction = answer["predictions"][0]
print(new_texts[0], "->", prediction["label"])

# %%
# Each answer says what every source thought by itself, and what the fusion made of it.

import matplotlib.pyplot as plt
import numpy as np

from sklfusion.plotting import METHOD_COLORS, tidy

parts = {source["name"]: source["probabilities"] for source in prediction["sources"]}
parts["fusion"] = prediction["probabilities"]
colors = {"encoder": METHOD_COLORS["encoder alone"], "llm": METHOD_COLORS["LLM alone"]}
colors["fusion"] = METHOD_COLORS["fusion"]
fig, ax = plt.subplots(figsize=(7.2, 3.4), layout="constrained")
place = np.arange(len(desk.target_names))
for shift, (name, probabilities) in zip((-0.27, 0, 0.27), parts.items(), strict=True):
    values = [probabilities[desk_name] for desk_name in desk.target_names]
    ax.bar(place + shift, values, 0.27, label=name, color=colors[name])
ax.set_xticks(place, desk.target_names)
ax.set_ylabel("probability")
ax.legend(frameon=False)
tidy(ax)
plt.show()
