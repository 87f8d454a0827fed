#include "contract.h"

#include <string.h>

/* Loops whose counts are constants where they are called, and restrict, keep sums in registers. */
#define INLINED static inline __attribute__((always_inline))
/* TILE factors by LANES: as many sums as stay in registers. */
#define LANES 8
#ifdef __AVX512F__
#define TILE 12
#else
#define TILE 6
#endif

/* sum[i][l] = sum over k of factors[k][i] lanes[k][l], the rows of all three a stride apart */
INLINED void accumulate(const int count, const int width, int n, const double *restrict factors, int factor_stride,
                        const double *restrict lanes, int lane_stride, double *restrict sum, int sum_stride) {
    double part[TILE][LANES] = {{0}};
    for (int k = 0; k < n; k++)
        for (int i = 0; i < count; i++) {
            const double factor = factors[k * factor_stride + i];
#pragma omp simd simdlen(8)
            for (int l = 0; l < width; l++) part[i][l] += factor * lanes[k * lane_stride + l];
        }
    for (int i = 0; i < count; i++) memcpy(sum + i * sum_stride, part[i], sizeof(double) * (size_t)width);
}

/* product [count][width] of `count` factors, a multiple of TILE, and `width` lanes. */
INLINED void correlate(int n, const int count, const double *factors, int factor_stride, const int width,
                       const double *lanes, int lane_stride, double *product) {
    const int block = width == ROOMS ? ROOMS : LANES;
    for (int l = 0; l < width; l += block)
        for (int i = 0; i < count; i += TILE)
            accumulate(TILE, block, n, factors + i, factor_stride, lanes + l, lane_stride, product + i * width + l,
                       width);
}

/* sum [width] := that of the costates over the steps of a move */
INLINED void sum_steps(const int *start, int move, const int width, const double *restrict costate,
                       double *restrict sum) {
#pragma omp simd simdlen(8)
    for (int l = 0; l < width; l++) sum[l] = 0.0;
    for (int k = start[move]; k < start[move + 1]; k++)
#pragma omp simd simdlen(8)
        for (int l = 0; l < width; l++) sum[l] += costate[k * width + l];
}

/* One lag more: the sum moves on by one step. */
INLINED void slide(const int *start, int move, int lag, const int width, const double *restrict costate,
                   double *restrict sum) {
    const double *leaves = costate + (start[move] + lag) * width, *enters = costate + (start[move + 1] + lag) * width;
#pragma omp simd simdlen(8)
    for (int l = 0; l < width; l++) sum[l] += enters[l] - leaves[l];
}

void contract_hold(int moves, const int *start, const double *costate, double *held) {
    for (int move = 0; move < moves; move++) {
        double sum[ROOMS];
        sum_steps(start, move, ROOMS, costate, sum);
        for (int lag = 0; lag < LAGS; lag++, held += ROOMS) {
            memcpy(held, sum, sizeof sum);
            slide(start, move, lag, ROOMS, costate, sum);
        }
    }
}

/* product [lag][pump][width] = sum over the moves of power times held costates, which are not stored. */
INLINED void correlate_powers(const plan_regressors *plan, const int width, const double *restrict costate,
                              double *restrict product) {
    memset(product, 0, sizeof(double) * (size_t)(YWIN * width));
    for (int move = 0; move < plan->moves; move++) {
        const double *power = plan->power + move * ROOMS;
        double sum[ROOMS * ARX_GROUP];
        sum_steps(plan->start, move, width, costate, sum);
        for (int lag = 0; lag < LAGS; lag++) {
            for (int pump = 0; pump < ROOMS; pump++)
#pragma omp simd simdlen(8)
                for (int l = 0; l < width; l++) product[(lag * ROOMS + pump) * width + l] += power[pump] * sum[l];
            slide(plan->start, move, lag, width, costate, sum);
        }
    }
}

/* rows [group][output][inputs] of one lag, from the first of `count` inputs on, := product [count][group][output] */
INLINED void place(const int count, const int group, const double *restrict product, int inputs, int stride,
                   double *restrict rows) {
    for (int g = 0; g < group; g++)
        for (int out = 0; out < ROOMS; out++)
            for (int in = 0; in < count; in++)
                rows[g * stride + out * inputs + in] = product[(in * group + g) * ROOMS + out];
}

INLINED void of_plan(const plan_regressors *plan, const int group, const double *costate, int stride, double *rows) {
    const int width = ROOMS * group;
    /* The past powers slide out of the window, and nothing slides in. */
    double past[2 * LAGS][ROOMS] = {{0}};
    for (int k = 0; k < LAGS - 1; k++) memcpy(past[k], plan->past_power + k * INPUTS + 1, sizeof past[k]);
    double of_signals[LAGS * SIGNALS * width], of_past[YWIN * width], of_power[YWIN * width];
    correlate(plan->steps, LAGS * SIGNALS, plan->signals, SIGNALS, width, costate, width, of_signals);
    correlate(LAGS - 1, YWIN, past[0], ROOMS, width, costate, width, of_past);
    correlate_powers(plan, width, costate, of_power);
    for (int lag = 0; lag < LAGS; lag++) {
        const int oldest_first = LAGS - 1 - lag;
        const double *own = of_signals + oldest_first * SIGNALS * width;
        double *powers = of_power + lag * ROOMS * width;
        double *a = rows + lag * ROOMS * ROOMS, *b = rows + N_A + lag * ROOMS * INPUTS;
        for (int l = 0; l < ROOMS * width; l++) powers[l] += of_past[oldest_first * ROOMS * width + l];
        place(ROOMS, group, own, ROOMS, stride, a);
        place(1, group, own + ROOMS * width, INPUTS, stride, b);
        place(ROOMS, group, powers, INPUTS, stride, b + 1);
    }
}

void contract_plan(const plan_regressors *plan, int group, const double *costate, int stride, double *rows) {
    if (group == 1)
        of_plan(plan, 1, costate, stride, rows);
    else
        of_plan(plan, ARX_GROUP, costate, stride, rows);
}

void contract_changes(int steps, int moves, const double *costate, const double *held, const double *change_y,
                      const double *change_power, int stride, double *rows) {
    const int width = ROOMS * ARX_GROUP;
    double of_y[YWIN][ARX_GROUP][ROOMS], of_power[YWIN][ARX_GROUP][ROOMS]; /* [lag, output][group][input] */
    /* change_y[k] is of the temperatures that costate[k] belongs to; one step later they are a regressor. */
    correlate(steps - 1, YWIN, costate + ROOMS, ROOMS, width, change_y, width, of_y[0][0]);
    correlate(moves, YWIN, held, YWIN, width, change_power, width, of_power[0][0]);
    for (int g = 0; g < ARX_GROUP; g++) {
        double *a = rows + g * stride, *b = a + N_A + 1; /* the outdoor temperature does not change */
        for (int i = 0; i < YWIN; i++, a += ROOMS, b += INPUTS)
            for (int in = 0; in < ROOMS; in++) a[in] += of_y[i][g][in], b[in] += of_power[i][g][in];
    }
}
