"""Exit codes and words have a class, a class has an answer, an answer has a delay."""

import math
import signal

import pytest

from stagerunner.retry import PERMANENT
from stagerunner.retry import TRANSIENT
from stagerunner.retry import UNKNOWN
from stagerunner.retry import RetryPolicy
from stagerunner.retry import Verdict
from stagerunner.retry import classify_exit
from stagerunner.retry import classify_text
from stagerunner.retry import decide
from stagerunner.retry import delay
from stagerunner.retry import is_no_space

# -- classes ----------------------------------------


@pytest.mark.parametrize(('code', 'expected'), [
    (1, UNKNOWN), (2, UNKNOWN), (3, UNKNOWN), (64, UNKNOWN), (255, UNKNOWN),
    (75, TRANSIENT),
    (65, PERMANENT), (66, PERMANENT), (77, PERMANENT), (78, PERMANENT),
    (126, PERMANENT), (127, PERMANENT),
    pytest.param(-signal.SIGKILL, TRANSIENT, id='SIGKILL'),
    pytest.param(-signal.SIGTERM, TRANSIENT, id='SIGTERM'),
    pytest.param(-signal.SIGBUS, TRANSIENT, id='SIGBUS'),
    pytest.param(-signal.SIGSEGV, PERMANENT, id='SIGSEGV'),
    pytest.param(-signal.SIGILL, PERMANENT, id='SIGILL'),
    pytest.param(-signal.SIGABRT, PERMANENT, id='SIGABRT'),
])
def test_an_exit_code_has_a_class(code, expected):
    assert classify_exit(code, ()) == expected


@pytest.mark.parametrize(('code', 'expected'), [
    pytest.param(75, TRANSIENT, id='75'), pytest.param(65, PERMANENT, id='65'),
    pytest.param(-signal.SIGSEGV, PERMANENT, id='crash')])
def test_an_exit_code_with_a_meaning_is_stronger_than_words(code, expected):
    assert classify_exit(code, ('File not found', 'Connection timeout')) == expected


@pytest.mark.parametrize(('lines', 'expected'), [
    pytest.param(('Traceback:', '  File "x.py", line 404, in get', 'TimeoutError: timed out'),
                 TRANSIENT, id='last-line'),
    pytest.param(('connection reset', 'PermissionError: [Errno 13] Permission denied'), PERMANENT,
                 id='the-last-one-that-says-something'),
    pytest.param(('connection reset by peer', 'giving up', ''), TRANSIENT, id='an-earlier-line'),
    pytest.param(('giving up',), UNKNOWN, id='nothing'),
])
def test_the_last_line_that_has_a_class_decides(lines, expected):
    assert classify_exit(1, lines) == expected


@pytest.mark.parametrize(('text', 'expected'), [
    # Nothing known.
    ('', UNKNOWN),
    ('ValueError: 3 is not 4', UNKNOWN),
    # Numbers that are no status of HTTP.
    ('File "/x/get.py", line 404, in fetch', UNKNOWN),
    ('  File "x.py", line 500', UNKNOWN),
    ('error at line 503', UNKNOWN),
    ('parsed 429 of 500 rows', UNKNOWN),
    ('error 4040', UNKNOWN),
    ('error 1404', UNKNOWN),
    ('status 5000', UNKNOWN),
    ('error 12:500', UNKNOWN),
    # Bug: every class whose name ends in `Error` made a status of the number after it.
    ('KeyError: 404', UNKNOWN),
    ('AssertionError: 503', UNKNOWN),
    # Transient.
    ('Connection timeout', TRANSIENT),
    ('Operation timed out', TRANSIENT),
    ('time-out after 3s', TRANSIENT),
    ('Rate limit exceeded', TRANSIENT),
    ('rate-limit', TRANSIENT),
    ('Too Many Requests', TRANSIENT),
    ('quota exceeded for today', TRANSIENT),
    ('temporary failure in name resolution', TRANSIENT),
    ('temporarily out of order', TRANSIENT),
    ('please try again', TRANSIENT),
    ('Connection refused', TRANSIENT),
    ('connection was reset', TRANSIENT),
    ('ConnectionResetError: [Errno 104]', TRANSIENT),
    ('ConnectionError', TRANSIENT),
    ('network is down', TRANSIENT),
    ('host unreachable', TRANSIENT),
    ('BrokenPipeError', TRANSIENT),
    ('Broken pipe', TRANSIENT),
    ('Service Unavailable', TRANSIENT),
    ('Bad Gateway', TRANSIENT),
    ('Internal Server Error', TRANSIENT),
    ('HTTP 429', TRANSIENT),
    ('HTTP/1.1 503 nope', TRANSIENT),
    ('status code: 502', TRANSIENT),
    ('status=504', TRANSIENT),
    ('HTTPError: HTTP Error 500: x', TRANSIENT),
    ('error 503', TRANSIENT),
    ('HTTPStatusError: 503', TRANSIENT),
    ('HTTP/2 503', TRANSIENT),
    ('status_code=503', TRANSIENT),
    ('<Response [500]>', TRANSIENT),
    ('error (503)', TRANSIENT),
    # Permanent.
    ('SyntaxError: invalid syntax', PERMANENT),
    ('syntax error near line 3', PERMANENT),
    ('IndentationError: x', PERMANENT),
    ("ModuleNotFoundError: No module named 'x'", PERMANENT),
    ('ImportError: cannot import name', PERMANENT),
    ('Authentication failed', PERMANENT),
    ('Unauthorized', PERMANENT),
    ('403 Forbidden', PERMANENT),
    ('Invalid API key', PERMANENT),
    ('PermissionError: x', PERMANENT),
    ('bash: ./x: Permission denied', PERMANENT),
    ('Access denied', PERMANENT),
    ('File not found', PERMANENT),
    ('FileNotFoundError: x', PERMANENT),
    ('No such file or directory', PERMANENT),
    ('page not found', PERMANENT),
    ('Bad Request', PERMANENT),
    ('HTTP 404', PERMANENT),
    ('status code 401', PERMANENT),
    ('error code: 400', PERMANENT),
    # A full disk meets the next attempt as well.
    ('OSError: [Errno 28] No space left on device', PERMANENT),
    ('write failed: Disk quota exceeded', PERMANENT),
    ('There is not enough space on the disk', PERMANENT),
])
def test_words_have_a_class(text, expected):
    assert classify_text(text) == expected
    assert classify_text(text.upper()) == expected


