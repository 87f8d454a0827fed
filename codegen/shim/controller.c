/* nisse_controller.h on top of a generated acados solver. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "acados/ocp_nlp/ocp_nlp_common.h"
#include "acados/ocp_qp/ocp_qp_hpipm.h"
#include "blasfeo/include/blasfeo_d_aux.h"
#include "hpipm/include/hpipm_d_ocp_qp.h"
#include "hpipm/include/hpipm_d_ocp_qp_ipm.h"
#include "interior_point.h"
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

/* ---- the acados solver ---- */

/* Rows are one-sided: mask their upper sides. The slacks of these stay, at a price: HPIPM aims at a barrier that is too
 * large by the cube of all constraints over those that are not masked, and a soft row has four. */
static void mask_upper_sides(nisse_controller *c) {
    const double zeros[AT_LEAST_ONE(MAX(NROWS, NISSE_NSOFT_E))] = {0};
    for (int k = 0; k <= NISSE_N; k++) d_ocp_qp_set_ug_mask(k, (double *)zeros, c->memory->qp_in);
}

static void set_cost(nisse_controller *c, int stage, const char *field, double *values) {
    ocp_nlp_cost_model_set(c->capsule->nlp_config, c->capsule->nlp_dims, c->capsule->nlp_in, stage, field, values);
}

/* Slack prices are discounted like the stage they belong to. */
static void discount_slacks(nisse_controller *c) {
    double discount = 1.0;
    for (int k = 0; k <= NISSE_N; k++, discount *= NISSE_DISCOUNT) {
        const int n = k < NISSE_N ? NISSE_NSOFT : NISSE_NSOFT_E;
        const double *linear = k < NISSE_N ? nisse_slack_linear : nisse_slack_linear_e;
        const double *quadratic = k < NISSE_N ? nisse_slack_quadratic : nisse_slack_quadratic_e;
        double z[AT_LEAST_ONE(MAX(NISSE_NSOFT, NISSE_NSOFT_E))], Z[AT_LEAST_ONE(MAX(NISSE_NSOFT, NISSE_NSOFT_E))];
        if (n == 0) continue;
        for (int i = 0; i < n; i++) {
            z[i] = discount * linear[i];
            Z[i] = discount * quadratic[i];
        }
        set_cost(c, k, "zl", z);
        set_cost(c, k, "Zl", Z);
    }
}

static bool create_solver(nisse_controller *c) {
    nisse_ocp_solver_capsule *capsule = nisse_ocp_acados_create_capsule();
    if (!capsule) return false;
    if (nisse_ocp_acados_create(capsule) != 0) {
        nisse_ocp_acados_free_capsule(capsule);
        return false;
    }
    c->capsule = capsule;
    if (!share_stage_functions(c)) return false;
    ACADOS_GET(capsule, "nlp_mem", &c->memory);
    mask_upper_sides(c);
    discount_slacks(c);
#if NISSE_QUADRATIC
    int preparation = 1;
    ocp_nlp_solver_opts_set(capsule->nlp_config, capsule->nlp_opts, "rti_phase", &preparation);
    nisse_ocp_acados_solve(capsule); /* once: it tells the parts where each other's memory is */
#else
    double barrier = NISSE_BARRIER, off = NISSE_CENTRED * NISSE_BARRIER;
    ocp_nlp_solver_opts_set(capsule->nlp_config, capsule->nlp_opts, "qp_tau_min", &barrier);
    ocp_nlp_solver_opts_set(capsule->nlp_config, capsule->nlp_opts, "qp_tol_comp", &off);
#endif
    return true;
}

/* ---- the program of one call ---- */

static bool all_finite(const double *values, int n) {
    for (int i = 0; i < n; i++)
        if (!isfinite(values[i])) return false;
    return true;
}

static void set_row(nisse_controller *c, int k, const double *row) {
    memcpy(c->parameters[k], row, sizeof(double) * NISSE_ND);
#if !ACADOS_KEEPS_PARAMETERS
    /* Where it is linearised the rest is as it was, and acados needs none of it. */
    if (!c->linearised) nisse_ocp_acados_update_params(c->capsule, k, c->parameters[k], NPAR);
#endif
}

