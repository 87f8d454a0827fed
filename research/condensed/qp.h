/* A box-constrained convex piecewise-quadratic program in few, dense variables.
 *
 *   min_u  linear'u + r/2 u^2 + sum_i [ q_i/2 (y_i - target_i)^2 + w_i/2 (lower_i - y_i)_+^2 + w_i/2 (y_i - upper_i)_+^2 ]
 *   s.t.   lb <= u <= ub,      y = offset + Gamma u
 *
 * Once it is known which rows are outside their band and which moves are on their bounds, the solution is one linear
 * system (newton.h). Two methods look for these sets:
 *   1. the primal-dual active set method, a semismooth Newton method on the KKT conditions: solve for the present sets,
 *      read the next sets off the result (M. Hintermueller, K. Ito, K. Kunisch, "The primal-dual active set strategy as a
 *      semismooth Newton method"). A handful of steps, but it may cycle;
 *   2. then a few steps of projected Newton with Armijo's rule on the projection arc, which always descend (D. Bertsekas,
 *      "Projected Newton methods for optimization problems with simple constraints"), and 1 again from better sets.
 */
#ifndef NISSE_CONDENSED_QP_H
#define NISSE_CONDENSED_QP_H

#include <stddef.h>
#include <stdint.h>

#include "newton.h"

enum { QP_SOLVED = 0, QP_MAX_ITERATIONS = 1, QP_NOT_CONVEX = 2, QP_NOT_FINITE = 3 };

/* What depends on theta alone. */
typedef struct qp_matrices {
    int n;           /* moves */
    int m;           /* rows */
    int ld;          /* row length of the matrices, n rounded up to a full cache line */
    double *gamma;   /* [m*ld] */
    int *width;      /* [m] leading columns that may be non-zero: Gamma is lower block triangular */
    double *hessian; /* [n*ld] lower triangle of diag(r) + Gamma' diag(q) Gamma */
    double *factor;  /* [n*ld] its Cholesky factor: where every cold start begins */
    double *forward; /* [n][4] L^-1 e_i of that factor for the first four moves */
    double *r;       /* [n] */
    double *q, *w, *target, *lower, *upper; /* [m] */
    int convex;                             /* whether `factor` exists */
} qp_matrices;

size_t qp_matrices_size(int n, int m);
void qp_matrices_create(int n, int m, qp_matrices *qp, void *memory);
/* Fills `hessian` and `factor` from gamma, width, r and q. */
void qp_matrices_condense(qp_matrices *qp);

/* Iterate, sets and factors of one solver thread. */
typedef struct {
    double *u;                              /* [n] the solution */
    double *y;                              /* [m] its outputs */
    int8_t *bound;                          /* [n] -1 on lb, +1 on ub, 0 free; the warm start on entry */
    int8_t *side;                           /* [m] -1 below the band, +1 above, 0 within */
    double *row;                            /* [m] derivative of the row costs */
    double *grad, *affine, *step, *trial_u; /* [n] */
    double *best_u;                         /* [n] where the second method goes on */
    double *unbound;                        /* [n] gradient at u = 0 with all rows within their band */
    double *change;                         /* [m] Gamma u */
    double *trial_y;                        /* [m] */
    newton_system newton;
    int cold;
} qp_work;

typedef struct {
    int status;
    int iterations; /* linear systems solved */
    int descents;   /* those of the second method */
    double objective;
    double residual; /* max-norm of the projected gradient, divided by the diagonal of the Hessian: in units of u */
} qp_result;

size_t qp_work_size(int n, int m);
void qp_work_create(int n, int m, qp_work *work, void *memory);
/* Forgets everything: the next solve starts cold. */
void qp_work_reset(qp_work *work, int n);

void qp_solve(const qp_matrices *qp, qp_work *work, const double *linear, const double *offset, const double *lb,
              const double *ub, qp_result *result);

/* The objective at (u, y). */
double qp_objective(const qp_matrices *qp, const double *linear, const double *u, const double *y);

/* At a solution: columns [n][4] = (Newton matrix on the free moves)^-1 e_i for the four moves i from `first` on, zero for a
 * move on its bound. 0 if all four are, or nothing is solved. */
int qp_inverse_columns(const qp_matrices *qp, qp_work *work, int first, double *columns);

#endif