@pytest.mark.parametrize(('status', 'expected'), [
    (429, TRANSIENT), (500, TRANSIENT), (502, TRANSIENT), (503, TRANSIENT), (504, TRANSIENT),
    (400, PERMANENT), (401, PERMANENT), (403, PERMANENT), (404, PERMANENT),
    (200, UNKNOWN), (418, UNKNOWN), (None, UNKNOWN)])
def test_a_known_status_of_http_decides(status, expected):
    assert classify_text('something', http_status=status) == expected


def test_a_known_status_is_stronger_than_words():
    assert classify_text('File not found', http_status=503) == TRANSIENT
    assert classify_text('Connection timeout', http_status=404) == PERMANENT
    assert classify_text('Connection timeout', http_status=200) == TRANSIENT


@pytest.mark.parametrize(('text', 'is_full'), [
    ('OSError: [Errno 28] x', True), ('No space left on device', True),
    ('disk quota exceeded', True), ('quota exceeded', False), ('[Errno 280]', False)])
def test_a_full_disk_is_told_from_a_full_quota_of_requests(text, is_full):
    assert is_no_space(text) is is_full


# -- the answer ----------------------------------------

@pytest.mark.parametrize(('attempt', 'error_class', 'policy', 'verdict'), [
    (1, TRANSIENT, RetryPolicy(), Verdict(0.5, TRANSIENT)),
    (2, TRANSIENT, RetryPolicy(), Verdict(1.0, TRANSIENT)),
    (3, TRANSIENT, RetryPolicy(), Verdict(None, 'attempt 3 of 3')),
    (9, TRANSIENT, RetryPolicy(), Verdict(None, 'attempt 9 of 3')),
    (1, UNKNOWN, RetryPolicy(), Verdict(0.5, UNKNOWN)),
    (1, UNKNOWN, RetryPolicy(retries_unknown=False),
     Verdict(None, 'unknown errors are not retried')),
    (1, TRANSIENT, RetryPolicy(retries_unknown=False), Verdict(0.5, TRANSIENT)),
    (1, PERMANENT, RetryPolicy(), Verdict(None, 'permanent')),
    (1, TRANSIENT, RetryPolicy(max_attempts=1), Verdict(None, 'attempt 1 of 1')),
])
def test_an_attempt_is_followed_by_another_or_given_up(attempt, error_class, policy, verdict):
    assert decide(attempt, error_class, policy) == verdict


@pytest.mark.parametrize(('attempt', 'policy', 'spread', 'seconds'), [
    pytest.param(1, RetryPolicy(), 0, 0.5, id='base'),
    pytest.param(4, RetryPolicy(), 0, 4.0, id='doubled'),
    pytest.param(3, RetryPolicy(factor=3), 0, 4.5, id='tripled'),
    pytest.param(3, RetryPolicy(factor=1), 0, 0.5, id='constant'),
    pytest.param(3, RetryPolicy(factor=0), 0, 0.0, id='no-factor'),
    pytest.param(8, RetryPolicy(), 0, 60.0, id='capped'),
    pytest.param(1, RetryPolicy(), 1, 0.55, id='jitter-up'),
    pytest.param(1, RetryPolicy(), -1, 0.45, id='jitter-down'),
    pytest.param(1, RetryPolicy(jitter=1), -1, 0.0, id='jitter-to-nothing'),
    pytest.param(1, RetryPolicy(base_delay_s=60), 1, 60.0, id='capped-after-jitter'),
    pytest.param(1, RetryPolicy(base_delay_s=80), -1, 60.0, id='jitter-before-cap'),
    pytest.param(1, RetryPolicy(max_delay_s=0), 0, 0.0, id='no-delay-at-all'),
    pytest.param(999, RetryPolicy(), 0, 60.0, id='beyond-floats'),
    # Bug: whole numbers in a definition never overflow in the power, but in the jitter.
    pytest.param(999, RetryPolicy(base_delay_s=1, factor=1000), 0, 60.0, id='whole-numbers'),
    # Bug: nothing times more than a float can hold was the longest delay.
    pytest.param(999, RetryPolicy(base_delay_s=0, factor=999.5), 0, 0.0, id='nothing-times-huge'),
])
def test_a_delay_grows_by_its_factor_and_is_capped_after_the_jitter(
        attempt, policy, spread, seconds):
    assert delay(attempt, policy, spread) == pytest.approx(seconds)


def test_a_delay_is_never_negative_nor_above_its_cap(rng):
    for _ in range(2000):
        policy = RetryPolicy(1000, rng.choice([0, 1, rng.uniform(0, 1e8)]),
                             rng.choice([0, 2, 1000, rng.uniform(0, 1000)]),
                             rng.uniform(0, 1e8), rng.random())
        found = delay(rng.randrange(1, 1000), policy, rng.uniform(-1, 1))

        assert math.isfinite(found) and 0 <= found <= policy.max_delay_s
