#!/bin/sh
# Ask for a page with curl.
: > "$PIPELINE_OUTPUT_DIR/tried"
curl --silent --noproxy '*' --max-time 10 "http://127.0.0.1:$WAY_TCP/way-$WAY_NAME-out"
exit 0
