#!/bin/sh
# Open a connection with nothing but bash.
: > "$PIPELINE_OUTPUT_DIR/tried"
bash -c 'printf %s "way-$WAY_NAME-out" > "/dev/tcp/127.0.0.1/$WAY_TCP"'
exit 0
