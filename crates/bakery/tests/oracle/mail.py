"""Mail servers whose mailbox is a folder: what they are sent is written there, without what is another on every run.

    mail.py FOLDER KEYS      says `ready` when its ports are open

Port 2525 knows neither TLS nor logins, 2526 both once TLS was asked for, 2465 is TLS from its beginning, and 2527 takes logins
without TLS. The login is `user` and `secret`. Addresses that begin with `nobody` are refused. The servers' certificate is of the
authority in KEYS/authority.pem.
"""

import email
import email.policy
import pathlib
import ssl
import sys
import time

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, SMTP

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "conformance/prepare"))
from certificates import authority, certificate  # noqa: E402

folder, keys = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
VOLATILE = {"date", "message-id", "content-type", "mime-version", "content-transfer-encoding"}


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        lines = [f"from {envelope.mail_from}", *sorted(f"to {address}" for address in envelope.rcpt_tos)]
        lines.append(f"tls {session.ssl is not None} login {session.authenticated}")
        lines += sorted(f"{name}: {value}" for name, value in message.items()
                        # One without a value is as good as none.
                        if value and name.lower() not in VOLATILE)
        lines.append(f"domain {message['Message-ID'].rsplit('@')[-1]} dated {message['Date'].datetime is not None}")
        for part in message.walk():
            lines.append(f"part {part.get_content_type()} {part.get_content_disposition()} {part.get_filename()}")
            if not part.is_multipart():
                content = part.get_content()
                # Lines of texts end as they are encoded.
                lines.append(repr(content.replace("\r\n", "\n") if isinstance(content, str) else content))
        number = len(list(folder.glob("*.mail")))
        (folder / f"{number}.mail").write_text("\n".join(lines) + "\n")
        return "250 OK"


def login(server, session, envelope, mechanism, data):
    return AuthResult(success=(data.login, data.password) == (b"user", b"secret"))


class Plain(Controller):
    options = {}

    def factory(self):
        return SMTP(self.handler, **self.options)


folder.mkdir(parents=True)
keys.mkdir(parents=True)
authority(keys, "authority")
certificate(keys, "server", "authority", ["localhost"])
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(keys / "server.pem", keys / "server.key")
for port, options, secured in [
    (2525, {}, None),
    (2526, {"tls_context": context, "authenticator": login}, None),
    (2527, {"authenticator": login, "auth_require_tls": False}, None),
    (2465, {"authenticator": login, "auth_require_tls": False}, context),
]:
    controller = Plain(Handler(), hostname="127.0.0.1", port=port, ssl_context=secured)
    controller.options = options
    controller.start()
print("ready", flush=True)
time.sleep(3600)
