/* The KKT system of the last solve with a unit vector on its right, for each action.
 *
 *     H s + D s_pi - [0; s_pi of the stage before] + C' s_rows = e_a (first stage; 0 elsewhere)
 *     D' s = next s_x                give s_rows = C' s
 *
 * at the barrier where the solve ended: a bound's weight lambda / t is part of H's diagonal, and a row gives way by
 * t / lambda, that of its slack added. So the derivatives are those of the map that is computed, also next to a weakly
 * active constraint, where it is smooth. One Riccati factorisation serves all actions. The weights span more digits than
 * a double has, so rows keep their multipliers as unknowns and the solution is refined until it stands.
 */
#include <math.h>
#include <string.h>

#include "blasfeo/include/blasfeo_d_aux.h"
#include "solver.h"

#define REFINEMENTS 40
#define STANDS 1e-8     /* a step this small over the solution */
#define CONTRACTION 0.7 /* of one step over the last; slower, and the next weight is tried */
#define STILL 1e-8      /* what an action at a bound moves per unit of its gradient */
/* Of a row in the factor; residuals are taken without it. The larger, the fewer refinements where the factor holds, and
 * the fewer digits for the actions' small curvature: tried in this order. */
static const double most_weights[] = {1e14, 1e13, 1e12, 1e11, 1e10};

/* A variable that was off. */
static bool is_pinned(const nisse_controller *c, int k, int i) { return k < NISSE_N && c->modes.pinned[k][i]; }

static int first_variable(int k) { return k < NISSE_N ? 0 : NISSE_NU; }

/* rows x columns of a BLASFEO matrix, column-major with leading dimension NV. */
static void read_matrix(struct blasfeo_dmat *from, int rows, int columns, double *to) {
    for (int j = 0; j < columns; j++)
        for (int i = 0; i < rows; i++) to[i + j * NV] = BLASFEO_DMATEL(from, i, j);
}

/* ---- the system ---- */

static void load_stage(const nisse_controller *c, int k, adjoint_stage *s) {
    const ocp_qp_in *qp = c->memory->qp_in;
    const double *lam = c->capsule->nlp_out->lam[k].pa, *t = ACADOS_DISTANCES(c)[k].pa;
    const int box = box_rows(k), rows = general_rows(k), soft = k < NISSE_N ? NISSE_NSOFT : NISSE_NSOFT_E;
    const int first = first_variable(k), upper = box + rows, slacks = 2 * upper;
    read_matrix(&qp->RSQrq[k], NV - first, NV - first, s->hessian + first * (NV + 1));
    read_matrix(&qp->DCt[k], NV - first, rows, s->rows + first);
    if (k < NISSE_N) read_matrix(&qp->BAbt[k], NV, NISSE_NX, s->dynamics);
    for (int j = first; j < NV; j++)
        for (int i = first; i < j; i++) s->hessian[i + j * NV] = s->hessian[j + i * NV];
    for (int i = first; i < NISSE_NU; i++)
        if (!is_pinned(c, k, i)) s->hessian[i * (NV + 1)] += lam[i] / t[i] + lam[upper + i] / t[upper + i];
    for (int r = 0; r < rows; r++) {
        const int slack = r - (rows - soft);
        s->give[r] = t[box + r] / lam[box + r];
        if (slack >= 0) s->give[r] += 1.0 / (qp->Z[k].pa[slack] + lam[slacks + slack] / t[slacks + slack]);
    }
}

/* ---- its factorisation ---- */

/* In-place Cholesky of the leading block of the actions (lower, leading dimension NV); false when not positive definite. */
static bool cholesky(double *a) {
    for (int j = 0; j < NISSE_NU; j++) {
        for (int k = 0; k < j; k++)
            for (int i = j; i < NISSE_NU; i++) a[i + j * NV] -= a[i + k * NV] * a[j + k * NV];
        if (!(a[j + j * NV] > 0.0)) return false;
        const double root = sqrt(a[j + j * NV]);
        a[j + j * NV] = root;
        for (int i = j + 1; i < NISSE_NU; i++) a[i + j * NV] /= root;
    }
    return true;
}

static void cholesky_solve(const double *l, double *b) {
    for (int i = 0; i < NISSE_NU; i++) {
        for (int k = 0; k < i; k++) b[i] -= l[i + k * NV] * b[k];
        b[i] /= l[i + i * NV];
    }
    for (int i = NISSE_NU - 1; i >= 0; i--) {
        for (int k = i + 1; k < NISSE_NU; k++) b[i] -= l[k + i * NV] * b[k];
        b[i] /= l[i + i * NV];
    }
}

/* h (lower) = H + rows, weighted. */
static void add_rows(adjoint_stage *s, int k, double most, double *h) {
    const int first = first_variable(k);
    memcpy(h, s->hessian, sizeof s->hessian);
    for (int r = 0; r < general_rows(k); r++) {
        s->weight[r] = MIN(1.0 / s->give[r], most);
        const double *row = s->rows + r * NV;
        for (int j = first; j < NV; j++)
            for (int i = j; i < NV; i++) h[i + j * NV] += s->weight[r] * row[i] * row[j];
    }
}

