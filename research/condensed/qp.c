#include "qp.h"

#include <math.h>
#include <string.h>

#include "dense.h"

#define ACTIVE_SET_STEPS 24 /* before the second method takes over */
#define STALLED_STEPS 5     /* steps without fewer wrong members of the sets: a cycle, most likely */
#define DESCENT_STEPS 6     /* of the second method, before the first has another try; more with every round */
#define ROUNDS 12
#define HALVINGS 30
#define STEP_TOLERANCE 1e-10 /* in units of u */
#define ARMIJO 1e-4
#define REFINEMENT 1e-12 /* in units of u: a larger gradient is worth a step of iterative refinement */

void qp_work_reset(qp_work *work, int n) {
    newton_reset(&work->newton);
    work->cold = 1;
    memset(work->bound, 0, (size_t)n);
}

static const double *gamma_row(const qp_matrices *qp, int i) { return qp->gamma + (size_t)i * (size_t)qp->ld; }

static double clamp(double x, double lb, double ub) { return x < lb ? lb : x > ub ? ub : x; }

static void outputs(const qp_matrices *qp, const double *offset, const double *u, double *y) {
    memcpy(y, offset, sizeof(double) * (size_t)qp->m);
    dense_multiply_add(qp->m, qp->ld, qp->width, qp->gamma, u, y);
}

double qp_objective(const qp_matrices *qp, const double *linear, const double *u, const double *y) {
    double sum = 0.0, rows = 0.0;
    for (int i = 0; i < qp->n; i++) sum += (linear[i] + 0.5 * qp->r[i] * u[i]) * u[i];
    const double *restrict q = qp->q, *restrict w = qp->w, *restrict target = qp->target;
    const double *restrict lower = qp->lower, *restrict upper = qp->upper;
#pragma omp simd reduction(+ : rows)
    for (int i = 0; i < qp->m; i++) {
        const double track = y[i] - target[i], low = lower[i] - y[i], high = y[i] - upper[i];
        const double outside = (low > 0.0 ? low : 0.0) + (high > 0.0 ? high : 0.0);
        rows += q[i] * track * track + w[i] * outside * outside;
    }
    return sum + 0.5 * rows;
}

/* dJ/du at (u, y) into work->grad. */
static void gradient(const qp_matrices *qp, qp_work *work, const double *linear, const double *u, const double *y) {
#pragma omp simd
    for (int i = 0; i < qp->m; i++) {
        const double low = qp->lower[i] - y[i], high = y[i] - qp->upper[i];
        work->row[i] =
            qp->q[i] * (y[i] - qp->target[i]) + qp->w[i] * ((high > 0.0 ? high : 0.0) - (low > 0.0 ? low : 0.0));
    }
    for (int i = 0; i < qp->n; i++) work->grad[i] = linear[i] + qp->r[i] * u[i];
    dense_multiply_transposed_add(qp->m, qp->ld, qp->width, qp->gamma, work->row, work->grad);
}

/* Rows outside the band at y; returns how many of them changed. */
static int update_sides(const qp_matrices *qp, qp_work *work, const double *y) {
    int changes = 0;
    for (int i = 0; i < qp->m; i++) {
        const int8_t now = (int8_t)((y[i] > qp->upper[i]) - (y[i] < qp->lower[i]));
        changes += now != work->side[i];
        work->side[i] = now;
    }
    return changes;
}

/* unbound := gradient at u = 0 with all rows within their band: once per solve. */
static void unbound_gradient(const qp_matrices *qp, qp_work *work, const double *linear, const double *offset) {
#pragma omp simd
    for (int i = 0; i < qp->m; i++) work->row[i] = qp->q[i] * (offset[i] - qp->target[i]);
    memcpy(work->unbound, linear, sizeof(double) * (size_t)qp->n);
    dense_multiply_transposed_add(qp->m, qp->ld, qp->width, qp->gamma, work->row, work->unbound);
}

/* affine := gradient at u = 0 of the quadratic piece that `side` describes. */
static void affine_gradient(const qp_matrices *qp, qp_work *work, const double *offset) {
    memcpy(work->affine, work->unbound, sizeof(double) * (size_t)qp->n);
    for (int i = 0; i < qp->m; i++) {
        if (!work->side[i]) continue;
        const double limit = work->side[i] < 0 ? qp->lower[i] : qp->upper[i];
        dense_axpy(qp->width[i], qp->w[i] * (offset[i] - limit), gamma_row(qp, i), work->affine);
    }
}

/* Minimises the quadratic piece of the present sets, with the moves on their bounds held: u, y, and the multipliers of the
 * held moves in grad. 0 if the piece is not convex. */
