"""The documents are true: examples run, commands work, flags, keys, variables and links exist."""

import importlib.util
import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest

from stagerunner import definition
from stagerunner import errors
from stagerunner import keys
from stagerunner import settings
from stagerunner.cli import COMMANDS
from stagerunner.environment import Given
from stagerunner.environment import variables
from stagerunner.locks import TIMEOUT_S
from support import CHECKOUT
from support import clean_environment
from support import run_process
from support import wait_until

README = CHECKOUT / 'README.md'
PROCESSORS = CHECKOUT / 'docs' / 'processors.md'
DOCUMENTS = [README, CHECKOUT / 'CONTRIBUTING.md', CHECKOUT / 'CHANGELOG.md',
             CHECKOUT / 'benchmarks' / 'README.md',
             *sorted((CHECKOUT / 'examples').glob('*/README.md')),
             *sorted((CHECKOUT / 'docs').glob('*.md'))]

posix_only = pytest.mark.skipif(os.name != 'posix', reason='shell scripts')


def fenced(path, language):
    """Return the blocks of code in one language, without their fences."""
    return re.findall(rf'^```{language}\n(.*?)^```$', path.read_text('utf-8'), re.M | re.S)


def files_of(path):
    """Return the files that a page shows: a line "File `name`:" and the block after it."""
    return dict(re.findall(r'^File `([^`]+)`:\n\n```\w+\n(.*?)^```$', path.read_text('utf-8'),
                           re.M | re.S))


def section(path, title):
    """Return the text from a heading to the next one of the same or a higher level."""
    level, text = re.search(rf'^(#+) {re.escape(title)}\n(.*)', path.read_text('utf-8'),
                            re.M | re.S).groups()
    return re.split(rf'^#{{1,{len(level)}}} ', without_code(text), flags=re.M)[0]


def without_code(text):
    """Return a page without its blocks of code, where a # begins a comment."""
    return re.sub(r'^```.*?^```$', '', text, flags=re.M | re.S)


def first_column(text):
    """Return what stands in backticks in the first column of tables."""
    cells = [line.split('|')[1] for line in text.splitlines() if line.startswith('|')]
    return {name for cell in cells for name in re.findall(r'`([^`]+)`', cell)}


# -- the examples of docs/processors.md ----------------------------------------

#: Replaces `os.replace` in every Python below: at the third commit it says so and hangs.
GATE = '''\
import os

def gated(source, target, replace=os.replace):
    if os.fspath(target) == os.environ.get('PIPELINE_PROGRESS_PATH'):
        with open(os.path.join(os.environ['GATE'], 'commits'), 'a') as commits:
            commits.write('.')
        if os.path.getsize(os.path.join(os.environ['GATE'], 'commits')) == 3:
            with open(os.path.join(os.environ['GATE'], 'group.new'), 'w') as group:
                group.write(str(os.getpgrp()))
            replace(os.path.join(os.environ['GATE'], 'group.new'),
                    os.path.join(os.environ['GATE'], 'group'))
            import time
            time.sleep(600)
    replace(source, target)

os.replace = gated
'''

#: Commits of other languages pass the same gate: their `mv` is this one.
MOVE = f'''\
#!/bin/sh
exec "{sys.executable}" -c 'import os, sys; os.replace(*sys.argv[1:])' "$@"
'''

SAMPLE = [''.join(f'{word} {number}\n' for number in range(170)) for word in ('one', 'two')]


@pytest.fixture
def gate(tmp_path):
    """Return variables with which a processor hangs in the middle: see `GATE`."""
    folder = tmp_path / 'gate'
    folder.mkdir()
    (folder / 'sitecustomize.py').write_text(GATE)
    (folder / 'mv').write_text(MOVE)
    (folder / 'mv').chmod(0o755)
    return {'GATE': str(folder), 'PYTHONPATH': str(folder),
            'PATH': f'{folder}{os.pathsep}{os.environ["PATH"]}'}


