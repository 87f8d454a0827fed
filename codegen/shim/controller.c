/* nisse_controller.h on top of a generated acados solver. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "acados/ocp_qp/ocp_qp_hpipm.h"
#include "acados/ocp_qp/ocp_qp_xcond_solver.h"
#include "blasfeo/include/blasfeo_d_aux.h"
#include "hpipm/include/hpipm_d_ocp_qp_ipm.h"
#include "nisse_functions.h"
#include "solver.h"

/* ---- CasADi functions ---- */

#define BIND(function, name) bind(&(function), name, name##_work)

static bool bind(casadi_function *f, int (*call)(const double **, double **, int *, double *, int),
                 int (*work)(int *, int *, int *, int *)) {
    int arguments = 0, results = 0, integers = 0, reals = 0;
    work(&arguments, &results, &integers, &reals);
    f->call = call;
    f->arg = calloc((size_t)AT_LEAST_ONE(arguments), sizeof *f->arg);
    f->res = calloc((size_t)AT_LEAST_ONE(results), sizeof *f->res);
    f->iw = calloc((size_t)AT_LEAST_ONE(integers), sizeof *f->iw);
    f->w = calloc((size_t)AT_LEAST_ONE(reals), sizeof *f->w);
    return f->arg && f->res && f->iw && f->w;
}

static void unbind(casadi_function *f) {
    free(f->arg);
    free(f->res);
    free(f->iw);
    free(f->w);
}

int call_casadi(const casadi_function *f) { return f->call(f->arg, f->res, f->iw, f->w, 0); }

/* ---- the program of one call ---- */

static void forget_iterate(program *p) {
    if (p->capsule) nisse_ocp_acados_reset(p->capsule, 1);
}

static bool all_finite(const double *values, int n) {
    for (int i = 0; i < n; i++)
        if (!isfinite(values[i])) return false;
    return true;
}

static void set_parameters(nisse_controller *c, program *p, const double *forecast) {
    if (NISSE_ND) memcpy(c->forecast, forecast, sizeof(double) * (NISSE_N + 1) * NISSE_ND);
    if (NISSE_NZ) call_casadi(&c->f_features);
    double discount = 1.0;
    for (int k = 0; k <= NISSE_N; k++, discount *= NISSE_DISCOUNT) {
        double *row = c->parameters[k];
        memcpy(row, c->forecast + k * NISSE_ND, sizeof(double) * NISSE_ND);
        memcpy(row + NISSE_ND, c->features, sizeof(double) * NISSE_NZ);
        memcpy(row + NISSE_ND + NISSE_NZ, c->prepared, sizeof(double) * NISSE_NP);
        row[NPAR - 1] = discount;
        nisse_ocp_acados_update_params(p->capsule, k, row, NPAR);
    }
}

static void set_bound(program *p, const char *field, const double *values) {
    nisse_ocp_solver_capsule *c = p->capsule;
    ocp_nlp_constraints_model_set(c->nlp_config, c->nlp_dims, c->nlp_in, 0, field, (void *)values);
}

static void set_first_action(program *p, const double *action) {
    double lower[NISSE_NU], upper[NISSE_NU];
    memcpy(lower, nisse_u_lower, sizeof lower);
    memcpy(upper, nisse_u_upper, sizeof upper);
    memcpy(lower, action, sizeof(double) * NISSE_NA);
    memcpy(upper, action, sizeof(double) * NISSE_NA);
    set_bound(p, "lbu", lower);
    set_bound(p, "ubu", upper);
}

/* ---- results ---- */

/* The interior-point method works on the very program when that is a QP; otherwise ask the SQP level. */
static double kkt_residual(program *p) {
#if NISSE_QUADRATIC
    const ocp_qp_hpipm_memory *qp = p->memory->qp_solver_mem->solver_memory;
    double part[4] = {0};
    d_ocp_qp_ipm_get_max_res_stat(qp->hpipm_workspace, &part[0]);
    d_ocp_qp_ipm_get_max_res_eq(qp->hpipm_workspace, &part[1]);
    d_ocp_qp_ipm_get_max_res_ineq(qp->hpipm_workspace, &part[2]);
    d_ocp_qp_ipm_get_max_res_comp(qp->hpipm_workspace, &part[3]);
#else
    const ocp_nlp_res *r = p->memory->nlp_res;
    const double part[4] = {r->inf_norm_res_stat, r->inf_norm_res_eq, r->inf_norm_res_ineq, r->inf_norm_res_comp};
#endif
    double worst = 0.0;
    for (int i = 0; i < 4; i++)
        if (!(part[i] <= worst)) worst = part[i]; /* keeps NaN */
    return worst;
}

