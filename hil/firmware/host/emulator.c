/* An ATmega328P with the I/O board's firmware in simavr.
 *
 * emulator FIRMWARE.elf             in real time; its UART is a pty, whose name is printed: "port /dev/pts/N"
 * emulator FIRMWARE.elf --lockstep  time stands still until a command moves it, so that every run is the same
 *
 * Commands on standard input, one per line:
 *   input CHANNEL MILLIVOLTS   voltage at an analogue input
 *   reset                      as by the reset pin
 *   send HEX                   lockstep: bytes to the UART
 *   run CYCLES                 lockstep: on to this count of clock cycles; answers "at CYCLES", after what happened
 * Printed: "output CHANNEL VALUE" for every change of a pin, in lockstep "sent HEX" for every byte from the UART. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <simavr/avr_adc.h>
#include <simavr/avr_ioport.h>
#include <simavr/avr_timer.h>
#include <simavr/avr_uart.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_elf.h>

#define CLOCK_HZ 16000000u
#define SLICE (CLOCK_HZ / 500) /* emulated at most between two looks at the line */
#define WAITING 4096

static avr_t *avr;
static int line = -1; /* the pty; -1 in lockstep */
static int accepts = 1;
static uint8_t waiting[WAITING];
static size_t waiting_head, waiting_tail;

static void fail(const char *what) {
    fprintf(stderr, "emulator: %s\n", what);
    exit(1);
}

static void on_sent(struct avr_irq_t *irq, uint32_t value, void *param) {
    (void)irq, (void)param;
    uint8_t byte = (uint8_t)value;
    if (line < 0)
        printf("sent %02x\n", byte);
    else if (write(line, &byte, 1) < 0 && errno != EAGAIN)
        perror("emulator: pty");
}

static void on_flow(struct avr_irq_t *irq, uint32_t value, void *param) {
    (void)irq, (void)value;
    accepts = param != NULL;
}

static void on_relay(struct avr_irq_t *irq, uint32_t value, void *param) {
    (void)irq;
    printf("output %d %u\n", (int)(intptr_t)param, value & 1);
}

static void on_pwm(struct avr_irq_t *irq, uint32_t value, void *param) {
    (void)irq, (void)param;
    printf("output 0 %u\n", value ? (value + 1) / 16 : 0);
}

/* The emulator's own pause while the core sleeps: none, the loop below keeps the time. */
static void no_sleep(avr_t *core, avr_cycle_count_t cycles) { (void)core, (void)cycles; }

static void wire_up(void) {
    uint32_t flags = 0;
    avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), &flags);
    avr_irq_t *uart = avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), 0);
    avr_irq_register_notify(uart + UART_IRQ_OUTPUT, on_sent, NULL);
    avr_irq_register_notify(uart + UART_IRQ_OUT_XON, on_flow, &accepts);
    avr_irq_register_notify(uart + UART_IRQ_OUT_XOFF, on_flow, NULL);
    for (intptr_t relay = 1; relay <= 2; relay++)
        avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_IOPORT_GETIRQ('D'), IOPORT_IRQ_PIN3 + relay), on_relay,
                                (void *)relay);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_TIMER_GETIRQ('1'), TIMER_IRQ_OUT_PWM0), on_pwm, NULL);
}

static void load(const char *path) {
    elf_firmware_t firmware = {0};
    /* The library tells what it loads on standard output, which is ours for the protocol above. */
    int out = dup(STDOUT_FILENO);
    int nowhere = open("/dev/null", O_WRONLY);
    dup2(nowhere, STDOUT_FILENO);
    int failed = elf_read_firmware(path, &firmware);
    fflush(stdout);
    dup2(out, STDOUT_FILENO);
    close(out);
    close(nowhere);
    if (failed) fail("no such firmware; build it with `make avr`");
    avr = avr_make_mcu_by_name("atmega328p");
    if (!avr) fail("this simavr does not know the atmega328p");
    avr_init(avr);
    avr->log = LOG_ERROR;
    firmware.frequency = CLOCK_HZ;
    avr_load_firmware(avr, &firmware);
    avr->vcc = avr->avcc = avr->aref = 5000;
    avr->sleep = no_sleep;
}

