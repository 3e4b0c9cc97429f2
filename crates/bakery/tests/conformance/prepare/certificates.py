"""Authorities and certificates of servers that stand in for others, made by openssl in a folder as NAME.pem and NAME.key."""

import ssl
import subprocess


def openssl(folder, *words):
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def authority(folder, name):
    openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={name}",
            "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", f"{name}.key", "-out", f"{name}.pem")


def certificate(folder, name, by, names):
    """A certificate for hosts of these names, signed by an authority of the folder."""
    openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={names[0]}",
            "-keyout", f"{name}.key", "-out", f"{name}.csr")
    (folder / "extensions").write_text("subjectAltName=" + ",".join(f"DNS:{each}" for each in names))
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial",
            "-days", "30", "-extfile", "extensions", "-out", f"{name}.pem")


def context(folder, name, asks=ssl.CERT_NONE):
    """How a server with that certificate speaks TLS; its clients' certificates are of the authority `cacert`."""
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "cacert.pem")
    made.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    made.verify_mode = asks
    return made
