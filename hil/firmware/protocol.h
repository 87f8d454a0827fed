/* The framed protocol, board's side: bytes <-> frames. No I/O, no allocation, C99. Layout: docs/reference/serial.md. */
#ifndef NISSE_PROTOCOL_H
#define NISSE_PROTOCOL_H

#include <stdbool.h>
#include <stdint.h>

#define FRAME_VERSION 1
#define FRAME_HEADER_BYTES 3 /* version, kind, sequence */
#define FRAME_MAX_BODY_BYTES 64
#define FRAME_MAX_PAYLOAD_BYTES (FRAME_MAX_BODY_BYTES - FRAME_HEADER_BYTES - 2)
#define FRAME_MAX_WIRE_BYTES (FRAME_MAX_BODY_BYTES + 2) /* one byte of COBS, the ending zero */

enum frame_kind {
    FRAME_HELLO = 0x01,
    FRAME_READ = 0x02,
    FRAME_WRITE = 0x03,
    FRAME_ANSWER = 0x80, /* bit set in the kind of an answer */
    FRAME_REFUSED = 0xFF
};

enum frame_refusal {
    REFUSED_KIND = 1,
    REFUSED_LENGTH = 2,
    REFUSED_CHANNEL = 3,
    REFUSED_VALUE = 4,
    REFUSED_HOLD = 5,
    REFUSED_VERSION = 6
};

typedef struct {
    uint8_t version, kind, sequence, length;
    uint8_t payload[FRAME_MAX_PAYLOAD_BYTES];
} frame_t;

/* Decodes the stuffing byte by byte, so that no second buffer is needed. Zero-initialised is ready. */
typedef struct {
    uint8_t body[FRAME_MAX_BODY_BYTES];
    uint8_t length;
    uint8_t left; /* bytes until the next code byte */
    bool zero;    /* the group before stood for a zero, if another group follows */
    bool bad;     /* too long: wait for the ending zero */
} frame_reader_t;

/* CRC-16, polynomial 0x1021, start 0xFFFF, not reflected. */
uint16_t frame_crc(const uint8_t *bytes, uint8_t count);

/* Takes one byte; true when it ended a frame that is in order, which is then in *frame. */
bool frame_take(frame_reader_t *reader, uint8_t byte, frame_t *frame);

/* Writes the frame as it goes over the line to wire[FRAME_MAX_WIRE_BYTES]; returns the count of bytes. */
uint8_t frame_wire(const frame_t *frame, uint8_t *wire);

uint16_t get_u16(const uint8_t *bytes);
int32_t get_i32(const uint8_t *bytes);
void put_i32(uint8_t *bytes, int32_t value);

#endif
