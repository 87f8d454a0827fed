#include "arx.h"

#include <string.h>

void arx_set(arx_model *model, const double *a, const double *b, const double *bias) {
    memcpy(model->a, a, sizeof model->a);
    memcpy(model->b, b, sizeof model->b);
    memcpy(model->bias, bias, sizeof model->bias);
    for (int j = 0; j < LAGS; j++) {
        const int oldest_first = LAGS - 1 - j;
        for (int out = 0; out < ROOMS; out++) {
            for (int in = 0; in < ROOMS; in++)
                model->a_window[oldest_first * ROOMS + in][out] = a[(j * ROOMS + out) * ROOMS + in];
            for (int in = 0; in < INPUTS; in++)
                model->b_window[oldest_first * INPUTS + in][out] = b[(j * ROOMS + out) * INPUTS + in];
        }
    }
}

/* sum_i window[i] * rows[i][:], with four independent sums: the chain of additions, not the arithmetic, is what takes time. */
static inline void weighted_rows(int n, const double *restrict window, const double (*restrict rows)[ROOMS],
                                 double *restrict sum) {
    double part[4][ROOMS] = {{0}};
    for (int i = 0; i < n; i += 4)
        for (int c = 0; c < 4; c++)
#pragma omp simd
            for (int out = 0; out < ROOMS; out++) part[c][out] += window[i + c] * rows[i + c][out];
    for (int out = 0; out < ROOMS; out++) sum[out] += (part[0][out] + part[1][out]) + (part[2][out] + part[3][out]);
}

void arx_step(const arx_model *model, const double *y_window, const double *v_window, double *y_next) {
    double sum[ROOMS];
    memcpy(sum, model->bias, sizeof sum);
    weighted_rows(YWIN, y_window, model->a_window, sum);
    weighted_rows(VWIN, v_window, model->b_window, sum);
    memcpy(y_next, sum, sizeof sum);
}

void arx_simulate(const arx_model *model, int n, double *y, const double *v) {
    for (int k = 0; k < n; k++) arx_step(model, y + k * ROOMS, v + k * INPUTS, y + (k + LAGS) * ROOMS);
}

void arx_respond(const arx_model *model, int n, double *y, const double *v) {
    memset(y, 0, YWIN * sizeof(double));
    for (int k = 0; k < n; k++) {
        double sum[ROOMS] = {0};
        weighted_rows(YWIN, y + k * ROOMS, model->a_window, sum);
        weighted_rows(VWIN, v + k * INPUTS, model->b_window, sum);
        memcpy(y + (k + LAGS) * ROOMS, sum, sizeof sum);
    }
}

/* Loops whose counts are constants where they are called, and restrict, keep sums in registers. */
#define INLINED static inline __attribute__((always_inline))
#define PAIR (2 * ROOMS) /* two steps fill a vector */

/* sum[g] = sum over the LAGS steps that come later; the nearest enter last, so that the others need not wait for them. */
INLINED void weighted_later(const int group, const double *restrict later, const double (*restrict rows)[PAIR],
                            double (*restrict sum)[PAIR]) {
    double part[ROOMS][ARX_GROUP][PAIR] = {{{0}}};
    for (int lag = LAGS - 1; lag >= 0; lag--)
        for (int out = 0; out < ROOMS; out++)
            for (int g = 0; g < group; g++) {
                const double factor = later[(lag * group + g) * ROOMS + out];
#pragma omp simd simdlen(8)
                for (int l = 0; l < PAIR; l++) part[out][g][l] += factor * rows[lag * ROOMS + out][l];
            }
    for (int g = 0; g < group; g++)
#pragma omp simd simdlen(8)
        for (int l = 0; l < PAIR; l++) sum[g][l] = (part[0][g][l] + part[1][g][l]) + (part[2][g][l] + part[3][g][l]);
}

/* Two steps at a time: their sums over what comes later share its numbers, only that each lag is one more for the earlier
 * step, which then lacks lag 1. */
INLINED void adjoint(const arx_model *model, int n, const int group, double *costate) {
    /* a is [lag][output][input]: read as rows (lag, output) it is the transposed map of the recursion. */
    const double (*restrict transposed)[ROOMS] = (const double (*)[ROOMS])model->a;
    double rows[YWIN][PAIR];
    for (int i = 0; i < YWIN; i++)
        for (int in = 0; in < ROOMS; in++) {
            rows[i][in] = transposed[i][in];
            rows[i][ROOMS + in] = i + ROOMS < YWIN ? transposed[i + ROOMS][in] : 0.0;
        }
    /* Nothing comes after the last step, so an odd n leaves none over. */
    for (int k = n - 1 - n % 2; k > 0; k -= 2) {
        double *late = costate + k * group * ROOMS, *early = late - group * ROOMS, sum[ARX_GROUP][PAIR];
        weighted_later(group, late + group * ROOMS, (const double (*)[PAIR])rows, sum);
        for (int g = 0; g < group; g++, late += ROOMS, early += ROOMS) {
#pragma omp simd
            for (int in = 0; in < ROOMS; in++) late[in] += sum[g][in];
#pragma omp simd
            for (int in = 0; in < ROOMS; in++)
                early[in] += sum[g][ROOMS + in] + ((late[0] * transposed[0][in] + late[1] * transposed[1][in]) +
                                                   (late[2] * transposed[2][in] + late[3] * transposed[3][in]));
        }
    }
}

void arx_adjoint(const arx_model *model, int n, int group, double *costate) {
    if (group == 1)
        adjoint(model, n, 1, costate);
    else
        adjoint(model, n, ARX_GROUP, costate);
}
