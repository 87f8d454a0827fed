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

void arx_adjoint(const arx_model *model, int n, double *costate) { arx_adjoints(model, n, 1, 0, costate); }

void arx_adjoints(const arx_model *model, int n, int count, int stride, double *costates) {
    /* a is [lag][output][input]: read as rows (lag, output) it is the transposed map of the recursion. */
    const double(*transposed)[ROOMS] = (const double(*)[ROOMS])model->a;
    for (int k = n - 1; k >= 0; k--)
        for (int c = 0; c < count; c++) {
            double *costate = costates + c * stride;
            weighted_rows(YWIN, costate + (k + 1) * ROOMS, transposed, costate + k * ROOMS);
        }
}

#define TILE 12 /* of a window: with four outputs, as many sums as stay in registers */

/* sum[out][i] = sum over k of costate[k][out] rows[k*width + i] */
static void correlate(int n, const double *restrict costate, const double *restrict rows, int width,
                      double (*restrict sum)[TILE]) {
    double part[ROOMS][TILE] = {{0}};
    for (int k = 0; k < n; k++)
        for (int out = 0; out < ROOMS; out++) {
            const double c = costate[k * ROOMS + out];
#pragma omp simd
            for (int i = 0; i < TILE; i++) part[out][i] += c * rows[k * width + i];
        }
    memcpy(sum, part, sizeof part);
}

/* gradient [lag][output][input] += sum over k of costate[k] times the window of `width` signals at k, oldest first. */
static void contract(int n, const double *costate, const double *rows, int width, double *gradient) {
    for (int begin = 0; begin < LAGS * width; begin += TILE) {
        double sum[ROOMS][TILE];
        correlate(n, costate, rows + begin, width, sum);
        for (int i = 0; i < TILE; i++) {
            const int lag = LAGS - 1 - (begin + i) / width, in = (begin + i) % width;
            for (int out = 0; out < ROOMS; out++) gradient[(lag * ROOMS + out) * width + in] += sum[out][i];
        }
    }
}

void arx_contract(int n, const double *costate, const double *y, const double *v, double *grad_a, double *grad_b) {
    contract(n, costate, y, ROOMS, grad_a);
    contract(n, costate, v, INPUTS, grad_b);
}
