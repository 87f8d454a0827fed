#include "qp.h"

#include <math.h>
#include <string.h>

#include "dense.h"

#define MAX_ITERATIONS 60
#define MAX_HALVINGS 30
#define STEP_TOLERANCE 1e-10   /* in units of u */
#define ARMIJO 1e-4
#define RENEWAL 64             /* solves between fresh sums of the Newton matrix: rank-one updates lose digits slowly */

static size_t rows_of(int n) { return (size_t)((n + 7) / 8 * 8); }

size_t qp_matrices_size(int n, int m) {
    const size_t ld = rows_of(n);
    return 64 + sizeof(double) * (ld * m + ld * n + ld + 5 * rows_of(m)) + sizeof(int) * m;
}

static void *aligned(void *memory) { return (void *)(((uintptr_t)memory + 63) / 64 * 64); }

void qp_matrices_create(int n, int m, qp_matrices *qp, void *memory) {
    const size_t ld = rows_of(n), lm = rows_of(m);
    double *next = aligned(memory);
    memset(next, 0, qp_matrices_size(n, m) - 64);
    qp->n = n, qp->m = m, qp->ld = (int)ld;
    qp->gamma = next, next += ld * m;
    qp->hessian = next, next += ld * n;
    qp->r = next, next += ld;
    qp->q = next, next += lm;
    qp->w = next, next += lm;
    qp->target = next, next += lm;
    qp->lower = next, next += lm;
    qp->upper = next, next += lm;
    qp->width = (int *)next;
}

size_t qp_work_size(int n, int m) {
    const size_t ld = rows_of(n);
    return 64 + sizeof(double) * (6 * ld + 3 * rows_of(m) + 2 * ld * n + 4 * ld) + sizeof(int) * n + (size_t)m;
}

void qp_work_create(int n, int m, qp_work *work, void *memory) {
    const size_t ld = rows_of(n), lm = rows_of(m);
    double *next = aligned(memory);
    memset(next, 0, qp_work_size(n, m) - 64);
    double **vectors[] = {&work->u, &work->grad, &work->step, &work->trial_u, &work->rhs};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) *vectors[i] = next, next += ld;
    work->y = next, next += lm;
    work->row = next, next += lm;
    work->trial_y = next, next += lm;
    work->newton = next, next += ld * n;
    work->factor = next, next += ld * n;
    work->panel = next, next += 4 * ld;
    work->free = (int *)next;
    work->violated = (int8_t *)(work->free + n);
    qp_work_reset(work);
}

void qp_work_reset(qp_work *work) {
    work->renewal = 0;
    work->factored = 0;
    work->n_free = -1;
}

void qp_matrices_condense(qp_matrices *qp) {
    memset(qp->hessian, 0, sizeof(double) * qp->ld * qp->n);
    for (int i = 0; i < qp->n; i++) qp->hessian[i * qp->ld + i] = qp->r[i];
    for (int i = 0; i < qp->m; i++)
        if (qp->q[i] != 0.0) dense_rank_one(qp->width[i], qp->ld, qp->hessian, qp->q[i], qp->gamma + (size_t)i * qp->ld);
}

static void outputs(const qp_matrices *qp, const double *offset, const double *u, double *y) {
    for (int i = 0; i < qp->m; i++) y[i] = offset[i] + dense_dot(qp->width[i], qp->gamma + (size_t)i * qp->ld, u);
}

double qp_objective(const qp_matrices *qp, const double *linear, const double *u, const double *y) {
    double sum = 0.0, rows = 0.0;
    for (int i = 0; i < qp->n; i++) sum += (linear[i] + 0.5 * qp->r[i] * u[i]) * u[i];
#pragma omp simd reduction(+ : rows)
    for (int i = 0; i < qp->m; i++) {
        const double track = y[i] - qp->target[i];
        const double low = qp->lower[i] - y[i], high = y[i] - qp->upper[i];
        const double outside = (low > 0.0 ? low : 0.0) + (high > 0.0 ? high : 0.0);
        rows += qp->q[i] * track * track + qp->w[i] * outside * outside;
    }
    return sum + 0.5 * rows;
}

static void gradient(const qp_matrices *qp, qp_work *work, const double *linear) {
    const double *restrict y = work->y;
#pragma omp simd
    for (int i = 0; i < qp->m; i++) {
        const double low = qp->lower[i] - y[i], high = y[i] - qp->upper[i];
        work->row[i] =
            qp->q[i] * (y[i] - qp->target[i]) + qp->w[i] * ((high > 0.0 ? high : 0.0) - (low > 0.0 ? low : 0.0));
    }
    for (int i = 0; i < qp->n; i++) work->grad[i] = linear[i] + qp->r[i] * work->u[i];
    for (int i = 0; i < qp->m; i++) dense_axpy(qp->width[i], work->row[i], qp->gamma + (size_t)i * qp->ld, work->grad);
}

/* Brings the Newton matrix to the rows that are violated now: only what changed is added or taken away. */
static void update_newton(const qp_matrices *qp, qp_work *work) {
    if (work->renewal <= 0) {
        memcpy(work->newton, qp->hessian, sizeof(double) * qp->ld * qp->n);
        memset(work->violated, 0, (size_t)qp->m);
        work->renewal = RENEWAL;
        work->factored = 0;
    }
    for (int i = 0; i < qp->m; i++) {
        const int8_t now = qp->w[i] > 0.0 && (work->y[i] < qp->lower[i] || work->y[i] > qp->upper[i]);
        if (now == work->violated[i]) continue;
        dense_rank_one(qp->width[i], qp->ld, work->newton, now ? qp->w[i] : -qp->w[i], qp->gamma + (size_t)i * qp->ld);
        work->violated[i] = now;
        work->factored = 0;
    }
}

