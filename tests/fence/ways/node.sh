#!/bin/sh
# Open a connection with Node.js.
: > "$PIPELINE_OUTPUT_DIR/tried"
node -e "require('net').connect($WAY_TCP, '127.0.0.1').end('way-$WAY_NAME-out')"
exit 0