def example(workspace, stage_name):
    """Make a workspace of the documented files, with one of the documented stages."""
    shown = files_of(PROCESSORS)
    document = json.loads(shown.pop('pipeline.json'))
    document['stages'] = [stage for stage in document['stages'] if stage['name'] == stage_name]
    workspace.write('pipeline.json', json.dumps(document))
    for name, text in shown.items():
        workspace.write(name, text).chmod(0o755)
    for number, text in enumerate(SAMPLE):
        workspace.write(f'data/input/{number}.txt', text)
    return workspace.path(document['stages'][0]['outputDir']) / 'numbered.txt'


@posix_only
@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize('name', [
    stage['name'] for stage in json.loads(files_of(PROCESSORS)['pipeline.json'])['stages']])
def test_each_example_survives_a_kill_in_the_middle(name, workspace, gate):
    """Runner and processor are killed at the third commit; the next run resumes at the second."""
    result = example(workspace, name)
    assert workspace.run().code == 0
    undisturbed = result.read_bytes()
    shutil.rmtree(str(result.parent))

    with workspace.start(env=gate) as runner:
        group = Path(gate['GATE'], 'group')
        wait_until(group.exists, 'the third commit')
        runner.kill()
        os.killpg(int(group.read_text()), signal.SIGKILL)
        runner.communicate()
    assert not result.exists()
    resumed = workspace.run()

    assert (resumed.code, resumed.err) == (0, '')
    assert f'[RESUME] {name} at line 100\n' in resumed.out
    assert workspace.json(f'state/checkpoint_{name}.json')['lineOffset'] == 340
    assert result.read_bytes() == undisturbed
    assert undisturbed == b''.join(
        b'%d\t%s\n' % (number, line.encode())
        for number, line in enumerate(''.join(SAMPLE).splitlines(), 1))


@pytest.mark.integration
@pytest.mark.slow
def test_the_smallest_processor_of_the_page_runs(workspace):
    stage = json.loads(next(block for block in fenced(PROCESSORS, 'json') if 'words' in block))
    name = stage['processor']
    workspace.write(name, files_of(PROCESSORS)[name])
    workspace.write('data/input/sample.txt', 'one two\nthree\n')
    workspace.pipeline(stage)

    done = workspace.run()

    assert (done.code, done.err) == (0, '')
    assert workspace.read('data/words/words.txt') == 'data/input/sample.txt 3\n'


def test_the_helper_works_outside_the_runner_as_the_page_says(workspace):
    name = 'bin/number_helper.py'
    workspace.write(name, files_of(PROCESSORS)[name])
    workspace.write('in.txt', 'a\nb\n')
    assert f'PYTHONPATH=src python {name} FILE' in PROCESSORS.read_text('utf-8')

    done = run_process(sys.executable, name, 'in.txt', cwd=workspace.root,
                       env={'PYTHONPATH': str(CHECKOUT / 'src')})

    assert (done.code, workspace.read('numbered.txt')) == (0, '1\ta\n2\tb\n')


# -- the demo of the README ----------------------------------------

#: What somebody copies who wants to use the runner, and nothing that a run left behind.
HANDED_OVER = ('bin', 'data/input', 'pipeline.json', 'requirements-dev.txt', 'run_tests.sh', 'src')


