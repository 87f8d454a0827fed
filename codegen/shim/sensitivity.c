/* Derivatives of the last solve with respect to theta.
 *
 * With the Lagrangian  L = sum_k gamma^k l + pi_k' (f - x_{k+1}) - lambda_k' rows  at a solution w:
 *   value:  dV/dp = dL/dp                                            (envelope theorem)
 *   action: du_0i/dp = -d/dp [ s' dL/dw + s_pi' f + s_rows' rows ]   (implicit function theorem, adjoint form)
 * where (s, s_pi) solves the KKT system with right-hand side e_i at u_0. Inequalities enter that system as barrier
 * weights lambda / t, those of soft rows in series with their slack's; so it is an unconstrained LQR problem: one
 * backward Riccati sweep for all actions, one forward pass per action. s_rows = weight * (C s_x + D s_u).
 */
#include <math.h>
#include <string.h>

#include "blasfeo/include/blasfeo_d_aux.h"
#include "solver.h"

/* A constraint is active when lambda > kappa t, kappa the curvature of the actions: the interior-point solution keeps
 * lambda t small, so away from a change of the active set the two sides differ by orders of magnitude. Active bounds of
 * actions are pinned exactly, active rows by a weight this much above kappa; more would cost digits. */
#define ROW_WEIGHT_OVER_CURVATURE 1e10
#define SMALLEST_CURVATURE 1e-8

static bool is_active(double multiplier, double distance, double kappa) { return multiplier > kappa * distance; }

static double action_curvature(const nisse_controller *c) {
    double largest = SMALLEST_CURVATURE;
    for (int k = 0; k < NISSE_N; k++)
        for (int i = 0; i < NISSE_NU; i++) largest = MAX(largest, BLASFEO_DMATEL(&c->memory->qp_in->RSQrq[k], i, i));
    return largest;
}

/* rows (n x m, column-major, leading dimension n) weighted into the lower triangle of h (n x n). */
static void add_weighted_rows(int n, int m, const double *rows, const double *weight, double *h) {
    for (int r = 0; r < m; r++) {
        if (weight[r] == 0.0) continue;
        const double *row = rows + r * n;
        for (int j = 0; j < n; j++)
            for (int i = j; i < n; i++) h[i + j * n] += weight[r] * row[i] * row[j];
    }
}

/* Row weights of a stage: those of soft rows in series with the slack's: w (Z + w_s) / (w + Z + w_s). */
static void row_weights(const nisse_controller *c, int k, double kappa, double *weight) {
    const double *lam = c->capsule->nlp_out->lam[k].pa, *t = c->capsule->nlp_out->t[k].pa;
    const int box = box_rows(k), rows = general_rows(k), soft = k < NISSE_N ? NISSE_NSOFT : NISSE_NSOFT_E;
    const int slacks = 2 * (box + rows);
    const double active = ROW_WEIGHT_OVER_CURVATURE * kappa;
    for (int r = 0; r < rows; r++) {
        weight[r] = is_active(lam[box + r], t[box + r], kappa) ? active : 0.0;
        const int s = r - (rows - soft);
        if (s < 0 || weight[r] == 0.0) continue;
        const bool closed = is_active(lam[slacks + s], t[slacks + s], kappa);
        const double own = c->memory->qp_in->Z[k].pa[s] + (closed ? active : 0.0);
        weight[r] = weight[r] * own / (weight[r] + own);
    }
}

/* Actions at a bound do not move: uncoupled and infinitely stiff. */
static void pin_actions(const nisse_controller *c, int k, double kappa, double *h) {
    const double *lam = c->capsule->nlp_out->lam[k].pa, *t = c->capsule->nlp_out->t[k].pa;
    const int upper = box_rows(k) + general_rows(k);
    for (int i = 0; i < NISSE_NU; i++) {
        if (!is_active(lam[i], t[i], kappa) && !is_active(lam[upper + i], t[upper + i], kappa)) continue;
        for (int j = 0; j <= i; j++) h[i + j * NV] = 0.0;
        for (int j = i; j < NV; j++) h[j + i * NV] = 0.0;
        h[i + i * NV] = INFINITY;
    }
}

