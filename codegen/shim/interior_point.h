/* A primal-dual interior-point method for small stages: every size is a compile-time constant, so that the loops of a
 * stage unroll into straight code. HPIPM, which serves every size, spends most of its time on calls when nx = 1.
 *
 *     min sum_k v_k' H v_k / 2 + g' v_k + z' s_k + s_k' Z s_k / 2          v_k = [u_k; x_k], v_N = x_N
 *     s.t. x_{k+1} = D' v_k + b,  lower <= u_k <= upper,  C' v_k + s_k >= d,  s_k >= 0 (soft rows only), x_0 given
 */
#ifndef NISSE_INTERIOR_POINT_H
#define NISSE_INTERIOR_POINT_H

#include "solver.h"

#if NISSE_SMALL_QP

enum {
    MOST_SOFT = MAX(AT_LEAST_ONE(NISSE_NSOFT), NISSE_NSOFT_E),
    /* Where the inequalities of a stage stand in its vectors. */
    AT_UPPER = NISSE_NU,
    AT_ROWS = 2 * NISSE_NU,
    AT_SLACKS = AT_ROWS + MOST_ROWS,
    INEQUALITIES = AT_SLACKS + MOST_SOFT
};

/* One stage: its data, the iterate, and the Newton step. Matrices are column-major; terminal stages use the x part. */
typedef struct qp_stage {
    double H[NV * NV]; /* lower triangle */
    double g[NV], D[NV * NISSE_NX], b[NISSE_NX];
    double C[NV * MOST_ROWS], d[MOST_ROWS], z[MOST_SOFT], Z[MOST_SOFT];
    double lower[NISSE_NU], upper[NISSE_NU];
    /* Set as data: which actions stay at their lower bounds; the first action, where given, is pinned as well. */
    bool pinned[NISSE_NU];

    double v[NV], pi[NISSE_NX];                /* pi belongs to the step to the next stage */
    double lam[INEQUALITIES], t[INEQUALITIES]; /* multipliers > 0 and distances > 0; t of a slack is the slack */

    double res_g[NV], res_b[NISSE_NX], res_d[AT_SLACKS], res_s[MOST_SOFT]; /* residuals of the equations above */
    double target[INEQUALITIES];                                           /* what lam t shall grow by */
    double inv_t[INEQUALITIES];                                            /* 1 / t, of rows softened */
    double weight[AT_SLACKS], soft_pivot[MOST_SOFT];
    double L[NISSE_NU * NISSE_NU], K[NISSE_NU * NISSE_NX], k[NISSE_NU]; /* Cholesky factor; u = -K x - k */
    double P[NISSE_NX * NISSE_NX], p[NISSE_NX];                         /* cost-to-go of this stage's x */
    double shift[MOST_ROWS];                                            /* dlam = shift - weight * (row's step) */
    double dv[NV], dpi[NISSE_NX], dlam[INEQUALITIES], dt[INEQUALITIES];
} qp_stage;

typedef struct {
    bool converged;
    int iterations;
    double residual; /* max-norm of all KKT conditions */
} interior_point_result;

/* stages: [N + 1]; their data is set, the rest is overwritten. x0: [NX]. action: first action to pin [NA], or NULL. */
interior_point_result interior_point_solve(qp_stage *stages, const double *x0, const double *action);

#endif
#endif
