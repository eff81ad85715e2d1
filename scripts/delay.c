// Two network namespaces joined by a path with a delay: a TUN device `delay` in each, and this program between them. The
// one-way delay in microseconds is read from stdin, one number a line; the end of stdin ends it.
//
//   delay NETNS_A NETNS_B
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

// Packets on their way in one direction: at most a second of 1500 bytes at 100 MB/s.
#define MOST 65536
#define LARGEST 2048

struct packet {
  long long due;
  int length;
  char bytes[LARGEST];
};

struct way {
  struct packet *packets;
  unsigned first, count;
};

static long long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int tun(const char *netns) {
  char path[256];
  snprintf(path, sizeof path, "/run/netns/%s", netns);
  int ns = open(path, O_RDONLY | O_CLOEXEC);
  if (ns < 0 || setns(ns, CLONE_NEWNET) != 0) {
    perror(path);
    exit(1);
  }
  close(ns);
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  strcpy(request.ifr_name, "delay");
  if (fd < 0 || ioctl(fd, TUNSETIFF, &request) != 0) {
    perror("/dev/net/tun");
    exit(1);
  }
  return fd;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  int fds[2] = {tun(argv[1]), tun(argv[2])};
  struct way ways[2];
  for (int i = 0; i < 2; i++) ways[i] = (struct way){calloc(MOST, sizeof(struct packet)), 0, 0};
  long long delay = 0;
  puts("ready");
  fflush(stdout);
  for (;;) {
    long long soonest = -1;
    for (int i = 0; i < 2; i++) {
      struct way *way = &ways[i];
      while (way->count > 0) {
        struct packet *packet = &way->packets[way->first];
        if (packet->due > now()) {
          if (soonest < 0 || packet->due < soonest) soonest = packet->due;
          break;
        }
        // A full device drops it, as a router would.
        if (write(fds[1 - i], packet->bytes, packet->length) < 0 && errno == EIO) usleep(100);
        way->first = (way->first + 1) % MOST;
        way->count--;
      }
    }
    long long left = soonest < 0 ? 1000000000LL : soonest - now();
    if (left < 0) left = 0;
    struct timespec timeout = {left / 1000000000LL, left % 1000000000LL};
    struct pollfd polled[3] = {{fds[0], POLLIN, 0}, {fds[1], POLLIN, 0}, {0, POLLIN, 0}};
    if (ppoll(polled, 3, &timeout, NULL) < 0 && errno != EINTR) return 1;
    if (polled[2].revents) {
      char line[64] = {0};
      if (read(0, line, sizeof line - 1) <= 0) return 0;
      delay = atoll(line) * 1000;
    }
    for (int i = 0; i < 2; i++) {
      struct way *way = &ways[i];
      while (way->count < MOST) {
        struct packet *packet = &way->packets[(way->first + way->count) % MOST];
        packet->length = read(fds[i], packet->bytes, LARGEST);
        if (packet->length <= 0) break;
        packet->due = now() + delay;
        way->count++;
      }
    }
  }
}