/* In-place Cholesky of the leading n x n block (lower, leading dimension ld); false when not positive definite. */
static bool cholesky(int n, int ld, double *a) {
    for (int j = 0; j < n; j++) {
        for (int k = 0; k < j; k++)
            for (int i = j; i < n; i++) a[i + j * ld] -= a[i + k * ld] * a[j + k * ld];
        if (!(a[j + j * ld] > 0.0)) return false;
        const double root = sqrt(a[j + j * ld]);
        a[j + j * ld] = root;
        for (int i = j + 1; i < n; i++) a[i + j * ld] /= root;
    }
    return true;
}

static void cholesky_solve(int n, int ld, const double *l, double *b) {
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < i; k++) b[i] -= l[i + k * ld] * b[k];
        b[i] /= l[i + i * ld];
    }
    for (int i = n - 1; i >= 0; i--) {
        for (int k = i + 1; k < n; k++) b[i] -= l[k + i * ld] * b[k];
        b[i] /= l[i + i * ld];
    }
}

/* h (NV x NV, lower) += [B A]' P [B A]. */
static void add_cost_to_go(const double *dynamics, const double *P, double *h) {
    for (int i = 0; i < NV; i++) {
        double product[NISSE_NX];
        for (int c = 0; c < NISSE_NX; c++) {
            product[c] = 0.0;
            for (int r = 0; r < NISSE_NX; r++) product[c] += dynamics[i + r * NV] * P[r + c * NISSE_NX];
        }
        for (int j = 0; j <= i; j++)
            for (int c = 0; c < NISSE_NX; c++) h[i + j * NV] += product[c] * dynamics[j + c * NV];
    }
}

/* One backward sweep. Leaves gains, cost-to-go and row weights in c->riccati, and the Cholesky factor of the first
 * stage's action block in `first` (leading dimension NV). */
static bool riccati_sweep(nisse_controller *c, double *first, double *terminal_rows, double *terminal_weight) {
    ocp_qp_in *qp = c->memory->qp_in;
    const double kappa = action_curvature(c);
    double P[NISSE_NX * NISSE_NX], h[NV * NV];

    blasfeo_unpack_dmat(NISSE_NX, NISSE_NX, &qp->RSQrq[NISSE_N], 0, 0, P, NISSE_NX);
    row_weights(c, NISSE_N, kappa, terminal_weight);
    if (NISSE_NSOFT_E) blasfeo_unpack_dmat(NISSE_NX, NISSE_NSOFT_E, &qp->DCt[NISSE_N], 0, 0, terminal_rows, NISSE_NX);
    add_weighted_rows(NISSE_NX, NISSE_NSOFT_E, terminal_rows, terminal_weight, P);
    for (int j = 0; j < NISSE_NX; j++)
        for (int i = 0; i < j; i++) P[i + j * NISSE_NX] = P[j + i * NISSE_NX];

    for (int k = NISSE_N - 1; k >= 0; k--) {
        riccati_stage *s = &c->riccati[k];
        memcpy(s->cost_to_go, P, sizeof P);
        blasfeo_unpack_dmat(NV, NISSE_NX, &qp->BAbt[k], 0, 0, s->dynamics, NV);
        if (NROWS) blasfeo_unpack_dmat(NV, NROWS, &qp->DCt[k], 0, 0, s->rows, NV);
        blasfeo_unpack_dmat(NV, NV, &qp->RSQrq[k], 0, 0, h, NV);
        row_weights(c, k, kappa, s->weight);
        add_weighted_rows(NV, NROWS, s->rows, s->weight, h);
        add_cost_to_go(s->dynamics, P, h);
        pin_actions(c, k, kappa, h);
        if (!cholesky(NISSE_NU, NV, h)) return false;
        for (int x = 0; x < NISSE_NX; x++) {
            double *gain = s->gain + x * NISSE_NU;
            for (int u = 0; u < NISSE_NU; u++) gain[u] = h[NISSE_NU + x + u * NV];
            cholesky_solve(NISSE_NU, NV, h, gain);
        }
        for (int j = 0; j < NISSE_NX; j++)
            for (int i = j; i < NISSE_NX; i++) {
                double value = h[NISSE_NU + i + (NISSE_NU + j) * NV];
                for (int u = 0; u < NISSE_NU; u++) value -= h[NISSE_NU + i + u * NV] * s->gain[u + j * NISSE_NU];
                P[i + j * NISSE_NX] = P[j + i * NISSE_NX] = value;
            }
    }
    memcpy(first, h, sizeof h);
    return true;
}

