// Two network namespaces joined by a path with a delay, which may change the order of packets: a TUN device `delay` in each,
// and this program between them.
//
//   delay NETNS_A NETNS_B
//
// Each line of stdin sets the path, in microseconds; the end of stdin ends the program:
//
//   DELAY [EVERY HOLD [EVERY HOLD]]
//
// DELAY is that of one direction. Of the packets of A, and then of those of B, about one in EVERY is held back for HOLD more,
// so that later ones overtake it, or lost if HOLD is 0. EVERY is 0 for none, as are numbers that are left out. Which packets
// is pseudo-random, and the same after each line.
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
#define SEED 20261130

struct packet {
  long long due;
  int length;
  char bytes[LARGEST];
};

// All packets of a queue wait equally long, so the first one is due first.
struct queue {
  struct packet *packets;
  unsigned first, count;
};

// One direction: the packets in their order, and those that are held back.
struct way {
  struct queue queues[2];
  unsigned every;
  long long hold;
  unsigned random;
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

// A linear congruential generator, of whose numbers the upper bits are good.
static int is_held(struct way *way) {
  way->random = way->random * 1664525 + 1013904223;
  return way->every > 0 && (way->random >> 8) % way->every == 0;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  int fds[2] = {tun(argv[1]), tun(argv[2])};
  struct way ways[2] = {0};
  for (int i = 0; i < 4; i++) ways[i / 2].queues[i % 2].packets = calloc(MOST, sizeof(struct packet));
  long long delay = 0;
  puts("ready");
  fflush(stdout);
  for (;;) {
    long long soonest = -1;
    for (int i = 0; i < 4; i++) {
      struct queue *queue = &ways[i / 2].queues[i % 2];
      while (queue->count > 0) {
        struct packet *packet = &queue->packets[queue->first];
        if (packet->due > now()) {
          if (soonest < 0 || packet->due < soonest) soonest = packet->due;
          break;
        }
        // A full device drops it, as a router would.
        if (write(fds[1 - i / 2], packet->bytes, packet->length) < 0 && errno == EIO) usleep(100);
        queue->first = (queue->first + 1) % MOST;
        queue->count--;
      }
    }
    long long left = soonest < 0 ? 1000000000LL : soonest - now();
    if (left < 0) left = 0;
    struct timespec timeout = {left / 1000000000LL, left % 1000000000LL};
    struct pollfd polled[3] = {{fds[0], POLLIN, 0}, {fds[1], POLLIN, 0}, {0, POLLIN, 0}};
    if (ppoll(polled, 3, &timeout, NULL) < 0 && errno != EINTR) return 1;
    if (polled[2].revents) {
      char line[128] = {0};
      if (read(0, line, sizeof line - 1) <= 0) return 0;
      unsigned every[2] = {0}, hold[2] = {0};
      sscanf(line, "%lld %u %u %u %u", &delay, &every[0], &hold[0], &every[1], &hold[1]);
      delay *= 1000;
      for (int i = 0; i < 2; i++) {
        ways[i].every = every[i];
        ways[i].hold = hold[i] * 1000LL;
        ways[i].random = SEED;
      }
    }
    for (int i = 0; i < 2; i++) {
      struct way *way = &ways[i];
      // A few at a time: those that are due must not wait for a fast sender.
      for (int reads = 0; reads < 64; reads++) {
        struct packet next;
        if ((next.length = read(fds[i], next.bytes, LARGEST)) <= 0) break;
        int held = is_held(way);
        if (held && way->hold == 0) continue;
        next.due = now() + delay + (held ? way->hold : 0);
        struct queue *queue = &way->queues[held];
        if (queue->count == MOST) continue;
        queue->packets[(queue->first + queue->count++) % MOST] = next;
      }
    }
  }
}
