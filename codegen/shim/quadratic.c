/* Programs that are QPs: one linearisation is exact, and where theta alone makes the matrices it lasts until the next
 * theta. Then a solve is vectors, an interior-point method, and no starting point. */
#include "interior_point.h"
#include "solver.h"

#if NISSE_QUADRATIC

#include "acados/ocp_nlp/ocp_nlp_common.h"
#include "acados/ocp_nlp/ocp_nlp_sqp_rti.h"
#include "acados/ocp_qp/ocp_qp_hpipm.h"
#include "acados/ocp_qp/ocp_qp_xcond_solver.h"
#include "blasfeo/include/blasfeo_d_aux.h"
#include "hpipm/include/hpipm_d_ocp_qp_ipm.h"

/* How HPIPM is tried, in this order, until it meets the tolerance: degenerate programs (a flat price makes every hour
 * as good as the next) stall now and then in one mode or from one barrier, and not in the next. */
typedef struct {
    enum hpipm_mode mode;
    double mu0;
    double smallest; /* multiplier or distance: with multipliers of 1e4 distances at the barrier are below 1e-16 */
} attempt;
#define SMALLEST_FIXED 1e-16 /* where bounds meet */
static const attempt attempts[] = {
#if !NISSE_SMALL_QP
    {SPEED, 1.0, 1e-20}, /* from 0.01 some programs cycle at comfort weights */
#endif
    {SPEED, 1e1, 1e-20},
    {ROBUST, 1e2, 1e-20},
    {BALANCE, 1e3, 1e-12},
};

static struct d_ocp_qp_ipm_arg *hpipm_arguments(const nisse_controller *c) {
    const ocp_nlp_opts *opts = ((ocp_nlp_sqp_rti_opts *)c->capsule->nlp_opts)->nlp_opts;
    const ocp_qp_xcond_solver_opts *qp_opts = opts->qp_solver_opts;
    return ((ocp_qp_hpipm_opts *)qp_opts->qp_solver_opts)->hpipm_opts;
}

static void set_attempt(const nisse_controller *c, const attempt *how, int iterations) {
    struct d_ocp_qp_ipm_arg *arg = hpipm_arguments(c);
    double mu0 = how->mu0, smallest = c->fixed ? MAX(how->smallest, SMALLEST_FIXED) : how->smallest;
    /* Between bounds that meet no barrier can be kept, and no product be held to a share of it. */
    double barrier = c->fixed ? smallest : NISSE_BARRIER;
    /* Just where a constraint becomes active multiplier and distance are equal, and a product that misses its barrier by
     * as much as there is of it leaves a weight that is wrong by a 1e-4. From a tenth on they converge quadratically;
     * asked for a hundredth, rounding keeps HPIPM going for all of its iterations. */
    double off = c->fixed ? NISSE_QP_TOLERANCE : 0.1 * NISSE_BARRIER;
    double tolerance = NISSE_QP_TOLERANCE;
    d_ocp_qp_ipm_arg_set_default(how->mode, arg);
    d_ocp_qp_ipm_arg_set_mu0(&mu0, arg);
    d_ocp_qp_ipm_arg_set_lam_min(&smallest, arg);
    d_ocp_qp_ipm_arg_set_t_min(&smallest, arg);
    d_ocp_qp_ipm_arg_set_iter_max(&iterations, arg);
    d_ocp_qp_ipm_arg_set_tol_stat(&tolerance, arg);
    d_ocp_qp_ipm_arg_set_tol_eq(&tolerance, arg);
    d_ocp_qp_ipm_arg_set_tol_ineq(&tolerance, arg);
    d_ocp_qp_ipm_arg_set_tol_comp(&off, arg);
    d_ocp_qp_ipm_arg_set_tau_min(&barrier, arg);
}

/* Runs HPIPM on the QP in memory; true when it met the tolerance. */
static bool evaluate_qp(nisse_controller *c, ocp_nlp_opts *opts, ocp_nlp_workspace *work, const attempt *how) {
    const ocp_qp_hpipm_memory *qp = c->memory->qp_solver_mem->solver_memory;
    int done = 0, status = 0;
    /* Each mode lays out HPIPM's memory in its own way, inside what was reserved for the largest. */
    set_attempt(c, how, NISSE_QP_ITERATIONS);
    ocp_nlp_solver_reset_qp_memory(c->capsule->nlp_solver, c->capsule->nlp_in, c->capsule->nlp_out);
    ocp_nlp_config *config = c->capsule->nlp_config;
    config->qp_solver->evaluate(config->qp_solver, c->capsule->nlp_dims->qp_solver, c->memory->qp_in, c->memory->qp_out,
                                opts->qp_solver_opts, c->memory->qp_solver_mem, work->qp_work);
    d_ocp_qp_ipm_get_iter(qp->hpipm_workspace, &done);
    d_ocp_qp_ipm_get_status(qp->hpipm_workspace, &status);
    c->iterations += done;
    return status == SUCCESS;
}