@pytest.fixture
def copy(tmp_path):
    """Return a copy of the checkout in which nothing has run yet."""
    target = tmp_path / 'copy'
    (target / 'data').mkdir(parents=True)
    for name in HANDED_OVER:
        if (CHECKOUT / name).is_dir():
            shutil.copytree(str(CHECKOUT / name), str(target / name),
                            ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copy(str(CHECKOUT / name), str(target / name))
    return target


def without_figures(text):
    """Return output without what differs from run to run."""
    return re.sub(r'\d+\.\d+s', 'Xs', text)


def commands_of(title):
    """Return the shell commands that a section of the README shows."""
    text = README.read_text('utf-8').partition(f'\n## {title}\n')[2].partition('\n## ')[0]
    return ''.join(re.findall(r'^```bash\n(.*?)^```$', text, re.M | re.S)).splitlines()


@posix_only
@pytest.mark.integration
@pytest.mark.slow
def test_the_demo_of_the_readme_prints_what_the_readme_shows(copy):
    shown = next(block for block in fenced(README, 'text') if 'completion markers' in block)
    demo, clean = commands_of('Run the demo')

    done = run_process('bash', '-c', demo, cwd=copy, env={'PYTHON': sys.executable})
    cleaned = run_process('bash', '-c', clean, cwd=copy)

    assert (done.code, done.err) == (0, '')
    assert without_figures(done.out).startswith(without_figures(shown))
    assert '"skippedStages": 2' in done.out
    assert cleaned.code == 0
    assert os.listdir(str(copy / 'data/output')) == ['.gitkeep']
    assert (copy / 'data/input/sample.txt').exists()


@posix_only
@pytest.mark.integration
@pytest.mark.slow
def test_the_commands_of_the_readme_run_by_hand(copy, tmp_path):
    """`python3` is this interpreter: the one found on the PATH may be too old or missing."""
    (tmp_path / 'path').mkdir()
    (tmp_path / 'path' / 'python3').symlink_to(sys.executable)
    path = f'{tmp_path / "path"}{os.pathsep}{os.environ["PATH"]}'
    looks = re.findall(r'^python3 -m json.tool.*', README.read_text('utf-8'), re.M)

    for command in [*commands_of('Run it by hand'), *looks]:
        done = run_process('bash', '-c', command, cwd=copy, env={'PATH': path})
        assert (done.code, done.err) == (0, ''), command

    sample = (copy / 'data/input/sample.txt').read_text('utf-8')
    assert (copy / 'data/output/result.txt').read_text('utf-8') == sample.upper()
    assert looks and '"okStages": 2' in done.out
    for record in (copy / 'state').glob('*.json'):
        assert isinstance(json.loads(record.read_text('utf-8')), dict)
    assert shapes_in(copy) == {name for name in first_column(section(README, 'State files'))
                               if name not in ONLY_SOMETIMES}


@posix_only
@pytest.mark.integration
@pytest.mark.slow
def test_a_pipeline_of_ones_own_takes_the_commands_that_the_readme_shows(copy, tmp_path):
    (tmp_path / 'path').mkdir()
    (tmp_path / 'path' / 'python3').symlink_to(sys.executable)
    path = f'{tmp_path / "path"}{os.pathsep}{os.environ["PATH"]}'
    for name, text in files_of(README).items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text(text)

    said = []
    for command in commands_of('Your own pipeline in five minutes'):
        done = run_process('bash', '-c', command, cwd=copy, env={'PATH': path})
        assert (done.code, done.err) == (0, ''), command
        said.append(done.out)

    assert said[1] == 'pipeline.json: valid: 2 stages\n' and said[3] == '5\n'
    assert 'skip   count[a.txt]' in said[5] and 'run    count[b.txt]' in said[5]
    assert '[SKIP] count[a.txt]' in said[6] and '[DONE] total' in said[6]
    assert list((copy / 'mine' / 'state').glob('report_*.html'))
    assert (copy / 'mine' / 'out' / 'total' / 'total.txt').read_text() == '4\n'


def test_the_readme_lists_every_command():
    told = first_column(section(README, 'Commands'))

    assert told == set(COMMANDS), 'README.md, Commands: a row for each command, and no other'


def test_pictures_are_small_and_have_a_text():
    shown = re.findall(r'!\[([^]]*)\]\(([^)]+)\)', README.read_text('utf-8'))

    assert {name for _, name in shown} == {
        f'docs/images/{path.name}' for path in (CHECKOUT / 'docs' / 'images').iterdir()}
    for text, name in shown:
        assert len(text) > 40 and (CHECKOUT / name).stat().st_size < 150_000


#: State files of the README that a run without output, failure and live processor does not leave,
#: and those of stages with jobs or items.
ONLY_SOMETIMES = ('state/report_<id>.html', 'state/report.html',
                  'state/logs/<id>/<name>.<attempt>.log', '<outputDir>/.<name>.partial/',
                  'state/stage_<name>[<job>].json', 'state/stage_<name>[<item>].json',
                  'state/items_<name>.jsonl', 'state/items/<collection>/<item>.json',
                  'state/limits/<quota>.json', 'state/workqueue.sqlite', 'locks/.items/',
                  'locks/.limit/', 'locks/<name>/<nn>.lock')


def shapes_in(root):
    """Return what a run called `my_run` left, spelled as in the table of the README."""
    left = [path.relative_to(root).as_posix() for top in ('state', 'locks', 'data')
            for path in (root / top).rglob('*') if path.is_file()]
    spelled = {re.sub('my_run', '<id>', re.sub(r'stage_(copy|upper)', '<name>', re.sub(
        '^data/(work|output)', '<outputDir>', name))) for name in left}
    # A run on a busy machine may last long enough for a page.
    return {name for name in spelled if not re.match(r'data/|<outputDir>/\w|state/report.html',
                                                     name)}


@pytest.mark.integration
@pytest.mark.parametrize('flags', [('-S', '-E'), ('-S', '-I')])
def test_nothing_has_to_be_installed(copy, flags):
    """-S: no folder of installed packages is searched; -E: no variable leads to one.

    -I leaves the folder of the script out of the search, too.
    """
    done = run_process(sys.executable, *flags, 'src/pipeline_runner.py', cwd=copy,
                       is_measured=False)

    assert (done.code, done.err) == (0, '')
    assert (copy / 'data/output/result.txt').exists()


@pytest.mark.integration
def test_a_stage_that_failed_is_tried_again_by_the_next_run(workspace, main):
    workspace.simple('import os, sys\nsys.exit(65 if os.path.exists("bad") else 0)\n')
    workspace.write('bad')
    failed = main('--pipeline', workspace.pipeline_file)
    workspace.path('bad').unlink()

    again = main('--pipeline', workspace.pipeline_file)

    assert (failed.code, again.code) == (1, 0)
    assert again.lines[0].startswith('[RUN] work')


# -- what the documents say of scripts and tools ------------------------------------

@posix_only
@pytest.mark.integration
def test_the_tests_fail_below_70_percent_coverage(copy, tmp_path):
    """The environment is a stub that notes how pytest is called: making a real one needs pip."""
    stub = tmp_path / 'venv' / 'bin' / 'python'
    stub.parent.mkdir(parents=True)
    stub.write_text('#!/bin/sh\nif [ "$1" = -c ]; then exec "%s" "$@"; fi\necho "called: $*"\n'
                    % sys.executable)
    stub.chmod(0o755)
    (tmp_path / 'venv' / 'installed.stamp').write_text('%s\n%s' % (
        sys.version.split()[0], (copy / 'requirements-dev.txt').read_text()))

    done = run_process('bash', 'run_tests.sh', '-k', 'retry', cwd=copy, env={
        'PYTHON': sys.executable, 'VENV': str(tmp_path / 'venv'), 'COVERAGE_MIN': ''})

    called = done.lines[-1].split()
    assert called[:3] == ['called:', '-m', 'pytest']
    assert '--cov-fail-under=70' in called
    assert called[-2:] == ['-k', 'retry']


def test_every_python_gets_one_version_of_each_tool():
    """From 3.7 to 3.15, as the markers of requirements-dev.txt say."""
    lines = re.findall(r'^([\w-]+)==\S+ ; python_version (==|>=) "3\.(\d+)"$',
                       (CHECKOUT / 'requirements-dev.txt').read_text(), re.M)

    for minor in range(7, 16):
        fitting = [tool for tool, sign, number in lines
                   if minor == int(number) or (sign == '>=' and minor > int(number))]
        assert sorted(fitting) == ['pytest', 'pytest-cov'], f'3.{minor}'


def test_the_markers_of_the_documents_are_registered(pytestconfig):
    registered = {line.partition(':')[0] for line in pytestconfig.getini('markers')}

    assert registered >= {'unit', 'integration', 'slow', 'requires_api', 'campaign'}


def test_an_older_python_is_told_what_is_needed(monkeypatch):
    source = compile((CHECKOUT / 'src' / 'pipeline_runner.py').read_bytes(), 'x', 'exec')
    monkeypatch.setattr(sys, 'version_info', (3, 6, 15))

    with pytest.raises(SystemExit, match='needs Python 3.7 or newer, this is Python 3.6'):
        exec(source, {'__name__': 'x'})


@pytest.mark.parametrize('name', ['run_demo.ps1', 'run_tests.ps1'])
def test_scripts_for_windows_hold_nothing_that_its_old_powershell_does_not_know(name):
    """No `&&`, `||`, `??` or ternary, and ASCII: 5.1 reads anything else in a code page."""
    text = (CHECKOUT / name).read_bytes().decode('ascii')

    code = re.sub(r"(?ms)^\$usage = @'.*?^'@|#.*?$|'[^']*'", '', text)
    assert not re.search(r'&&|\|\||\?\?|\?[^:\n{}]*:(?!:)', code)


def test_a_run_waits_ten_seconds_for_a_lock_unless_told_otherwise(main):
    assert TIMEOUT_S == 10
    assert re.search(r'--lock-timeout SEC [^-]*\(default: 10\)', main('--help').out)


# -- flags, keys, variables, codes, notes ----------------------------------------

def flags_in(text):
    """Return the long flags that a text names."""
    return set(re.findall(r'(?<![\w-])--[a-z][a-z-]*', text))


def test_the_readme_names_every_flag_and_no_other(main):
    shown = ''.join(main(command, '--help').out for command in COMMANDS)

    assert flags_in(README.read_text('utf-8')) == flags_in(shown)


@pytest.mark.parametrize('title, record', [
    ('The pipeline', keys.PIPELINE),
    ('A stage', keys.STAGE),
    ('Items', keys.ITEMS),
    ('When a run has ended', keys.HOOK),
])
def test_the_readme_has_every_key_of_the_definition_and_no_other(title, record):
    inner = [keys.IDEMPOTENCY, keys.CHECKPOINT, keys.RETRY, keys.RESOURCES
             ] if record is keys.STAGE else []
    headings = {key for key in record.keys
                if key in ('idempotency', 'checkpoint', 'retry', 'resources')}

    named = first_column(section(README, title))

    assert named == {key for table in [record, *inner] for key in table.keys} | headings


def test_the_readme_names_other_spellings_and_what_a_job_may_have():
    text = section(README, 'A stage')

    for other, main in keys.STAGE.spellings.items():
        assert re.search(rf'^\| `{main}` .*\(also spelled `{other}`\)', text, re.M)
    row = re.search(r'^\| `jobs` \|.*', text, re.M).group()
    assert {key for key in keys.JOB.keys if f'`{key}`' in row} == set(keys.JOB.keys)


def test_the_readme_has_every_key_of_the_config_and_no_other():
    named = first_column(section(README, 'The config'))

    assert {name.partition('.')[0] for name in named} == set(settings.CONFIG.keys) - {
        'v2_features'}


@pytest.mark.parametrize('record', ['IDEMPOTENCY', 'CHECKPOINT', 'RETRY', 'RESOURCES', 'STAGE',
                                    'PIPELINE', 'ITEMS'])
def test_the_readme_tells_the_defaults(record):
    """A row is: key, default, meaning; `none` and `the runner's own` stand for nothing given."""
    rows = [[cell.strip() for cell in line.split('|')[1:3]] for line in re.findall(
        r'^\| `.*', section(README, 'Definition reference'), re.M)]

    for key, rule in getattr(keys, record).keys.items():
        wanted = ('required' if rule.required else 'none' if rule.default is None
                  else f'`{json.dumps(rule.default)}`')
        shown = {'`60`': '`60.0`', "the runner's own": 'none'}
        assert wanted in [shown.get(default, default) for name, default in rows
                          if name == f'`{key}`'], key


@pytest.mark.parametrize('path, title', [
    pytest.param(README, 'Processors', id='README'),
    pytest.param(PROCESSORS, 'What it gets', id='processors'),
])
def test_the_variables_of_processors_are_all_told(path, title):
    stage = definition.parse({'name': 'x', 'stages': [
        {'name': 'a', 'processor': 'bin/a.py', 'outputDir': 'out'}]}).pipeline.stages[0]
    given = variables(Given('run', 'a', stage, 1, 0, 'key', '/w', '/o', '/p', '/g', '/r',
                            job='left', item=('one', 'in/one.txt')), {})

    told = {name for name in first_column(section(path, title)) if name.startswith('PIPELINE_')}

    assert told == {name for name in given if name.startswith('PIPELINE_')}


def test_the_exit_codes_are_all_told(main):
    rows = re.findall(r'^\| ([\d, ]+) \|', section(README, 'Command line'), re.M)
    told = {int(code) for row in rows for code in row.split(',')}

    signals = {128 + number for number in (1, 2, 15)}
    assert told == {errors.OK, errors.FAILED, errors.REFUSED, errors.BUG, errors.BUSY,
                    errors.STATE, errors.PENDING} | signals
    assert set(re.findall(r'\b(\d) [a-z]', main('--help').out.partition('exit codes')[2])) == {
        str(code) for code in told - signals - {errors.PENDING}}
    assert f'exit with {errors.PENDING} ' in main('plan', '--help').out


def test_the_notes_of_the_troubleshooting_are_those_of_the_code():
    source = (CHECKOUT / 'src' / 'stagerunner' / 'resume.py').read_text('utf-8')
    notes = [name for name in first_column(section(README, 'Troubleshooting')) if ' ' in name]

    assert len(notes) > 5
    for note in notes:
        for part in re.split(r"'x'|…|: …", note):
            assert part.strip(' :') in source, note


@pytest.mark.parametrize('path', [README, PROCESSORS], ids=['README', 'processors'])
def test_the_definitions_shown_are_valid(path):
    shown = [json.loads(block) for block in fenced(path, 'json')]
    definitions = [document for document in shown if 'stages' in document]

    assert definitions
    assert [definition.parse(document).faults for document in definitions] == [[]] * len(
        definitions)


def test_the_page_of_commands_is_current():
    spec = importlib.util.spec_from_file_location('commands_page', CHECKOUT / 'docs/commands.py')
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)

    is_current = generator.PAGE.read_text('utf-8') == generator.page()
    assert is_current, 'docs/commands.md is not current; run: python3 docs/commands.py'


