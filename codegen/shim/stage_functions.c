/* One work space for a function of all stages, and the controller's own parameters.
 *
 * acados keeps both once per function and stage: of a house with thousands of parameters most of the memory. Stages are
 * evaluated one after the other, so that they may share the work space; and what they read are c->parameters.
 */
#include "solver.h"

#if ACADOS_KEEPS_PARAMETERS

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "acados/ocp_nlp/ocp_nlp_constraints_bgh.h"
#include "acados/ocp_nlp/ocp_nlp_cost_external.h"
#include "acados/ocp_nlp/ocp_nlp_dynamics_disc.h"

enum { MOST_FUNCTIONS = 3 * 8 }; /* of the first stage, those between, the last one: value, gradient, Hessian of each */

typedef external_function_param_casadi stage_function;

/* `f` works where `first` does; its memory is the table of its arguments alone. False when there is none. */
static bool share(stage_function *f, const stage_function *first) {
    double **args = malloc(sizeof *args * (size_t)f->args_num);
    if (!args) return false;
    memcpy(args, first->args, sizeof *args * (size_t)f->args_num);
    free(f->ptr_ext_mem);
    *f = *first;
    f->ptr_ext_mem = f->args = args;
    return true;
}

static bool adopt(nisse_controller *c, int stage, void *function, stage_function **firsts, int *known) {
    stage_function *f = function;
    if (!f) return true;
    int i = 0;
    while (i < *known && firsts[i]->casadi_fun != f->casadi_fun) i++;
    if (i == *known && *known < MOST_FUNCTIONS)
        firsts[(*known)++] = f;
    else if (i < *known && !share(f, firsts[i]))
        return false;
    f->args[f->in_num - 1] = c->parameters[stage];
    return true;
}

bool share_stage_functions(nisse_controller *c) {
    stage_function *firsts[MOST_FUNCTIONS];
    int known = 0;
    bool done = true;
    for (int k = 0; k <= NISSE_N; k++) {
        const ocp_nlp_in *in = c->capsule->nlp_in;
        const ocp_nlp_cost_external_model *cost = in->cost[k];
        const ocp_nlp_constraints_bgh_model *rows = in->constraints[k];
        const ocp_nlp_dynamics_disc_model *next = k < NISSE_N ? in->dynamics[k] : NULL;
        void *functions[] = {cost->ext_cost_fun,
                             cost->ext_cost_fun_jac,
                             cost->ext_cost_fun_jac_hess,
                             rows->nl_constr_h_fun,
                             rows->nl_constr_h_fun_jac,
                             rows->nl_constr_h_fun_jac_hess,
                             next ? next->disc_dyn_fun : NULL,
                             next ? next->disc_dyn_fun_jac : NULL,
                             next ? next->disc_dyn_fun_jac_hess : NULL};
        for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
            done = done && adopt(c, k, functions[i], firsts, &known);
    }
#ifdef __GLIBC__
    malloc_trim(0); /* what was freed lies between what was not, and would stay resident */
#endif
    return done;
}

#else

bool share_stage_functions(nisse_controller *c) {
    (void)c;
    return true;
}

#endif
