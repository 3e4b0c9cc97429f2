"""Servers that targets ask on the Internet, on this machine: whatever the name, they answer with keys and packages made here.

    internet.py FOLDER NAME…      writes NAME into /etc/hosts, and says `ready` when all ports are open

Names of keys end in `.gpg`: as text, unless the name says `binary` or `corrupt`. Names of packages, `NAME_VERSION_ARCHITECTURE.deb`,
have no dependency but the one in DEPENDS. Files below FOLDER/files are there as they are. A server of keys (HKP) has the key `served`. FOLDER/KEY.id is the fingerprint of a key.
"""

import os
import pathlib
import random
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from certificates import authority, certificate, context

DEPENDS = {"echo-hello": "vim-tiny"}
folder, names = pathlib.Path(sys.argv[1]), sys.argv[2:]


def gpg(*words):
    os.environ["GNUPGHOME"] = str(folder / "gnupg")
    return subprocess.run(["gpg", "--batch", "--passphrase", "", *words], check=True, capture_output=True).stdout


def key(name):
    gpg("--quick-generate-key", name, "rsa2048", "sign", "never")
    said = gpg("--with-colons", "--list-keys", name).decode()
    (folder / f"{name}.id").write_text(re.search("^fpr:+([0-9A-F]+)", said, re.M)[1])


def package(path):
    name, version, architecture = re.fullmatch(r"(.*)_(.*)_(.*)\.deb", os.path.basename(path)).groups()
    made = folder / f"{name}-{version}"
    (made / "DEBIAN").mkdir(parents=True, exist_ok=True)
    depends = f"Depends: {DEPENDS[name]}\n" if name in DEPENDS else ""
    (made / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: nobody <nobody@example.com>\n"
        f"{depends}Description: says hello\n")
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", made, f"{made}.deb"], check=True, capture_output=True)
    return pathlib.Path(f"{made}.deb").read_bytes()


def answer(path):
    if (file := folder / "files" / path.lstrip("/")).is_file():
        return file.read_bytes()
    if path.startswith("/pks/lookup"):
        return gpg("--armor", "--export", "served")
    if path.endswith(".deb"):
        return package(path)
    if "corrupt" in path:
        return bytes(2048)
    if path.endswith(".gpg"):
        return gpg(*([] if "binary" in path else ["--armor"]), "--export", "binary" if "binary" in path else "text")
    return None


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = answer(urlsplit(self.path).path)
        self.send_response(403 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_):
        pass


(folder / "gnupg").mkdir(mode=0o700, parents=True)
for name in ("text", "binary", "served"):
    key(name)
authority(folder, "cacert")
certificate(folder, "server", "cacert", names)
# An address of the loopback interface of its own: other targets are under way beside this one.
address = "127.%d.%d.%d" % tuple(random.randrange(1, 255) for _ in range(3))
with open("/etc/hosts", "a") as hosts:
    hosts.write(f"{address} {' '.join(names)}\n")
for port in (80, 443, 11371):
    server = ThreadingHTTPServer((address, port), Handler)
    if port == 443:
        server.socket = context(folder, "server").wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever).start()
print("ready", flush=True)
