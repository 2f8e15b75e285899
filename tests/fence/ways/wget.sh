#!/bin/sh
# Ask for a page with wget.
: > "$PIPELINE_OUTPUT_DIR/tried"
wget --quiet --no-proxy --tries=1 --timeout=10 -O /dev/null \
    "http://127.0.0.1:$WAY_TCP/way-$WAY_NAME-out"
exit 0
