/* A box-constrained convex piecewise-quadratic program in few, dense variables, by projected semismooth Newton.
 *
 *   min_u  linear'u + r/2 u^2 + sum_i [ q_i/2 (y_i - target_i)^2 + w_i/2 (lower_i - y_i)_+^2 + w_i/2 (y_i - upper_i)_+^2 ]
 *   s.t.   lb <= u <= ub,      y = offset + Gamma u
 *
 * The quadratic soft rows make the objective C1 with a Hessian that is constant on each piece: once the rows outside their
 * band and the moves on their bounds are right, one Newton step is exact. The step is globalised by Armijo's rule on the
 * projection arc (D. Bertsekas, "Projected Newton methods for optimization problems with simple constraints").
 */
#ifndef NISSE_CONDENSED_QP_H
#define NISSE_CONDENSED_QP_H

#include <stddef.h>
#include <stdint.h>

enum { QP_SOLVED = 0, QP_MAX_ITERATIONS = 1, QP_NOT_CONVEX = 2, QP_NOT_FINITE = 3 };

/* What depends on theta alone. */
typedef struct {
    int n;  /* moves */
    int m;  /* rows */
    int ld; /* row length of the matrices, n rounded up to a full cache line */
    double *gamma;   /* [m*ld] */
    int *width;      /* [m] leading columns that may be non-zero: Gamma is lower block triangular */
    double *hessian; /* [n*ld] lower triangle of diag(r) + Gamma' diag(q) Gamma */
    double *r;       /* [n] */
    double *q, *w, *target, *lower, *upper; /* [m] */
} qp_matrices;

size_t qp_matrices_size(int n, int m);
void qp_matrices_create(int n, int m, qp_matrices *qp, void *memory);
/* Fills `hessian` from gamma, width, r and q. */
void qp_matrices_condense(qp_matrices *qp);

/* Iterate and factor of one solver thread; `u` is the warm start on entry and the solution on exit. */
typedef struct {
    double *u;    /* [n] */
    double *y;    /* [m] */
    double *row;  /* [m] derivative of the row costs */
    double *grad; /* [n] */
    double *step, *trial_u, *rhs;  /* [n] */
    double *trial_y;               /* [m] */
    double *newton; /* [n*ld] lower triangle of hessian + Gamma' diag(w of violated rows) Gamma */
    double *factor; /* [n*ld] Cholesky factor of its free rows and columns */
    double *panel;  /* [4*ld] */
    int8_t *violated; /* [m] which rows `newton` holds */
    int *free;        /* [n] the moves off their bounds */
    int n_free;
    int factored;  /* whether `factor` belongs to (newton, free) */
    int renewal;   /* solves left until `newton` is summed up afresh */
} qp_work;

typedef struct {
    int status;
    int iterations;      /* Newton steps */
    int factorisations;
    double objective;
    double residual;     /* max-norm of the projected gradient, divided by the diagonal of the Hessian: in units of u */
} qp_result;

size_t qp_work_size(int n, int m);
void qp_work_create(int n, int m, qp_work *work, void *memory);
/* Forgets everything but `u`; to be called when the matrices change. */
void qp_work_reset(qp_work *work);

void qp_solve(const qp_matrices *qp, qp_work *work, const double *linear, const double *offset, const double *lb,
              const double *ub, qp_result *result);

/* The objective at work->u, work->y. */
double qp_objective(const qp_matrices *qp, const double *linear, const double *u, const double *y);

/* At a solution: column [n] = (Newton matrix on the free moves)^-1 e_move, zero on the bound ones. 0 if `move` is not free. */
int qp_inverse_column(const qp_matrices *qp, qp_work *work, int move, double *column);

#endif