/* h (lower) += D P D'. */
static void add_cost_to_go(const adjoint_stage *s, double *h) {
    for (int i = 0; i < NV; i++) {
        double product[NISSE_NX];
        for (int c = 0; c < NISSE_NX; c++) {
            product[c] = 0.0;
            for (int r = 0; r < NISSE_NX; r++) product[c] += s->dynamics[i + r * NV] * s->cost_to_go[r + c * NISSE_NX];
        }
        for (int j = 0; j <= i; j++)
            for (int c = 0; c < NISSE_NX; c++) h[i + j * NV] += product[c] * s->dynamics[j + c * NV];
    }
}

/* Pinned variables do not move: uncoupled and infinitely stiff. */
static void pin(const nisse_controller *c, int k, double *h) {
    for (int i = 0; i < NISSE_NU; i++) {
        if (!is_pinned(c, k, i)) continue;
        for (int j = 0; j < i; j++) h[i + j * NV] = 0.0;
        for (int j = i; j < NV; j++) h[j + i * NV] = 0.0;
        h[i + i * NV] = INFINITY;
    }
}

/* Gains, factors and cost-to-go of all stages; false when the program is not convex. */
static bool factorise(nisse_controller *c, double most) {
    double h[NV * NV], P[NISSE_NX * NISSE_NX];
    add_rows(&c->adjoint[NISSE_N], NISSE_N, most, h);
    for (int k = NISSE_N; k >= 0; k--) {
        adjoint_stage *s = &c->adjoint[k];
        if (k < NISSE_N) {
            memcpy(s->cost_to_go, P, sizeof P);
            add_rows(s, k, most, h);
            add_cost_to_go(s, h);
            pin(c, k, h);
            if (!cholesky(h)) return false;
            memcpy(s->factor, h, sizeof(double) * NV * NISSE_NU);
            for (int x = 0; x < NISSE_NX; x++) {
                for (int u = 0; u < NISSE_NU; u++) s->gain[u + x * NISSE_NU] = h[NISSE_NU + x + u * NV];
                cholesky_solve(s->factor, s->gain + x * NISSE_NU);
            }
        }
        for (int j = 0; j < NISSE_NX; j++)
            for (int i = j; i < NISSE_NX; i++) {
                double value = h[NISSE_NU + i + (NISSE_NU + j) * NV];
                for (int u = 0; k < NISSE_N && u < NISSE_NU; u++)
                    value -= h[NISSE_NU + i + u * NV] * s->gain[u + j * NISSE_NU];
                P[i + j * NISSE_NX] = P[j + i * NISSE_NX] = value;
            }
    }
    return true;
}

/* ---- its solution ---- */

/* What the equations of a stage leave over at the present solution of action a. */
static void find_residuals(nisse_controller *c, int k, int a) {
    adjoint_stage *s = &c->adjoint[k];
    const int first = first_variable(k);
    double v[NV];
    memcpy(v, s->u[a], sizeof s->u[a]);
    memcpy(v + NISSE_NU, s->x[a], sizeof s->x[a]);
    for (int i = first; i < NV; i++) {
        double sum = k == 0 && i == a ? -1.0 : 0.0;
        for (int j = first; j < NV; j++) sum += s->hessian[i + j * NV] * v[j];
        for (int j = 0; k < NISSE_N && j < NISSE_NX; j++) sum += s->dynamics[i + j * NV] * s->pi[a][j];
        for (int r = 0; r < general_rows(k); r++) sum += s->rows[i + r * NV] * s->multipliers[a][r];
        s->residual[i] = sum;
    }
    for (int i = 0; k > 0 && i < NISSE_NX; i++) s->residual[NISSE_NU + i] -= c->adjoint[k - 1].pi[a][i];
    for (int r = 0; r < general_rows(k); r++) {
        s->row_residual[r] = -s->give[r] * s->multipliers[a][r];
        for (int i = first; i < NV; i++) s->row_residual[r] += s->rows[i + r * NV] * v[i];
        for (int i = first; i < NV; i++) s->residual[i] += s->rows[i + r * NV] * s->weight[r] * s->row_residual[r];
    }
    for (int j = 0; k < NISSE_N && j < NISSE_NX; j++) {
        s->gap[j] = -c->adjoint[k + 1].x[a][j];
        for (int i = 0; i < NV; i++) s->gap[j] += s->dynamics[i + j * NV] * v[i];
    }
}

/* slope of the cost-to-go [NX] of the next stage becomes that of this one; leaves the actions' part of the step. */
static void sweep_back(adjoint_stage *s, double *slope) {
    double *g = s->residual;
    for (int j = 0; j < NISSE_NX; j++) {
        s->slope[j] = slope[j];
        for (int i = 0; i < NISSE_NX; i++) s->slope[j] += s->cost_to_go[i + j * NISSE_NX] * s->gap[i];
    }
    for (int i = 0; i < NV; i++)
        for (int j = 0; j < NISSE_NX; j++) g[i] += s->dynamics[i + j * NV] * s->slope[j];
    for (int j = 0; j < NISSE_NX; j++) {
        slope[j] = g[NISSE_NU + j];
        for (int u = 0; u < NISSE_NU; u++) slope[j] -= s->gain[u + j * NISSE_NU] * g[u];
    }
    cholesky_solve(s->factor, g);
}

