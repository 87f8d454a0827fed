/* The house MPC condensed onto its moves: theta -> matrices once, (history, forecast) -> first moves many times.
 *
 * Stage k = 0..N-1 pays for its powers P_k and for the temperatures y_{k+1} they lead to, times gamma^k dt:
 *
 *   price_scale price_k sum(P_k) + (reg + power_curvature)/2 |P_k|^2
 *     + sum_r scale_r beta (y_r - set_point - offset_r)^2 + penalty/2 [(low + backoff_r - y_r)_+^2 + (y_r - high + backoff_r)_+^2]
 *
 * and the last temperatures pay gamma^N (slope_r (y_r - set_point) + curvature_r/2 (y_r - set_point)^2) besides.
 * theta is ordered as in THETA_*. Powers are held over the steps of their move.
 */
#ifndef NISSE_CONDENSED_MPC_H
#define NISSE_CONDENSED_MPC_H

#include <stddef.h>

#include "contract.h"
#include "qp.h"

enum {
    THETA_A = 0,
    THETA_B = THETA_A + N_A,
    THETA_BIAS = THETA_B + N_B,
    THETA_SET_POINT = THETA_BIAS + ROOMS,
    THETA_BACKOFF_LOW = THETA_SET_POINT + ROOMS,
    THETA_BACKOFF_HIGH = THETA_BACKOFF_LOW + ROOMS,
    THETA_COMFORT = THETA_BACKOFF_HIGH + ROOMS, /* scale_r */
    THETA_PRICE = THETA_COMFORT + ROOMS,        /* price_scale */
    THETA_POWER = THETA_PRICE + 1,              /* power_curvature */
    THETA_SLOPE = THETA_POWER + 1,
    THETA_CURVATURE = THETA_SLOPE + ROOMS,
    N_THETA = THETA_CURVATURE + ROOMS
};

typedef struct {
    int horizon;  /* steps */
    int apply;    /* steps between solves: so many are applied of each plan */
    int moves;    /* held moves per heat pump over the horizon */
    int decision; /* moves per heat pump that begin within the first `apply` steps */
    double dt_h;
    double discount; /* per step */
    double power_max[ROOMS];
    double set_point, low, high;
    double beta;           /* EUR/(K^2 h) */
    double penalty;        /* EUR/(K^2 h) */
    double regularisation; /* EUR/(kW^2 h) */
} mpc_config;

/* Read-only after mpc_set_theta: any number of threads may share it. */
typedef struct {
    mpc_config config;
    int n, m;            /* moves * ROOMS, horizon * ROOMS */
    const int *start;    /* [moves+1] first step of each move; start[moves] = horizon */
    double *weight;      /* [horizon] gamma^k dt_h */
    double *move_weight; /* [moves] its sum over the steps of each move */
    double
        *step_response; /* [ROOMS][2+horizon+2][ROOMS] of the temperatures to 1 kW of each heat pump from the start on,
                           between rows of zeros */
    double *bias_response; /* [m][ROOMS] of the temperatures to a unit bias of each room */
    double *upper;         /* [n] */
    double *lower;         /* [n] */
    double terminal;       /* gamma^N */
    double theta[N_THETA];
    arx_model arx;
    qp_matrices qp;
} mpc;

size_t mpc_size(const mpc_config *config);
void mpc_create(const mpc_config *config, const int *start, mpc *model, void *memory);
void mpc_set_theta(mpc *model, const double *theta);

/* One thread's solver. */
typedef struct {
    qp_work qp;
    double *y;       /* [(LAGS+horizon)*ROOMS] history, then the free response */
    double *v;       /* [(LAGS-1+horizon)*INPUTS] */
    double *linear;  /* [n] */
    double *lb, *ub; /* [n] */
    double *paid;    /* [moves] what a kW costs over each move, price_scale left out */
    /* Derivatives. */
    double *signals;      /* [(LAGS-1+horizon)][SIGNALS] of the plan */
    double *costate;      /* [(horizon+LAGS)][ROOMS] mu */
    double *held_costate; /* [moves][LAGS][ROOMS] */
    int adjoint_known;    /* whether these are of the last solve */
    /* For the first moves of the four heat pumps in one interval, side by side: ... */
    double *column;       /* [n][ARX_GROUP] of M^-1 */
    double *change_power; /* [moves][ARX_GROUP][ROOMS] z */
    double *change_y;     /* [horizon+1][ARX_GROUP][ROOMS] dy */
    double *co_change;    /* [horizon+LAGS][ARX_GROUP][ROOMS] lambda */
    double change_bias[ARX_GROUP * ROOMS];
    /* ... these depend on the sets alone, not on the state: while the sets stay, they are kept. */
    int8_t *kept_bound, *kept_side; /* [n], [m] */
    int kept;                       /* 0 none, 1 without the adjoint recursion, 2 with it */
    int any_free;                   /* whether a first move is off its bounds */
} mpc_work;

size_t mpc_work_size(const mpc *model);
void mpc_work_create(const mpc *model, mpc_work *work, void *memory);
/* Forgets the warm start: the next solve depends on its arguments alone. */
void mpc_work_reset(const mpc *model, mpc_work *work);
/* Moves the warm start on by the applied steps. */
void mpc_work_shift(const mpc *model, mpc_work *work);

/* history_y [LAGS*ROOMS] and history_v [(LAGS-1)*INPUTS] oldest first, outdoor [horizon], price [horizon];
 * first [decision*ROOMS] fixes the first moves (Q_theta) or is NULL (V_theta). The plan is in work->qp.u [moves][ROOMS];
 * result->objective is the whole cost, constants included. */
void mpc_solve(const mpc *model, mpc_work *work, const double *history_y, const double *history_v,
               const double *outdoor, const double *price, const double *first, qp_result *result);

/* After mpc_solve: derivative of the optimal cost, gradient [N_THETA] (envelope theorem). */
void mpc_value_gradient(const mpc *model, mpc_work *work, double *gradient);

/* After mpc_solve: d(first moves)/d theta, jacobian [decision*ROOMS][N_THETA] (implicit function theorem), and inverse
 * [decision*ROOMS][decision*ROOMS], the inverse Hessian of Q_theta(s, a) in the moves a that are free (zero elsewhere).
 * The columns of the ARX coefficients cost most of the time; without `with_arx` they are left zero. */
void mpc_policy_jacobian(const mpc *model, mpc_work *work, int with_arx, double *jacobian, double *inverse);

#endif
