/* The framed protocol, board's side. COBS: Cheshire and Baker, IEEE/ACM Transactions on Networking 7(2), 1999. */
#include "protocol.h"

#include <string.h>

uint16_t frame_crc(const uint8_t *bytes, uint8_t count) {
    uint16_t crc = 0xFFFF;
    while (count--) {
        crc ^= (uint16_t)((uint16_t)*bytes++ << 8);
        for (uint8_t bit = 0; bit < 8; bit++)
            crc = (crc & 0x8000) ? (uint16_t)((crc << 1) ^ 0x1021) : (uint16_t)(crc << 1);
    }
    return crc;
}

static void keep(frame_reader_t *reader, uint8_t byte) {
    if (reader->length == FRAME_MAX_BODY_BYTES)
        reader->bad = true;
    else
        reader->body[reader->length++] = byte;
}

static bool finish(const frame_reader_t *reader, frame_t *frame) {
    uint8_t n = reader->length;
    if (reader->bad || reader->left || n < FRAME_HEADER_BYTES + 2) return false;
    if (frame_crc(reader->body, (uint8_t)(n - 2)) != get_u16(reader->body + n - 2)) return false;
    frame->version = reader->body[0];
    frame->kind = reader->body[1];
    frame->sequence = reader->body[2];
    frame->length = (uint8_t)(n - FRAME_HEADER_BYTES - 2);
    memcpy(frame->payload, reader->body + FRAME_HEADER_BYTES, frame->length);
    return true;
}

bool frame_take(frame_reader_t *reader, uint8_t byte, frame_t *frame) {
    if (byte == 0) {
        bool whole = finish(reader, frame);
        memset(reader, 0, sizeof *reader);
        return whole;
    }
    if (reader->left == 0) { /* a code byte: how far to the next one */
        if (reader->zero) keep(reader, 0);
        reader->zero = byte != 0xFF;
        reader->left = (uint8_t)(byte - 1);
    } else {
        reader->left--;
        keep(reader, byte);
    }
    return false;
}

uint8_t frame_wire(const frame_t *frame, uint8_t *wire) {
    uint8_t body[FRAME_MAX_BODY_BYTES];
    uint8_t n = (uint8_t)(FRAME_HEADER_BYTES + frame->length);
    body[0] = frame->version;
    body[1] = frame->kind;
    body[2] = frame->sequence;
    memcpy(body + FRAME_HEADER_BYTES, frame->payload, frame->length);
    uint16_t crc = frame_crc(body, n);
    body[n++] = (uint8_t)crc;
    body[n++] = (uint8_t)(crc >> 8);

    uint8_t code = 0, at = 1; /* a body is shorter than the longest group, so no group is ever full */
    for (uint8_t i = 0; i < n; i++) {
        if (body[i] == 0) {
            wire[code] = (uint8_t)(at - code);
            code = at++;
        } else {
            wire[at++] = body[i];
        }
    }
    wire[code] = (uint8_t)(at - code);
    wire[at++] = 0;
    return at;
}

uint16_t get_u16(const uint8_t *bytes) { return (uint16_t)(bytes[0] | (uint16_t)bytes[1] << 8); }

int32_t get_i32(const uint8_t *bytes) {
    return (int32_t)((uint32_t)get_u16(bytes) | (uint32_t)get_u16(bytes + 2) << 16);
}

void put_i32(uint8_t *bytes, int32_t value) {
    uint32_t raw = (uint32_t)value;
    for (uint8_t i = 0; i < 4; i++, raw >>= 8) bytes[i] = (uint8_t)raw;
}