static void set_parameters(nisse_controller *c, const double *x0, const double *forecast) {
    if (NISSE_ND) memcpy(c->forecast, forecast, sizeof(double) * (NISSE_N + 1) * NISSE_ND);
    c->f_features.arg[1] = x0;
    if (NISSE_NZ) call_casadi(&c->f_features);
    double discount = 1.0;
    for (int k = 0; k <= NISSE_N; k++, discount *= NISSE_DISCOUNT) {
        double *row = c->parameters[k];
        memcpy(row + NISSE_ND, c->features, sizeof(double) * NISSE_NZ);
        if (!c->linearised) memcpy(row + NISSE_ND + NISSE_NZ, c->prepared, sizeof(double) * NISSE_NP);
        row[NPAR - 1] = discount;
        set_row(c, k, c->forecast + k * NISSE_ND);
    }
}

static void set_bound(nisse_controller *c, int k, const char *field, const double *values) {
    ACADOS_SET_BOUND(c->capsule, k, field, (void *)values);
}

/* What is off may move this share of its range: less than counts as on, and enough for a barrier to be kept. */
#define OFF_SHARE 3e-8

/* u_k between its bounds, but what is off at the lower one, and the actuated part of u_0 at `action` unless NULL. */
static void set_action_bounds(nisse_controller *c, int k, const double *action) {
    double lower[NISSE_NU], upper[NISSE_NU];
    memcpy(lower, nisse_u_lower, sizeof lower);
    memcpy(upper, nisse_u_upper, sizeof upper);
    for (int i = 0; i < NISSE_NU; i++)
        if (c->modes.pinned[k][i]) upper[i] = lower[i] + OFF_SHARE * (upper[i] - lower[i]);
    if (action) {
        memcpy(lower, action, sizeof(double) * NISSE_NA);
        memcpy(upper, action, sizeof(double) * NISSE_NA);
    }
    set_bound(c, k, "lbu", lower);
    set_bound(c, k, "ubu", upper);
}

#if NISSE_MODES
void apply_modes(nisse_controller *c, const double *first_action) {
    for (int k = 0; k < NISSE_N; k++) {
        if (memcmp(c->parameters[k], c->modes.row[k], sizeof(double) * NISSE_ND) != 0) set_row(c, k, c->modes.row[k]);
        if (memcmp(c->bounded[k], c->modes.pinned[k], sizeof c->bounded[k]) == 0) continue;
        set_action_bounds(c, k, k == 0 ? first_action : NULL);
        memcpy(c->bounded[k], c->modes.pinned[k], sizeof c->bounded[k]);
    }
}

/* The modes of the relaxed program: nothing is off. */
static void relax(nisse_controller *c) {
    memset(c->modes.pinned, 0, sizeof c->modes.pinned);
    for (int k = 0; k < NISSE_N; k++) {
        c->f_relaxed.arg[0] = c->parameters[k];
        c->f_relaxed.res[0] = c->modes.row[k];
        call_casadi(&c->f_relaxed);
    }
}
#endif

/* ---- results ---- */

/* The interior-point method works on the very program when that is a QP; otherwise ask the SQP level. */
double kkt_residual(const nisse_controller *c) {
#if NISSE_QUADRATIC
    const ocp_qp_hpipm_memory *qp = c->memory->qp_solver_mem->solver_memory;
    double part[4] = {0};
    d_ocp_qp_ipm_get_max_res_stat(qp->hpipm_workspace, &part[0]);
    d_ocp_qp_ipm_get_max_res_eq(qp->hpipm_workspace, &part[1]);
    d_ocp_qp_ipm_get_max_res_ineq(qp->hpipm_workspace, &part[2]);
    d_ocp_qp_ipm_get_max_res_comp(qp->hpipm_workspace, &part[3]);
#else
    const ocp_nlp_res *r = c->memory->nlp_res;
    const double part[4] = {r->inf_norm_res_stat, r->inf_norm_res_eq, r->inf_norm_res_ineq, r->inf_norm_res_comp};
#endif
    double worst = 0.0;
    for (int i = 0; i < 4; i++) {
        if (isnan(part[i])) return NAN;
        worst = fmax(worst, part[i]);
    }
    return worst;
}

#if !NISSE_QUADRATIC
static int interior_point_iterations(const nisse_controller *c) {
    nisse_ocp_solver_capsule *s = c->capsule;
    /* Column-major table of acados: one row per SQP iteration, `qp_iter` in column 6. */
    enum { COLUMNS = 16, QP_ITER = 6 };
    double table[(NISSE_SQP_ITERATIONS + 1) * COLUMNS];
    int sqp = 0, rows = 0, total = 0;
    ACADOS_GET(s, "sqp_iter", &sqp);
    ACADOS_GET(s, "stat_m", &rows);
    ACADOS_GET(s, "statistics", table);
    if (sqp + 1 < rows) rows = sqp + 1;
    for (int i = 0; i < rows; i++) total += (int)table[i + QP_ITER * rows];
    return total;
}
#endif

