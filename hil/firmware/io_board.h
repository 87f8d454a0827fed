/* The I/O board: answers requests, holds outputs for as long as it was told to, and then makes them safe. */
#ifndef NISSE_IO_BOARD_H
#define NISSE_IO_BOARD_H

#include "hal.h"
#include "protocol.h"

typedef struct {
    int32_t value;
    uint32_t written_ms;
    uint32_t hold_ms; /* 0: at its safe value */
} output_t;

typedef struct {
    frame_reader_t reader;
    output_t outputs[HAL_OUTPUTS];
    bool started; /* since the last HELLO */
} io_board_t;

/* Outputs safe, nothing received. */
void io_board_start(io_board_t *board);

/* One byte from the line at time now_ms; answers with hal_send when it ends a request. */
void io_board_byte(io_board_t *board, uint8_t byte, uint32_t now_ms);

/* Outputs whose hold time is over become safe. To be called at least every few milliseconds. */
void io_board_tick(io_board_t *board, uint32_t now_ms);

#endif
