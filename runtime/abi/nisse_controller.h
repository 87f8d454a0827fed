/* The one C interface of a nisse controller: the same for every system and solver version.
 *
 * All arrays are row-major doubles of the caller, as long as `nisse_dimensions` says: the library cannot see their
 * length. Order, units and bounds of their entries are those of the bundle's manifest.json. Forecasts have horizon + 1
 * rows; row k holds stage k, the last row the terminal stage. A controller is not thread-safe; make one per thread. No
 * function throws, exits or prints. docs/reference/bundle-from-c.md says how a state comes about.
 */
#ifndef NISSE_CONTROLLER_H
#define NISSE_CONTROLLER_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NISSE_ABI_VERSION 1

typedef struct nisse_controller nisse_controller;

typedef enum {
    NISSE_OK = 0,             /* converged: residual <= tolerance */
    NISSE_MAX_ITERATIONS = 1, /* stopped early; the iterate is returned and must not be actuated unchecked */
    NISSE_SOLVER_FAILED = 2,  /* no usable iterate */
    NISSE_NOT_FINITE = 3,     /* an input or the result holds NaN or infinity */
    NISSE_BAD_ARGUMENT = 4    /* a null pointer or theta outside its bounds */
} nisse_status;

typedef struct {
    int32_t abi_version; /* compare it with NISSE_ABI_VERSION before any other call */
    int32_t nx;          /* states */
    int32_t na;          /* actuated actions */
    int32_t nd;          /* forecast columns: a signal with steps has several */
    int32_t ntheta;      /* tunable parameters */
    int32_t horizon;     /* N */
    double dt_s;         /* length of a stage */
    double discount;     /* per stage */
} nisse_dimensions;

typedef struct {
    int32_t status;     /* nisse_status */
    int32_t iterations; /* of the interior-point method, summed over the call */
    double residual;    /* max-norm of the KKT residual of the whole program */
    double value;       /* optimal cost: V_theta(x0), or Q_theta(x0, a) */
    double time_s;      /* wall time of the call */
} nisse_result;

/* `out` must not be NULL. */
void nisse_controller_dimensions(nisse_dimensions *out);

/* NULL when memory is short or the solver refuses. theta starts at its defaults. */
nisse_controller *nisse_controller_create(void);
void nisse_controller_destroy(nisse_controller *controller);

/* theta: [ntheta]. NISSE_BAD_ARGUMENT leaves the old theta in force. */
int32_t nisse_controller_set_theta(nisse_controller *controller, const double *theta);

/* Forgets the warm start; the next solve depends on its arguments alone. */
void nisse_controller_reset(nisse_controller *controller);

/* x0 [nx], forecast [(N+1)*nd] -> action [na], plan_x [(N+1)*nx], plan_a [N*na]. Action and plans may be NULL. Actuate
 * on NISSE_OK alone, clipped to the bounds of the manifest. x0 and forecast are taken as they are, beyond their bounds
 * too; where one is not finite, action, plans and value are NaN. Iterations are bounded, time is not. */
int32_t nisse_controller_solve(nisse_controller *controller, const double *x0, const double *forecast, double *action,
                               double *plan_x, double *plan_a, nisse_result *result);

/* For tuning: the same program with the first action fixed to `action` [na]; result->value is Q_theta(x0, action). */
int32_t nisse_controller_solve_fixed(nisse_controller *controller, const double *x0, const double *forecast,
                                     const double *action, double *plan_x, double *plan_a, nisse_result *result);

/* For tuning: derivatives at the last solve. dvalue_dtheta [ntheta] by the envelope theorem (of V or Q, whichever was
 * solved last); daction_dtheta [na*ntheta] by the implicit function theorem (zero after solve_fixed). Either may be NULL. */
int32_t nisse_controller_differentiate(nisse_controller *controller, double *dvalue_dtheta, double *daction_dtheta);

/* For tuning, after `differentiate` gave daction_dtheta: inverse [na*na] of the Hessian of Q(x0, a) in the first actions
 * that are free; 0 for those at a bound. Libraries built before it came have no such function. */
int32_t nisse_controller_action_inverse(nisse_controller *controller, double *inverse);

#ifdef __cplusplus
}
#endif
#endif
