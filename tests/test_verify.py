"""What was published is held against its manifests, or done again and compared byte by byte."""

import json
import os
import signal

import pytest

from stagerunner.recheck import Difference
from stagerunner.recheck import compare
from support import UPPER
from support import Workspace
from support import stage
from support import start_cli
from support import wait_until

#: Writes something else each time, in the third line.
DATED = '''\
import os, time
with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], 'out.txt'), 'w') as out:
    out.write(f'one\\ntwo\\nmade at {time.time_ns()}\\n')
'''


@pytest.fixture
def call(main):
    """Return a function that calls the command line within this process."""
    def inner(workspace, *args):
        return main(*args, '--pipeline', workspace.pipeline_file)
    return inner


@pytest.fixture
def workspace(tmp_path, call):
    """Return a workspace in which one stage was run."""
    found = Workspace(tmp_path).simple()
    assert call(found, 'run', '--run-id', 'r1').code == 0
    return found


def objects(done):
    return [json.loads(line) for line in done.lines]


pytestmark = [pytest.mark.slow, pytest.mark.integration]


# -- against manifests ----------------------------------------------------------------

def test_outputs_that_nobody_touched_are_as_published(workspace, call):
    before = workspace.tree()
    done = call(workspace, 'verify')

    assert (done.code, done.out, done.err) == (
        0, '1 output of 1 task verified: all as published\n', '')
    assert workspace.tree() == before


def test_changed_missing_and_unknown_files_are_named(workspace, call):
    workspace.processor('import os\nfor name in "abc":\n    open(os.path.join(os.environ["PIPELINE'
                        '_OUTPUT_DIR"], name), "w").write(name)\n')
    assert call(workspace, 'run').code == 0
    workspace.write('data/work/a', 'x')
    os.unlink(str(workspace.path('data/work/b')))
    workspace.write('data/work/sub/more', 'x')
    workspace.write('data/work/.gitkeep', '')
    done = call(workspace, 'verify', 'work')

    assert done.code == 1
    assert done.lines == [
        'data/work/a: changed (work: 1 bytes ca978112ca1b… was published, 1 bytes 2d711642b726… '
        'is there)', 'data/work/b: missing (work)',
        'data/work/sub/more: unknown: no manifest has it',
        '3 outputs of 1 task verified: 1 changed, 1 missing, 1 unknown']
    told = objects(call(workspace, 'verify', '--json'))
    assert [(one['path'], one['state']) for one in told[:-1]] == [
        ('data/work/a', 'changed'), ('data/work/b', 'missing'), ('data/work/sub/more', 'unknown')]
    assert told[-1] == {'changed': 1, 'missing': 1, 'unknown': 1, 'verified': 3, 'tasks': 1,
                        'unreadable': 0, 'ok': False}


def test_a_file_whose_times_were_put_back_is_changed_all_the_same(workspace, call):
    path = str(workspace.path('data/work/in.txt'))
    found = os.stat(path)
    workspace.write('data/work/in.txt', 'ONE\ntwo\n')
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))

    assert 'data/work/in.txt: changed' in call(workspace, 'verify').out


@pytest.mark.parametrize(('make', 'said'), [
    (os.mkdir, 'is a folder, not a file'), (os.mkfifo, 'is not a regular file'),
    (lambda path: os.symlink('elsewhere', path), "a link to 'elsewhere' is there")])
def test_what_is_no_file_any_more_is_changed(workspace, make, said, call):
    os.unlink(str(workspace.path('data/work/in.txt')))
    make(str(workspace.path('data/work/in.txt')))
    done = call(workspace, 'verify')

    assert done.code == 1 and said in done.out


def test_unknown_files_count_where_that_is_asked_for(workspace, call):
    workspace.write('data/work/more', 'x')

    assert call(workspace, 'verify').code == 0
    assert call(workspace, 'verify', '--strict').code == 1


def test_a_marker_that_cannot_be_read_is_a_fault(workspace, call):
    workspace.write('data/work/.work.done', '{')
    done = call(workspace, 'verify')

    assert done.code == 1 and '.work.done: ' in done.err


