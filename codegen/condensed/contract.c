#include "contract.h"

#include <string.h>

/* Loops whose counts are constants where they are called: only then do their sums stay in registers. */
#define INLINED static inline __attribute__((always_inline))
#define TILE 12 /* factors at a time: with LANES, as many sums as stay in registers */
#define LANES 8

/* sum[i][l] = sum over k of factors[k][i] lanes[k][l], the rows of both a stride apart */
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

/* product [count][ROOMS*group] of `count` factors, a multiple of TILE or ROOMS, with ROOMS*group lanes. */
INLINED void correlate(int n, const int count, const double *factors, int factor_stride, const int group, const double *lanes,
                      int lane_stride, double *product) {
    const int all = ROOMS * group, tile = count == ROOMS ? ROOMS : TILE, width = group == 1 ? ROOMS : LANES;
    for (int l = 0; l < all; l += width)
        for (int i = 0; i < count; i += tile)
            accumulate(tile, width, n, factors + i, factor_stride, lanes + l, lane_stride, product + i * all + l, all);
}

INLINED void hold(int moves, const int *start, const int group, const double *costate, double *held) {
    const int width = ROOMS * group;
    for (int move = 0; move < moves; move++) {
        const double *leaves = costate + start[move] * width, *enters = costate + start[move + 1] * width;
        double *sum = held + move * LAGS * width;
        memset(sum, 0, sizeof(double) * (size_t)width);
        for (const double *row = leaves; row < enters; row += width)
            for (int l = 0; l < width; l++) sum[l] += row[l];
        for (int lag = 1; lag < LAGS; lag++, sum += width, leaves += width, enters += width)
            for (int l = 0; l < width; l++) sum[width + l] = sum[l] + (enters[l] - leaves[l]);
    }
}

void contract_hold(int moves, const int *start, int group, const double *costate, double *held) {
    if (group == 1)
        hold(moves, start, 1, costate, held);
    else
        hold(moves, start, ARX_GROUP, costate, held);
}

/* gradient [ROOMS][inputs][group] of one lag, from its entry for the first of `count` inputs on, += product [count][ROOMS][group] */
INLINED void add(const int count, const int group, const double *restrict product, int inputs, double *restrict gradient) {
    for (int out = 0; out < ROOMS; out++)
        for (int in = 0; in < count; in++)
            for (int g = 0; g < group; g++)
                gradient[(out * inputs + in) * group + g] += product[(in * ROOMS + out) * group + g];
}

INLINED void of_plan(const plan_regressors *plan, const int group, const double *costate, const double *held, double *grad_a,
                     double *grad_b) {
    const int width = ROOMS * group, first_power = group;
    /* The past powers slide out of the window, and nothing slides in. */
    double past[2 * LAGS][ROOMS] = {{0}};
    for (int k = 0; k < LAGS - 1; k++) memcpy(past[k], plan->past_power + k * INPUTS + 1, sizeof past[k]);
    double product[LAGS * SIGNALS * ROOMS * group], of_past[YWIN * ROOMS * group], of_held[ROOMS * ROOMS * group];
    correlate(plan->steps, LAGS * SIGNALS, plan->signals, SIGNALS, group, costate, width, product);
    correlate(LAGS - 1, YWIN, past[0], ROOMS, group, costate, width, of_past);
    for (int lag = 0; lag < LAGS; lag++) {
        const int oldest_first = LAGS - 1 - lag;
        const double *own = product + oldest_first * SIGNALS * width;
        double *a = grad_a + lag * ROOMS * width, *b = grad_b + lag * INPUTS * width;
        correlate(plan->moves, ROOMS, plan->power, ROOMS, group, held + lag * width, LAGS * width, of_held);
        add(ROOMS, group, own, ROOMS, a);
        add(1, group, own + ROOMS * width, INPUTS, b);
        add(ROOMS, group, of_past + oldest_first * ROOMS * width, INPUTS, b + first_power);
        add(ROOMS, group, of_held, INPUTS, b + first_power);
    }
}

void contract_plan(const plan_regressors *plan, int group, const double *costate, const double *held, double *grad_a,
                   double *grad_b) {
    if (group == 1)
        of_plan(plan, 1, costate, held, grad_a, grad_b);
    else
        of_plan(plan, ARX_GROUP, costate, held, grad_a, grad_b);
}

void contract_changes(int steps, int moves, const double *costate, const double *held, const double *change_y,
                      const double *change_power, double *grad_a, double *grad_b) {
    const int width = ROOMS * ARX_GROUP;
    double product[YWIN * ROOMS * ARX_GROUP]; /* [lag][output][input][group], the order of theta */
    /* change_y[k] is of the temperatures that costate[k] belongs to; one step later they are a regressor. */
    correlate(steps - 1, YWIN, costate + ROOMS, ROOMS, ARX_GROUP, change_y, width, product);
    for (int i = 0; i < N_A * ARX_GROUP; i++) grad_a[i] += product[i];
    correlate(moves, YWIN, held, YWIN, ARX_GROUP, change_power, width, product);
    for (int i = 0; i < YWIN; i++)
        for (int l = 0; l < width; l++) grad_b[i * INPUTS * ARX_GROUP + ARX_GROUP + l] += product[i * width + l];
}
