/* The firmware: bytes in, time on, rest. */
#include "hal.h"
#include "io_board.h"

static io_board_t board;

int main(void) {
    hal_start();
    io_board_start(&board);
    for (;;) {
        int byte;
        while ((byte = hal_receive()) >= 0) io_board_byte(&board, (uint8_t)byte, hal_millis());
        io_board_tick(&board, hal_millis());
        hal_rest();
    }
}