def test_items_are_verified_by_their_journal(tmp_path, call):
    workspace = Workspace(tmp_path)
    workspace.processor()
    for number in range(3):
        workspace.write(f'data/input/p{number}.txt', str(number))
    workspace.pipeline(stage(forEach='papers', inputs=['{item.path}']),
                       items={'papers': {'glob': 'data/input/*.txt'}})
    assert call(workspace, 'run').code == 0
    workspace.write('data/work/p1.txt', 'x')

    assert call(workspace, 'verify', 'work[p1.txt]').code == 1
    assert call(workspace, 'verify', 'work[p2.txt]').lines[-1] == (
        '1 output of 1 task verified: all as published')
    assert call(workspace, 'verify').lines[-1] == '3 outputs of 3 tasks verified: 1 changed'
    done = call(workspace, 'verify', '--deep', 'work')
    assert (done.code, done.lines) == (1, [
        'work[p0.txt]: done again, 1 output equal',
        'work[p1.txt]: data/work/p1.txt is changed since it was published; run it first',
        'work[p2.txt]: done again, 1 output equal'])


@pytest.mark.parametrize('args', [('nix',), ('--deep', 'nix')])
def test_a_stage_that_there_is_not_is_refused(workspace, args, call):
    done = call(workspace, 'verify', *args)

    assert (done.code, done.err) == (2, "there is no stage 'nix'; the stages are work\n")


def test_deep_needs_a_stage(workspace, call):
    assert call(workspace, 'verify', '--deep').err == (
        '--deep: name a stage, or one of its tasks\n')


# -- by doing it again ---------------------------------------------------------------------

def test_a_deterministic_stage_is_equal_and_nothing_is_touched(workspace, call):
    before = workspace.tree()
    done = call(workspace, 'verify', '--deep', 'work')

    assert (done.code, done.out, done.err) == (0, 'work: done again, 1 output equal\n', '')
    assert workspace.tree() == before


def test_a_stage_that_writes_the_date_differs_in_that_line(tmp_path, call):
    workspace = Workspace(tmp_path).simple(DATED)
    assert call(workspace, 'run').code == 0
    recorded = workspace.read('data/work/out.txt').splitlines()[2]
    before = workspace.tree()
    done = call(workspace, 'verify', '--deep', 'work')

    assert done.code == 1
    assert done.out.startswith('data/work/out.txt differs at byte ')
    assert f", line 3: recorded '{recorded}', now 'made at " in done.out
    assert workspace.tree() == before
    told = objects(call(workspace, 'verify', '--deep', 'work', '--json'))[0]
    assert (told['equal'], told['differences'][0]['line'], told['differences'][0]['path']) == (
        False, 3, 'data/work/out.txt')


def test_a_stage_with_checkpoints_leaves_its_progress_alone(tmp_path, call):
    workspace = Workspace(tmp_path).simple(UPPER, checkpoint={'enabled': True, 'lineInterval': 1})
    assert call(workspace, 'run').code == 0
    before = workspace.tree()

    assert call(workspace, 'verify', '--deep', 'work').out == (
        'work: done again, 1 output equal\n')
    assert workspace.tree() == before


def test_a_stage_with_declared_files_is_kept_to_them_too(tmp_path, call):
    workspace = Workspace(tmp_path).simple(files='declared')
    assert call(workspace, 'run').code == 0

    assert call(workspace, 'verify', '--deep', 'work').code == 0


def test_outputs_that_are_made_on_one_side_only_are_named(tmp_path, call):
    workspace = Workspace(tmp_path).simple(
        'import os\nout = os.environ["PIPELINE_OUTPUT_DIR"]\nopen(os.path.join(out, str(os.getpid'
        '())), "w")\nopen(os.path.join(out, "same"), "w")\n')
    assert call(workspace, 'run').code == 0
    first = next(name for name in os.listdir(str(workspace.path('data/work'))) if name.isdigit())
    done = call(workspace, 'verify', '--deep', 'work')

    assert done.code == 1 and len(done.lines) == 2
    assert done.lines[0] == f'data/work/{first} was not made this time'
    assert done.lines[1].endswith(' was made this time only')


@pytest.mark.parametrize(('change', 'said'), [
    (lambda w: w.write('data/input/in.txt', 'new'),
     'work: is not what it was made from any more (input changed: data/input/in.txt); run it '
     'first'),
    (lambda w: os.unlink(str(w.path('data/input/in.txt'))), None),
    (lambda w: w.write('data/work/in.txt', 'new'),
     'work: data/work/in.txt is changed since it was published; run it first'),
    (lambda w: os.unlink(str(w.path('data/work/.work.done'))),
     'work: has published nothing that is recorded')])