#if NISSE_CONSTANT_MATRICES
/* The QP's vectors are what the stage functions are at the origin. */
static void set_vectors(nisse_controller *c) {
    ocp_qp_in *qp = c->memory->qp_in;
    c->value_at_origin = 0.0;
    for (int k = 0; k <= NISSE_N; k++) {
        double cost = 0.0, rows[AT_LEAST_ONE(MAX(NROWS, NISSE_NSOFT_E))];
        const casadi_function *f = k < NISSE_N ? &c->f_vectors : &c->f_vectors_e;
        double **result = f->res;
        f->arg[0] = c->parameters[k];
        if (k < NISSE_N) *result++ = qp->b[k].pa;
        *result++ = &cost;
        *result++ = qp->rqz[k].pa; /* the slacks' prices stand behind, and stay */
        *result++ = rows;
        call_casadi(f);
        c->value_at_origin += cost;
        for (int r = 0; r < general_rows(k); r++) qp->d[k].pa[box_rows(k) + r] = -rows[r];
    }
}

/* Of the last point: the cost of the stages, v'H v / 2 + g'v + constant, and of the slacks. */
double quadratic_objective(const nisse_controller *c) {
    const ocp_qp_in *qp = c->memory->qp_in;
    double value = c->value_at_origin;
    for (int k = 0; k <= NISSE_N; k++) {
        const double *v = c->capsule->nlp_out->ux[k].pa, *g = qp->rqz[k].pa;
        const int n = k < NISSE_N ? NV : NISSE_NX, soft = k < NISSE_N ? NISSE_NSOFT : NISSE_NSOFT_E;
        for (int j = 0; j < n; j++) {
            double below = 0.0; /* the diagonal: H is symmetric and kept as its lower triangle */
            for (int i = j + 1; i < n; i++) below += BLASFEO_DMATEL(&qp->RSQrq[k], i, j) * v[i];
            value += v[j] * (g[j] + below + BLASFEO_DMATEL(&qp->RSQrq[k], j, j) * v[j] / 2);
        }
        for (int i = 0; i < soft; i++) value += v[n + i] * (g[n + i] + qp->Z[k].pa[i] * v[n + i] / 2);
    }
    return value;
}
#endif

/* The QP of this call. Taken at the origin, so that the result depends on the arguments alone. */
static void form_qp(nisse_controller *c, ocp_nlp_opts *opts, ocp_nlp_workspace *work) {
    nisse_ocp_solver_capsule *s = c->capsule;
    for (int k = 0; k <= NISSE_N; k++) blasfeo_dvecse(s->nlp_out->ux[k].m, 0.0, &s->nlp_out->ux[k], 0);
    if (!c->linearised)
        ocp_nlp_approximate_qp_matrices(s->nlp_config, s->nlp_dims, s->nlp_in, s->nlp_out, opts, c->memory, work);
    ACADOS_EMBED_BOUNDS(s, opts, c->memory, work);
    ocp_nlp_approximate_qp_vectors_sqp(s->nlp_config, s->nlp_dims, s->nlp_in, s->nlp_out, opts, c->memory, work);
#if NISSE_CONSTANT_MATRICES
    set_vectors(c);
    c->linearised = true;
#endif
}

/* From the origin a full step leads to the solution of the QP. */
static void take_step(nisse_controller *c) {
    ocp_nlp_out *out = c->capsule->nlp_out;
    ocp_qp_out *qp = c->memory->qp_out;
    for (int k = 0; k <= NISSE_N; k++) {
        blasfeo_dveccp(out->ux[k].m, &qp->ux[k], 0, &out->ux[k], 0);
        blasfeo_dveccp(out->lam[k].m, &qp->lam[k], 0, &out->lam[k], 0);
        if (k < NISSE_N) blasfeo_dveccp(out->pi[k].m, &qp->pi[k], 0, &out->pi[k], 0);
        if (ACADOS_DISTANCES(c) != qp->t) blasfeo_dveccp(qp->t[k].m, &qp->t[k], 0, &ACADOS_DISTANCES(c)[k], 0);
    }
}

/* acados' own feedback step would print when the QP fails; this one leaves that to the residual. */
void solve_quadratic_program(nisse_controller *c, const double *x0, const double *first_action) {
    nisse_ocp_solver_capsule *s = c->capsule;
    ocp_nlp_opts *opts = ((ocp_nlp_sqp_rti_opts *)s->nlp_opts)->nlp_opts;
    ocp_nlp_workspace *work = ((ocp_nlp_sqp_rti_workspace *)s->nlp_solver->work)->nlp_work;
    form_qp(c, opts, work);
#if NISSE_SMALL_QP
    if (solve_small_qp(c, x0, first_action)) return;
#endif
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++)
        if (evaluate_qp(c, opts, work, &attempts[i])) break;
    take_step(c);
    clear_upper_slacks(c);
    c->residual = kkt_residual(c);
}
#endif
