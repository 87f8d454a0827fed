/* The board on an ATmega328P (Arduino Uno, Nano): 16 MHz, USART0 at 19200 8E1.
 *
 * Inputs 0 to 3: ADC0 to ADC3 against AVCC. Output 0: PWM of 1 kHz on PB1 (pin 9). Outputs 1 and 2: PD4, PD5. */
#include "hal.h"

#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>
#include <avr/wdt.h>
#include <stdbool.h>

#define BAUD 19200UL
#define RING 64u /* a power of two; longer than any request */
#define PWM_TOP 15999u

const int32_t hal_output_most[HAL_OUTPUTS] = {1000, 1, 1};
const int32_t hal_output_safe[HAL_OUTPUTS] = {0, 0, 0};
const char hal_name[] = "nisse io mega328";

static volatile uint32_t millis;
static volatile uint8_t ring[RING], head, tail;

ISR(TIMER0_COMPA_vect) { millis++; }

ISR(USART_RX_vect) {
    uint8_t byte = UDR0, next = (uint8_t)((head + 1) % RING);
    if (next != tail) { /* full: a byte is lost, and the checksum will say so */
        ring[head] = byte;
        head = next;
    }
}

void hal_start(void) {
    MCUSR = 0;
    wdt_enable(WDTO_1S);
    DDRB = _BV(DDB1);
    DDRD = _BV(DDD4) | _BV(DDD5);
    TCCR0A = _BV(WGM01); /* compare match, 16 MHz / 64 / 250 = 1 kHz */
    TCCR0B = _BV(CS01) | _BV(CS00);
    OCR0A = 249;
    TIMSK0 = _BV(OCIE0A);
    ICR1 = PWM_TOP; /* fast PWM, mode 14 */
    TCCR1A = _BV(WGM11);
    TCCR1B = _BV(WGM13) | _BV(WGM12) | _BV(CS10);
    ADCSRA = _BV(ADEN) | _BV(ADPS2) | _BV(ADPS1) | _BV(ADPS0);
    UBRR0 = F_CPU / 8 / BAUD - 1;
    UCSR0A = _BV(U2X0);
    UCSR0C = _BV(UPM01) | _BV(UCSZ01) | _BV(UCSZ00); /* 8E1 */
    UCSR0B = _BV(RXEN0) | _BV(TXEN0) | _BV(RXCIE0);
    set_sleep_mode(SLEEP_MODE_IDLE);
    sei();
}

uint32_t hal_millis(void) {
    uint8_t before = SREG;
    cli();
    uint32_t now = millis;
    SREG = before;
    return now;
}

int hal_receive(void) {
    if (tail == head) return -1;
    uint8_t byte = ring[tail];
    tail = (uint8_t)((tail + 1) % RING);
    return byte;
}

void hal_send(const uint8_t *bytes, uint8_t count) {
    while (count--) {
        loop_until_bit_is_set(UCSR0A, UDRE0);
        UDR0 = *bytes++;
    }
}

int32_t hal_input(uint8_t channel) {
    ADMUX = (uint8_t)(_BV(REFS0) | channel);
    ADCSRA |= _BV(ADSC);
    loop_until_bit_is_clear(ADCSRA, ADSC);
    return ADC;
}

static void pwm(uint16_t per_mille) {
    if (per_mille == 0) { /* a compare value of 0 would still be a spike per period */
        TCCR1A &= (uint8_t)~_BV(COM1A1);
        PORTB &= (uint8_t)~_BV(PORTB1);
    } else {
        TCCR1A |= _BV(COM1A1);
    }
    OCR1A = per_mille ? (uint16_t)(per_mille * 16u - 1u) : 0;
}

static void relay(uint8_t pin, bool on) {
    if (on)
        PORTD |= (uint8_t)_BV(pin);
    else
        PORTD &= (uint8_t)~_BV(pin);
}

void hal_output(uint8_t channel, int32_t value) {
    if (channel == 0)
        pwm((uint16_t)value);
    else
        relay(channel == 1 ? PORTD4 : PORTD5, value != 0);
}

void hal_rest(void) {
    wdt_reset();
    cli();
    if (tail == head) { /* looked at with interrupts off: a byte that comes now wakes us at once */
        sleep_enable();
        sei();
        sleep_cpu();
        sleep_disable();
    }
    sei();
}
