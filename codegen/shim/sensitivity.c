/* Derivatives of the last solve with respect to theta.
 *
 * With the Lagrangian  L = sum_k gamma^k l + pi_k' (f - x_{k+1}) - lambda_k' rows  at a solution w:
 *   value:  dV/dp = dL/dp                                            (envelope theorem)
 *   action: du_0i/dp = -d/dp [ s' dL/dw + s_pi' f + s_rows' rows ]   (implicit function theorem, adjoint form)
 * where (s, s_pi, s_rows) solves the KKT system with right-hand side e_i at u_0 (adjoint.c).
 */
#include <string.h>

#include "solver.h"

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

static bool action_gradient(nisse_controller *c, double *daction_dtheta) {
    double total[NISSE_NA * AT_LEAST_ONE(NISSE_NP)] = {0}, stage[NISSE_NA * AT_LEAST_ONE(NISSE_NP)];
    double rows[NISSE_NA * MOST_ROWS];
    if (!solve_adjoint(c)) return false;
    for (int k = 0; k <= NISSE_N; k++) {
        const casadi_function *f = k < NISSE_N ? &c->f_sensitivity : &c->f_sensitivity_e;
        const adjoint_stage *s = &c->adjoint[k];
        arguments_of_stage(c, f, k, row_multipliers(c, k));
        const double **arg = f->arg + (k < NISSE_N ? 5 : 3);
        *arg++ = s->x[0];
        if (k < NISSE_N) {
            *arg++ = s->u[0];
            *arg++ = s->pi[0];
        }
        for (int a = 0; a < NISSE_NA; a++)
            memcpy(rows + a * general_rows(k), s->multipliers[a], sizeof(double) * (size_t)general_rows(k));
        *arg = rows;
        f->res[0] = stage;
        call_casadi(f);
        add(NISSE_NA * NISSE_NP, stage, total);
    }
    for (int i = 0; i < NISSE_NA * NISSE_NP; i++) total[i] = -total[i];
    for (int a = 0; a < NISSE_NA; a++) chain_to_theta(c, total + a * NISSE_NP, daction_dtheta + a * NISSE_NTHETA);
    return true;
}

int32_t nisse_controller_differentiate(nisse_controller *c, double *dvalue_dtheta, double *daction_dtheta) {
    if (!c || !c->solved) return NISSE_BAD_ARGUMENT;
    if (dvalue_dtheta) value_gradient(c, dvalue_dtheta);
    if (!daction_dtheta) return NISSE_OK;
    memset(daction_dtheta, 0, sizeof(double) * NISSE_NA * NISSE_NTHETA);
    c->adjoint_stands = !c->fixed && action_gradient(c, daction_dtheta);
    return c->fixed || c->adjoint_stands ? NISSE_OK : NISSE_SOLVER_FAILED;
}

/* The solution of the KKT system for e_a at u_0 is column a of the inverse, at u_0. */
int32_t nisse_controller_action_inverse(nisse_controller *c, double *inverse) {
    if (!c || !c->solved || !c->adjoint_stands) return NISSE_BAD_ARGUMENT;
    for (int a = 0; a < NISSE_NA; a++)
        for (int b = 0; b < NISSE_NA; b++) inverse[a * NISSE_NA + b] = c->adjoint[0].u[a][b];
    return NISSE_OK;
}