static void receive(uint8_t byte) {
    size_t next = (waiting_head + 1) % WAITING;
    if (next == waiting_tail) return; /* a wire has no memory at all */
    waiting[waiting_head] = byte;
    waiting_head = next;
}

static void run_to(avr_cycle_count_t target) {
    while (avr->cycle < target) {
        while (accepts && waiting_tail != waiting_head) {
            avr_raise_irq(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT), waiting[waiting_tail]);
            waiting_tail = (waiting_tail + 1) % WAITING;
        }
        int state = avr_run(avr);
        if (state == cpu_Done || state == cpu_Crashed) fail("the firmware has crashed");
    }
}

static void obey(char *command) {
    unsigned channel, value;
    unsigned long long cycles;
    if (sscanf(command, "input %u %u", &channel, &value) == 2 && channel < 8) {
        avr_raise_irq(avr_io_getirq(avr, AVR_IOCTL_ADC_GETIRQ, (int)channel), value);
    } else if (strncmp(command, "reset", 5) == 0) {
        avr_reset(avr);
    } else if (strncmp(command, "send ", 5) == 0) {
        for (char *at = command + 5; sscanf(at, "%2x", &value) == 1; at += 2) receive((uint8_t)value);
    } else if (line < 0 && sscanf(command, "run %llu", &cycles) == 1) {
        run_to(cycles);
        printf("at %llu\n", (unsigned long long)avr->cycle);
    } else {
        fail("a command that it does not know");
    }
}

static void open_pty(void) {
    struct termios raw;
    line = posix_openpt(O_RDWR | O_NOCTTY);
    if (line < 0 || grantpt(line) || unlockpt(line)) fail("no pty to be had");
    /* Kept open, so that our end outlives a host that closes its own. */
    int other = open(ptsname(line), O_RDWR | O_NOCTTY);
    if (other < 0 || tcgetattr(other, &raw)) fail("the pty cannot be opened");
    cfmakeraw(&raw);
    tcsetattr(other, TCSANOW, &raw);
    fcntl(line, F_SETFL, O_NONBLOCK);
    printf("port %s\n", ptsname(line));
}

static avr_cycle_count_t now_in_cycles(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (avr_cycle_count_t)now.tv_sec * CLOCK_HZ + (avr_cycle_count_t)now.tv_nsec * (CLOCK_HZ / 1000000u) / 1000u;
}

static void run_in_real_time(void) {
    struct pollfd ready[] = {{.fd = line, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    avr_cycle_count_t begun = now_in_cycles(), first = avr->cycle;
    char command[256];
    uint8_t bytes[64];
    for (;;) {
        avr_cycle_count_t due = now_in_cycles() - begun + first;
        int behind = due > avr->cycle + SLICE;
        run_to(behind ? avr->cycle + SLICE : due);
        poll(ready, 2, behind ? 0 : 1);
        if (ready[0].revents & POLLIN) {
            ssize_t count = read(line, bytes, sizeof bytes);
            for (ssize_t i = 0; i < count; i++) receive(bytes[i]);
        }
        if (ready[1].revents) {
            if (!fgets(command, sizeof command, stdin)) return; /* whoever started us is gone */
            obey(command);
        }
    }
}

int main(int argc, char **argv) {
    static char command[8192];
    int lockstep = argc == 3 && strcmp(argv[2], "--lockstep") == 0;
    if (argc != 2 && !lockstep) fail("usage: emulator FIRMWARE.elf [--lockstep]");
    setvbuf(stdout, NULL, _IOLBF, 0);
    setvbuf(stdin, NULL, lockstep ? _IOLBF : _IONBF, lockstep ? 4096 : 0);
    load(argv[1]);
    wire_up();
    if (!lockstep) {
        open_pty();
        run_in_real_time();
    }
    while (lockstep && fgets(command, sizeof command, stdin)) obey(command);
    return 0;
}
