/* Products of costates with the ARX's regressors, summed over the horizon: derivatives in the ARX's coefficients.
 *
 *   dJ/dA_j = sum_k costate[k] y[k+1-j]',    dJ/dB_j = sum_k costate[k] v[k+1-j]',    j = 1..LAGS
 *
 * Temperatures change at every step. Powers are held over their moves, so their sum over steps is one over moves, of
 *
 *   held[move][lag] = sum of costate[k + lag] over the steps k of the move,
 *
 * which takes a sixth of the multiplications when moves last six steps. `group` costates, 1 or ARX_GROUP, go side by side:
 * with the rooms they fill the processor's vectors. Derivatives go into one row of theta's order for each of them, the
 * coefficients of A and then those of B, rows `stride` doubles apart.
 */
#ifndef NISSE_CONDENSED_CONTRACT_H
#define NISSE_CONDENSED_CONTRACT_H

#include "arx.h"

#define SIGNALS (ROOMS + 1) /* what changes at every step: temperatures and the outdoor one */

/* The regressors along a plan. */
typedef struct {
    int steps, moves;
    const int *start;         /* [moves+1] of the moves; start[moves] = steps */
    const double *signals;    /* [LAGS-1+steps][SIGNALS], oldest first: history, then plan */
    const double *past_power; /* [LAGS-1][INPUTS], outdoor temperature first, which is left alone */
    const double *power;      /* [moves][ROOMS] */
} plan_regressors;

/* held [moves][LAGS][ROOMS] of one costate [steps+LAGS][ROOMS]. */
void contract_hold(int moves, const int *start, const double *costate, double *held);

/* rows := costate [steps+LAGS][group][ROOMS] times the plan's regressors. */
void contract_plan(const plan_regressors *plan, int group, const double *costate, int stride, double *rows);

/* rows += one costate, [steps+LAGS][ROOMS] and its held sums, times ARX_GROUP changes of the plan, change_y
 * [steps][ARX_GROUP][ROOMS] and change_power [moves][ARX_GROUP][ROOMS]; history and outdoor temperature do not change. */
void contract_changes(int steps, int moves, const double *costate, const double *held, const double *change_y,
                      const double *change_power, int stride, double *rows);

#endif
