#!/usr/bin/env python3
"""A mail server that forwards each mail, and drops its answer to the first one of each Message-ID.

  cutting_mail_server.py LISTEN-PORT TO-PORT
  cutting_mail_server.py LISTEN-PORT            accepts and discards every mail

It is aiosmtpd with a handler that closes the connection after the whole mail was received and
forwarded, so the client never gets the answer.
"""

from __future__ import annotations

import asyncio
import smtplib
import sys
from email import message_from_bytes

from aiosmtpd.smtp import SMTP, Envelope, Session


class Taking:
    """For the demo, if no other mail server is available."""

    async def handle_DATA(self, _server: SMTP, _session: Session, _envelope: Envelope) -> str:
        return "250 2.0.0 taken"


class Cutting:
    def __init__(self, to: int) -> None:
        self.to = to
        self.seen: set[str] = set()

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:
        content = bytes(envelope.original_content or b"")
        await asyncio.to_thread(self.keep, envelope, content)
        message_id = str(message_from_bytes(content)["Message-ID"])
        if message_id in self.seen:
            return "250 2.0.0 kept"
        self.seen.add(message_id)
        server.transport.abort()
        return "250 2.0.0 nobody hears this"

    def keep(self, envelope: Envelope, content: bytes) -> None:
        with smtplib.SMTP("127.0.0.1", self.to) as server:
            server.sendmail(envelope.mail_from or "", envelope.rcpt_tos, content)


async def serve(listen: int, to: int | None) -> None:
    handler = Taking() if to is None else Cutting(to)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(handler), "127.0.0.1", listen)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None))