/* rows' s, weighted: s_rows. */
static void weighted_products(int n, int m, const double *rows, const double *weight, const double *s, double *out) {
    for (int r = 0; r < m; r++) {
        out[r] = 0.0;
        for (int i = 0; weight[r] != 0.0 && i < n; i++) out[r] += rows[i + r * n] * s[i];
        out[r] *= weight[r];
    }
}

static void arguments_of_stage(nisse_controller *c, const casadi_function *f, int k, const double *multipliers) {
    const ocp_nlp_out *out = c->capsule->nlp_out;
    const double *ux = out->ux[k].pa;
    if (k < NISSE_N) {
        f->arg[0] = ux + NISSE_NU;
        f->arg[1] = ux;
        f->arg[2] = c->parameters[k];
        f->arg[3] = out->pi[k].pa;
        f->arg[4] = multipliers;
    } else {
        f->arg[0] = ux;
        f->arg[1] = c->parameters[k];
        f->arg[2] = multipliers;
    }
}

static const double *row_multipliers(const nisse_controller *c, int k) {
    return c->capsule->nlp_out->lam[k].pa + box_rows(k);
}

static void add(int n, const double *from, double *to) {
    for (int i = 0; i < n; i++) to[i] += from[i];
}

static void chain_to_theta(nisse_controller *c, const double *dp, double *dtheta) {
    c->f_prepare_vjp.arg[0] = c->theta;
    c->f_prepare_vjp.arg[1] = dp;
    c->f_prepare_vjp.res[0] = dtheta;
    call_casadi(&c->f_prepare_vjp);
}

static void value_gradient(nisse_controller *c, double *dvalue_dtheta) {
    double total[AT_LEAST_ONE(NISSE_NP)] = {0}, stage[AT_LEAST_ONE(NISSE_NP)];
    for (int k = 0; k <= NISSE_N; k++) {
        const casadi_function *f = k < NISSE_N ? &c->f_gradient : &c->f_gradient_e;
        arguments_of_stage(c, f, k, row_multipliers(c, k));
        f->res[0] = stage;
        call_casadi(f);
        add(NISSE_NP, stage, total);
    }
    chain_to_theta(c, total, dvalue_dtheta);
}

