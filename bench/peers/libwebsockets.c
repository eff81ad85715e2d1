/* A sender and a receiver on libwebsockets, as small as they can be: what they tell is what `anyport serve --json` tells.
 *
 *   anyport-peer-libwebsockets receive [FILE]
 *   anyport-peer-libwebsockets send FILE HOST PORT FRAME_SIZE CONGESTION
 *
 * scripts/bench-peers builds it: cc -O2 libwebsockets.c -lwebsockets
 */
#include <libwebsockets.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

/* What one call hands over; a larger one costs the receiver memory, a smaller one calls. */
#define RX_BUFFER (64 * 1024)

static FILE *file;
static size_t frame_size;
static const char *congestion;
static unsigned char *frame;
static unsigned long long bytes;
static double first, last;
static int clean, sent, done;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void tell_end(void) {
    if (file) fclose(file);
    if (clean) printf("{\"event\":\"receipt\",\"bytes\":%llu,\"seconds\":%.9f}\n", bytes, last - first);
    else printf("{\"event\":\"interrupted\",\"reason\":\"the connection ended without a Close of 1000\"}\n");
    fflush(stdout);
}

static int receive(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t length) {
    (void)user;
    switch (reason) {
    case LWS_CALLBACK_RECEIVE:
        last = now();
        if (bytes == 0) first = last;
        bytes += length;
        if (file && fwrite(in, 1, length, file) != length) return -1;
        break;
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE: {
        const unsigned char *code = in;
        clean = length < 2 || (code[0] << 8 | code[1]) == 1000;
        break;
    }
    case LWS_CALLBACK_CLOSED:
        tell_end();
        break;
    default:
        return lws_callback_http_dummy(wsi, reason, user, in, length);
    }
    return 0;
}

static int send_file(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t length) {
    switch (reason) {
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
        if (setsockopt(lws_get_socket_fd(wsi), IPPROTO_TCP, TCP_CONGESTION, congestion, strlen(congestion)) != 0) return -1;
        lws_callback_on_writable(wsi);
        break;
    case LWS_CALLBACK_CLIENT_WRITEABLE: {
        size_t count = fread(frame + LWS_PRE, 1, frame_size, file);
        if (count == 0) {
            sent = 1;
            lws_close_reason(wsi, LWS_CLOSE_STATUS_NORMAL, NULL, 0);
            return -1;
        }
        if (lws_write(wsi, frame + LWS_PRE, count, LWS_WRITE_BINARY) < 0) return -1;
        lws_callback_on_writable(wsi);
        break;
    }
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        fprintf(stderr, "cannot connect: %s\n", in ? (const char *)in : "no reason");
        done = 1;
        break;
    case LWS_CALLBACK_CLIENT_CLOSED:
        done = 1;
        break;
    default:
        return lws_callback_http_dummy(wsi, reason, user, in, length);
    }
    return 0;
}

int main(int count, char **words) {
    struct lws_protocols protocols[] = {
        { .name = "peer", .callback = receive, .rx_buffer_size = RX_BUFFER },
        { 0 },
    };
    struct lws_context_creation_info info = { .protocols = protocols, .gid = -1, .uid = -1 };
    const char *what = count > 1 ? words[1] : "";
    lws_set_log_level(LLL_ERR | LLL_WARN, NULL);
    if (strcmp(what, "--version") == 0) {
        printf("libwebsockets %s\n", lws_get_library_version());
        return 0;
    }
    if (strcmp(what, "receive") == 0 && count <= 3) {
        if (count == 3 && !(file = fopen(words[2], "wb"))) return perror(words[2]), 1;
        info.iface = "127.0.0.1";
        info.port = 0;
        info.options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS;
        info.pt_serv_buf_size = RX_BUFFER;
        struct lws_context *context = lws_create_context(&info);
        struct lws_vhost *host = context ? lws_create_vhost(context, &info) : NULL;
        if (!host) return 1;
        printf("{\"event\":\"listening\",\"addr\":\"127.0.0.1:%d\"}\n", lws_get_vhost_listen_port(host));
        fflush(stdout);
        /* Ended by whoever reads the receipt, as a server is. */
        while (lws_service(context, 0) >= 0) {}
        return 1;
    }
    if (strcmp(what, "send") == 0 && count == 7) {
        if (!(file = fopen(words[2], "rb"))) return perror(words[2]), 1;
        frame_size = strtoul(words[5], NULL, 10);
        congestion = words[6];
        frame = malloc(LWS_PRE + frame_size);
        protocols[0].callback = send_file;
        info.port = CONTEXT_PORT_NO_LISTEN;
        struct lws_context *context = lws_create_context(&info);
        if (!context || !frame) return 1;
        struct lws_client_connect_info to = {
            .context = context, .address = words[3], .port = atoi(words[4]), .path = "/",
            .host = words[3], .ietf_version_or_minus_one = -1, .local_protocol_name = "peer",
        };
        if (!lws_client_connect_via_info(&to)) return 1;
        while (!done && lws_service(context, 0) >= 0) {}
        lws_context_destroy(context);
        return sent ? 0 : 1;
    }
    fprintf(stderr, "receive [FILE], or send FILE HOST PORT FRAME_SIZE CONGESTION\n");
    return 2;
}
