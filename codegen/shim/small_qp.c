/* acados' QP as stages of the interior-point method, and its solution back into acados' iterate. */
#include "interior_point.h"

#if NISSE_SMALL_QP

#include <string.h>

#include "blasfeo/include/blasfeo_d_aux.h"

/* rows x columns of a BLASFEO matrix, column-major with leading dimension NV. */
static void read_matrix(struct blasfeo_dmat *from, int rows, int columns, double *to) {
    for (int j = 0; j < columns; j++)
        for (int i = 0; i < rows; i++) to[i + j * NV] = BLASFEO_DMATEL(from, i, j);
}

/* The QP was taken at the origin, so its right-hand sides are those of the program itself. */
static void load_stage(const nisse_controller *c, int k, qp_stage *s) {
    const ocp_qp_in *qp = c->memory->qp_in;
    const int x = k < NISSE_N ? 0 : NISSE_NU, size = NV - x; /* the terminal stage has the x part alone */
    const int rows = general_rows(k), soft = k < NISSE_N ? NISSE_NSOFT : NISSE_NSOFT_E;
    read_matrix(&qp->RSQrq[k], size, size, s->H + x * (NV + 1));
    read_matrix(&qp->DCt[k], size, rows, s->C + x);
    memcpy(s->g + x, qp->rqz[k].pa, sizeof(double) * size);
    memcpy(s->z, qp->rqz[k].pa + size, sizeof(double) * soft);
    memcpy(s->Z, qp->Z[k].pa, sizeof(double) * soft);
    memcpy(s->d, qp->d[k].pa + box_rows(k), sizeof(double) * rows);
    if (k == NISSE_N) return;
    read_matrix(&qp->BAbt[k], NV, NISSE_NX, s->D);
    memcpy(s->b, qp->b[k].pa, sizeof(double) * NISSE_NX);
    memcpy(s->lower, nisse_u_lower, sizeof s->lower);
    memcpy(s->upper, nisse_u_upper, sizeof s->upper);
    memcpy(s->pinned, c->modes.pinned[k], sizeof s->pinned);
}

/* acados orders a stage's inequalities [lb; lg; ub; ug; ls; us]; what is not there has multiplier 0 and distance 1. */
static void store_inequalities(const qp_stage *s, int k, const double *from, double absent, double *to) {
    const int box = box_rows(k), rows = general_rows(k), soft = k < NISSE_N ? NISSE_NSOFT : NISSE_NSOFT_E;
    const int upper = box + rows, slacks = 2 * upper;
    for (int j = 0; j < slacks + 2 * soft; j++) to[j] = absent;
    for (int i = 0; k < NISSE_N && i < NISSE_NU; i++) {
        const bool there = !s->pinned[i];
        to[i] = there ? from[i] : absent;
        to[upper + i] = there ? from[AT_UPPER + i] : absent;
    }
    memcpy(to + box, from + AT_ROWS, sizeof(double) * rows);
    memcpy(to + slacks, from + AT_SLACKS, sizeof(double) * soft);
}

static void store_stage(const qp_stage *s, int k, nisse_controller *c) {
    ocp_nlp_out *out = c->capsule->nlp_out;
    const int x = k < NISSE_N ? 0 : NISSE_NU, size = NV - x, soft = k < NISSE_N ? NISSE_NSOFT : NISSE_NSOFT_E;
    memcpy(out->ux[k].pa, s->v + x, sizeof(double) * size);
    memcpy(out->ux[k].pa + size, s->t + AT_SLACKS, sizeof(double) * soft);
    memset(out->ux[k].pa + size + soft, 0, sizeof(double) * soft);
    store_inequalities(s, k, s->lam, 0.0, out->lam[k].pa);
    store_inequalities(s, k, s->t, 1.0, ACADOS_DISTANCES(c)[k].pa);
    if (k < NISSE_N) memcpy(out->pi[k].pa, s->pi, sizeof(double) * NISSE_NX);
}

bool solve_small_qp(nisse_controller *c, const double *x0, const double *action) {
    for (int k = 0; k <= NISSE_N; k++) load_stage(c, k, &c->stages[k]);
    const interior_point_result done = interior_point_solve(c->stages, x0, action);
    c->iterations += done.iterations;
    c->residual = done.residual;
    if (!done.converged) return false;
    for (int k = 0; k <= NISSE_N; k++) store_stage(&c->stages[k], k, c);
    return true;
}

#endif
