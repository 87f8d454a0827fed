#include "newton.h"

#include <math.h>
#include <string.h>

#include "dense.h"
#include "qp.h"

#define RENEWAL 64

enum { LANES = 4 }; /* stride of z: a multiple of this */

static size_t line(int n) { return (size_t)((n + 7) / 8 * 8); }

size_t newton_size(int n, int m) {
    const size_t ld = line(n);
    return sizeof(double) * (2 * ld * (size_t)n + 4 * ld + (size_t)n * BORDER + 4 * ld) + sizeof(int) * 4 * line(n) +
           2 * line(m);
}

void newton_create(int n, int m, newton_system *newton, void *memory) {
    const size_t ld = line(n);
    double *next = memory;
    newton->matrix = next, next += ld * (size_t)n;
    newton->factor = next, next += ld * (size_t)n;
    newton->panel = next, next += 4 * ld;
    newton->z = next, next += (size_t)n * BORDER;
    newton->forward = next, next += 4 * ld;
    int *lists = (int *)next;
    newton_base *bases[] = {&newton->of_theta, &newton->own};
    for (int i = 0; i < 2; i++) {
        bases[i]->free = lists, lists += line(n);
        bases[i]->position = lists, lists += line(n);
    }
    newton->of_theta.counted = (int8_t *)lists;
    newton->own.counted = newton->of_theta.counted + line(m);
    memset(newton->of_theta.counted, 0, (size_t)m);
    for (int i = 0; i < n; i++) newton->of_theta.free[i] = newton->of_theta.position[i] = i;
    newton->of_theta.n_free = n;
    newton->own.matrix = newton->matrix, newton->own.factor = newton->factor;
    newton_reset(newton);
}

void newton_reset(newton_system *newton) {
    newton->own.valid = 0;
    newton->renewal = 0;
    newton->base = NULL;
    newton->columns = newton->width = 0;
}

static const double *gamma_row(const qp_matrices *qp, int i) { return qp->gamma + (size_t)i * (size_t)qp->ld; }

static double entry(const qp_matrices *qp, const newton_base *base, int i, int j) {
    return i >= j ? base->matrix[(size_t)i * (size_t)qp->ld + (size_t)j]
                  : base->matrix[(size_t)j * (size_t)qp->ld + (size_t)i];
}

/* Changes from a base to the sets, counted up to `most`. */
static int distance(const qp_matrices *qp, const newton_base *base, const int8_t *bound, const int8_t *side, int most) {
    int count = 0;
    for (int i = 0; i < qp->n; i++) count += (bound[i] == 0) != (base->position[i] >= 0);
    for (int i = 0; i < qp->m && count <= most; i++) count += (side[i] != 0) != base->counted[i];
    return count;
}

static int factorise(const qp_matrices *qp, newton_system *newton, const int8_t *bound, const int8_t *side) {
    newton_base *own = &newton->own;
    const size_t ld = (size_t)qp->ld;
    if (newton->renewal-- <= 0) {
        memcpy(newton->matrix, qp->hessian, sizeof(double) * ld * (size_t)qp->n);
        memset(own->counted, 0, (size_t)qp->m);
        newton->renewal = RENEWAL;
    }
    rank_updates updates = {.ld = qp->ld, .matrix = newton->matrix};
    for (int i = 0; i < qp->m; i++) {
        const int8_t now = side[i] != 0;
        if (now == own->counted[i]) continue;
        dense_rank_add(&updates, qp->width[i], now ? qp->w[i] : -qp->w[i], gamma_row(qp, i));
        own->counted[i] = now;
    }
    dense_rank_flush(&updates);
    int n = 0;
    for (int i = 0; i < qp->n; i++) {
        own->position[i] = bound[i] ? -1 : n;
        if (!bound[i]) own->free[n++] = i;
    }
    own->n_free = n;
    for (int i = 0; i < n; i++) {
        const double *from = newton->matrix + (size_t)own->free[i] * ld;
        double *to = newton->factor + (size_t)i * ld;
        if (own->free[i] == i)
            memcpy(to, from, sizeof(double) * (size_t)(i + 1));
        else
            for (int j = 0; j <= i; j++) to[j] = from[own->free[j]];
    }
    own->valid = dense_cholesky(n, qp->ld, newton->factor, newton->panel);
    return own->valid;
}

