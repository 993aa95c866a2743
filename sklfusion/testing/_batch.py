"""The files and batches of the loopback endpoint, in memory."""

from __future__ import annotations

import json
from typing import Any

from sklfusion.testing import _answers, _wire
from sklfusion.testing._profiles import ScriptedFault
from sklfusion.testing._script import Script

# Faults of the wire mean nothing here: the results are read from a file.
_IN_BATCH = ("status", "content", "merge")


class Batches:
    """Files and batches between two resets.

    Parameters
    ----------
    script : Script
        What becomes of each request.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}

    def handle(self, request: _wire.Request, path: str) -> Any:
        """Return the answer to a request below /v1/files or /v1/batches."""
        parts = path.strip("/").split("/")[1:]
        if parts == ["files"] and request.method == "POST":
            return self._upload(request)
        if parts[0] == "files" and parts[-1] == "content":
            return self.files[parts[1]]
        if parts[0] == "files":
            return self._file(parts[1])
        if parts == ["batches"] and request.method == "POST":
            return self._create(json.loads(request.body))
        if parts == ["batches"]:
            return {"object": "list", "data": list(self.batches.values()), "has_more": False}
        if parts[-1] == "cancel":
            self.batches[parts[1]]["status"] = "cancelled"
            return self.batches[parts[1]]
        return self._poll(self.batches[parts[1]])

    def _file(self, name: str) -> dict[str, Any]:
        return {
            "id": name,
            "object": "file",
            "bytes": len(self.files[name]),
            "created_at": 1_700_000_000,
            "filename": f"{name}.jsonl",
            "purpose": "batch",
            "status": "processed",
        }

    def _add(self, data: bytes) -> str:
        name = f"file-{len(self.files) + 1}"
        self.files[name] = data
        return name

    def _upload(self, request: _wire.Request) -> dict[str, Any]:
        boundary = request.headers["content-type"].partition("boundary=")[2].strip('"').encode()
        for part in request.body.split(b"--" + boundary):
            header, _, data = part.partition(b"\r\n\r\n")
            if b"filename=" in header:
                return self._file(self._add(data.removesuffix(b"\r\n")))
        raise ValueError("the upload holds no file")

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        lines = self.files[asked["input_file_id"]].splitlines()
        name = f"batch_{len(self.batches) + 1}"
        self.batches[name] = {
            "id": name,
            "object": "batch",
            "endpoint": asked["endpoint"],
            "input_file_id": asked["input_file_id"],
            "completion_window": asked["completion_window"],
            "metadata": asked.get("metadata"),
            "created_at": 1_700_000_000,
            "status": "validating",
            "errors": None,
            "output_file_id": None,
            "error_file_id": None,
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
            "polls": 0,
        }
        return self.batches[name]

    def _poll(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch["polls"] += 1
        final = self.script.settings.batch.get("status", "completed")
        if batch["status"] in ("validating", "in_progress"):
            batch["status"] = "in_progress"
            if batch["polls"] >= self.script.settings.batch.get("polls", 2):
                batch["status"] = final
                if final != "failed":
                    self._finish(batch, half=final == "expired")
        return batch

    def _finish(self, batch: dict[str, Any], *, half: bool) -> None:
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        if half:
            lines = lines[: len(lines) // 2]
        good: list[dict[str, Any]] = []
        bad: list[dict[str, Any]] = []
        for line in reversed(lines):  # results come in any order
            result = _answer_line(line, self.script)
            (good if result["response"]["status_code"] == 200 else bad).append(result)
        for field, results in (("output_file_id", good), ("error_file_id", bad)):
            if results:
                text = "".join(json.dumps(result) + "\n" for result in results)
                batch[field] = self._add(text.encode())
        batch["request_counts"] |= {"completed": len(good), "failed": len(bad)}


def _answer_line(line: dict[str, Any], script: Script) -> dict[str, Any]:
    ledger = script.ledger
    entry, fault = script.receive(line["body"], {})
    if fault is not None and fault.kind not in _IN_BATCH:
        fault = ScriptedFault("content", {"content": None}) if fault.is_billed else None
    completion = _answers.completion(line["body"], number=entry.number)
    entry.usable = fault is None or fault.is_usable
    if fault is None or fault.is_billed:
        ledger.bill(entry, completion["usage"])
    data, _, code = _wire.render_reply(completion, fault)
    entry.status = code
    ledger.deliver(entry)
    ledger.end(entry)
    response = {"status_code": code, "request_id": f"req-{entry.number}", "body": json.loads(data)}
    return {
        "id": f"batch_req_{entry.number}",
        "custom_id": line["custom_id"],
        "response": response,
        "error": None,
    }
