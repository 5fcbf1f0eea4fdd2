"""A stand-in for the W&B server on loopback: it keeps what runs log and gives it back, views and reports as well.

Only what the W&B library asks for here is answered: GraphQL by the operation's name, the stream of a run's rows, and
the upload and download of its files.
"""

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest
import wandb

KEY = "0" * 40
ENTITY = "someone"
_CREATED = "2026-11-20T10:00:00Z"
_OPERATION = re.compile(r"\b(?:query|mutation)\s+(\w+)")


@dataclass
class StoredRun:
    """One run, as far as the server was told; `config` holds `{"value": …}` per key, `rows` are JSON as it came."""

    entity: str
    project: str
    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    state: str = "running"

    @property
    def history_keys(self) -> dict[str, Any]:
        """The last step and the keys that were ever logged."""
        rows = [json.loads(row) for row in self.rows]
        return {
            "lastStep": max((row["_step"] for row in rows), default=-1),
            "keys": {k: {} for row in rows for k in row},
        }

    def node(self) -> dict[str, Any]:
        about = {"id": f"id-{self.name}", "projectId": 1, "name": self.name, "state": self.state, "tags": []}
        about |= {"displayName": self.fields.get("displayName") or self.name, "jobType": self.fields.get("jobType")}
        about |= {"group": self.fields.get("groupName"), "user": {"name": ENTITY, "username": ENTITY}}
        about |= {"createdAt": _CREATED, "heartbeatAt": _CREATED, "readOnly": False, "systemMetrics": "{}"}
        about |= {"config": json.dumps(self.config), "summaryMetrics": json.dumps(self.summary)}
        return about | {"historyKeys": self.history_keys, "historyLineCount": len(self.rows)}


