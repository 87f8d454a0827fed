/* Many solves, or many closed-loop episodes, over threads; the caller's interpreter is not in the loop.
 *
 * The result of a job depends on the job alone, never on the number of threads or on who ran before it.
 */
#ifndef NISSE_CONDENSED_BATCH_H
#define NISSE_CONDENSED_BATCH_H

#include <stdint.h>

#include "mpc.h"

#define N_COSTS 4 /* per decision: price, comfort, penalty, and their discounted sum */

/* One solve from a cold start. Outputs may be NULL, but for action and status. */
typedef struct {
    const mpc *model;
    const double *history_y, *history_v, *outdoor, *price;
    const double *first;     /* NULL: V_theta; else Q_theta(s, first) */
    double *action;          /* [decision*ROOMS] */
    double *plan_u;          /* [moves*ROOMS] */
    double *plan_y;          /* [horizon*ROOMS] */
    double *value_gradient;  /* [N_THETA] */
    double *policy_jacobian; /* [decision*ROOMS*N_THETA], with */
    double *action_inverse;  /* [decision*ROOMS*decision*ROOMS] inverse Hessian of Q_theta in the first moves */
    double *value, *residual;
    int32_t *status, *iterations;
} solve_job;

/* One closed loop of `decisions` solves; the world is an ARX too, driven by innovations (their mean included). */
typedef struct {
    const mpc *model;
    const double *world_a, *world_b;
    const double *history_y, *history_v;
    const double *outdoor, *price; /* [decisions*apply + horizon] */
    const double *innovations;     /* [decisions*apply*ROOMS] */
    const double *exploration;     /* [decisions*decision*ROOMS] added to the first moves, then clipped; or NULL */
    int32_t decisions;
    /* Outputs, per decision unless said otherwise; the gradients may be NULL. */
    double *y;      /* [decisions*apply*ROOMS] temperatures after each step */
    double *policy; /* [decision*ROOMS] pi_theta(s) */
    double *action; /* [decision*ROOMS] what was applied */
    double *value;  /* V_theta(s) */
    double *costs;  /* [N_COSTS] */
    int32_t *status, *iterations;
    double *value_gradient;  /* [N_THETA] */
    double *policy_jacobian; /* [decision*ROOMS*N_THETA], with */
    double *action_inverse;  /* [decision*ROOMS*decision*ROOMS] */
    int32_t with_arx;        /* whether the Jacobian's columns of the ARX coefficients are wanted */
    double seconds[2];       /* solving, differentiating */
} episode_job;

/* 0, or -1 when memory or threads cannot be had. */
int run_solves(solve_job *jobs, int n_jobs, int n_threads);
int run_episodes(episode_job *jobs, int n_jobs, int n_threads);

/* A model on the heap. NULL when memory is short. */
mpc *model_new(const mpc_config *config, const int *start);
void model_free(mpc *model);
int model_n_theta(void);

#endif
