#!/bin/sh
# Compile a helper and run it.
: > "$PIPELINE_OUTPUT_DIR/tried"
cat > "$PIPELINE_OUTPUT_DIR/helper.c" <<'C'
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct sockaddr_in there = {AF_INET, htons(atoi(argv[1])), {htonl(INADDR_LOOPBACK)}};
    int connection = socket(AF_INET, SOCK_STREAM, 0);

    connect(connection, (struct sockaddr *) &there, sizeof there);
    write(connection, argv[2], strlen(argv[2]));
    return 0;
}
C
cc -w -o "$PIPELINE_OUTPUT_DIR/helper" "$PIPELINE_OUTPUT_DIR/helper.c" &&
    "$PIPELINE_OUTPUT_DIR/helper" "$WAY_TCP" "way-$WAY_NAME-out"
exit 0
