#!/bin/sh
# Open a connection with Perl.
: > "$PIPELINE_OUTPUT_DIR/tried"
perl -MIO::Socket::INET -e 'print { IO::Socket::INET->new("127.0.0.1:$ENV{WAY_TCP}") || die $@ }
    "way-$ENV{WAY_NAME}-out"'
exit 0