static int interior_point_iterations(program *p) {
#if NISSE_QUADRATIC
    const ocp_qp_hpipm_memory *qp = p->memory->qp_solver_mem->solver_memory;
    int iterations = 0;
    d_ocp_qp_ipm_get_iter(qp->hpipm_workspace, &iterations);
    return iterations;
#else
    nisse_ocp_solver_capsule *c = p->capsule;
    int sqp = 0, columns = 0, rows = 0, total = 0;
    ocp_nlp_get(c->nlp_config, c->nlp_solver, "sqp_iter", &sqp);
    ocp_nlp_get(c->nlp_config, c->nlp_solver, "stat_n", &columns);
    ocp_nlp_get(c->nlp_config, c->nlp_solver, "stat_m", &rows);
    double *statistics = NULL;
    ocp_nlp_get(c->nlp_config, c->nlp_solver, "statistics", &statistics);
    for (int i = 1; statistics && i <= sqp && i < rows; i++) total += (int)statistics[i * columns + 5]; /* qp_iter */
    return total;
#endif
}

static void read_plans(program *p, double *plan_x, double *plan_a) {
    const struct blasfeo_dvec *ux = p->capsule->nlp_out->ux;
    for (int k = 0; plan_x && k <= NISSE_N; k++)
        memcpy(plan_x + k * NISSE_NX, ux[k].pa + (k < NISSE_N ? NISSE_NU : 0), sizeof(double) * NISSE_NX);
    for (int k = 0; plan_a && k < NISSE_N; k++)
        memcpy(plan_a + k * NISSE_NA, ux[k].pa, sizeof(double) * NISSE_NA);
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int32_t finish(nisse_result *result, int32_t status, double started) {
    result->status = status;
    result->time_s = seconds() - started;
    return status;
}

static int32_t solve(nisse_controller *c, program_kind kind, const double *x0, const double *forecast,
                     const double *first_action, double *action, double *plan_x, double *plan_a,
                     nisse_result *result) {
    const double started = seconds();
    *result = (nisse_result){.residual = NAN, .value = NAN};
    c->last = NULL;
    if (!all_finite(x0, NISSE_NX) || !all_finite(forecast, (NISSE_N + 1) * NISSE_ND) ||
        (first_action && !all_finite(first_action, NISSE_NA)))
        return finish(result, NISSE_NOT_FINITE, started);
    program *p = &c->programs[kind];
    if (!ensure_program(p, kind)) return finish(result, NISSE_SOLVER_FAILED, started);

    set_parameters(c, p, forecast);
    set_bound(p, "lbx", x0);
    set_bound(p, "ubx", x0);
    if (first_action) set_first_action(p, first_action);
#if NISSE_QUADRATIC
    /* A QP needs no starting point: from the origin the result depends on the arguments alone. */
    for (int k = 0; k <= NISSE_N; k++) {
        struct blasfeo_dvec *ux = &p->capsule->nlp_out->ux[k];
        blasfeo_dvecse(ux->m, 0.0, ux, 0);
    }
#endif
    nisse_ocp_acados_solve(p->capsule);

    result->iterations = interior_point_iterations(p);
    result->residual = kkt_residual(p);
    ocp_nlp_eval_cost(p->capsule->nlp_solver, p->capsule->nlp_in, p->capsule->nlp_out);
    ocp_nlp_get(p->capsule->nlp_config, p->capsule->nlp_solver, "cost_value", &result->value);
    read_plans(p, plan_x, plan_a);
    const double *u0 = p->capsule->nlp_out->ux[0].pa;
    if (action) memcpy(action, u0, sizeof(double) * NISSE_NA);
    if (!isfinite(result->residual) || !isfinite(result->value) || !all_finite(u0, NISSE_NA)) {
        forget_iterate(p);
        return finish(result, NISSE_NOT_FINITE, started);
    }
    if (result->residual > NISSE_TOLERANCE) return finish(result, NISSE_MAX_ITERATIONS, started);
    c->last = p;
    return finish(result, NISSE_OK, started);
}

/* ---- the interface ---- */

void nisse_controller_dimensions(nisse_dimensions *out) {
    *out = (nisse_dimensions){
        .abi_version = NISSE_ABI_VERSION, .nx = NISSE_NX, .na = NISSE_NA, .nd = NISSE_ND, .ntheta = NISSE_NTHETA,
        .horizon = NISSE_N, .dt_s = NISSE_DT_S, .discount = NISSE_DISCOUNT,
    };
}

nisse_controller *nisse_controller_create(void) {
    nisse_controller *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    bool bound = BIND(c->f_features, nisse_features) && BIND(c->f_prepare, nisse_prepare) &&
                 BIND(c->f_prepare_vjp, nisse_prepare_vjp) && BIND(c->f_gradient, nisse_gradient) &&
                 BIND(c->f_gradient_e, nisse_gradient_e) && BIND(c->f_sensitivity, nisse_sensitivity) &&
                 BIND(c->f_sensitivity_e, nisse_sensitivity_e);
    if (!bound || !ensure_program(&c->programs[PROGRAM_V], PROGRAM_V)) {
        nisse_controller_destroy(c);
        return NULL;
    }
    c->f_features.arg[0] = c->forecast;
    c->f_features.res[0] = c->features;
    c->f_prepare.arg[0] = c->theta;
    c->f_prepare.res[0] = c->prepared;
    nisse_controller_set_theta(c, nisse_theta_default);
    return c;
}

void nisse_controller_destroy(nisse_controller *c) {
    if (!c) return;
    for (int i = 0; i < 2; i++) {
        if (!c->programs[i].capsule) continue;
        nisse_ocp_acados_free(c->programs[i].capsule);
        nisse_ocp_acados_free_capsule(c->programs[i].capsule);
    }
    casadi_function *functions[] = {&c->f_features, &c->f_prepare,     &c->f_prepare_vjp,  &c->f_gradient,
                                    &c->f_gradient_e, &c->f_sensitivity, &c->f_sensitivity_e};
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) unbind(functions[i]);
    free(c);
}

