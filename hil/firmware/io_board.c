/* The I/O board: requests in, answers out, outputs that do not outlive their hold time. */
#include "io_board.h"

#include <string.h>

#define STATUS_STARTED 1

static void make_safe(output_t *output, uint8_t channel) {
    output->value = hal_output_safe[channel];
    output->hold_ms = 0;
    hal_output(channel, output->value);
}

void io_board_start(io_board_t *board) {
    memset(board, 0, sizeof *board);
    board->started = true;
    for (uint8_t i = 0; i < HAL_OUTPUTS; i++) make_safe(&board->outputs[i], i);
}

void io_board_tick(io_board_t *board, uint32_t now_ms) {
    for (uint8_t i = 0; i < HAL_OUTPUTS; i++) {
        output_t *output = &board->outputs[i];
        /* The difference is right also when the clock has wrapped. */
        if (output->hold_ms && now_ms - output->written_ms >= output->hold_ms) make_safe(output, i);
    }
}

static uint8_t status(const io_board_t *board) { return board->started ? STATUS_STARTED : 0; }

/* Bit i: output i is as it was written; otherwise it is at its safe value. */
static uint8_t held(const io_board_t *board) {
    uint8_t mask = 0;
    for (uint8_t i = 0; i < HAL_OUTPUTS; i++)
        if (board->outputs[i].hold_ms) mask |= (uint8_t)(1u << i);
    return mask;
}

/* Each request returns 0, or why it is refused, and leaves its answer in *frame. */

static uint8_t hello(io_board_t *board, frame_t *frame) {
    uint8_t length = (uint8_t)strlen(hal_name);
    if (frame->length != 0) return REFUSED_LENGTH;
    board->started = false;
    frame->payload[0] = HAL_INPUTS;
    frame->payload[1] = HAL_OUTPUTS;
    memcpy(frame->payload + 2, hal_name, length);
    frame->length = (uint8_t)(2 + length);
    return 0;
}

static uint8_t read_all(io_board_t *board, frame_t *frame) {
    uint8_t *at = frame->payload;
    if (frame->length != 0) return REFUSED_LENGTH;
    *at++ = status(board);
    *at++ = held(board);
    for (uint8_t i = 0; i < HAL_INPUTS; i++, at += 4) put_i32(at, hal_input(i));
    for (uint8_t i = 0; i < HAL_OUTPUTS; i++, at += 4) put_i32(at, board->outputs[i].value);
    frame->length = (uint8_t)(at - frame->payload);
    return 0;
}

static uint8_t write_one(io_board_t *board, frame_t *frame, uint32_t now_ms) {
    if (frame->length != 7) return REFUSED_LENGTH;
    uint8_t channel = frame->payload[0];
    int32_t value = get_i32(frame->payload + 1);
    uint16_t hold_s = get_u16(frame->payload + 5);
    if (channel >= HAL_OUTPUTS) return REFUSED_CHANNEL;
    if (value < 0 || value > hal_output_most[channel]) return REFUSED_VALUE;
    if (hold_s == 0) return REFUSED_HOLD;
    output_t *output = &board->outputs[channel];
    output->value = value;
    output->written_ms = now_ms;
    output->hold_ms = hold_s * 1000UL;
    hal_output(channel, value);
    frame->payload[0] = status(board);
    frame->payload[1] = channel;
    put_i32(frame->payload + 2, output->value);
    frame->length = 6;
    return 0;
}

static void answer(io_board_t *board, frame_t *frame, uint32_t now_ms) {
    uint8_t wire[FRAME_MAX_WIRE_BYTES], refused;
    if (frame->version != FRAME_VERSION)
        refused = REFUSED_VERSION;
    else if (frame->kind == FRAME_HELLO)
        refused = hello(board, frame);
    else if (frame->kind == FRAME_READ)
        refused = read_all(board, frame);
    else if (frame->kind == FRAME_WRITE)
        refused = write_one(board, frame, now_ms);
    else
        refused = REFUSED_KIND;

    frame->version = FRAME_VERSION;
    frame->kind |= FRAME_ANSWER;
    if (refused) {
        frame->kind = FRAME_REFUSED;
        frame->payload[0] = refused;
        frame->length = 1;
    }
    hal_send(wire, frame_wire(frame, wire));
}

void io_board_byte(io_board_t *board, uint8_t byte, uint32_t now_ms) {
    frame_t frame;
    if (!frame_take(&board->reader, byte, &frame)) return;
    if (frame.kind & FRAME_ANSWER) /* our own echo on a two-wire line */
        return;
    answer(board, &frame, now_ms);
}
