/* A wire on which frames take time, between two devices that it makes in two network namespaces.
 *
 *     delay NAMESPACE DEVICE NAMESPACE DEVICE MICROSECONDS
 *
 * It stands in for tc's netem where the kernel has none. Both devices are TAPs: a frame that the kernel puts into one is
 * held until its time has come, and then comes out of the other. One process does it, so order is kept. It says "ready"
 * when both are there, and ends with its standard input. A frame that finds the wire full is lost, as on a switch.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { FRAMES = 8192, LONGEST = 9216 + 64 };

struct frame {
    int64_t due; /* nanoseconds */
    int length;
    unsigned char bytes[LONGEST];
};

struct way {
    int from, to;
    uint64_t first, end; /* of the frames under way: numbers that only grow */
    struct frame *frames;
};

static int64_t now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int tap(const char *namespace, const char *device) {
    char path[256];
    snprintf(path, sizeof path, "/run/netns/%s", namespace);
    int within = open(path, O_RDONLY | O_CLOEXEC);
    if (within < 0 || setns(within, CLONE_NEWNET)) fail(path);
    close(within);
    int made = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    struct ifreq wanted = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    snprintf(wanted.ifr_name, sizeof wanted.ifr_name, "%s", device);
    if (made < 0 || ioctl(made, TUNSETIFF, &wanted)) fail(device);
    return made;
}

static void take(struct way *way, int64_t delay) {
    static unsigned char lost[LONGEST];
    for (;;) {
        int is_full = way->end - way->first == FRAMES;
        struct frame *frame = &way->frames[way->end % FRAMES];
        ssize_t n = read(way->from, is_full ? lost : frame->bytes, LONGEST);
        if (n <= 0) return;
        if (is_full) continue;
        frame->due = now() + delay;
        frame->length = (int)n;
        way->end++;
    }
}

/* Gives when the next frame is due, or `never`. */
static int64_t give(struct way *way, int64_t never) {
    for (; way->first < way->end; way->first++) {
        struct frame *frame = &way->frames[way->first % FRAMES];
        if (frame->due > now()) return frame->due;
        if (write(way->to, frame->bytes, (size_t)frame->length) < 0 && errno == EAGAIN) return now() + 20000;
    }
    return never;
}

int main(int n, char **words) {
    if (n != 6) {
        fprintf(stderr, "usage: %s NAMESPACE DEVICE NAMESPACE DEVICE MICROSECONDS\n", words[0]);
        return 2;
    }
    int one = tap(words[1], words[2]), other = tap(words[3], words[4]);
    int64_t delay = atoll(words[5]) * 1000;
    struct way ways[2] = {{one, other, 0, 0, NULL}, {other, one, 0, 0, NULL}};
    for (int i = 0; i < 2; i++)
        if (!(ways[i].frames = malloc(FRAMES * sizeof *ways[i].frames))) fail("memory");
    prctl(PR_SET_TIMERSLACK, 1UL);
    puts("ready");
    fflush(stdout);
    struct pollfd asked[3] = {{one, POLLIN, 0}, {other, POLLIN, 0}, {0, POLLIN, 0}};
    for (;;) {
        int64_t next = INT64_MAX;
        for (int i = 0; i < 2; i++) {
            take(&ways[i], delay);
            next = give(&ways[i], next);
        }
        int64_t left = next == INT64_MAX ? -1 : next - now();
        struct timespec rest = {left / 1000000000, left % 1000000000};
        if (next == INT64_MAX || left > 0) ppoll(asked, 3, next == INT64_MAX ? NULL : &rest, NULL);
        if (asked[2].revents) return 0;
    }
}
