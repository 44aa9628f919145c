"""A Hugging Face hub on 127.0.0.1: what its client asks of it to download a model and to upload a
folder of small files, and no more.

The status codes and headers are the real hub's: of a gated model everybody may list the files, and
who may not read them gets 401 without a login, 403 with one; a model that does not exist is 401
without a login, 404 with one. A token may write to the repositories that it owns.
"""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" * 6 + "c0ff"  # 40 hex digits
ACCEPTED = "hf_accepted"  # the token of somebody who has accepted every licence
OWNER = "hf_owner"  # the token of somebody who may write


@dataclass
class FakeHub:
    """folders: what each model holds. gated: those whose licence must be accepted.
    broken: the status with which every question about a model is answered.
    asked: every request so far, "GET /path", in order. endpoint: its address.
    commits: the path and content of every file of each commit that was uploaded."""

    folders: dict[str, Path]
    gated: set[str] = field(default_factory=set)
    broken: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    endpoint: str = ""
    commits: list[dict[str, bytes]] = field(default_factory=list)


@contextmanager
def serving(hub):
    """The hub answers within this block and is gone after it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(hub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            path = unquote(urlsplit(self.path).path).strip("/")
            hub.asked.append(f"{self.command} /{path}")
            self.answer(path.split("/"))

        do_HEAD = do_GET

        def answer(self, parts):
            if parts[0] == "api":
                what, revision = parts[4:6] or ("revision", "main")
                repo = "/".join(parts[2:4])
            else:
                repo, what, revision = "/".join(parts[:2]), parts[2], parts[3]
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            folder = hub.folders.get(repo)
            if repo in hub.broken:
                self.refuse(hub.broken[repo], None, "Something is wrong here")
            elif folder is None and token:
                self.refuse(404, "RepoNotFound", "Repository not found")
            elif folder is None:
                self.refuse(401, None, "Invalid username or password.")
            elif revision not in {"main", COMMIT}:
                self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            elif what == "revision":
                self.send_json({"id": repo, "modelId": repo, "sha": COMMIT, "siblings": [],
                                "tags": [], "private": False, "downloads": 0, "likes": 0})
            elif what == "tree":
                self.send_json([_listed(path, folder) for path in sorted(folder.rglob("*"))
                                if path.is_file()])
            elif repo in hub.gated and token != ACCEPTED:
                self.refuse(403 if token else 401, "GatedRepo",
                            f"Access to model {repo} is restricted.")
            elif not (folder / "/".join(parts[4:])).is_file():
                self.refuse(404, "EntryNotFound", "Entry not found")
            else:
                self.send((folder / "/".join(parts[4:])).read_bytes())

        def do_POST(self):
            path = urlsplit(self.path).path.strip("/")
            hub.asked.append(f"POST /{path}")
            body = self.rfile.read(int(self.headers["Content-Length"]))
            repo = "/".join(path.split("/")[2:4])
            if path == "api/validate-yaml":
                self.send_json({})
            elif self.headers.get("Authorization") != f"Bearer {OWNER}":
                self.refuse(403, None, "You don't have the rights to create a model here")
            elif path == "api/repos/create":
                asked = json.loads(body)
                repo = f"{asked['organization']}/{asked['name']}"
                status = 409 if repo in hub.folders else 200
                self.send_json({"url": f"{hub.endpoint}/{repo}"}, status)
            elif "/preupload/" in path:
                self.send_json({"files": [{"path": file["path"], "uploadMode": "regular",
                                           "shouldIgnore": False}
                                          for file in json.loads(body)["files"]]})
            else:
                lines = [json.loads(line) for line in body.splitlines()]
                files = [line["value"] for line in lines if line["key"] == "file"]
                hub.commits.append({file["path"]: base64.b64decode(file["content"])
                                    for file in files})
                self.send_json({"commitUrl": f"{hub.endpoint}/{repo}/commit/{COMMIT}",
                                "commitOid": COMMIT})

        def refuse(self, status, code, message):
            self.send(message.encode(), status, {"X-Error-Message": message}
                      | ({"X-Error-Code": code} if code else {}))

        def send_json(self, data, status=200):
            self.send(json.dumps(data).encode(), status, {"Content-Type": "application/json"})

        def send(self, body, status=200, headers=None):
            self.send_response(status)
            every = {"Content-Length": str(len(body)), "X-Repo-Commit": COMMIT,
                     "ETag": f'"{hashlib.sha1(body).hexdigest()}"'}
            for name, value in (every | (headers or {})).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_):
            """Nothing goes to the terminal."""

    return Handler


def _listed(path, folder):
    body = path.read_bytes()
    return {"type": "file", "path": path.relative_to(folder).as_posix(), "size": len(body),
            "oid": hashlib.sha1(body).hexdigest()}
