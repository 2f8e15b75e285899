"""Modules that reach a network are forbidden by name, wherever a program imports them from."""

import pytest

from stagerunner.imports import Import
from stagerunner.imports import Program
from stagerunner.offline import FORBIDDEN
from stagerunner.offline import violations

#: What document 003 and the contract of this part name.
NAMED = '''requests socket ssl http urllib urllib3 httpx aiohttp asyncio paramiko ftplib smtplib
poplib imaplib nntplib telnetlib xmlrpc socketserver websocket websockets grpc boto3'''.split()

#: What processors of all kinds use without ever reaching a network.
HARMLESS = '''os sys json re csv sqlite3 subprocess threading multiprocessing pathlib
concurrent.futures hashlib ipaddress email html selectors socketlib requests_like uuid'''.split()


def program(*modules):
    return Program((), tuple(Import(module, 'bin/x.py', line)
                             for line, module in enumerate(modules, 1)))


@pytest.mark.parametrize('module', [*NAMED, *sorted(FORBIDDEN - set(NAMED))])
def test_a_module_that_reaches_a_network_is_a_violation_with_its_place(module):
    found, = violations(program(module))

    assert str(found) == f"Offline violation: forbidden import '{module}' (bin/x.py:1)"
    assert found.is_final


@pytest.mark.parametrize('module', HARMLESS)
def test_a_harmless_module_is_none(module):
    assert violations(program(module)) == []


@pytest.mark.parametrize('module', ['urllib.request', 'http.client', 'xmlrpc.client',
                                    'google_auth_httplib2.x', 'asyncio.subprocess'])
def test_a_part_of_a_forbidden_package_is_forbidden_and_named_whole(module):
    assert violations(program(module))[0].module == module


def test_violations_come_in_the_order_in_which_they_were_found():
    found = violations(program('os', 'ssl', 'json', 'http.client'))

    assert [(error.module, error.line) for error in found] == [('ssl', 2), ('http.client', 4)]
