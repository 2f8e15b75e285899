# The demo on Windows: the same as "bash run_tests.sh demo".
& (Join-Path $PSScriptRoot 'run_tests.ps1') demo
exit $LASTEXITCODE
