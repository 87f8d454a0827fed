/* What the two halves of the shim share: the controller and its work space. */
#ifndef NISSE_SOLVER_H
#define NISSE_SOLVER_H

#include <stdbool.h>

#include "acados_c/ocp_nlp_interface.h"
#include "acados_solver_nisse_ocp.h"
#include "nisse_acados.h"
#include "nisse_config.h"

#pragma GCC visibility push(default) /* the only symbols that leave the library */
#include "nisse_controller.h"
#pragma GCC visibility pop

#define NV (NISSE_NU + NISSE_NX)          /* stage variables in the solver's order: [u; x] */
#define NROWS (NISSE_NHARD + NISSE_NSOFT) /* rows of a stage: hard, then soft */
#define NPAR (NISSE_ND + NISSE_NZ + NISSE_NP + 1)
#define AT_LEAST_ONE(n) ((n) > 0 ? (n) : 1) /* C has no arrays of length zero */
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
/* Rows of a stage with room for the terminal one. */
enum { MOST_ROWS = MAX(AT_LEAST_ONE(NROWS), NISSE_NSOFT_E) };
/* Stages this small are faster in our own interior-point method than in HPIPM, which then takes over what it fails on. */
#define NISSE_SMALL_QP (NISSE_QUADRATIC && NISSE_NX <= 4 && NISSE_NU <= 8)

/* A CasADi function with its work space. */
typedef struct {
    int (*call)(const double **arg, double **res, int *iw, double *w, int mem);
    int *iw;
    double *w;
    const double **arg;
    double **res;
} casadi_function;

/* A stage of the KKT system and its solution for each action (adjoint.c). Matrices are column-major, leading dimension NV
 * or that of their own; the terminal stage uses the x part. */
typedef struct {
    double hessian[NV * NV], dynamics[NV * NISSE_NX];        /* with the bounds' weights; [B A]' */
    double rows[NV * MOST_ROWS];                             /* [D C]' */
    double give[MOST_ROWS], weight[MOST_ROWS];               /* of each row, per unit of its multiplier; the inverse */
    double factor[NV * NISSE_NU], gain[NISSE_NU * NISSE_NX]; /* u = -gain x */
    double cost_to_go[NISSE_NX * NISSE_NX], slope[NISSE_NX]; /* of the next stage */
    double residual[NV], row_residual[MOST_ROWS], gap[NISSE_NX];
    double u[NISSE_NA][NISSE_NU], x[NISSE_NA][NISSE_NX], pi[NISSE_NA][NISSE_NX], multipliers[NISSE_NA][MOST_ROWS];
} adjoint_stage;

/* What makes a program with modes a QP (modes.c). */
typedef struct {
    bool pinned[NISSE_N][NISSE_NU];              /* off: the action stays at its lower bound */
    double row[NISSE_N][AT_LEAST_ONE(NISSE_ND)]; /* the forecast as the stage cost sees it */
} stage_modes;

struct nisse_controller {
    nisse_ocp_solver_capsule *capsule;
    ocp_nlp_memory *memory;          /* the solver's own: its last QP is what the derivatives are taken of */
    bool linearised;                 /* the QP's matrices are those of theta */
    double value_at_origin;          /* of the cost, where the matrices are constant */
    bool solved;                     /* the last call left a point to differentiate at */
    bool fixed;                      /* it was solve_fixed */
    bool adjoint_stands;             /* `adjoint` is that of the last call */
    int iterations;                  /* of the interior-point method in the last call */
    double residual;                 /* max-norm of its KKT residual */
    stage_modes modes;               /* of the last QP */
    bool bounded[NISSE_N][NISSE_NU]; /* where acados' bounds hold an action at its lower one */
    struct qp_stage *stages;         /* [N + 1], where NISSE_SMALL_QP */
    double theta[AT_LEAST_ONE(NISSE_NTHETA)];
    double prepared[AT_LEAST_ONE(NISSE_NP)]; /* p = prepare(theta) */
    double parameters[NISSE_N + 1][NPAR];    /* [d_k, z, p, gamma^k] */
    double forecast[(NISSE_N + 1) * AT_LEAST_ONE(NISSE_ND)];
    double features[AT_LEAST_ONE(NISSE_NZ)];
    adjoint_stage adjoint[NISSE_N + 1];
    casadi_function f_features, f_prepare, f_prepare_vjp;
    casadi_function f_gradient, f_gradient_e, f_sensitivity, f_sensitivity_e, f_vectors, f_vectors_e;
    casadi_function f_relaxed, f_settle; /* where NISSE_MODES */
};

/* Multipliers of the rows' lower sides at a stage, inside the solver's vector [lb; lg; ub; ug; ls; us]. */
static inline int box_rows(int stage) { return stage == 0 ? NV : stage < NISSE_N ? NISSE_NU : 0; }
static inline int general_rows(int stage) { return stage < NISSE_N ? NROWS : NISSE_NSOFT_E; }

int call_casadi(const casadi_function *function);

/* All of acados' stage functions read c->parameters and share their work space, where the version keeps its own. False
 * when memory ran out. */
bool share_stage_functions(nisse_controller *c);

/* Of programs that are QPs: from x0 [NX], with the first action [NA] fixed unless NULL. Iterate, iterations, residual. */
void solve_quadratic_program(nisse_controller *c, const double *x0, const double *first_action);
/* The same through all passes of a program with modes; returns the value. */
double solve_with_modes(nisse_controller *c, const double *x0, const double *first_action);
/* The controller's modes into acados' program; first_action [NA] or NULL. */
void apply_modes(nisse_controller *c, const double *first_action);
/* Cost of the last QP at its solution. */
double plan_objective(const nisse_controller *c);
double quadratic_objective(const nisse_controller *c);
void clear_upper_slacks(nisse_controller *c);
double kkt_residual(const nisse_controller *c);

/* The QP in acados' memory from x0 [NX], with the first action [NA] fixed unless NULL; the iterate is acados' own. False
 * when the tolerance was not met. */
bool solve_small_qp(nisse_controller *c, const double *x0, const double *action);

/* Into c->adjoint; false when the program is not convex. */
bool solve_adjoint(nisse_controller *c);

#endif