/* Lists the columns of B and D's diagonal. */
static void list_border(const qp_matrices *qp, newton_system *newton, const int8_t *bound, const int8_t *side) {
    const newton_base *base = newton->base;
    int k = 0;
    for (int i = 0; i < qp->n; i++) {
        const int was_free = base->position[i] >= 0;
        if ((bound[i] == 0) == was_free) continue;
        newton->row[k] = -1;
        newton->bound[k] = was_free ? i : -1;
        newton->freed[k++] = was_free ? -1 : i;
    }
    for (int i = 0; i < qp->m; i++) {
        const int8_t now = side[i] != 0;
        if (now == base->counted[i]) continue;
        newton->weight[k] = now ? qp->w[i] : -qp->w[i];
        newton->bound[k] = newton->freed[k] = -1;
        newton->row[k++] = i;
    }
    newton->columns = k;
    newton->width = (k + LANES - 1) / LANES * LANES;
}

/* z := L^-1 B; rows of z before the first non-zero one of B stay zero. */
static void solve_border(const qp_matrices *qp, newton_system *newton) {
    const newton_base *base = newton->base;
    const int n = base->n_free, width = newton->width;
    double *z = newton->z;
    memset(z, 0, sizeof(double) * (size_t)(n * width));
    int first = n;
    for (int k = 0; k < newton->columns; k++) {
        if (newton->bound[k] >= 0) {
            const int p = base->position[newton->bound[k]];
            z[p * width + k] = 1.0;
            first = p < first ? p : first;
            continue;
        }
        first = 0;
        if (newton->row[k] >= 0) {
            const double *gamma = gamma_row(qp, newton->row[k]);
            for (int p = 0; p < n; p++) z[p * width + k] = gamma[base->free[p]];
        } else {
            for (int p = 0; p < n; p++) z[p * width + k] = entry(qp, base, base->free[p], newton->freed[k]);
        }
    }
    dense_forward_many(first, n, qp->ld, base->factor, width, z);
}

static double corner(const qp_matrices *qp, const newton_system *newton, int a, int b) {
    if (newton->row[a] >= 0 && a == b) return -1.0 / newton->weight[a];
    if (newton->freed[a] >= 0 && newton->freed[b] >= 0)
        return entry(qp, newton->base, newton->freed[a], newton->freed[b]);
    if (newton->freed[a] >= 0 && newton->row[b] >= 0) return gamma_row(qp, newton->row[b])[newton->freed[a]];
    if (newton->freed[b] >= 0 && newton->row[a] >= 0) return gamma_row(qp, newton->row[a])[newton->freed[b]];
    return 0.0;
}

/* The factorised Schur complement. 0 if it is singular. */
static int complement(const qp_matrices *qp, newton_system *newton) {
    const int k = newton->columns, width = newton->width;
    double product[BORDER * BORDER] = {0};
    dense_gram(newton->base->n_free, width, newton->z, product);
    for (int a = 0; a < k; a++)
        for (int b = 0; b < k; b++) newton->schur[a * k + b] = corner(qp, newton, a, b) - product[a * width + b];
    return dense_lu(k, newton->schur, newton->pivot);
}

int newton_take(const qp_matrices *qp, newton_system *newton, const int8_t *bound, const int8_t *side) {
    newton->of_theta.matrix = qp->hessian, newton->of_theta.factor = qp->factor;
    /* With the Hessian alone positive definite, so is every matrix met here, and no factorisation is needed to know it. */
    const int few = qp->convex ? BORDER : 0;
    newton->base = NULL;
    newton->columns = newton->width = 0;
    int fewest = few + 1;
    newton_base *bases[] = {&newton->own, &newton->of_theta};
    bases[1]->valid = qp->convex;
    for (int i = 0; i < 2; i++) {
        if (!bases[i]->valid) continue;
        const int changes = distance(qp, bases[i], bound, side, fewest);
        if (changes < fewest) fewest = changes, newton->base = bases[i];
    }
    if (newton->base && fewest > 0) {
        list_border(qp, newton, bound, side);
        solve_border(qp, newton);
        if (complement(qp, newton)) return 1;
        newton->base = NULL, newton->columns = newton->width = 0;
    }
    if (newton->base) return 1;
    newton->base = &newton->own;
    return factorise(qp, newton, bound, side);
}

void newton_solve(const qp_matrices *qp, newton_system *newton, const int8_t *bound, double *x) {
    const newton_base *base = newton->base;
    const int n = base->n_free, k = newton->columns, width = newton->width;
    double *forward = newton->forward;
    for (int p = 0; p < n; p++) forward[p] = x[base->free[p]];
    dense_forward(n, qp->ld, base->factor, forward);
    if (k > 0) {
        double t[BORDER] = {0};
        for (int a = 0; a < k; a++) t[a] = newton->freed[a] >= 0 ? x[newton->freed[a]] : 0.0;
        for (int p = 0; p < n; p++)
            for (int a = 0; a < k; a++) t[a] -= newton->z[p * width + a] * forward[p];
        dense_lu_solve(k, newton->schur, newton->pivot, t);
        for (int p = 0; p < n; p++)
            for (int a = 0; a < k; a++) forward[p] -= newton->z[p * width + a] * t[a];
        for (int a = 0; a < k; a++)
            if (newton->freed[a] >= 0) x[newton->freed[a]] = t[a];
    }
    dense_backward(n, qp->ld, base->factor, forward);
    for (int p = 0; p < n; p++) x[base->free[p]] = forward[p];
    for (int i = 0; i < qp->n; i++)
        if (bound[i]) x[i] = 0.0;
}