def test_what_cannot_be_done_as_it_was_is_said(workspace, change, said, call):
    change(workspace)
    done = call(workspace, 'verify', '--deep', 'work')

    assert done.code == (1 if said else 2)
    assert done.out == (f'{said}\n' if said else '')


def test_a_processor_that_fails_this_time_is_told_with_its_last_words(tmp_path, call):
    workspace = Workspace(tmp_path).simple(
        'import os, sys\nif os.path.exists("fail"):\n    sys.exit("no luck")\n'
        'open(os.path.join(os.environ["PIPELINE_OUTPUT_DIR"], "x"), "w")\n')
    assert call(workspace, 'run').code == 0
    workspace.write('fail')
    done = call(workspace, 'verify', '--deep', 'work')

    assert (done.code, done.out, done.err) == (
        1, 'work: failed this time: exit code 1\n', '  | no luck\n')


def test_a_processor_that_writes_to_its_output_folder_itself_is_found_out(tmp_path, call):
    workspace = Workspace(tmp_path).simple(
        'import os\nopen("data/work/x", "a").write("x")\n'
        'open(os.path.join(os.environ["PIPELINE_OUTPUT_DIR"], "y"), "w")\n')
    workspace.write('data/work/x', '')
    assert call(workspace, 'run').code == 0
    workspace.processor('open("data/work/x", "a").write("x")\n')
    assert call(workspace, 'run').code == 0
    done = call(workspace, 'verify', '--deep', 'work')

    assert (done.code, done.out) == (
        1, 'work: writes to data/work directly, so it cannot be done again beside it\n')


def test_a_verification_ends_when_it_is_asked_to(tmp_path, call):
    workspace = Workspace(tmp_path).simple(
        'import os, time\nopen(os.path.join(os.environ["PIPELINE_OUTPUT_DIR"], "x"), "w")\n'
        'if os.path.exists("hang"):\n    open("hanging", "w")\n    time.sleep(60)\n')
    assert call(workspace, 'run').code == 0
    workspace.write('hang')
    with start_cli('verify', '--deep', 'work', cwd=tmp_path) as process:
        wait_until(workspace.path('hanging').exists, 'the second time')
        process.send_signal(signal.SIGTERM)
        assert (process.communicate(), process.returncode) == ((b'', b''), 143)


# -- comparing -------------------------------------------------------------------------------

@pytest.mark.parametrize(('old', 'new', 'found'), [
    (b'same\n', b'same\n', None), (b'', b'', None),
    (b'one\ntwo\n', b'one\ntWo\n', (6, 2, 'two', 'tWo')),
    (b'one\n', b'one\ntwo', (5, 2, '', 'two')),
    (b'one\ntwo', b'one', (4, 1, 'one', 'one')),
    (b'a' * 300_000 + b'\nx' + b'b' * 300_000, b'a' * 300_000 + b'\nx' + b'b' * 299_999 + b'c',
     (600_002, 2, 'b' * 31, 'b' * 30 + 'c')),
    (b'\n' * 300_000 + b'\xff', b'\n' * 300_000 + b'\0', (300_001, 300_001, '\\xff', '\0')),
])
def test_the_first_byte_that_differs_is_named(tmp_path, old, new, found):
    (tmp_path / 'old').write_bytes(old)
    (tmp_path / 'new').write_bytes(new)

    difference = compare(str(tmp_path / 'old'), str(tmp_path / 'new'), 'x')
    assert difference == (None if found is None else Difference('x', 'differs', *found))


def test_links_are_compared_by_where_they_lead(tmp_path):
    for name, target in (('a', 'x'), ('b', 'x'), ('c', 'y')):
        os.symlink(target, str(tmp_path / name))
    (tmp_path / 'x').write_text('')

    assert compare(str(tmp_path / 'a'), str(tmp_path / 'b'), 'n') is None
    assert str(compare(str(tmp_path / 'a'), str(tmp_path / 'c'), 'n')) == 'n leads elsewhere'
    assert str(compare(str(tmp_path / 'a'), str(tmp_path / 'x'), 'n')) == (
        'n is a link on one side only')
