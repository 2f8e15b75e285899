#!/bin/sh
# Open a connection with netcat.
: > "$PIPELINE_OUTPUT_DIR/tried"
printf %s "way-$WAY_NAME-out" | nc -w 5 127.0.0.1 "$WAY_TCP"
exit 0
