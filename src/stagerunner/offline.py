"""Which modules a processor must not import, and the error that says where it does.

The scan is a courtesy, not a fence: it tells the author of a processor early
and by name.  Code that wants to hide an import can; what it cannot hide from
is the kernel (docs/decisions.md, "Scan and fence").
"""

from __future__ import annotations

from stagerunner.errors import OfflineViolation
from stagerunner.imports import Program
from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import List

#: Top-level modules that reach a network: those of document 003 and their relatives.
FORBIDDEN = frozenset('''
    socket _socket ssl _ssl http urllib asyncio asyncore asynchat socketserver xmlrpc wsgiref
    ftplib smtplib smtpd poplib imaplib nntplib telnetlib webbrowser
    requests requests_toolbelt urllib3 httpx httplib2 aiohttp pycurl treq niquests
    websocket websockets grpc zmq pika kafka paho nats
    paramiko asyncssh fabric pysftp
    boto boto3 botocore aiobotocore s3fs gcsfs google_auth_httplib2 azure
    tornado twisted gevent eventlet trio anyio curio uvloop
    dns ldap3 scapy impacket smbclient
'''.split())


def violations(program: Program) -> List[OfflineViolation]:
    """Return what a program must not import, in the order in which it was found.

    A local file that happens to have the name of such a module is no violation:
    its own imports are looked at instead.
    """
    return [OfflineViolation(found.module, found.path, found.line)
            for found in program.imports
            if found.module.partition('.')[0] in FORBIDDEN]
