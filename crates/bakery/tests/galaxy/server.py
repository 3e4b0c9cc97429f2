#!/usr/bin/env python3
"""A web server for tests of galaxy: `server.py FOLDER PORT-FILE`.

/files/NAME        files of FOLDER/files, with ETag and ranges
/cut/NAME          the same, but every whole answer ends after its half
/stall/NAME        the same, but nothing comes after the half
/moved/NAME        leads to /files/NAME
/circle/           leads to itself
/git/NAME          repositories of FOLDER/git, by `git http-backend`
/api/…             Galaxy's v1 and v3 interface, out of FOLDER/catalog.json
/private/api/…     the same, for those who show `Token secret`

catalog.json: {"roles": {"author.name": {"id": 1, "versions": {"1.0.0": "FILE"}}},
               "collections": {"ns.name": {"1.0.0": {"file": "FILE", "sha256": "…", "dependencies": {}}}}}
Every request is a line of FOLDER/requests.log.
"""

import hashlib
import http.server
import json
import os
import pathlib
import re
import socketserver
import subprocess
import sys
import time
import urllib.parse

FOLDER = pathlib.Path(sys.argv[1]).resolve()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, code, body=b"", headers=()):
        self.send_response(code)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def tell(self, value, code=200):
        self.answer(code, json.dumps(value).encode(), [("Content-Type", "application/json")])

    def file(self, name, way):
        path = FOLDER / "files" / name
        if not path.is_file():
            return self.answer(404)
        body = path.read_bytes()
        tag = '"%s"' % hashlib.sha256(body).hexdigest()[:16]
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and self.headers.get("If-Range") == tag:
            start = int(wanted[1])
            return self.answer(206, body[start:], [("ETag", tag), ("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")])
        if way == "files":
            return self.answer(200, body, [("ETag", tag)])
        self.send_response(200)
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2])
        self.wfile.flush()
        if way == "stall":
            time.sleep(60)
        self.close_connection = True

    def git(self, url):
        environment = dict(
            os.environ,
            GIT_PROJECT_ROOT=str(FOLDER / "git"),
            GIT_HTTP_EXPORT_ALL="1",
            PATH_INFO=urllib.parse.unquote(url.path[len("/git"):]),
            QUERY_STRING=url.query,
            REQUEST_METHOD=self.command,
            CONTENT_TYPE=self.headers.get("Content-Type", ""),
            HTTP_CONTENT_ENCODING=self.headers.get("Content-Encoding", ""),
            HTTP_GIT_PROTOCOL=self.headers.get("Git-Protocol", ""),
        )
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        environment["CONTENT_LENGTH"] = str(len(body))
        output = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True).stdout
        head, _, rest = output.partition(b"\r\n\r\n")
        headers = [line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line]
        status = next((int(v.split()[0]) for k, v in headers if k == "Status"), 200)
        self.answer(status, rest, [(k, v) for k, v in headers if k != "Status"])

    def galaxy(self, root, path, query):
        catalog = json.loads((FOLDER / "catalog.json").read_text())
        host = "http://" + self.headers["Host"]
        if path == "":
            return self.tell({"available_versions": {"v1": "v1/", "v3": "v3/"}})
        if path == "v1/roles/":
            role = catalog["roles"].get(query.get("owner__username", [""])[0] + "." + query.get("name", [""])[0])
            found = [{"id": role["id"], "github_user": "u", "github_repo": "r"}] if role else []
            return self.tell({"count": len(found), "results": found})
        if match := re.fullmatch(r"v1/roles/(\d+)/versions/", path):
            role = next(r for r in catalog["roles"].values() if r["id"] == int(match[1]))
            # One a page, so that pages are read.
            page, names = int(query.get("page", ["1"])[0]), list(role["versions"])
            name = names[page - 1]
            more = f"{root}{path}?page={page + 1}" if page < len(names) else None
            entry = {"name": name, "download_url": f"{host}/files/{role['versions'][name]}"}
            return self.tell({"results": [entry], "next_link": more})
        if match := re.fullmatch(r"v3/collections/(\w+)/(\w+)/(?:versions/(?:([^/]+)/)?)?", path):
            name = f"{match[1]}.{match[2]}"
            versions = catalog["collections"].get(name)
            if versions is None or (match[3] and match[3] not in versions):
                return self.tell({"errors": [{"status": "404", "title": "Not found."}]}, 404)
            if match[3]:
                about = versions[match[3]]
                return self.tell({
                    "version": match[3], "href": f"{root}{path}", "namespace": {"name": match[1]},
                    "collection": {"name": match[2]}, "download_url": f"{host}/files/{about['file']}",
                    "artifact": {"sha256": about["sha256"]}, "metadata": {"dependencies": about["dependencies"]},
                    "signatures": about.get("signatures", []),
                })
            if "versions" in path:
                offset, names = int(query.get("offset", ["0"])[0]), list(versions)
                more = f"{root}{path}?limit=2&offset={offset + 2}" if offset + 2 < len(names) else None
                data = [{"version": v} for v in names[offset : offset + 2]]
                return self.tell({"data": data, "links": {"next": more}})
            return self.tell({"created_at": "2024", "updated_at": "2024"})
        self.tell({"errors": [{"title": "Not found."}]}, 404)

    def do_GET(self):
        with open(FOLDER / "requests.log", "a") as log:
            log.write(f"{self.command} {self.path}\n")
        url = urllib.parse.urlparse(self.path)
        first, _, rest = url.path.lstrip("/").partition("/")
        query = urllib.parse.parse_qs(url.query)
        if first in ("files", "cut", "stall"):
            self.file(rest, first)
        elif first == "moved":
            self.answer(302, headers=[("Location", f"/files/{rest}")])
        elif first == "circle":
            self.answer(302, headers=[("Location", self.path)])
        elif first == "git":
            self.git(url)
        elif first == "api":
            self.galaxy("/api/", rest, query)
        elif first == "private" and rest.startswith("api/"):
            if self.headers.get("Authorization") != "Token secret":
                return self.tell({"errors": [{"detail": "Invalid token."}]}, 401)
            self.galaxy("/private/api/", rest[len("api/"):], query)
        else:
            self.answer(404)

    do_POST = do_GET


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


server = Server(("127.0.0.1", 0), Handler)
pathlib.Path(sys.argv[2]).write_text(str(server.server_address[1]))
server.serve_forever()