@dataclass
class WandbServer:
    """What a test sees of the server.

    Attributes:
        url: For `WANDB_BASE_URL`.
        runs: What was logged, by run id.
        asked: Every GraphQL operation with its variables, in the order in which they came.
        views: Saved views and reports, by their ids: the variables with which they were saved.
        trouble: Per operation, an HTTP status and a message to answer instead; a status of 0 answers nothing at all.
    """

    url: str = ""
    runs: dict[str, StoredRun] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    trouble: dict[str, tuple[int, str]] = field(default_factory=dict)
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that lead W&B here."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "WANDB_ENTITY": ENTITY}

    def clear(self) -> None:
        """Forgets everything."""
        for kept in (self.runs, self.asked, self.views, self.trouble):
            kept.clear()

    def count(self, operation: str) -> int:
        """How often an operation was asked for."""
        return sum(name == operation for name, _ in self.asked)

    def run_named(self, name: str) -> StoredRun:
        """The only run with this display name."""
        (run,) = (run for run in self.runs.values() if run.fields.get("displayName") == name)
        return run

    def answer(self, operation: str, given: dict[str, Any]) -> dict[str, Any]:
        """The `data` of a GraphQL answer."""
        action: Callable[[dict[str, Any]], dict[str, Any]] | None = getattr(self, f"_{operation}", None)
        return {} if action is None else action(given)

    def stream(self, name: str, content: dict[str, Any]) -> None:
        """Takes rows, the summary and the end of a run."""
        run, files = self.runs[name], content.get("files") or {}
        if history := files.get("wandb-history.jsonl"):
            run.rows[history["offset"] :] = history["content"]
        if summary := files.get("wandb-summary.json"):
            run.summary = json.loads(summary["content"][-1])
        if content.get("complete"):
            run.state = "finished" if content.get("exitcode") == 0 else "failed"

    def _find(self, given: dict[str, Any]) -> list[StoredRun]:
        """The runs of the project that is asked for, those that came first at the front."""
        entity = given.get("entity") or given.get("entityName")
        project = given.get("project") or given.get("projectName")
        return [run for run in self.runs.values() if (run.entity, run.project) == (entity, project)]

    def _of_run(self, given: dict[str, Any], content: Callable[[StoredRun], dict[str, Any]]) -> dict[str, Any]:
        run = self.runs.get(given.get("name") or given.get("runName") or given.get("run") or "")
        return {"project": {"id": "1", "internalId": "1", "run": run and content(run)}}

    def _Viewer(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        about = {"id": "1", "entity": ENTITY, "username": ENTITY, "name": ENTITY, "email": "", "flags": "{}"}
        return {"viewer": about | {"teams": {"edges": []}, "apiKeys": {"edges": []}, "admin": False}}

    _GetViewer = _GetDefaultEntity = _Viewer

    def _UpsertBucket(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        name = given["name"]
        is_new = name not in self.runs
        if is_new:
            self.runs[name] = StoredRun(given.get("entity") or ENTITY, given["project"], name)
        run = self.runs[name]
        run.fields |= {key: value for key, value in given.items() if value is not None}
        run.config |= json.loads(given.get("config") or "{}")
        project = {"id": "1", "name": run.project, "entity": {"id": "1", "name": run.entity}}
        bucket = {"id": f"id-{name}", "name": name, "displayName": run.fields.get("displayName"), "project": project}
        bucket |= {"config": json.dumps(run.config), "historyLineCount": len(run.rows)}
        return {"upsertBucket": {"inserted": is_new, "bucket": bucket}}

    def _CreateRunFiles(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        run = given["run"]
        files = [{"name": name, "uploadUrl": self._place(run, name)} for name in given["files"]]
        return {"createRunFiles": {"runID": f"id-{run}", "uploadHeaders": [], "files": files}}

    def _place(self, run: str, name: str) -> str:
        return f"{self.url}/storage/{run}/{quote(name)}"

    def _Runs(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        runs = self._find(given)
        wanted = json.loads(given.get("filters") or "{}")
        assert set(wanted) <= {"jobType"}, "no other filter is known here"
        chosen = [run for run in runs if wanted.get("jobType", run.fields.get("jobType")) == run.fields.get("jobType")]
        begin = int(given.get("cursor") or 0)
        page = chosen[begin : begin + given.get("perPage", 50)]
        edges = [{"node": run.node(), "cursor": str(begin + place)} for place, run in enumerate(page, start=1)]
        more = {"endCursor": str(begin + len(page)), "hasNextPage": begin + len(page) < len(chosen)}
        about = {"internalId": "1", "runCount": len(chosen), "readOnly": False}
        return {"project": about | {"runs": {"edges": edges, "pageInfo": more}} if runs else None}

    def _RunHistoryKeys(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return self._of_run(given, lambda run: {"historyKeys": run.history_keys})

    def _RunParquetHistory(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return self._of_run(given, lambda run: {"parquetHistory": {"liveData": [], "parquetUrls": []}})

    def _HistoryPage(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        def page(run: StoredRun) -> dict[str, Any]:
            wanted = range(given["minStep"], given["maxStep"])
            return {"history": [row for row in run.rows if json.loads(row)["_step"] in wanted][: given["pageSize"]]}

        return self._of_run(given, page)

    def _RunFiles(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        def listed(run: StoredRun) -> dict[str, Any]:
            wanted = [name for name in run.files if not given.get("fileNames") or name in given["fileNames"]]
            begin = int(given.get("fileCursor") or 0)
            end = begin + given.get("fileLimit", 50)
            nodes = [
                {"id": name, "name": name, "url": self._place(run.name, name), "directUrl": self._place(run.name, name)}
                | {"sizeBytes": len(run.files[name]), "mimetype": "", "updatedAt": _CREATED, "md5": ""}
                for name in wanted
            ]
            edges = [{"node": node, "cursor": str(place)} for place, node in enumerate(nodes, start=1)]
            more = {"endCursor": str(end), "hasNextPage": end < len(nodes)}
            return {"fileCount": len(run.files), "files": {"edges": edges[begin:end], "pageInfo": more}}

        return self._of_run(given, listed)

    def _ProjectInternalId(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"project": {"id": "1", "internalId": "1"} if self._find(given) else None}

    def _GetProjects(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        names = sorted({run.project for run in self.runs.values()})
        about = {"entityName": ENTITY, "createdAt": _CREATED, "isBenchmark": False, "user": None}
        edges = [{"node": about | {"id": name, "name": name}, "cursor": name} for name in names]
        return {"models": {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}}

    def _UpsertView2(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        view_id = given.get("id") or f"view{len(self.views) + 1}"
        is_new = view_id not in self.views
        self.views[view_id] = given
        project = {"id": "1", "name": given["projectName"], "entityName": given["entityName"]}
        kept = {key: given.get(key) for key in ("type", "name", "displayName", "description", "spec")}
        view = {"id": view_id, "project": project, "updatedAt": _CREATED, "createdAt": _CREATED} | kept
        return {"upsertView": {"view": view, "inserted": is_new}}

    _upsertView = _UpsertView2  # noqa: N815


class _Handler(BaseHTTPRequestHandler):
    """HTTP for a `WandbServer`, which the subclass that `serving` makes holds."""

    store: WandbServer

    def do_POST(self) -> None:
        body = self._body()
        if not self.path.endswith(("/graphql", "/file_stream")):  # what W&B measures of itself
            self._send(b"{}", 404)
            return
        content = json.loads(body)
        if self.path.endswith("file_stream"):
            with self.store.lock:
                self.store.stream(self.path.split("/")[-2], content)
            self._send(b"{}")
            return
        named = _OPERATION.search(content["query"])  # W&B's Python side leaves operationName out
        operation, given = named[1] if named else "", content.get("variables") or {}
        with self.store.lock:
            self.store.asked.append((operation, given))
            status, message = self.store.trouble.get(operation, (200, ""))
            data = self.store.answer(operation, given) if status == 200 else {}
        if status == 0:
            self.store.closing.wait()
            self.close_connection = True
            return
        self._send(json.dumps({"errors": [{"message": message}]} if message else {"data": data}).encode(), status)

    def do_PUT(self) -> None:
        _, _, run, name = urlsplit(self.path).path.split("/", 3)
        content = self._body()
        with self.store.lock:
            self.store.runs[run].files[unquote(name)] = content
        self._send(b"{}")

    def do_GET(self) -> None:
        _, _, run, name = urlsplit(self.path).path.split("/", 3)
        self._send(self.store.runs[run].files[unquote(name)])

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def _send(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # who asked has given up
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # of five, a sixth would come a second later


@contextlib.contextmanager
def serving() -> Iterator[WandbServer]:
    """Has an empty server until the end of the block."""
    store = WandbServer()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"store": store}))
    store.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield store
    finally:
        store.closing.set()
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def talking() -> Iterator[WandbServer]:
    """Has an empty server that this process's W&B talks to."""
    with serving() as store, pytest.MonkeyPatch.context() as patch:
        for name, value in store.environment.items():
            patch.setenv(name, value)
        wandb.teardown()  # of what other tests talked to
        yield store
        wandb.teardown()
