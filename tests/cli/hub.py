"""A server that speaks as much of the Hub's API as uploads and downloads of models need."""

from __future__ import annotations

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

SHA = "1" * 40


class LocalHub(ThreadingHTTPServer):
    """Keeps repositories in memory.

    Attributes:
        repos: files by path, by the name of their repository.
        created: the request that made each repository.
        url: its address.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, dict[str, bytes]] = {}
        self.created: dict[str, dict] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"
        Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LocalHub

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = self.path.partition("?")[0].strip("/").split("/")
        if self.headers.get("Authorization") != "Bearer hf_test":
            self.answer({"error": "Invalid username or password."}, 401)
        elif parts == ["api", "repos", "create"]:
            given = json.loads(body)
            name = "/".join(filter(None, (given.get("organization"), given["name"])))
            self.server.created[name] = given
            self.server.repos.setdefault(name, {})
            self.answer({"url": f"{self.server.url}/{name}", "id": name})
        elif parts == ["api", "validate-yaml"]:
            assert json.loads(body)["content"].startswith("---\n")
            self.answer({"errors": [], "warnings": []})
        elif parts[4] == "preupload":
            files = [file["path"] for file in json.loads(body)["files"]]
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            self.answer({"files": [{"path": path} | modes for path in files]})
        elif parts[4] == "commit":
            name = "/".join(parts[2:4])
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.server.repos[name][line["value"]["path"]] = content
            url = f"{self.server.url}/{name}/commit/{SHA}"
            self.answer({"success": True, "commitOid": SHA, "commitUrl": url})

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[0] != "api":  # owner/name/resolve/revision/path
            content = self.server.repos["/".join(parts[:2])]["/".join(parts[4:])]
            tag = hashlib.sha1(content).hexdigest()
            self.send(content, {"ETag": f'"{tag}"', "X-Repo-Commit": SHA})
            return
        files = self.server.repos.get("/".join(parts[2:4]))
        if files is None:
            self.answer({"error": "Repository not found"}, 404)
        elif parts[4] == "revision":
            self.answer({"id": "/".join(parts[2:4]), "sha": SHA, "siblings": []})
        else:
            self.answer(
                [
                    {"type": "file", "path": path, "size": len(content), "oid": SHA}
                    for path, content in files.items()
                ]
            )

    def answer(self, value, status=200):
        self.send(json.dumps(value).encode(), {"Content-Type": "application/json"}, status)

    def send(self, content, headers, status=200):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