/* Moves at a bound whose gradient holds them there are fixed, the others free. */
static void update_free(const qp_matrices *qp, qp_work *work, const double *lb, const double *ub) {
    int count = 0, same = 1;
    for (int i = 0; i < qp->n; i++) {
        const int held = lb[i] >= ub[i] || (work->u[i] <= lb[i] && work->grad[i] > 0.0) ||
                         (work->u[i] >= ub[i] && work->grad[i] < 0.0);
        if (held) continue;
        same = same && count < work->n_free && work->free[count] == i;
        work->free[count++] = i;
    }
    if (!same || count != work->n_free) work->factored = 0;
    work->n_free = count;
}

static int factorise(const qp_matrices *qp, qp_work *work) {
    const int n = work->n_free, ld = qp->ld;
    for (int i = 0; i < n; i++) {
        const double *from = work->newton + (size_t)work->free[i] * ld;
        double *to = work->factor + (size_t)i * ld;
        for (int j = 0; j <= i; j++) to[j] = from[work->free[j]];
    }
    work->factored = dense_cholesky(n, ld, work->factor, work->panel);
    return work->factored;
}

static double clamp(double x, double lb, double ub) { return x < lb ? lb : x > ub ? ub : x; }

/* Largest move that a gradient step, scaled by the Hessian's diagonal, would still make. */
static double projected_gradient(const qp_matrices *qp, const qp_work *work, const double *lb, const double *ub) {
    double worst = 0.0;
    for (int i = 0; i < qp->n; i++) {
        const double scale = qp->hessian[(size_t)i * qp->ld + i];
        const double move = fabs(work->u[i] - clamp(work->u[i] - work->grad[i] / scale, lb[i], ub[i]));
        if (!(move <= worst)) worst = move;
    }
    return worst;
}

void qp_solve(const qp_matrices *qp, qp_work *work, const double *linear, const double *offset, const double *lb,
              const double *ub, qp_result *result) {
    const int n = qp->n;
    *result = (qp_result){.status = QP_MAX_ITERATIONS};
    work->renewal--;
    for (int i = 0; i < n; i++) work->u[i] = clamp(work->u[i], lb[i], ub[i]);
    outputs(qp, offset, work->u, work->y);
    double objective = qp_objective(qp, linear, work->u, work->y);
    for (; result->iterations < MAX_ITERATIONS; result->iterations++) {
        gradient(qp, work, linear);
        update_newton(qp, work);
        update_free(qp, work, lb, ub);
        if (!work->factored) {
            if (!factorise(qp, work)) {
                result->status = isfinite(objective) ? QP_NOT_CONVEX : QP_NOT_FINITE;
                break;
            }
            result->factorisations++;
        }
        for (int i = 0; i < work->n_free; i++) work->rhs[i] = -work->grad[work->free[i]];
        dense_cholesky_solve(work->n_free, qp->ld, work->factor, work->rhs);
        double largest = 0.0;
        for (int i = 0; i < work->n_free; i++) largest = fmax(largest, fabs(work->rhs[i]));
        if (largest <= STEP_TOLERANCE) {
            result->status = QP_SOLVED;
            break;
        }
        memset(work->step, 0, sizeof(double) * n);
        for (int i = 0; i < work->n_free; i++) work->step[work->free[i]] = work->rhs[i];
        double length = 1.0, trial = objective;
        int halvings = 0;
        for (; halvings < MAX_HALVINGS; halvings++, length *= 0.5) {
            double slope = 0.0;
            for (int i = 0; i < n; i++) {
                work->trial_u[i] = clamp(work->u[i] + length * work->step[i], lb[i], ub[i]);
                slope += work->grad[i] * (work->trial_u[i] - work->u[i]);
            }
            outputs(qp, offset, work->trial_u, work->trial_y);
            trial = qp_objective(qp, linear, work->trial_u, work->trial_y);
            /* The last digits of the objective are rounding: they must not refuse the exact final step. */
            if (trial <= objective + ARMIJO * slope + 1e-13 * fabs(objective)) break;
        }
        if (halvings == MAX_HALVINGS) break;
        double *swap = work->u;
        work->u = work->trial_u, work->trial_u = swap;
        swap = work->y, work->y = work->trial_y, work->trial_y = swap;
        objective = trial;
    }
    result->objective = objective;
    result->residual = projected_gradient(qp, work, lb, ub);
    if (!isfinite(objective) || !isfinite(result->residual)) result->status = QP_NOT_FINITE;
}

int qp_inverse_column(const qp_matrices *qp, qp_work *work, int move, double *column) {
    memset(column, 0, sizeof(double) * qp->n);
    if (!work->factored) return 0;
    int position = -1;
    for (int i = 0; i < work->n_free && work->free[i] <= move; i++)
        if (work->free[i] == move) position = i;
    if (position < 0) return 0;
    memset(work->rhs, 0, sizeof(double) * work->n_free);
    work->rhs[position] = 1.0;
    dense_cholesky_solve(work->n_free, qp->ld, work->factor, work->rhs);
    for (int i = 0; i < work->n_free; i++) column[work->free[i]] = work->rhs[i];
    return 1;
}
