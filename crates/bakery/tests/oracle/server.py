"""A web server on a port of its own, for cases: says what it was asked."""

import http.server
import json
import sys
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every method; the path says with what."""

    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        path = urllib.parse.urlparse(self.path).path
        status, kind, text = 200, "application/json", json.dumps({
            "method": self.command, "body": body, "type": self.headers.get("content-type"),
            "login": self.headers.get("authorization"), "own": self.headers.get("x-own"),
        })
        headers = {}
        if path.startswith("/status/"):
            status = int(path.split("/")[2])
        elif path == "/text":
            kind, text = "text/plain", "plain text\n"
        elif path == "/redirect":
            status, headers = 302, {"Location": "/text"}
        elif path == "/login" and not self.headers.get("authorization"):
            status, headers = 401, {"WWW-Authenticate": 'Basic realm="x"'}
        elif path == "/cookie":
            headers = {"Set-Cookie": "a=b; Path=/"}
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = answer

    def log_message(self, *_):
        """Nothing is said."""


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
