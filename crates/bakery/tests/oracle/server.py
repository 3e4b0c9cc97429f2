"""A web server on a port of its own, for cases: says what it was asked. A socket that is named behind the port answers, too, and so
do the next ports with TLS, by the certificates and keys of the files behind it."""

import http.server
import json
import socketserver
import ssl
import sys
import threading
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


port = int(sys.argv[1])
servers = [http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)]
if sys.argv[2:]:
    servers.append(socketserver.ThreadingUnixStreamServer(sys.argv[2], Handler))
for number, file in enumerate(sys.argv[3:], 1):
    sealed = http.server.ThreadingHTTPServer(("127.0.0.1", port + number), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM+AES128")
    context.load_cert_chain(file)
    sealed.socket = context.wrap_socket(sealed.socket, server_side=True)
    servers.append(sealed)
for server in servers:
    threading.Thread(target=server.serve_forever).start()
