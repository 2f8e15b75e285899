"""No way out of the fence: programs that reach listeners on loopback, and inside reach none.

Every way is tried twice: as a plain process, which has to arrive (a way that
does not is none on this machine, and is listed as SKIPPED), and as a stage.
Listeners run in a process of their own (`recorder.py`); see `arena.py`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import lru_cache

import pytest

from fence.arena import ALL
from fence.arena import NOBODY
from fence.arena import SCANNED
from fence.arena import SELF
from fence.arena import Arena
from support import SOURCE

pytestmark = [pytest.mark.integration, pytest.mark.slow]

#: A few of every sort (imports, calls, protocols, processes, what was left, programs, start-up),
#: as far as the program that one needs is there.
SAMPLE = tuple(way for way, program in (
    ('plain', ''), ('import_computed', ''), ('system_call', ''), ('udp', ''), ('forked', ''),
    ('left_open', ''), ('bash_dev_tcp', 'bash'), ('startup_inherited', ''), ('preloaded', 'cc'),
) if not program or shutil.which(program))

#: The run of all ways is named after the first of them.
FIRST = next(way for way in ALL if way not in SCANNED)

#: So many ways have to arrive without the runner for the figures to say something.
N_CONTROLS = 25

#: Raises the fence in the process that runs it and tells (mechanisms, version of Landlock).
PROBE = '''\
import json, sys
sys.path.insert(0, sys.argv[1])
from stagerunner import isolation
kernel = isolation.Kernel()
print(json.dumps([isolation.fence_network(kernel), kernel.landlock_version()]))
'''


@lru_cache(maxsize=None)
def fence_here():
    """Return the mechanisms and the version of Landlock that this machine has for us."""
    if not sys.platform.startswith('linux'):
        return [], 0
    done = subprocess.run([sys.executable, '-c', PROBE, str(SOURCE)], stdout=subprocess.PIPE)
    return json.loads(done.stdout) if done.returncode == 0 else ([], 0)


@pytest.fixture(autouse=True)
def _needs_the_kernel():
    if 'seccomp' not in fence_here()[0]:
        pytest.skip('SKIPPED: no seccomp filter can be had here')


def need(identity):
    """Skip where the tests cannot become somebody else."""
    if not identity.is_other:
        return
    if os.getuid() != 0 or not identity.prefix[0] or not os.access(identity.python, os.X_OK):
        pytest.skip('SKIPPED: only root with setpriv and a system Python can become somebody else')
    parent = os.path.realpath(os.environ.get('TMPDIR', '/tmp'))
    while parent != os.sep:
        if not os.stat(parent).st_mode & 1:
            pytest.skip(f'SKIPPED: {parent} is not open for everybody')
        parent = os.path.dirname(parent)


@lru_cache(maxsize=None)
def control_of(is_other):
    """Return what arrives without the runner; tried once for all worlds of a user."""
    with Arena(NOBODY if is_other else SELF) as arena:
        return arena.without_runner(ALL)


def stays_open(identity, mechanisms):
    """Return the ways that docs/isolation.md does not promise to stop, with these mechanisms.

    All of them lead to another process of this machine, which has to help, or
    be of the same user and made to.
    """
    is_root = os.getuid() == 0 and not identity.is_other
    version = fence_here()[1] if 'landlock' in mechanisms else 0
    found = {'path_socket'}
    if version < 6 and not any('network' in name for name in mechanisms):
        found.add('abstract_socket')
    if version < 4 and not any('user' in name for name in mechanisms) and not is_root:
        found.add('proc_mem')
    return found


def test_the_sample_arrives_without_the_fence_and_not_with_it():
    """The campaign below in small."""
    with Arena(SELF) as arena:
        control = arena.without_runner(SAMPLE)
    with Arena(SELF) as arena:
        fenced = arena.with_runner(SAMPLE)
        isolation = arena.isolation_of(SAMPLE[1])

    assert control.arrived == set(SAMPLE), control.said
    assert fenced.tried == set(SAMPLE) - SCANNED, fenced.said
    assert (fenced.arrived, fenced.strangers) == (set(), []), fenced.said
    assert isolation['enforced'] and 'seccomp' in isolation['mechanisms']


@pytest.mark.campaign
@pytest.mark.parametrize(('identity', 'flags'), [
    pytest.param(SELF, (), id='as we are'),
    pytest.param(SELF, ('--launcher', 'spawn'), id='as we are, spawned'),
    pytest.param(SELF.refusing('user namespaces'), (), id='no user namespaces'),
    pytest.param(SELF.refusing('user namespaces', 'network namespaces'), (), id='no namespaces'),
    pytest.param(NOBODY, (), id='unprivileged'),
    pytest.param(NOBODY._replace(wishes={'is_capped': True}), (),
                 id='unprivileged, user namespaces capped'),
    pytest.param(NOBODY.refusing('user namespaces'), (), id='unprivileged, no user namespaces'),
    pytest.param(NOBODY.refusing('user namespaces', 'landlock'), (),
                 id='unprivileged, seccomp alone'),
])
def test_no_way_leads_out(identity, flags, capsys):
    need(identity)
    control = control_of(identity.is_other)

    with Arena(identity) as arena:
        fenced = arena.with_runner(ALL, *flags)
        mechanisms = arena.isolation_of(FIRST)['mechanisms']

    promised = set(ALL) - stays_open(identity, mechanisms)
    with capsys.disabled():
        print(f'\n{len(control.arrived & promised)} of {len(promised)} ways arrive without the '
              f'runner, {len(fenced.arrived & promised)} with it ({", ".join(mechanisms)}); '
              f'not promised: {", ".join(sorted(fenced.arrived - promised))}; '
              f'the scan alone stops {len(SCANNED)}')
        print(f'SKIPPED, because they do not arrive here without the runner either: '
              f'{", ".join(sorted(set(ALL) - control.arrived))}')
    assert len(control.arrived & promised) >= N_CONTROLS, control.said
    assert fenced.tried == set(ALL) - SCANNED, fenced.said
    assert fenced.arrived == set(ALL) - promised, fenced.said
    assert fenced.strangers == []


def test_a_way_that_the_scan_knows_is_refused_by_name():
    with Arena(SELF) as arena:
        run = arena.run(['plain'])

    assert run.code == 1
    assert "Offline violation: forbidden import 'socket' (bin/plain.py:3)" in run.err


# -- the fence cannot be had, or is not wanted ---------------------------------------

NO_FENCE = SELF.refusing('user namespaces', 'network namespaces', 'seccomp', 'landlock')


def test_strict_starts_nothing_where_the_kernel_gives_no_fence():
    with Arena(NO_FENCE) as arena:
        refused = arena.with_runner(['exec_text'], '--isolation', 'strict')

    assert [run.code for run in refused.runs] == [2]
    assert '--isolation strict: the kernel keeps no processor of this run from the network' \
        in refused.said
    assert (refused.tried, refused.arrived) == (set(), set())


@pytest.mark.parametrize('identity', [
    pytest.param(NO_FENCE, id='nothing can be had'),
    # A host may refuse what the probe asks for, for reasons of its own.
    pytest.param(SELF.refusing(*NO_FENCE.wishes['refuse'], 'sockets of ciphers'),
                 id='and the host refuses ciphers', marks=pytest.mark.campaign)])
def test_auto_warns_once_and_records_that_the_kernel_gives_no_fence(identity):
    # Ways that Python's own hook does not see: it explains refusals, and refuses what it sees.
    with Arena(identity) as arena:
        open_run = arena.with_runner(['ctypes_connect', 'python_isolated'])
        isolation = arena.isolation_of('ctypes_connect')

    assert [run.code for run in open_run.runs] == [0], open_run.said
    assert open_run.said.count('the kernel keeps no processor of this run from the network') == 1
    assert open_run.arrived == {'ctypes_connect', 'python_isolated'}
    assert (isolation['mode'], isolation['enforced']) == ('auto', False)


def test_off_is_recorded_and_is_off():
    with Arena(SELF) as arena:
        open_run = arena.with_runner(['exec_text'], '--isolation', 'off')
        isolation = arena.isolation_of('exec_text')
        stage = arena.workspace.json('state/stage_exec_text.json')

    assert open_run.arrived == {'exec_text'}, open_run.said
    assert (isolation['mode'], isolation['enforced'], isolation['mechanisms']) == (
        'off', False, [])
    assert stage['attempts'][-1]['isolation']['enforced'] is False


@pytest.mark.parametrize('flag', [pytest.param('auto', marks=pytest.mark.campaign), 'strict'])
def test_a_stage_that_is_allowed_out_gets_out_and_its_neighbour_does_not(flag):
    """The scan lets it pass too: `plain` imports what is forbidden elsewhere."""
    with Arena(SELF) as arena:
        allowed = arena.with_runner(['plain'], '--isolation', flag, network='allow')
        fenced = arena.with_runner(['udp'], '--isolation', flag)
        stage = arena.workspace.json('state/stage_plain.json')

    assert [run.code for run in allowed.runs + fenced.runs] == [0, 0], allowed.said
    assert (allowed.arrived, fenced.tried) == ({'plain'}, {'plain', 'udp'})
    assert fenced.arrived == {'plain'}
    assert stage['attempts'][-1]['isolation']['network'] == 'allow'
