"""The server that ansible-core's targets of HTTP expect: httpbin under several names, as its container `http-test-container`
serves it: ansible.http.tests (with client certificates), sni1 and sni2, fail (whose certificate is another host's) and
self-signed (on port 444).

    http-tester.py FOLDER      makes the certificates in FOLDER, and says `ready` when all ports are open
"""

import pathlib
import ssl
import sys
import threading

from certificates import authority, certificate, context
from httpbin import app
from werkzeug.serving import WSGIRequestHandler, make_server

# As the container's older httpbin writes it.
app.json.compact = True
folder = pathlib.Path(sys.argv[1])
NAME = "ansible.http.tests"


def serve(environ, start):
    """Answers what the container's nginx answers itself, and lets httpbin do the rest."""
    path, host = environ["PATH_INFO"], environ["HTTP_HOST"].split(":")[0]
    secure = environ["wsgi.url_scheme"] == "https"
    text = None
    if path in ("/cacert.pem", "/ca2cert.pem", "/client.pem", "/client.key"):
        text = (folder / path[1:]).read_text()
    elif path == "/ssl_client_verify":
        verified = secure and environ["werkzeug.socket"].getpeercert()
        text = f"{NAME}:{'SUCCESS' if verified else 'NONE'}"
    elif host.startswith("sni"):
        text = host
    elif host.startswith("fail") and not secure:
        start("301 Moved Permanently", [("Location", f"https://{host}{path}")])
        return [b""]
    if text is None:
        return app(environ, start)
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text.encode()]


class Quiet(WSGIRequestHandler):
    def log(self, *_):
        pass


authority(folder, "cacert")
authority(folder, "ca2cert")
certificate(folder, "server", "cacert", [NAME, f"sni1.{NAME}", f"sni2.{NAME}"])
certificate(folder, "other", "cacert", ["httpbin.org"])
certificate(folder, "self", "ca2cert", [f"self-signed.{NAME}"])
certificate(folder, "client", "cacert", [f"client.{NAME}"])
main, other = context(folder, "server", ssl.CERT_OPTIONAL), context(folder, "other", ssl.CERT_OPTIONAL)


def choose(connection, name, _):
    if name and name.startswith("fail."):
        connection.context = other


main.sni_callback = choose
for port, tls in ((80, None), (443, main), (444, context(folder, "self"))):
    server = make_server("127.0.0.1", port, serve, threaded=True, request_handler=Quiet, ssl_context=tls)
    threading.Thread(target=server.serve_forever).start()
print("ready", flush=True)