static void read_plans(const nisse_controller *c, double *plan_x, double *plan_a) {
    const struct blasfeo_dvec *ux = c->capsule->nlp_out->ux;
    for (int k = 0; plan_x && k <= NISSE_N; k++)
        memcpy(plan_x + k * NISSE_NX, ux[k].pa + (k < NISSE_N ? NISSE_NU : 0), sizeof(double) * NISSE_NX);
    for (int k = 0; plan_a && k < NISSE_N; k++) memcpy(plan_a + k * NISSE_NA, ux[k].pa, sizeof(double) * NISSE_NA);
}

/* The upper slacks belong to no constraint, and what a barrier leaves of them would show in the cost. */
void clear_upper_slacks(nisse_controller *c) {
    for (int k = 0; k <= NISSE_N; k++) {
        const int soft = k < NISSE_N ? NISSE_NSOFT : NISSE_NSOFT_E, lower_end = (k < NISSE_N ? NV : NISSE_NX) + soft;
        blasfeo_dvecse(soft, 0.0, &c->capsule->nlp_out->ux[k], lower_end);
    }
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* What stopped the solver short of the tolerance: the iteration limit, or something worse. */
static int32_t reason_of_failure(const nisse_controller *c) {
#if NISSE_QUADRATIC
    const ocp_qp_hpipm_memory *qp = c->memory->qp_solver_mem->solver_memory;
    int status = 0;
    d_ocp_qp_ipm_get_status(qp->hpipm_workspace, &status);
    return status == SUCCESS || status == MAX_ITER ? NISSE_MAX_ITERATIONS : NISSE_SOLVER_FAILED;
#else
    return isfinite(kkt_residual(c)) ? NISSE_MAX_ITERATIONS : NISSE_SOLVER_FAILED;
#endif
}

double plan_objective(const nisse_controller *c) {
#if NISSE_CONSTANT_MATRICES
    return quadratic_objective(c);
#else
    double value = NAN;
    ocp_nlp_eval_cost(c->capsule->nlp_solver, c->capsule->nlp_in, c->capsule->nlp_out);
    ACADOS_GET(c->capsule, "cost_value", &value);
    return value;
#endif
}

static void fill_with_nan(double *values, int n) {
    for (int i = 0; values && i < n; i++) values[i] = NAN;
}

static int32_t finish(nisse_result *result, int32_t status, double started) {
    result->status = status;
    result->time_s = seconds() - started;
    return status;
}

/* To the origin. acados' own reset reads beyond its buffer of zeros where a stage has many rows. */
static void forget(nisse_controller *c) {
    ocp_nlp_out *out = c->capsule->nlp_out;
    for (int k = 0; k <= NISSE_N; k++) {
        blasfeo_dvecse(out->ux[k].m, 0.0, &out->ux[k], 0);
        blasfeo_dvecse(out->lam[k].m, 0.0, &out->lam[k], 0);
        blasfeo_dvecse(ACADOS_DISTANCES(c)[k].m, 0.0, &ACADOS_DISTANCES(c)[k], 0);
        if (k < NISSE_N) blasfeo_dvecse(out->pi[k].m, 0.0, &out->pi[k], 0);
    }
    ocp_nlp_solver_reset_qp_memory(c->capsule->nlp_solver, c->capsule->nlp_in, out);
}

static int32_t solve(nisse_controller *c, const double *x0, const double *forecast, const double *first_action,
                     double *action, double *plan_x, double *plan_a, nisse_result *result) {
    const double started = seconds();
    *result = (nisse_result){.residual = NAN, .value = NAN};
    c->solved = c->adjoint_stands = false;
    if (!all_finite(x0, NISSE_NX) || !all_finite(forecast, (NISSE_N + 1) * NISSE_ND) ||
        (first_action && !all_finite(first_action, NISSE_NA))) {
        fill_with_nan(action, NISSE_NA);
        fill_with_nan(plan_x, (NISSE_N + 1) * NISSE_NX);
        fill_with_nan(plan_a, NISSE_N * NISSE_NA);
        return finish(result, NISSE_NOT_FINITE, started);
    }

    set_parameters(c, x0, forecast);
    set_bound(c, 0, "lbx", x0);
    set_bound(c, 0, "ubx", x0);
    if (first_action || c->fixed) set_action_bounds(c, 0, first_action);
    c->fixed = first_action != NULL;
    c->iterations = 0;
#if NISSE_MODES
    relax(c);
    result->value = solve_with_modes(c, x0, first_action);
#elif NISSE_QUADRATIC
    solve_quadratic_program(c, x0, first_action);
    result->value = plan_objective(c);
#else
    nisse_ocp_acados_solve(c->capsule);
    clear_upper_slacks(c);
    c->iterations = interior_point_iterations(c);
    c->residual = kkt_residual(c);
    result->value = plan_objective(c);
#endif

    result->iterations = c->iterations;
    result->residual = c->residual;
    read_plans(c, plan_x, plan_a);
    const double *u0 = c->capsule->nlp_out->ux[0].pa;
    if (action) memcpy(action, u0, sizeof(double) * NISSE_NA);
    if (!isfinite(result->residual) || !isfinite(result->value) || !all_finite(u0, NISSE_NA)) {
        forget(c);
        return finish(result, NISSE_NOT_FINITE, started);
    }
    if (result->residual > NISSE_TOLERANCE) return finish(result, reason_of_failure(c), started);
    c->solved = true;
    return finish(result, NISSE_OK, started);
}

/* ---- the interface ---- */

void nisse_controller_dimensions(nisse_dimensions *out) {
    *out = (nisse_dimensions){
        .abi_version = NISSE_ABI_VERSION,
        .nx = NISSE_NX,
        .na = NISSE_NA,
        .nd = NISSE_ND,
        .ntheta = NISSE_NTHETA,
        .horizon = NISSE_N,
        .dt_s = NISSE_DT_S,
        .discount = NISSE_DISCOUNT,
    };
}

nisse_controller *nisse_controller_create(void) {
    nisse_controller *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    bool bound = BIND(c->f_features, nisse_features) && BIND(c->f_prepare, nisse_prepare) &&
                 BIND(c->f_prepare_vjp, nisse_prepare_vjp) && BIND(c->f_gradient, nisse_gradient) &&
                 BIND(c->f_gradient_e, nisse_gradient_e) && BIND(c->f_sensitivity, nisse_sensitivity) &&
                 BIND(c->f_sensitivity_e, nisse_sensitivity_e) && BIND(c->f_vectors, nisse_vectors) &&
                 BIND(c->f_vectors_e, nisse_vectors_e);
#if NISSE_MODES
    bound = bound && BIND(c->f_relaxed, nisse_relaxed) && BIND(c->f_settle, nisse_settle);
#endif
#if NISSE_SMALL_QP
    c->stages = calloc(NISSE_N + 1, sizeof *c->stages);
    bound = bound && c->stages;
#endif
    if (!bound || !create_solver(c)) {
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
    if (c->capsule) {
        nisse_ocp_acados_free(c->capsule);
        nisse_ocp_acados_free_capsule(c->capsule);
    }
    casadi_function *functions[] = {&c->f_features,   &c->f_prepare,     &c->f_prepare_vjp,   &c->f_gradient,
                                    &c->f_gradient_e, &c->f_sensitivity, &c->f_sensitivity_e, &c->f_vectors,
                                    &c->f_vectors_e,  &c->f_relaxed,     &c->f_settle};
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) unbind(functions[i]);
    free(c->stages);
    free(c);
}

int32_t nisse_controller_set_theta(nisse_controller *c, const double *theta) {
    if (!c || !theta) return NISSE_BAD_ARGUMENT;
    if (!all_finite(theta, NISSE_NTHETA)) return NISSE_NOT_FINITE;
    for (int i = 0; i < NISSE_NTHETA; i++)
        if (theta[i] < nisse_theta_lower[i] || theta[i] > nisse_theta_upper[i]) return NISSE_BAD_ARGUMENT;
    memcpy(c->theta, theta, sizeof(double) * NISSE_NTHETA);
    call_casadi(&c->f_prepare);
    c->solved = c->linearised = false;
    return NISSE_OK;
}

void nisse_controller_reset(nisse_controller *c) {
    if (!c) return;
    c->solved = false;
    forget(c);
}

int32_t nisse_controller_solve(nisse_controller *c, const double *x0, const double *forecast, double *action,
                               double *plan_x, double *plan_a, nisse_result *result) {
    if (!c || !x0 || !result || (NISSE_ND && !forecast)) return NISSE_BAD_ARGUMENT;
    return solve(c, x0, forecast, NULL, action, plan_x, plan_a, result);
}

int32_t nisse_controller_solve_fixed(nisse_controller *c, const double *x0, const double *forecast,
                                     const double *action, double *plan_x, double *plan_a, nisse_result *result) {
    if (!c || !x0 || !action || !result || (NISSE_ND && !forecast)) return NISSE_BAD_ARGUMENT;
    return solve(c, x0, forecast, action, NULL, plan_x, plan_a, result);
}