# -- links ----------------------------------------

def anchors_of(path):
    """Return the anchors of a page's headings, as viewers make them."""
    headings = re.findall(r'^#+ (.*)', without_code(path.read_text('utf-8')), re.M)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: path.relative_to(CHECKOUT).as_posix())
def test_links_between_documents_resolve(path):
    for link in re.findall(r'\]\(([^)\s]+)\)', without_code(path.read_text('utf-8'))):
        file, _, anchor = link.partition('#')
        assert '://' not in link, f'{link}: the reader has no network'
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def test_files_that_documents_name_exist():
    """Names in backticks that look like files of the project; what runs leave behind is not."""
    made = ('data/work/', 'data/output/', 'state/', 'locks/')
    folders = 'src|tests|docs|bin|data|examples|benchmarks|\\.ci'
    for path in [README, CHECKOUT / 'CONTRIBUTING.md']:
        for name in re.findall(rf'`((?:{folders})/[\w./-]+)`', path.read_text('utf-8')):
            assert name.startswith(made) or (CHECKOUT / name).exists(), f'{path.name}: {name}'


def test_the_guards_of_this_file_bite():
    """The helpers that find things would find wrong ones."""
    assert flags_in('call --verbose, not -- or a--b') == {'--verbose'}
    assert first_column('| `a` | `b` |\n|---|---|\n') == {'a'}
    assert clean_environment(GATE='x')['GATE'] == 'x'