/* The forward passes of all actions at once: s (NV x NA) moves along the horizon. */
static bool action_gradient(nisse_controller *c, double *daction_dtheta) {
    static const int first_x = NISSE_NU;
    double h[NV * NV], terminal_rows[NISSE_NX * AT_LEAST_ONE(NISSE_NSOFT_E)], terminal_weight[AT_LEAST_ONE(NISSE_NSOFT_E)];
    double total[NISSE_NA * AT_LEAST_ONE(NISSE_NP)] = {0}, stage[NISSE_NA * AT_LEAST_ONE(NISSE_NP)];
    double sx[NISSE_NX * NISSE_NA], su[NISSE_NU * NISSE_NA], spi[NISSE_NX * NISSE_NA];
    double srows[MAX(AT_LEAST_ONE(NROWS), AT_LEAST_ONE(NISSE_NSOFT_E)) * NISSE_NA];
    if (!riccati_sweep(c, h, terminal_rows, terminal_weight)) return false;

    memset(sx, 0, sizeof sx);
    memset(su, 0, sizeof su);
    for (int a = 0; a < NISSE_NA; a++) {
        su[a + a * NISSE_NU] = 1.0;
        cholesky_solve(NISSE_NU, NV, h, su + a * NISSE_NU);
    }
    for (int k = 0; k < NISSE_N; k++) {
        const riccati_stage *s = &c->riccati[k];
        double next[NISSE_NX * NISSE_NA];
        for (int a = 0; a < NISSE_NA; a++) {
            double v[NV];
            double *x = sx + a * NISSE_NX, *u = su + a * NISSE_NU, *xn = next + a * NISSE_NX, *pi = spi + a * NISSE_NX;
            for (int i = 0; k > 0 && i < NISSE_NU; i++) {
                u[i] = 0.0;
                for (int j = 0; j < NISSE_NX; j++) u[i] -= s->gain[i + j * NISSE_NU] * x[j];
            }
            memcpy(v, u, sizeof(double) * NISSE_NU);
            memcpy(v + first_x, x, sizeof(double) * NISSE_NX);
            for (int j = 0; j < NISSE_NX; j++) {
                xn[j] = 0.0;
                for (int i = 0; i < NV; i++) xn[j] += s->dynamics[i + j * NV] * v[i];
            }
            for (int i = 0; i < NISSE_NX; i++) {
                pi[i] = 0.0;
                for (int j = 0; j < NISSE_NX; j++) pi[i] += s->cost_to_go[i + j * NISSE_NX] * xn[j];
            }
            weighted_products(NV, NROWS, s->rows, s->weight, v, srows + a * NROWS);
        }
        arguments_of_stage(c, &c->f_sensitivity, k, row_multipliers(c, k));
        c->f_sensitivity.arg[5] = sx;
        c->f_sensitivity.arg[6] = su;
        c->f_sensitivity.arg[7] = spi;
        c->f_sensitivity.arg[8] = srows;
        c->f_sensitivity.res[0] = stage;
        call_casadi(&c->f_sensitivity);
        add(NISSE_NA * NISSE_NP, stage, total);
        memcpy(sx, next, sizeof sx);
    }
    for (int a = 0; a < NISSE_NA; a++)
        weighted_products(NISSE_NX, NISSE_NSOFT_E, terminal_rows, terminal_weight, sx + a * NISSE_NX, srows + a * NISSE_NSOFT_E);
    arguments_of_stage(c, &c->f_sensitivity_e, NISSE_N, row_multipliers(c, NISSE_N));
    c->f_sensitivity_e.arg[3] = sx;
    c->f_sensitivity_e.arg[4] = srows;
    c->f_sensitivity_e.res[0] = stage;
    call_casadi(&c->f_sensitivity_e);
    add(NISSE_NA * NISSE_NP, stage, total);
    for (int i = 0; i < NISSE_NA * NISSE_NP; i++) total[i] = -total[i];
    for (int a = 0; a < NISSE_NA; a++) chain_to_theta(c, total + a * NISSE_NP, daction_dtheta + a * NISSE_NTHETA);
    return true;
}

int32_t nisse_controller_differentiate(nisse_controller *c, double *dvalue_dtheta, double *daction_dtheta) {
    if (!c || !c->solved) return NISSE_BAD_ARGUMENT;
    if (dvalue_dtheta) value_gradient(c, dvalue_dtheta);
    if (!daction_dtheta) return NISSE_OK;
    memset(daction_dtheta, 0, sizeof(double) * NISSE_NA * NISSE_NTHETA);
    return c->fixed || action_gradient(c, daction_dtheta) ? NISSE_OK : NISSE_SOLVER_FAILED;
}
