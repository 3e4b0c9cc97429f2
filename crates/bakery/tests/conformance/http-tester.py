"""The server that ansible-core's targets of HTTP expect: httpbin under several names, as its container `http-test-container`
serves it: ansible.http.tests (with client certificates), sni1 and sni2, fail (whose certificate is another host's) and
self-signed (on port 444).

    http-tester.py FOLDER      makes the certificates in FOLDER, and says `ready` when all ports are open
"""

import pathlib
import ssl
import subprocess
import sys
import threading

from httpbin import app
from werkzeug.serving import WSGIRequestHandler, make_server

# As the container's older httpbin writes it.
app.json.compact = True
folder = pathlib.Path(sys.argv[1])
NAME = "ansible.http.tests"


def openssl(*words):
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def authority(name):
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={name}",
            "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", f"{name}.key", "-out", f"{name}.pem")


def certificate(name, by, names):
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={names[0]}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    (folder / "extensions").write_text("subjectAltName=" + ",".join(f"DNS:{each}" for each in names))
    openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial", "-days", "30",
            "-extfile", "extensions", "-out", f"{name}.pem")


def context(name, asks=ssl.CERT_NONE):
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "cacert.pem")
    made.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    made.verify_mode = asks
    return made


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


authority("cacert")
authority("ca2cert")
certificate("server", "cacert", [NAME, f"sni1.{NAME}", f"sni2.{NAME}"])
certificate("other", "cacert", ["httpbin.org"])
certificate("self", "ca2cert", [f"self-signed.{NAME}"])
certificate("client", "cacert", [f"client.{NAME}"])
main, other = context("server", ssl.CERT_OPTIONAL), context("other", ssl.CERT_OPTIONAL)


def choose(connection, name, _):
    if name and name.startswith("fail."):
        connection.context = other


main.sni_callback = choose
for port, tls in ((80, None), (443, main), (444, context("self"))):
    server = make_server("127.0.0.1", port, serve, threaded=True, request_handler=Quiet, ssl_context=tls)
    threading.Thread(target=server.serve_forever).start()
print("ready", flush=True)