int32_t nisse_controller_set_theta(nisse_controller *c, const double *theta) {
    if (!c || !theta) return NISSE_BAD_ARGUMENT;
    if (!all_finite(theta, NISSE_NTHETA)) return NISSE_NOT_FINITE;
    for (int i = 0; i < NISSE_NTHETA; i++)
        if (theta[i] < nisse_theta_lower[i] || theta[i] > nisse_theta_upper[i]) return NISSE_BAD_ARGUMENT;
    memcpy(c->theta, theta, sizeof(double) * NISSE_NTHETA);
    call_casadi(&c->f_prepare);
    c->last = NULL;
    return NISSE_OK;
}

void nisse_controller_reset(nisse_controller *c) {
    if (!c) return;
    c->last = NULL;
    forget_iterate(&c->programs[PROGRAM_V]);
    forget_iterate(&c->programs[PROGRAM_Q]);
}

int32_t nisse_controller_solve(nisse_controller *c, const double *x0, const double *forecast, double *action,
                               double *plan_x, double *plan_a, nisse_result *result) {
    if (!c || !x0 || !result || (NISSE_ND && !forecast)) return NISSE_BAD_ARGUMENT;
    return solve(c, PROGRAM_V, x0, forecast, NULL, action, plan_x, plan_a, result);
}

int32_t nisse_controller_solve_fixed(nisse_controller *c, const double *x0, const double *forecast,
                                     const double *action, double *plan_x, double *plan_a, nisse_result *result) {
    if (!c || !x0 || !action || !result || (NISSE_ND && !forecast)) return NISSE_BAD_ARGUMENT;
    return solve(c, PROGRAM_Q, x0, forecast, action, NULL, plan_x, plan_a, result);
}
