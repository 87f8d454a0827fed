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

static int widest(const int *width) {
    const int a = width[0] > width[1] ? width[0] : width[1], b = width[2] > width[3] ? width[2] : width[3];
    return a > b ? a : b;
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

void dense_multiply_add(int m, int ld, const int *width, const double *restrict matrix, const double *restrict x,
                        double *restrict y) {
    int i = 0;
    for (; i + 4 <= m; i += 4) {
        const double *restrict r0 = matrix + (long)i * ld, *restrict r1 = r0 + ld, *restrict r2 = r1 + ld,
                               *restrict r3 = r2 + ld;
        double s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0;
        const int n = widest(width + i);
#pragma omp simd reduction(+ : s0, s1, s2, s3)
        for (int j = 0; j < n; j++) s0 += r0[j] * x[j], s1 += r1[j] * x[j], s2 += r2[j] * x[j], s3 += r3[j] * x[j];
        y[i] += s0, y[i + 1] += s1, y[i + 2] += s2, y[i + 3] += s3;
    }
    for (; i < m; i++) y[i] += dense_dot(width[i], matrix + (long)i * ld, x);
}

void dense_multiply_transposed_add(int m, int ld, const int *width, const double *restrict matrix,
                                   const double *restrict x, double *restrict y) {
    int i = 0;
    for (; i + 4 <= m; i += 4) {
        const double *restrict r0 = matrix + (long)i * ld, *restrict r1 = r0 + ld, *restrict r2 = r1 + ld,
                               *restrict r3 = r2 + ld;
        const double x0 = x[i], x1 = x[i + 1], x2 = x[i + 2], x3 = x[i + 3];
        const int n = widest(width + i);
#pragma omp simd
        for (int j = 0; j < n; j++) y[j] += (x0 * r0[j] + x1 * r1[j]) + (x2 * r2[j] + x3 * r3[j]);
    }
    for (; i < m; i++) dense_axpy(width[i], x[i], matrix + (long)i * ld, y);
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
        double *restrict p0 = panel, *restrict p1 = panel + ld, *restrict p2 = panel + 2 * ld,
                         *restrict p3 = panel + 3 * ld;
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

void dense_forward(int n, int ld, const double *restrict factor, double *restrict x) {
    for (int i = 0; i < n; i++) x[i] = (x[i] - dense_dot(i, factor + (long)i * ld, x)) / factor[(long)i * ld + i];
}

void dense_backward(int n, int ld, const double *restrict factor, double *restrict x) {
    for (int i = n - 1; i >= 0; i--) {
        x[i] /= factor[(long)i * ld + i];
        dense_axpy(i, -x[i], factor + (long)i * ld, x);
    }
}

/* Four columns at a time, so that their sums stay in registers; four sums of each, since additions wait for one another. */
void dense_forward_many(int first, int n, int ld, const double *restrict factor, int width, double *restrict z) {
    for (int block = 0; block < width; block += 4)
        for (int i = first; i < n; i++) {
            const double *restrict row = factor + (long)i * ld;
            double part[4][4] = {{0}};
            int j = first;
            for (; j + 4 <= i; j += 4)
                for (int p = 0; p < 4; p++)
#pragma omp simd
                    for (int c = 0; c < 4; c++) part[p][c] += row[j + p] * z[(j + p) * width + block + c];
            for (; j < i; j++)
                for (int c = 0; c < 4; c++) part[0][c] += row[j] * z[j * width + block + c];
            const double inverse = 1.0 / row[i];
            double *out = z + i * width + block;
            for (int c = 0; c < 4; c++)
                out[c] = (out[c] - ((part[0][c] + part[1][c]) + (part[2][c] + part[3][c]))) * inverse;
        }
}

/* Two rows at a time: x is what is slow to move. */
void dense_backward_four(int n, int ld, const double *restrict factor, double *restrict x) {
    int i = n - 1;
    for (; i > 0; i -= 2) {
        const double *restrict below = factor + (long)i * ld, *restrict above = below - ld;
        const double below_inverse = 1.0 / below[i], above_inverse = 1.0 / above[i - 1];
        double last[4], next[4];
#pragma omp simd
        for (int c = 0; c < 4; c++) {
            last[c] = x[4 * i + c] *= below_inverse;
            next[c] = x[4 * i - 4 + c] = (x[4 * i - 4 + c] - below[i - 1] * last[c]) * above_inverse;
        }
        for (int j = 0; j < i - 1; j++)
#pragma omp simd
            for (int c = 0; c < 4; c++) x[4 * j + c] -= below[j] * last[c] + above[j] * next[c];
    }
    for (int c = 0; i == 0 && c < 4; c++) x[c] /= factor[0];
}

void dense_gram(int n, int width, const double *restrict z, double *restrict product) {
    for (int p = 0; p < n; p++)
        for (int a = 0; a < width; a++) {
            const double za = z[p * width + a];
            if (za == 0.0) continue;
#pragma omp simd
            for (int b = 0; b < width; b++) product[a * width + b] += za * z[p * width + b];
        }
}

int dense_lu(int n, double *matrix, int *pivot) {
    for (int j = 0; j < n; j++) {
        int p = j;
        for (int i = j + 1; i < n; i++)
            if (fabs(matrix[i * n + j]) > fabs(matrix[p * n + j])) p = i;
        pivot[j] = p;
        if (!(fabs(matrix[p * n + j]) > 0.0)) return 0;
        for (int c = 0; p != j && c < n; c++) {
            const double other = matrix[p * n + c];
            matrix[p * n + c] = matrix[j * n + c], matrix[j * n + c] = other;
        }
        for (int i = j + 1; i < n; i++) {
            const double factor = matrix[i * n + j] /= matrix[j * n + j];
            for (int c = j + 1; c < n; c++) matrix[i * n + c] -= factor * matrix[j * n + c];
        }
    }
    return 1;
}

void dense_lu_solve(int n, const double *factors, const int *pivot, double *x) {
    for (int i = 0; i < n; i++) {
        const double other = x[pivot[i]];
        x[pivot[i]] = x[i], x[i] = other;
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++) x[i] -= factors[i * n + j] * x[j];
    for (int i = n - 1; i >= 0; i--) {
        for (int j = i + 1; j < n; j++) x[i] -= factors[i * n + j] * x[j];
        x[i] /= factors[i * n + i];
    }
}
