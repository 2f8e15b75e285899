"""Quotas and limits hold over all processes of a workspace, whatever happens to them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fakes import FakeClock
from stagerunner.buckets import PARTS
from stagerunner.buckets import boot_id
from stagerunner.clock import Clock
from stagerunner.errors import StageError
from stagerunner.errors import StateError
from stagerunner.locks import limit_locks
from stagerunner.locks import quota_lock
from stagerunner.locks import try_lock
from stagerunner.permits import DEFAULT_LIMIT
from stagerunner.permits import ConfigRates
from stagerunner.permits import Grant
from stagerunner.permits import Permits
from stagerunner.permits import Quota
from stagerunner.permits import Rates
from stagerunner.permits import Shortage
from stagerunner.settings import load
from stagerunner.sharing import pause
from stagerunner.state.names import StateNames
from support import SOURCE
from support import clean_environment
from support import is_alive
from support import wait_until

#: A quota that tests in one process use: 60 tokens in any 10 seconds.
API = Quota(60, 10.0)


@pytest.fixture
def root(tmp_path):
    return str(tmp_path)


@pytest.fixture
def bucket(root):
    """Return the path of the bucket of the quota `api`."""
    return Path(StateNames(root).quota('api'))


def permits(root, clock=None, boot='boot-1', **rates):
    given = dict({'quotas': {'api': API}}, **rates)
    return Permits(root, clock or FakeClock(), Rates(**given), boot_id=boot)


def granted(answer):
    assert isinstance(answer, Grant), answer
    return answer


def is_free(root, key, limit):
    """True when another taker gets all permits of a key at once."""
    other = permits(root, limits={key: limit})
    grants = [other.take([key], []) for _ in range(limit)]
    for grant in grants:
        if isinstance(grant, Grant):
            grant.release()
    return all(isinstance(grant, Grant) for grant in grants)


def most_in_a_window(grants, per_s):
    """Return the most tokens in any closed window of this length, of (moment, tokens)."""
    grants = sorted(grants)
    return max(sum(tokens for at_s, tokens in grants if start <= at_s <= start + per_s)
               for start, _ in grants)


# -- limits ------------------------------------------------------------------------

def test_nothing_asked_for_is_always_granted(root):
    granted(permits(root).take([], [])).release()

    assert os.listdir(root) == []


def test_so_many_run_at_once_and_the_next_one_when_one_of_them_ends(root):
    own = permits(root, limits={'db': 2})
    first, _second = (granted(own.take(['db'], [])) for _ in range(2))

    assert own.take(['db'], []).name == 'db'
    first.release()
    granted(own.take(['db'], []))
    assert own.take(['db'], []).wait_s > 0


def test_a_key_of_which_nothing_is_said_has_the_default_limit(root):
    own = permits(root)
    answers = [own.take(['any'], []) for _ in range(DEFAULT_LIMIT + 1)]

    assert [type(answer) for answer in answers] == [Grant] * DEFAULT_LIMIT + [Shortage]
    granted(permits(root, default_limit=DEFAULT_LIMIT + 1).take(['any'], []))


def test_a_permit_is_given_back_once(root):
    own = permits(root, limits={'db': 1})
    first = granted(own.take(['db'], []))
    first.release()
    second = granted(own.take(['db'], []))
    first.release()

    assert isinstance(own.take(['db'], []), Shortage)
    second.release()


def test_a_key_named_twice_takes_one_permit(root):
    granted(permits(root, limits={'db': 1}).take(['db', 'db'], [])).release()


def test_all_or_nothing_what_was_taken_goes_back_when_something_lacks(root):
    own = permits(root, limits={'a': 1, 'b': 1, 'c': 1})
    blocker = granted(own.take(['b'], []))

    assert own.take(['c', 'a', 'b'], []).name == 'b'
    assert is_free(root, 'a', 1) and is_free(root, 'c', 1)
    blocker.release()
    granted(own.take(['c', 'a', 'b'], [])).release()


def test_a_permit_goes_back_when_the_quota_lacks_and_no_token_is_spent_when_a_limit_does(root):
    own = permits(root, limits={'db': 1})
    granted(own.take([], [('api', 59)]))

    assert own.take(['db'], [('api', 2)]).name == 'api'
    blocker = granted(own.take(['db'], []))
    assert own.take(['db'], [('api', 1)]).name == 'db'
    blocker.release()
    granted(own.take(['db'], [('api', 1)])).release()


@pytest.mark.parametrize('key', [
    'crossref', 'https://api.example/x?y', '..', '.hidden', 'con', '', 'a' * 300, 'é\n\0',
    '../../outside', 'a.0.lock', '\udcff'])
def test_a_key_may_be_any_text(root, key):
    own = permits(root, limits={key: 1}, quotas={key: Quota(1, 60.0)})
    grant = granted(own.take([key], [(key, 1)]))

    assert own.take([key], []).name == key
    assert own.take([], [(key, 1)]).name == key
    grant.release()
    assert sorted(os.listdir(root)) == ['locks', 'state']
    assert sorted(os.listdir(os.path.join(root, 'locks'))) == ['.limit']
    assert len(os.listdir(os.path.join(root, 'state', 'limits'))) == 1


def test_keys_that_look_like_permits_of_others_do_not_disturb_them(root):
    own = permits(root, default_limit=1)
    for key in ('a', 'a.0', 'a.1', 'A%', 'a%25'):
        granted(own.take([key], []))


def test_no_descriptor_is_left_open(root):
    own = permits(root, limits={'db': 2, 'low': 0}, quotas={'api': Quota(1, 60.0)})
    own.take(['db'], [('api', 1)]).release()
    before = os.listdir('/proc/self/fd')

    assert isinstance(own.take(['db', 'low'], []), Shortage)
    assert isinstance(own.take(['db'], [('api', 1)]), Shortage)
    with pytest.raises(StageError):
        own.take(['db'], [('none', 1)])
    assert os.listdir('/proc/self/fd') == before


def test_a_folder_that_cannot_be_made_is_a_state_error_and_nothing_stays_taken(root):
    Path(root, 'state').write_text('a file')
    own = permits(root, limits={'db': 1})

    with pytest.raises(StateError):
        own.take(['db'], [('api', 1)])
    assert is_free(root, 'db', 1)


# -- limits that change -------------------------------------------------------------

def test_a_raised_limit_holds_from_the_next_grant_on(root):
    own = permits(root, limits={'db': 1})
    granted(own.take(['db'], []))
    assert isinstance(own.take(['db'], []), Shortage)

    own.rates.limits['db'] = 3

    granted(own.take(['db'], []))
    granted(own.take(['db'], []))
    assert isinstance(own.take(['db'], []), Shortage)


def test_a_lowered_limit_counts_those_that_were_let_in_before(root):
    own = permits(root, limits={'db': 5})
    grants = [granted(own.take(['db'], [])) for _ in range(5)]

    own.rates.limits['db'] = 2

    answers = []
    for grant in grants:
        grant.release()
        answer = own.take(['db'], [])
        answers.append(type(answer))
    assert answers == [Shortage] * 3 + [Grant] * 2


def test_permits_beyond_a_lowered_limit_leave_no_files_when_they_are_free(root):
    own = permits(root, limits={'db': 5})
    for grant in [granted(own.take(['db'], [])) for _ in range(5)]:
        grant.release()

    own.rates.limits['db'] = 2
    granted(own.take(['db'], []))

    assert limit_locks(root, 'db') == [0, 1]


def test_limits_that_change_at_random_are_never_exceeded_by_a_new_grant(root, rng):
    own = permits(root, limits={'db': 3})
    held = []
    n_granted = 0
    for _ in range(400):
        action = rng.random()
        if action < 0.1:
            own.rates.limits['db'] = rng.randint(0, 6)
        elif action < 0.5 and held:
            held.pop(rng.randrange(len(held))).release()
        else:
            answer = own.take(['db'], [])
            is_room = len(held) < own.rates.limit('db')
            assert isinstance(answer, Grant) == is_room
            if is_room:
                n_granted += 1
                held.append(answer)
    assert n_granted > 50


# -- quotas ------------------------------------------------------------------------

def test_the_whole_rate_is_there_at_once_and_again_one_window_later(root):
    clock = FakeClock()
    own = permits(root, clock)
    for _ in range(60):
        granted(own.take([], [('api', 1)]))

    short = own.take([], [('api', 1)])

    assert short.name == 'api' and API.per_s < short.wait_s <= API.per_s * (1 + 2 / PARTS) + 1e-5
    clock.advance(short.wait_s)
    granted(own.take([], [('api', 60)]))


def test_asking_before_the_time_that_was_told_is_in_vain(root):
    clock = FakeClock()
    own = permits(root, clock)
    granted(own.take([], [('api', 30)]))
    clock.advance(4.0)
    granted(own.take([], [('api', 30)]))

    first = own.take([], [('api', 30)]).wait_s
    both = own.take([], [('api', 31)]).wait_s

    assert 6.0 < first < 6.2 and 10.0 < both < 10.2
    clock.advance(first - 0.001)
    assert 0 < own.take([], [('api', 1)]).wait_s < 0.0011
    clock.advance(0.001)
    granted(own.take([], [('api', 30)]))


def test_tokens_of_a_quota_are_spent_when_a_grant_ends(root):
    own = permits(root, quotas={'api': Quota(1, 10.0)})
    granted(own.take([], [('api', 1)])).release()

    assert isinstance(own.take([], [('api', 1)]), Shortage)


def test_of_two_quotas_both_or_neither_are_spent_and_the_longest_wait_is_told(root):
    own = permits(root, quotas={'api': Quota(1, 10.0), 'big': Quota(5, 10.0),
                                'slow': Quota(1, 100.0)})
    granted(own.take([], [('api', 1), ('slow', 1)]))

    short = own.take([], [('slow', 1), ('big', 5), ('api', 1)])

    assert short.name == 'slow' and short.wait_s > 100
    granted(own.take([], [('big', 5)]))


def test_a_quota_named_twice_gives_the_sum(root):
    own = permits(root)
    granted(own.take([], [('api', 30), ('api', 29)]))

    assert isinstance(own.take([], [('api', 1), ('api', 1)]), Shortage)


@pytest.mark.parametrize(('name', 'tokens', 'message'), [
    ('none', 1, "quota 'none' is not defined; define it in pipeline_config.json"),
    ('api', 61, "61 tokens of quota 'api' are never given at once; it has 60 per 10s")])
def test_what_can_never_be_had_is_an_error_and_not_a_wait(root, name, tokens, message):
    own = permits(root, limits={'db': 1})

    with pytest.raises(StageError) as raised:
        own.take(['db'], [(name, tokens)])

    assert str(raised.value) == own.rates.complaint(name, tokens) == message
    assert raised.value.is_final and is_free(root, 'db', 1)


def test_quotas_that_are_switched_off_give_everything(root):
    own = permits(root, has_quotas=False)
    for _ in range(3):
        granted(own.take([], [('api', 60)]))


def test_a_lowered_rate_counts_what_was_granted_before_and_a_raised_one_holds_at_once(root):
    clock = FakeClock()
    own = permits(root, clock)
    granted(own.take([], [('api', 20)]))

    own.rates.quotas['api'] = Quota(20, 10.0)
    assert isinstance(own.take([], [('api', 1)]), Shortage)
    own.rates.quotas['api'] = Quota(21, 10.0)
    granted(own.take([], [('api', 1)]))
    own.rates.quotas['api'] = Quota(21, 1.0)
    clock.advance(2.0)
    granted(own.take([], [('api', 21)]))


@pytest.mark.parametrize('per_s', [1e-6, 0.5, 7 / 3, 86_400.0])
def test_in_no_window_is_more_than_the_rate_granted(root, per_s, rng):
    """Random requests at random moments; callers act up to a 128th part of the window late."""
    clock = FakeClock()
    quota = Quota(20, per_s)
    own = permits(root, clock, quotas={'api': quota})
    acted, n_short = [], 0
    for _ in range(300):
        clock.advance(rng.expovariate(20 / per_s))
        tokens = rng.choice([1, 1, 1, 2, 5, 20])
        answer = own.take([], [('api', tokens)])
        if isinstance(answer, Grant):
            acted.append((answer.at_s + rng.random() * per_s / PARTS, tokens))
        else:
            n_short += 1
            assert 0 < answer.wait_s <= per_s * (1 + 2 / PARTS) + 1e-5

    # At a monotonic clock of a thousand seconds a float tells a tenth of a picosecond apart.
    assert 10 < most_in_a_window(acted, per_s - 1e-9) <= quota.rate and n_short > 20


def test_little_of_the_rate_is_lost_to_who_asks_when_told(root):
    clock = FakeClock()
    own = permits(root, clock)
    n_granted = 0
    start = clock.monotonic()
    while n_granted < 600:
        answer = own.take([], [('api', 1)])
        if isinstance(answer, Grant):
            n_granted += 1
        else:
            clock.advance(answer.wait_s)

    # Nine windows passed between ten.
    assert 90 <= clock.monotonic() - start <= 90 * (1 + 2 / PARTS) + 0.001


def test_the_bucket_of_a_huge_rate_stays_small(root, bucket):
    clock = FakeClock()
    own = permits(root, clock, quotas={'api': Quota(1_000_000, 10.0)})
    for _ in range(300):
        clock.advance(0.05)
        granted(own.take([], [('api', 1000)]))

    assert len(json.loads(bucket.read_text())['granted']) <= PARTS + 3


# -- time and the file ----------------------------------------------------------------

def test_a_wall_clock_that_is_set_changes_nothing(root):
    clock = FakeClock()
    own = permits(root, clock)
    granted(own.take([], [('api', 60)]))
    before = own.take([], [('api', 1)])

    for change_s in (-3600, 3600, -315_000_000, 315_000_000):
        clock.set_wall(clock.now() + change_s)
        assert own.take([], [('api', 1)]) == before
    clock.advance(before.wait_s)
    granted(own.take([], [('api', 60)]))


def test_another_process_with_the_same_clock_goes_on_where_the_first_one_was(root):
    granted(permits(root).take([], [('api', 50)]))

    other = permits(root)

    assert isinstance(other.take([], [('api', 11)]), Shortage)
    granted(other.take([], [('api', 10)]))


def test_after_another_boot_what_was_granted_counts_as_granted_at_the_boot(root):
    granted(permits(root, FakeClock(monotonic=5000.0)).take([], [('api', 50)]))
    clock = FakeClock(monotonic=4.0)
    own = permits(root, clock, 'boot-2')

    granted(own.take([], [('api', 10)]))
    short = own.take([], [('api', 50)])

    assert short.wait_s == pytest.approx(6.0, abs=0.001)
    clock.advance(short.wait_s)
    granted(own.take([], [('api', 50)]))


def test_long_after_another_boot_everything_is_free(root):
    granted(permits(root, FakeClock(monotonic=5000.0)).take([], [('api', 60)]))

    granted(permits(root, FakeClock(monotonic=10.1), 'boot-2').take([], [('api', 60)]))


@pytest.mark.parametrize('boots', [('', ''), ('boot-1', ''), ('', 'boot-1'), ('same', 'same')])
def test_a_grant_of_the_future_counts_as_just_made_where_no_other_boot_is_known(root, boots):
    granted(permits(root, FakeClock(monotonic=9e6), boots[0]).take([], [('api', 60)]))
    clock = FakeClock()
    own = permits(root, clock, boots[1])

    short = own.take([], [('api', 1)])

    assert API.per_s < short.wait_s < API.per_s * 1.02
    granted(permits(root, FakeClock(monotonic=9e6 + 11), boots[0]).take([], [('api', 1)]))


def test_a_bucket_that_was_removed_is_an_empty_one(root, bucket):
    own = permits(root)
    granted(own.take([], [('api', 60)]))
    bucket.unlink()

    granted(own.take([], [('api', 60)]))


@pytest.mark.parametrize('content', [
    b'', b'{', b'[]', b'null', b'7', b'{}', b'\xff', b'{"format": 0}', b'{"format": true}',
    b'{"format": 1, "boot": "boot-1"}', b'{"format": 1, "boot": 1, "granted": []}',
    b'{"format": 1, "boot": "boot-1", "granted": {}, "x": 1}'.replace(b'{}', b'7'),
    b'{"format": 1, "boot": "boot-1", "granted": [[1, -1]]}',
    b'{"format": 1, "boot": "boot-1", "granted": [[1, true]]}',
    b'{"format": 1, "boot": "boot-1", "granted": [[1, 2, 3]]}',
    b'{"format": 1, "boot": "boot-1", "granted": [["1", 2]]}'])
def test_a_damaged_bucket_is_set_aside_and_counts_as_used_up(root, bucket, content):
    clock = FakeClock()
    own = permits(root, clock)
    bucket.parent.mkdir(parents=True)
    bucket.write_bytes(content)

    shorts = [own.take([], [('api', 1)]) for _ in range(2)]

    assert [short.wait_s > API.per_s for short in shorts] == [True, True]
    aside = bucket.parent / 'api.json.corrupt-1'
    assert aside.read_bytes() == content
    assert len(own.rates.warnings) == 1 and str(aside) in own.rates.warnings[0]
    assert own.rates.warnings[0].endswith("quota 'api' counts as used up for 10s")
    clock.advance(shorts[0].wait_s)
    granted(own.take([], [('api', 60)]))


@pytest.mark.parametrize('lay', [
    pytest.param(os.mkdir, id='folder'), pytest.param(os.mkfifo, id='pipe'),
    pytest.param(lambda path: os.symlink('/etc/passwd', path), id='link')])
def test_what_is_no_file_is_set_aside_too(root, bucket, lay):
    bucket.parent.mkdir(parents=True)
    lay(str(bucket))

    assert isinstance(permits(root).take([], [('api', 1)]), Shortage)
    assert sorted(os.listdir(bucket.parent)) == ['api.json', 'api.json.corrupt-1']


def test_a_bucket_of_a_newer_format_is_refused_and_left_alone(root, bucket):
    bucket.parent.mkdir(parents=True)
    bucket.write_text('{"format": 2}')

    with pytest.raises(StateError, match='has format 2, this version reads 1; use the newer'):
        permits(root).take([], [('api', 1)])
    assert bucket.read_text() == '{"format": 2}'


def test_a_bucket_whose_lock_a_stopped_process_holds_is_asked_again_later(root):
    lock = try_lock(quota_lock(root, 'api'))
    own = permits(root, limits={'db': 1})

    short = own.take(['db'], [('api', 1)])

    assert short.name == 'api' and 0 < short.wait_s < 1 and is_free(root, 'db', 1)
    lock.release()
    granted(own.take(['db'], [('api', 1)])).release()


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='only Linux tells it in a file')
def test_the_boot_has_an_id_that_stays(root, bucket):
    granted(permits(root, boot=None).take([], [('api', 1)]))

    assert len(boot_id()) == 36 and boot_id() == json.loads(bucket.read_text())['boot']


# -- what the config says -----------------------------------------------------------------

@pytest.fixture
def config(root):
    """Return a config with a quota of one token and a limit of one permit."""
    path = Path(root, 'pipeline_config.json')
    path.write_text(_config(1, 1))
    return path


def _config(rate, limit, **more):
    return json.dumps(dict({'quota': {'api': {'rate': rate, 'per_seconds': 10}},
                            'limits': {'default': 5, 'per_key': {'db': limit}}}, **more))


@pytest.fixture
def own(root, config):
    """Return permits on the config, whose only token and only permit are taken."""
    own = Permits(root, FakeClock(), ConfigRates(str(config), load(str(config))), boot_id='boot')
    granted(own.take(['db'], [('api', 1)]))
    assert isinstance(own.take(['db'], []), Shortage)
    assert isinstance(own.take([], [('api', 1)]), Shortage)
    return own


def test_a_changed_config_holds_from_the_next_grant_on(config, own):
    config.write_text(_config(2, 2))

    granted(own.take(['db'], [('api', 1)]))
    assert isinstance(own.take(['db'], []), Shortage)
    assert isinstance(own.take([], [('api', 1)]), Shortage)


def test_a_config_is_not_read_again_as_long_as_it_does_not_change(own):
    own.rates.limits['db'] = 2

    granted(own.take(['db'], []))


@pytest.mark.parametrize('content', ['', '{"quota": {"api"', '{"limit": 3}', None])
def test_a_config_that_cannot_be_read_changes_nothing(config, own, content):
    if content is None:
        config.unlink()
    else:
        config.write_text(content)

    assert isinstance(own.take(['db'], []), Shortage)
    assert isinstance(own.take([], [('api', 1)]), Shortage)
    assert len(own.rates.warnings) == (content is not None)
    config.write_text(_config(2, 2))
    granted(own.take(['db'], [('api', 1)]))


def test_the_warning_about_a_config_names_the_fault(config, own):
    config.write_text('{"quota": 7}')
    own.rates.refresh()

    assert own.rates.warnings == [
        'pipeline_config.json: quota: expected an object, got 7; the quotas and limits from '
        'before it was changed still hold']


def test_what_a_config_no_longer_says_a_quota_keeps_and_a_limit_does_not(config, own):
    config.write_text('{}')

    assert isinstance(own.take([], [('api', 1)]), Shortage)
    assert own.rates.complaint('api', 1) is None
    assert [type(own.take(['db'], [])) for _ in range(8)] == [Grant] * 7 + [Shortage]


def test_a_config_can_switch_quotas_off(config, own):
    config.write_text(_config(1, 1, feature_flags={'enable_quota_management': False}))

    granted(own.take([], [('api', 1)]))


def test_a_config_that_changed_before_the_first_grant_is_not_missed(root, config):
    settings = load(str(config))
    config.write_text(_config(1, 3))

    rates = ConfigRates(str(config), settings)
    rates.refresh()

    assert rates.limit('db') == 3 and rates.limit('other') == 5


# -- several processes ------------------------------------------------------------------

HEAD = '''\
import json, os, sys
sys.path.insert(0, sys.argv[1])
from stagerunner.clock import Clock
from stagerunner.permits import Grant, Permits, Quota, Rates
from stagerunner.sharing import pause
rates = Rates({'api': Quota(60, PER_S)}, {'db': 2})
own, clock = Permits(os.curdir, Clock(), rates), Clock()
'''

HOLD = HEAD + '''\
grant = own.take(['db'], [])
print(type(grant).__name__, flush=True)
sys.stdin.read()
'''

SPEND = HEAD + '''\
print('up', flush=True)
sys.stdin.readline()
n_granted, seen = 0, []
while n_granted < EACH:
    before = clock.monotonic()
    answer = own.take([], [('api', 1)])
    if isinstance(answer, Grant):
        n_granted += 1
        seen.append([before, answer.at_s, clock.monotonic()])
    else:
        pause(answer.wait_s)
print(json.dumps(seen))
'''

ENTER = HEAD + '''\
print('up', flush=True)
sys.stdin.readline()
mine, worst, rounds, n_short = f'inside/{os.getpid()}', 0, 0, 0
while rounds < 20:
    answer = own.take(['db'], [])
    if isinstance(answer, Grant):
        open(mine, 'w').close()
        pause(0.002)
        worst = max(worst, len(os.listdir('inside')))
        os.unlink(mine)
        answer.release()
        rounds += 1
    else:
        n_short += 1
        pause(0.001)
print(worst, n_short)
'''


def start(program, root, per_s=0.5, each=30):
    program = f'PER_S, EACH = {per_s}, {each}\n{program}'
    return subprocess.Popen([sys.executable, '-c', program, str(SOURCE)], cwd=root,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            env=clean_environment(), universal_newlines=True)


@pytest.mark.integration
def test_the_permit_of_a_killed_holder_is_free_at_once(root):
    own = permits(root, limits={'db': 2})
    with start(HOLD, root) as holder:
        assert holder.stdout.readline() == 'Grant\n'
        granted(own.take(['db'], []))
        assert isinstance(own.take(['db'], []), Shortage)

        holder.send_signal(signal.SIGKILL)

        granted(wait_until(lambda: not is_alive(holder.pid) and own.take(['db'], [])))


@pytest.mark.integration
def test_a_stopped_holder_keeps_its_permit(root):
    own = permits(root, limits={'db': 1})
    with start(HOLD, root) as holder:
        assert holder.stdout.readline() == 'Grant\n'
        holder.send_signal(signal.SIGSTOP)

        assert isinstance(own.take(['db'], []), Shortage)
        holder.kill()


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize(('per_s', 'each'), [
    (0.5, 30), pytest.param(10.0, 60, marks=pytest.mark.campaign)])
def test_six_processes_together_get_the_rate_in_no_window_more(root, per_s, each):
    """60 per window, several windows long; each moment that is told lies within its call."""
    processes = [start(SPEND, root, per_s, each) for _ in range(6)]
    seen = [json.loads(process.communicate()[0]) for process in _all_at_once(processes)]

    assert [process.returncode for process in processes] == [0] * 6
    assert all(before <= at_s <= after for own in seen for before, at_s, after in own)
    moments = [(at_s, 1) for own in seen for _, at_s, _ in own]
    assert len(moments) == 6 * each and most_in_a_window(moments, per_s) == 60


def _all_at_once(processes):
    """Let processes begin when all of them are up."""
    assert [process.stdout.readline() for process in processes] == ['up\n'] * len(processes)
    for process in processes:
        process.stdin.write('go\n')
        process.stdin.flush()
    return processes


@pytest.mark.slow
@pytest.mark.integration
def test_never_are_more_inside_than_the_limit_whoever_they_belong_to(root):
    os.mkdir('inside')
    processes = [start(ENTER, root) for _ in range(6)]
    told = [process.communicate()[0].split() for process in _all_at_once(processes)]

    assert max(int(worst) for worst, _ in told) <= 2
    assert sum(int(n_short) for _, n_short in told) > 0


@pytest.mark.slow
@pytest.mark.integration
def test_killed_in_the_middle_of_a_grant_a_process_takes_nothing_along(root, bucket, rng):
    """At most the tokens that were asked for are lost, never the file or the lock."""
    for _ in range(6):
        with start(SPEND, root, each=10 ** 9) as process:
            _all_at_once([process])
            wait_until(bucket.exists)
            # Anywhere in the grants of the first moments.
            pause(rng.random() * 0.01)
            process.kill()
    own = Permits(root, Clock(), Rates({'api': Quota(60, 0.5)}))

    wait_until(lambda: isinstance(own.take([], [('api', 60)]), Grant))

    assert own.rates.warnings == []
    assert [name for name in os.listdir(str(bucket.parent)) if not name.endswith('.tmp')] == [
        'api.json']
