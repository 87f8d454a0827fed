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

/* sum_i window[i] * rows[i][:], with four independent sums: the chain of additions, not the arithmetic, is what takes time.
 * What the step before has left in the window comes last, at the end if the window slides `forwards`: the rest need not wait. */
static inline void weighted_rows(const int forwards, int n, const double *restrict window, const double (*restrict rows)[ROOMS],
                                 double *restrict sum) {
    double part[4][ROOMS] = {{0}};
    for (int done = 0; done < n; done += 4) {
        const int i = forwards ? done : n - 4 - done;
        for (int c = 0; c < 4; c++)
#pragma omp simd
            for (int out = 0; out < ROOMS; out++) part[c][out] += window[i + c] * rows[i + c][out];
    }
    for (int out = 0; out < ROOMS; out++) sum[out] += (part[0][out] + part[1][out]) + (part[2][out] + part[3][out]);
}

void arx_step(const arx_model *model, const double *y_window, const double *v_window, double *y_next) {
    double sum[ROOMS];
    memcpy(sum, model->bias, sizeof sum);
    weighted_rows(1, YWIN, y_window, model->a_window, sum);
    weighted_rows(1, VWIN, v_window, model->b_window, sum);
    memcpy(y_next, sum, sizeof sum);
}

void arx_simulate(const arx_model *model, int n, double *y, const double *v) {
    for (int k = 0; k < n; k++) arx_step(model, y + k * ROOMS, v + k * INPUTS, y + (k + LAGS) * ROOMS);
}

void arx_respond(const arx_model *model, int n, double *y, const double *v) {
    memset(y, 0, YWIN * sizeof(double));
    for (int k = 0; k < n; k++) {
        double sum[ROOMS] = {0};
        weighted_rows(1, YWIN, y + k * ROOMS, model->a_window, sum);
        weighted_rows(1, VWIN, v + k * INPUTS, model->b_window, sum);
        memcpy(y + (k + LAGS) * ROOMS, sum, sizeof sum);
    }
}

void arx_adjoint(const arx_model *model, int n, double *costate) {
    /* a is [lag][output][input]: read as rows (lag, output) it is the transposed map of the recursion. */
    const double(*transposed)[ROOMS] = (const double(*)[ROOMS])model->a;
    for (int k = n - 1; k >= 0; k--) weighted_rows(0, YWIN, costate + (k + 1) * ROOMS, transposed, costate + k * ROOMS);
}

void arx_adjoint_group(const arx_model *model, int n, double *costate) {
    for (int k = n - 1; k >= 0; k--) {
        const double *later = costate + (k + 1) * ROOMS * ARX_GROUP;
        double *own = costate + k * ROOMS * ARX_GROUP, part[2][ROOMS][ARX_GROUP] = {{{0}}};
        for (int i = YWIN - 2; i >= 0; i -= 2)
            for (int c = 0; c < 2; c++)
                for (int in = 0; in < ROOMS; in++)
#pragma omp simd
                    for (int g = 0; g < ARX_GROUP; g++)
                        part[c][in][g] += model->a[(i + c) * ROOMS + in] * later[(i + c) * ARX_GROUP + g];
        for (int in = 0; in < ROOMS; in++)
            for (int g = 0; g < ARX_GROUP; g++) own[in * ARX_GROUP + g] += part[0][in][g] + part[1][in][g];
    }
}
