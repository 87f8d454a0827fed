/* What the board's logic needs of the hardware. One file implements it per target: avr/, host/. */
#ifndef NISSE_HAL_H
#define NISSE_HAL_H

#include <stdint.h>

#define HAL_INPUTS 4  /* 0 to 3: analogue, raw counts of the converter (0 to 1023 of 5 V) */
#define HAL_OUTPUTS 3 /* 0: analogue, per mille of full scale; 1 and 2: relays, 0 or 1 (SG-Ready) */
#define HAL_NO_VALUE INT32_MIN

extern const int32_t hal_output_most[HAL_OUTPUTS]; /* the least is 0 */
extern const int32_t hal_output_safe[HAL_OUTPUTS];
extern const char hal_name[]; /* at most 16 characters */

void hal_start(void);
uint32_t hal_millis(void); /* since the start; wraps */
int hal_receive(void);     /* next byte of the line, or -1 */
void hal_send(const uint8_t *bytes, uint8_t count);
int32_t hal_input(uint8_t channel); /* HAL_NO_VALUE: not connected */
void hal_output(uint8_t channel, int32_t value);
void hal_rest(void); /* sleep until something may have happened, a millisecond at most; shows the watchdog life */

#endif
