/* Go out of whatever program this library is loaded into, before its first line. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__attribute__((constructor)) static void go(void)
{
    const char *name = getenv("WAY_NAME"), *port = getenv("WAY_TCP");
    const char *token = "way-preloaded-out";

    if (name && port && !strcmp(name, "preloaded")) {
        struct sockaddr_in there = {AF_INET, htons(atoi(port)), {htonl(INADDR_LOOPBACK)}};
        int connection = socket(AF_INET, SOCK_STREAM, 0);

        connect(connection, (struct sockaddr *) &there, sizeof there);
        write(connection, token, strlen(token));
        close(connection);
    }
}
