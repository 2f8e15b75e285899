#!/bin/sh
# Begin to speak TLS; the name asked for goes out unencrypted.
: > "$PIPELINE_OUTPUT_DIR/tried"
openssl s_client -quiet -connect "127.0.0.1:$WAY_TCP" -servername "way-$WAY_NAME-out" < /dev/null
exit 0
