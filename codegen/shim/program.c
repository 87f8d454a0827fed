/* Creation of one acados program. The generated solver is included, not linked, to reach the steps of its creation. */
#include "acados_solver_nisse_ocp.c"

#include <string.h>

#include "hpipm/include/hpipm_d_ocp_qp.h"
#include "solver.h"

/* The generated create function, with one change: in Q the actuated part of u_0 is declared an equality. */
static void create_program(program *p, program_kind kind) {
    nisse_ocp_solver_capsule *c = p->capsule = nisse_ocp_acados_create_capsule();
    if (!c) return;
    memset(c, 0, sizeof *c);
    c->nlp_np = NPAR;
    c->nlp_solver_plan = ocp_nlp_plan_create(NISSE_N);
    nisse_ocp_acados_create_1_set_plan(c->nlp_solver_plan, NISSE_N);
    c->nlp_config = ocp_nlp_config_create(*c->nlp_solver_plan);
    c->nlp_dims = nisse_ocp_acados_create_2_create_and_set_dimensions(c);
    int fixed = kind == PROGRAM_Q ? NISSE_NA : 0;
    ocp_nlp_dims_set_constraints(c->nlp_config, c->nlp_dims, 0, "nbue", &fixed);
    nisse_ocp_acados_create_3_create_and_set_functions(c);
    nisse_ocp_acados_create_4_set_default_parameters(c);
    c->nlp_in = ocp_nlp_in_create(c->nlp_config, c->nlp_dims);
    nisse_ocp_acados_create_5_set_nlp_in(c, NISSE_N, NULL);
    if (fixed) {
        int index[NISSE_NA];
        for (int i = 0; i < NISSE_NA; i++) index[i] = i;
        ocp_nlp_constraints_model_set(c->nlp_config, c->nlp_dims, c->nlp_in, 0, "idxbue", index);
    }
    c->nlp_opts = ocp_nlp_solver_opts_create(c->nlp_config, c->nlp_dims);
    nisse_ocp_acados_create_6_set_opts(c);
    c->nlp_out = ocp_nlp_out_create(c->nlp_config, c->nlp_dims);
    c->sens_out = ocp_nlp_out_create(c->nlp_config, c->nlp_dims);
    nisse_ocp_acados_create_7_set_nlp_out(c);
    c->nlp_solver = ocp_nlp_solver_create(c->nlp_config, c->nlp_dims, c->nlp_opts);
    nisse_ocp_acados_create_9_precompute(c);
    ocp_nlp_get(c->nlp_config, c->nlp_solver, "nlp_mem", &p->memory);
}

/* Rows are one-sided: mask their upper sides and the slacks of these, which then cost nothing. */
static void mask_upper_sides(program *p) {
    double zeros[AT_LEAST_ONE(MAX(MAX(NROWS, NISSE_NSOFT), NISSE_NSOFT_E))] = {0};
    for (int k = 0; k <= NISSE_N; k++) {
        d_ocp_qp_set_ug_mask(k, zeros, p->memory->qp_in);
        d_ocp_qp_set_lus_mask(k, zeros, p->memory->qp_in);
    }
}

/* Slack prices are discounted like the stage they belong to. */
static void discount_slacks(program *p) {
    nisse_ocp_solver_capsule *c = p->capsule;
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
        ocp_nlp_cost_model_set(c->nlp_config, c->nlp_dims, c->nlp_in, k, "zl", z);
        ocp_nlp_cost_model_set(c->nlp_config, c->nlp_dims, c->nlp_in, k, "Zl", Z);
    }
}

bool ensure_program(program *p, program_kind kind) {
    if (p->capsule) return true;
    create_program(p, kind);
    if (!p->capsule) return false;
    mask_upper_sides(p);
    discount_slacks(p);
    return true;
}