static int solve_piece(const qp_matrices *qp, qp_work *work, const double *offset, const double *lb, const double *ub) {
    const int n = qp->n;
    if (!newton_take(qp, &work->newton, work->bound, work->side)) return 0;
    int held = 0;
    for (int i = 0; i < n; i++) {
        work->u[i] = work->bound[i] ? (work->bound[i] < 0 ? lb[i] : ub[i]) : 0.0;
        held += work->bound[i] != 0;
    }
    memcpy(work->step, work->affine, sizeof(double) * (size_t)n);
    if (held) newton_multiply(qp, &work->newton, work->u, work->step);
    for (int i = 0; i < n; i++) work->step[i] = -work->step[i];
    newton_solve(qp, &work->newton, work->bound, work->step);
    for (int i = 0; i < n; i++) work->u[i] += work->step[i];
    memset(work->change, 0, sizeof(double) * (size_t)qp->m);
    dense_multiply_add(qp->m, qp->ld, qp->width, qp->gamma, work->u, work->change);
#pragma omp simd
    for (int i = 0; i < qp->m; i++) work->y[i] = offset[i] + work->change[i];
    for (int i = 0; held && i < n; i++)
        if (work->bound[i]) work->grad[i] = work->affine[i] + newton_row(qp, &work->newton, i, work->u, work->change);
    return 1;
}

/* Free moves beyond a bound are put on it, held moves whose multiplier has the wrong sign are freed. */
static int update_bounds(const qp_matrices *qp, qp_work *work, const double *lb, const double *ub) {
    int changes = 0;
    for (int i = 0; i < qp->n; i++) {
        int8_t now = work->bound[i];
        if (lb[i] >= ub[i])
            now = -1;
        else if (!now)
            now = (int8_t)((work->u[i] > ub[i]) - (work->u[i] < lb[i]));
        else if (now < 0 ? work->grad[i] < 0.0 : work->grad[i] > 0.0)
            now = 0;
        changes += now != work->bound[i];
        work->bound[i] = now;
    }
    return changes;
}

/* 1 solved, 0 cycling, -1 not convex. */
static int active_set(const qp_matrices *qp, qp_work *work, const double *offset, const double *lb, const double *ub,
                      qp_result *result) {
    int fewest = qp->n + qp->m + 1, stalled = 0;
    for (int steps = 0; steps < ACTIVE_SET_STEPS && stalled < STALLED_STEPS; steps++) {
        affine_gradient(qp, work, offset);
        result->iterations++;
        if (!solve_piece(qp, work, offset, lb, ub)) return -1;
        const int changes = update_bounds(qp, work, lb, ub) + update_sides(qp, work, work->y);
        if (changes == 0) return 1;
        stalled = changes < fewest ? 0 : stalled + 1;
        if (changes < fewest) fewest = changes;
    }
    return 0;
}

/* Moves at a bound whose gradient holds them there. */
static void held_bounds(const qp_matrices *qp, qp_work *work, const double *lb, const double *ub) {
    for (int i = 0; i < qp->n; i++) {
        work->bound[i] = 0;
        if (work->u[i] <= lb[i] && (work->grad[i] > 0.0 || lb[i] >= ub[i])) work->bound[i] = -1;
        if (work->u[i] >= ub[i] && work->grad[i] < 0.0 && lb[i] < ub[i]) work->bound[i] = 1;
    }
}

/* The longest of the steps 1, 1/2, 1/4, ... along the projection arc that descends enough; 0 if there is none. */
static int line_search(const qp_matrices *qp, qp_work *work, const double *linear, const double *offset,
                       const double *lb, const double *ub, double *objective) {
    double length = 1.0;
    for (int halvings = 0; halvings < HALVINGS; halvings++, length *= 0.5) {
        double slope = 0.0;
        for (int i = 0; i < qp->n; i++) {
            work->trial_u[i] = clamp(work->u[i] + length * work->step[i], lb[i], ub[i]);
            slope += work->grad[i] * (work->trial_u[i] - work->u[i]);
        }
        outputs(qp, offset, work->trial_u, work->trial_y);
        const double trial = qp_objective(qp, linear, work->trial_u, work->trial_y);
        /* The last digits of the objective are rounding: they must not refuse the exact final step. */
        if (trial <= *objective + ARMIJO * slope + 1e-13 * fabs(*objective)) {
            memcpy(work->u, work->trial_u, sizeof(double) * (size_t)qp->n);
            memcpy(work->y, work->trial_y, sizeof(double) * (size_t)qp->m);
            *objective = trial;
            return 1;
        }
    }
    return 0;
}

/* Begins at the present iterate or, when a former round came lower, where that one stopped.
 * 1 solved, 0 out of steps, -1 not convex. */
