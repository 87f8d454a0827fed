#include "dense.h"

#include <math.h>

double dense_dot(int n, const double *restrict a, const double *restrict b) {
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (int i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

void dense_axpy(int n, double scale, const double *restrict x, double *restrict y) {
#pragma omp simd
    for (int i = 0; i < n; i++) y[i] += scale * x[i];
}

static void rank_four(int n, int ld, double *restrict matrix, const double *scale, const double *restrict x0,
                      const double *restrict x1, const double *restrict x2, const double *restrict x3) {
    for (int i = 0; i < n; i++) {
        const double f0 = scale[0] * x0[i], f1 = scale[1] * x1[i], f2 = scale[2] * x2[i], f3 = scale[3] * x3[i];
        double *restrict row = matrix + (long)i * ld;
#pragma omp simd
        for (int j = 0; j <= i; j++) row[j] += (f0 * x0[j] + f1 * x1[j]) + (f2 * x2[j] + f3 * x3[j]);
    }
}

void dense_rank_flush(rank_updates *updates) {
    if (updates->count == 0) return;
    int n = 0;
    for (int c = 0; c < updates->count; c++) n = updates->n[c] > n ? updates->n[c] : n;
    for (int c = updates->count; c < 4; c++) updates->scale[c] = 0.0, updates->x[c] = updates->x[0];
    const double **x = updates->x;
    rank_four(n, updates->ld, updates->matrix, updates->scale, x[0], x[1], x[2], x[3]);
    updates->count = 0;
}

void dense_rank_add(rank_updates *updates, int n, double scale, const double *x) {
    if (scale == 0.0) return;
    updates->n[updates->count] = n, updates->scale[updates->count] = scale, updates->x[updates->count] = x;
    if (++updates->count == 4) dense_rank_flush(updates);
}

void dense_symmetric_add(int n, int ld, const double *restrict matrix, const double *restrict x, double *restrict y) {
    for (int i = 0; i < n; i++) {
        const double *restrict row = matrix + (long)i * ld;
        const double xi = x[i];
        double sum = row[i] * xi;
#pragma omp simd reduction(+ : sum)
        for (int j = 0; j < i; j++) {
            sum += row[j] * x[j];
            y[j] += row[j] * xi;
        }
        y[i] += sum;
    }
}

/* Right-looking, four columns at a time: the trailing matrix is read and written once for four products. */
int dense_cholesky(int n, int ld, double *restrict matrix, double *restrict panel) {
    for (int j = 0; j < n; j += 4) {
        const int columns = n - j < 4 ? n - j : 4;
        for (int c = 0; c < columns; c++) {
            double *pivot_row = matrix + (long)(j + c) * ld + j;
            double pivot = pivot_row[c];
            for (int p = 0; p < c; p++) pivot -= pivot_row[p] * pivot_row[p];
            if (!(pivot > 0.0)) return 0;
            pivot_row[c] = sqrt(pivot);
            const double inverse = 1.0 / pivot_row[c];
            for (int i = j + c + 1; i < j + columns; i++) {
                double *row = matrix + (long)i * ld + j;
                for (int p = 0; p < c; p++) row[c] -= row[p] * pivot_row[p];
                row[c] *= inverse;
            }
        }
        if (columns < 4) return 1;
        const double *d0 = matrix + (long)j * ld + j, *d1 = d0 + ld, *d2 = d1 + ld, *d3 = d2 + ld;
        const double i0 = 1.0 / d0[0], i1 = 1.0 / d1[1], i2 = 1.0 / d2[2], i3 = 1.0 / d3[3];
        double *restrict p0 = panel, *restrict p1 = panel + ld, *restrict p2 = panel + 2 * ld, *restrict p3 = panel + 3 * ld;
        for (int i = j + 4; i < n; i++) {
            double *row = matrix + (long)i * ld + j;
            const double x0 = row[0] * i0;
            const double x1 = (row[1] - x0 * d1[0]) * i1;
            const double x2 = (row[2] - x0 * d2[0] - x1 * d2[1]) * i2;
            const double x3 = (row[3] - x0 * d3[0] - x1 * d3[1] - x2 * d3[2]) * i3;
            row[0] = p0[i] = x0, row[1] = p1[i] = x1, row[2] = p2[i] = x2, row[3] = p3[i] = x3;
        }
        for (int i = j + 4; i < n; i++) {
            const double x0 = p0[i], x1 = p1[i], x2 = p2[i], x3 = p3[i];
            double *restrict row = matrix + (long)i * ld;
#pragma omp simd
            for (int l = j + 4; l <= i; l++) row[l] -= (x0 * p0[l] + x1 * p1[l]) + (x2 * p2[l] + x3 * p3[l]);
        }
    }
    return 1;
}

void dense_cholesky_solve(int n, int ld, const double *restrict factor, double *restrict x) {
    for (int i = 0; i < n; i++) x[i] = (x[i] - dense_dot(i, factor + (long)i * ld, x)) / factor[(long)i * ld + i];
    for (int i = n - 1; i >= 0; i--) {
        x[i] /= factor[(long)i * ld + i];
        dense_axpy(i, -x[i], factor + (long)i * ld, x);
    }
}
