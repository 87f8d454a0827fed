/* The board as a process of this machine, on a pty: the same logic without any emulator.
 *
 * Prints "port NAME" and then "output CHANNEL VALUE" for every change. Input i shows the number of output i, so that a
 * set-point can be seen coming back; the last input is not connected. */
#define _GNU_SOURCE
#include "hal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

const int32_t hal_output_most[HAL_OUTPUTS] = {1000, 1, 1};
const int32_t hal_output_safe[HAL_OUTPUTS] = {0, 0, 0};
const char hal_name[] = "nisse io posix";

static int line = -1;
static int32_t shown[HAL_OUTPUTS];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

void hal_start(void) {
    struct termios raw;
    line = posix_openpt(O_RDWR | O_NOCTTY);
    if (line < 0 || grantpt(line) || unlockpt(line)) fail("pty");
    /* Kept open, so that our end outlives a host that closes its own; raw before the host has set it. */
    int other = open(ptsname(line), O_RDWR | O_NOCTTY);
    if (other < 0 || tcgetattr(other, &raw)) fail("pty");
    cfmakeraw(&raw);
    tcsetattr(other, TCSANOW, &raw);
    fcntl(line, F_SETFL, O_NONBLOCK);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("port %s\n", ptsname(line));
}

uint32_t hal_millis(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u);
}

int hal_receive(void) {
    uint8_t byte;
    return read(line, &byte, 1) == 1 ? byte : -1;
}

void hal_send(const uint8_t *bytes, uint8_t count) {
    while (count) {
        ssize_t sent = write(line, bytes, count);
        if (sent <= 0) { /* nobody reads: a wire would lose it as well */
            if (errno != EINTR) return;
            continue;
        }
        bytes += sent;
        count = (uint8_t)(count - sent);
    }
}

int32_t hal_input(uint8_t channel) { return channel < HAL_OUTPUTS ? shown[channel] : HAL_NO_VALUE; }

void hal_output(uint8_t channel, int32_t value) {
    if (shown[channel] != value) printf("output %d %ld\n", channel, (long)value);
    shown[channel] = value;
}

void hal_rest(void) {
    struct pollfd wait = {.fd = line, .events = POLLIN};
    poll(&wait, 1, 1);
}