/* Largest change by a step, and largest entry: of states and actions, and of multipliers. */
typedef struct {
    double change[2], size[2];
} progress;

static void note(progress *all, int of, double change, double value) {
    all->change[of] = MAX(all->change[of], fabs(change));
    all->size[of] = MAX(all->size[of], fabs(value));
}

/* Adds the step of a stage to the solution of action a; dx [NX] becomes that of the next stage. */
static void step_forward(nisse_controller *c, int k, int a, double *dx, progress *all) {
    adjoint_stage *s = &c->adjoint[k];
    double dv[NV];
    memcpy(dv + NISSE_NU, dx, sizeof(double) * NISSE_NX);
    for (int i = 0; k < NISSE_N && i < NISSE_NU; i++) {
        dv[i] = -s->residual[i];
        for (int j = 0; j < NISSE_NX; j++) dv[i] -= s->gain[i + j * NISSE_NU] * dx[j];
        s->u[a][i] += dv[i];
        note(all, 0, dv[i], s->u[a][i]);
    }
    for (int i = 0; i < NISSE_NX; i++) {
        s->x[a][i] += dx[i];
        note(all, 0, dx[i], s->x[a][i]);
    }
    for (int r = 0; r < general_rows(k); r++) {
        double moved = s->row_residual[r];
        for (int i = first_variable(k); i < NV; i++) moved += s->rows[i + r * NV] * dv[i];
        s->multipliers[a][r] += s->weight[r] * moved;
        note(all, 1, s->weight[r] * moved, s->multipliers[a][r]);
    }
    if (k == NISSE_N) return;
    for (int j = 0; j < NISSE_NX; j++) {
        dx[j] = s->gap[j];
        for (int i = 0; i < NV; i++) dx[j] += s->dynamics[i + j * NV] * dv[i];
    }
    for (int i = 0; i < NISSE_NX; i++) {
        double step = s->slope[i];
        for (int j = 0; j < NISSE_NX; j++) step += s->cost_to_go[i + j * NISSE_NX] * (dx[j] - s->gap[j]);
        s->pi[a][i] += step;
        note(all, 1, step, s->pi[a][i]);
    }
}

/* One step of refinement; the first is the solution itself. How much it changed, over what there is. */
static double refine(nisse_controller *c, int a) {
    double slope[NISSE_NX], dx[NISSE_NX] = {0};
    progress all = {{0.0, 0.0}, {1.0, 1.0}}; /* what is far below one changes no derivative */
    for (int k = 0; k <= NISSE_N; k++) find_residuals(c, k, a);
    memcpy(slope, c->adjoint[NISSE_N].residual + NISSE_NU, sizeof slope);
    for (int k = NISSE_N - 1; k >= 0; k--) sweep_back(&c->adjoint[k], slope);
    for (int k = 0; k <= NISSE_N; k++) step_forward(c, k, a, dx, &all);
    return MAX(all.change[0] / all.size[0], all.change[1] / all.size[1]);
}

/* An action this near to a bound does not move: by distance^2 / barrier per unit of its gradient. */
static bool is_still(const nisse_controller *c, int a) {
    const double *t = ACADOS_DISTANCES(c)[0].pa;
    const double nearer = MIN(t[a], t[box_rows(0) + general_rows(0) + a]);
    return is_pinned(c, 0, a) || nearer * nearer <= STILL * NISSE_BARRIER;
}

/* The solution for action a; false when the refinements do not come to a rest. */
static bool solve_for(nisse_controller *c, int a) {
    for (int k = 0; k <= NISSE_N; k++) {
        adjoint_stage *s = &c->adjoint[k];
        memset(s->u[a], 0, sizeof s->u[a]);
        memset(s->x[a], 0, sizeof s->x[a]);
        memset(s->pi[a], 0, sizeof s->pi[a]);
        memset(s->multipliers[a], 0, sizeof s->multipliers[a]);
    }
    if (is_still(c, a)) return true;
    double change = refine(c, a);
    for (int i = 0; i < REFINEMENTS && change > STANDS; i++) {
        const double next = refine(c, a);
        if (!(next <= CONTRACTION * change)) return false;
        change = next;
    }
    return change <= STANDS;
}

bool solve_adjoint(nisse_controller *c) {
    bool stands = false;
    for (int k = 0; k <= NISSE_N; k++) load_stage(c, k, &c->adjoint[k]);
    for (size_t i = 0; !stands && i < sizeof most_weights / sizeof *most_weights; i++) {
        stands = factorise(c, most_weights[i]);
        for (int a = 0; stands && a < NISSE_NA; a++) stands = solve_for(c, a);
    }
    return stands;
}
