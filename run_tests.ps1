# Tests, demo and clean-up for Windows PowerShell 5.1 and newer: the twin of run_tests.sh.
# Cmdlets stop at their first error. A program does not, only because it writes to stderr:
# $ErrorActionPreference = 'Stop' would see to that when the caller redirects it.
$PSDefaultParameterValues = @{ '*:ErrorAction' = 'Stop' }
$usage = @'
usage: .\run_tests.ps1 [PYTEST ARGUMENT ...]   make the virtual environment, run the tests
       .\run_tests.ps1 demo                    run the demo pipeline twice, show its metrics
       .\run_tests.ps1 clean                   empty state, locks, data\work and data\output
       .\run_tests.ps1 help                    this text

Variables: PYTHON (interpreter), VENV (its environment, default .venv),
COVERAGE_MIN (percentage below which the tests fail, default 70; 0 for a selection of tests).
'@

function Stop-Here([string] $message, [int] $code) {
    [Console]::Error.WriteLine('run_tests.ps1: ' + $message)
    exit $code
}

function Assert-Success {
    if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
}

function Find-Python {
    $probe = 'import sys; sys.version_info >= (3, 7) or sys.exit(1); print(sys.executable)'
    $candidates = @(@('py', '-3'), @('python', ''), @('python3', ''))
    if ($env:PYTHON) { $candidates = @(, @($env:PYTHON, '')) }
    foreach ($candidate in $candidates) {
        if (-not (Get-Command $candidate[0] -ErrorAction SilentlyContinue)) { continue }
        $options = @($candidate[1] | Where-Object { $_ })
        $found = & $candidate[0] @options -c $probe
        if ($LASTEXITCODE -eq 0 -and $found) { return $found }
    }
    Stop-Here 'no Python 3.7 or newer found; name one with the variable PYTHON' 2
}

function Get-VenvPython {
    if (Test-Path -LiteralPath (Join-Path $venv 'bin/python')) { return Join-Path $venv 'bin/python' }
    return Join-Path $venv 'Scripts\python.exe'
}

function Get-Version([string] $exe) {
    if (Test-Path -LiteralPath $exe) { return & $exe -c 'import sys; print(sys.version.split()[0])' }
}

function Initialize-Venv {
    $version = Get-Version $python
    if ((Get-Version (Get-VenvPython)) -ne $version) {
        $content = @(Get-ChildItem -LiteralPath $venv -Force -ErrorAction SilentlyContinue)
        if ($content.Count -and $content.Name -notcontains 'pyvenv.cfg') {
            Stop-Here "$venv is no virtual environment and not empty; name another folder with VENV" 2
        }
        Write-Host "making $venv with $python"
        & $python -m venv --clear $venv
        Assert-Success
    }
    $wanted = (@($version) + (Get-Content 'requirements-dev.txt')) -join "`n"
    $stamp = Join-Path $venv 'installed.stamp'
    $present = ''
    if (Test-Path -LiteralPath $stamp) { $present = (Get-Content -LiteralPath $stamp) -join "`n" }
    if ($present -ne $wanted) {
        Write-Host "installing requirements-dev.txt into $venv"
        & (Get-VenvPython) -m pip install --quiet --disable-pip-version-check --no-input -r requirements-dev.txt
        Assert-Success
        Set-Content -LiteralPath $stamp -Value $wanted -Encoding ASCII
    }
}

function Invoke-Tests([object[]] $extra) {
    Initialize-Venv
    $exe = Get-VenvPython
    $minimum = 70
    if ($env:COVERAGE_MIN) { $minimum = $env:COVERAGE_MIN }
    # The coverage that Python 3.7 and 3.8 get does not know every setting of pyproject.toml.
    $config = 'pyproject.toml'
    & $exe -c 'import sys; sys.exit(sys.version_info < (3, 9))'
    if ($LASTEXITCODE -ne 0) { $config = '.ci/coverage-old.ini' }
    Write-Host "running the tests with Python $(Get-Version $exe), coverage at least $minimum %"
    $options = @('--cov', "--cov-config=$config", '--cov-report=term', "--cov-fail-under=$minimum")
    & $exe -m pytest ($options + $extra)
    Assert-Success
}

function Invoke-Demo {
    Write-Host 'removing the two completion markers'
    foreach ($marker in 'data/work/.stage_copy.done', 'data/output/.stage_upper.done') {
        if (Test-Path $marker) { Remove-Item $marker -Force }
    }
    foreach ($id in 'demo1', 'demo2') {
        Write-Host "running src/pipeline_runner.py --pipeline pipeline.json --run-id $id"
        & $python src/pipeline_runner.py --pipeline pipeline.json --run-id $id
        Assert-Success
    }
    foreach ($id in 'demo1', 'demo2') {
        Write-Host "state/metrics_$id.json:"
        & $python -m json.tool "state/metrics_$id.json"
        Assert-Success
    }
}

function Test-Link($entry) {
    # Not the attribute ReparsePoint: every folder that OneDrive keeps has it.
    return $entry.LinkType -in 'SymbolicLink', 'Junction'
}

# A link goes, what it points to stays; Remove-Item -Recurse is not to be trusted with that.
function Remove-Entry($entry) {
    if ($entry.PSIsContainer -and -not (Test-Link $entry)) {
        foreach ($inner in @(Get-ChildItem -LiteralPath $entry.FullName -Force)) { Remove-Entry $inner }
    }
    if ($entry.Attributes -band [IO.FileAttributes]::ReadOnly) {
        $entry.Attributes = $entry.Attributes -bxor [IO.FileAttributes]::ReadOnly
    }
    $entry.Delete()
}

# Not while a run is going on: it would lose the files that keep others out.
function Clear-Folders {
    foreach ($folder in 'state', 'locks', 'data/work', 'data/output') {
        if (-not (Test-Path $folder)) { New-Item -ItemType Directory -Path $folder | Out-Null }
        if (Test-Link (Get-Item $folder -Force)) {
            Write-Host "leaving $folder alone: it is a link"
            continue
        }
        Write-Host "emptying $folder"
        foreach ($entry in @(Get-ChildItem $folder -Force)) {
            if ($entry.Name -ne '.gitkeep') { Remove-Entry $entry }
        }
        $keep = Join-Path $folder '.gitkeep'
        if (-not (Test-Path $keep)) { New-Item -ItemType File -Path $keep | Out-Null }
    }
}

$verb = [string] ($args | Select-Object -First 1)
if ($verb -in 'help', '-h', '--help') {
    Write-Host $usage
    exit 0
}
$isForPytest = -not $verb -or $verb -like '-*' -or (Test-Path -LiteralPath (Join-Path $PSScriptRoot ($verb -split '::')[0]))
if ($verb -notin 'demo', 'clean' -and -not $isForPytest) {
    [Console]::Error.WriteLine($usage)
    Stop-Here "unknown command '$verb'" 2
}
if ($verb -ne 'clean') { $python = Find-Python }
$venv = Join-Path $PSScriptRoot '.venv'
if ($env:VENV) { $venv = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($env:VENV) }
Push-Location -LiteralPath $PSScriptRoot
try {
    if ($verb -eq 'clean') { Clear-Folders }
    elseif ($verb -eq 'demo') { Invoke-Demo }
    else { Invoke-Tests $args }
}
finally {
    Pop-Location
}
exit 0