/* forward [n][4] := L^-1 of the base times e_i; known for the first moves where the base is theta's. */
static void forward_units(const qp_matrices *qp, newton_system *newton, const int8_t *bound, int first) {
    const newton_base *base = newton->base;
    double *forward = newton->forward;
    if (base == &newton->of_theta && first == 0) {
        for (int p = 0; p < qp->n; p++)
            for (int c = 0; c < 4; c++) forward[4 * p + c] = bound[c] ? 0.0 : qp->forward[4 * p + c];
        return;
    }
    memset(forward, 0, sizeof(double) * (size_t)(4 * base->n_free));
    int from = base->n_free;
    for (int c = 3; c >= 0; c--) {
        const int p = bound[first + c] ? -1 : base->position[first + c];
        if (p >= 0) forward[4 * p + c] = 1.0, from = p;
    }
    dense_forward_many(from, base->n_free, qp->ld, base->factor, 4, forward);
}

/* The border's part: t := S^-1 (c - z' forward), forward -= z t; all [.][4]. */
static void border_four(newton_system *newton, int n, double (*restrict t)[4], double *restrict forward) {
    const int k = newton->columns, width = newton->width;
    const double *restrict z = newton->z;
    for (int p = 0; p < n; p++)
        for (int a = 0; a < k; a++)
#pragma omp simd
            for (int c = 0; c < 4; c++) t[a][c] -= z[p * width + a] * forward[4 * p + c];
    for (int c = 0; c < 4; c++) {
        double column[BORDER];
        for (int a = 0; a < k; a++) column[a] = t[a][c];
        dense_lu_solve(k, newton->schur, newton->pivot, column);
        for (int a = 0; a < k; a++) t[a][c] = column[a];
    }
    for (int p = 0; p < n; p++)
        for (int a = 0; a < k; a++)
#pragma omp simd
            for (int c = 0; c < 4; c++) forward[4 * p + c] -= z[p * width + a] * t[a][c];
}

void newton_inverse_four(const qp_matrices *qp, newton_system *newton, const int8_t *bound, int first, double *x) {
    const newton_base *base = newton->base;
    double *forward = newton->forward, t[BORDER][4];
    memset(x, 0, sizeof(double) * (size_t)(4 * qp->n));
    forward_units(qp, newton, bound, first);
    for (int a = 0; a < newton->columns; a++)
        for (int c = 0; c < 4; c++) t[a][c] = newton->freed[a] == first + c;
    if (newton->columns > 0) border_four(newton, base->n_free, t, forward);
    dense_backward_four(base->n_free, qp->ld, base->factor, forward);
    for (int p = 0; p < base->n_free; p++)
        for (int c = 0; c < 4; c++) x[4 * base->free[p] + c] = bound[base->free[p]] ? 0.0 : forward[4 * p + c];
    for (int a = 0; a < newton->columns; a++)
        for (int c = 0; newton->freed[a] >= 0 && c < 4; c++) x[4 * newton->freed[a] + c] = t[a][c];
}

void newton_multiply(const qp_matrices *qp, const newton_system *newton, const double *x, double *out) {
    for (int j = 0; j < qp->n; j++) {
        if (x[j] == 0.0) continue;
        for (int i = 0; i < qp->n; i++) out[i] += entry(qp, newton->base, i, j) * x[j];
    }
    for (int k = 0; k < newton->columns; k++) {
        if (newton->row[k] < 0) continue;
        const int width = qp->width[newton->row[k]];
        const double *gamma = gamma_row(qp, newton->row[k]);
        dense_axpy(width, newton->weight[k] * dense_dot(width, gamma, x), gamma, out);
    }
}

double newton_row(const qp_matrices *qp, const newton_system *newton, int i, const double *x, const double *product) {
    const size_t ld = (size_t)qp->ld;
    const double *matrix = newton->base->matrix;
    double sum = dense_dot(i, matrix + (size_t)i * ld, x);
    for (int j = i; j < qp->n; j++) sum += matrix[(size_t)j * ld + (size_t)i] * x[j];
    for (int k = 0; k < newton->columns; k++)
        if (newton->row[k] >= 0) sum += newton->weight[k] * product[newton->row[k]] * gamma_row(qp, newton->row[k])[i];
    return sum;
}