static int projected_newton(const qp_matrices *qp, qp_work *work, const double *linear, const double *offset,
                            const double *lb, const double *ub, int steps, double *best, qp_result *result) {
    for (int i = 0; i < qp->n; i++) work->u[i] = clamp(work->u[i], lb[i], ub[i]);
    outputs(qp, offset, work->u, work->y);
    double objective = qp_objective(qp, linear, work->u, work->y);
    if (*best < objective) {
        memcpy(work->u, work->best_u, sizeof(double) * (size_t)qp->n);
        outputs(qp, offset, work->u, work->y);
        objective = *best;
    }
    for (int step = 0; step < steps; step++, result->descents++, result->iterations++) {
        gradient(qp, work, linear, work->u, work->y);
        update_sides(qp, work, work->y);
        held_bounds(qp, work, lb, ub);
        if (!newton_take(qp, &work->newton, work->bound, work->side)) return -1;
        double largest = 0.0;
        for (int i = 0; i < qp->n; i++) work->step[i] = -work->grad[i];
        newton_solve(qp, &work->newton, work->bound, work->step);
        for (int i = 0; i < qp->n; i++) largest = fmax(largest, fabs(work->step[i]));
        if (largest <= STEP_TOLERANCE) return 1;
        if (!line_search(qp, work, linear, offset, lb, ub, &objective)) break;
    }
    memcpy(work->best_u, work->u, sizeof(double) * (size_t)qp->n);
    *best = objective;
    return 0;
}

/* Largest move that a gradient step, scaled by the Hessian's diagonal, would still make. */
static double projected_gradient(const qp_matrices *qp, const qp_work *work, const double *lb, const double *ub) {
    double worst = 0.0;
    for (int i = 0; i < qp->n; i++) {
        const double scale = qp->hessian[(size_t)i * (size_t)qp->ld + (size_t)i];
        const double move = fabs(work->u[i] - clamp(work->u[i] - work->grad[i] / scale, lb[i], ub[i]));
        if (!(move <= worst)) worst = move;
    }
    return worst;
}

/* u += M^-1 (- gradient) on the free moves of the solution's sets: what rounding left over. */
static void refine(const qp_matrices *qp, qp_work *work, const double *linear, const double *offset, const double *lb,
                   const double *ub) {
    for (int i = 0; i < qp->n; i++) work->step[i] = -work->grad[i];
    newton_solve(qp, &work->newton, work->bound, work->step);
    for (int i = 0; i < qp->n; i++) work->u[i] = clamp(work->u[i] + work->step[i], lb[i], ub[i]);
    outputs(qp, offset, work->u, work->y);
    gradient(qp, work, linear, work->u, work->y);
}

void qp_solve(const qp_matrices *qp, qp_work *work, const double *linear, const double *offset, const double *lb,
              const double *ub, qp_result *result) {
    *result = (qp_result){.status = QP_MAX_ITERATIONS};
    for (int i = 0; i < qp->n; i++)
        if (lb[i] >= ub[i]) work->bound[i] = -1;
    if (work->cold) memset(work->side, 0, (size_t)qp->m);
    work->cold = 0;
    unbound_gradient(qp, work, linear, offset);
    double best = HUGE_VAL;
    int outcome = 0;
    for (int round = 1; outcome == 0 && round <= ROUNDS; round++) {
        outcome = active_set(qp, work, offset, lb, ub, result);
        if (outcome == 0)
            outcome = projected_newton(qp, work, linear, offset, lb, ub, round * DESCENT_STEPS, &best, result);
    }
    result->status = outcome > 0 ? QP_SOLVED : outcome < 0 ? QP_NOT_CONVEX : QP_MAX_ITERATIONS;
    for (int i = 0; i < qp->n; i++) work->u[i] = clamp(work->u[i], lb[i], ub[i]);
    gradient(qp, work, linear, work->u, work->y);
    result->residual = projected_gradient(qp, work, lb, ub);
    if (outcome > 0 && result->residual > REFINEMENT) {
        refine(qp, work, linear, offset, lb, ub);
        result->residual = projected_gradient(qp, work, lb, ub);
    }
    result->objective = qp_objective(qp, linear, work->u, work->y);
    if (!isfinite(result->objective) || !isfinite(result->residual)) result->status = QP_NOT_FINITE;
}

int qp_inverse_columns(const qp_matrices *qp, qp_work *work, int first, double *columns) {
    int free = 0;
    for (int c = 0; c < 4; c++) free += !work->bound[first + c];
    if (!free || !work->newton.base || !work->newton.base->valid) return 0;
    newton_inverse_four(qp, &work->newton, work->bound, first, columns);
    return 1;
}
