/* The ARX predictor of the house: simulation forwards, adjoint backwards.
 *
 *   y[k+1] = sum_{j=1..LAGS} A_j y[k+1-j] + B_j v[k+1-j] + b,    v = (outdoor temperature, powers)
 *
 * Trajectories are stored oldest first, so the regressor of a step is a contiguous window that slides by one row.
 */
#ifndef NISSE_CONDENSED_ARX_H
#define NISSE_CONDENSED_ARX_H

#define LAGS 12
#define ROOMS 4
#define INPUTS 5 /* outdoor temperature, then one power per room */

#define YWIN (LAGS * ROOMS)
#define VWIN (LAGS * INPUTS)
#define N_A (LAGS * ROOMS * ROOMS)
#define N_B (LAGS * ROOMS * INPUTS)

typedef struct {
    double a[N_A];                /* [lag][output][input], lag 1 first: the order of theta */
    double b[N_B];                /* [lag][output][input] */
    double bias[ROOMS];           /* K per step */
    double a_window[YWIN][ROOMS]; /* the same numbers, in the order of the sliding window */
    double b_window[VWIN][ROOMS];
} arx_model;

/* a [LAGS*ROOMS*ROOMS], b [LAGS*ROOMS*INPUTS], bias [ROOMS]. */
void arx_set(arx_model *model, const double *a, const double *b, const double *bias);

/* One step: y_window [LAGS][ROOMS], v_window [LAGS][INPUTS] (newest last) -> y_next [ROOMS], bias included. */
void arx_step(const arx_model *model, const double *y_window, const double *v_window, double *y_next);

/* y [(LAGS+n)*ROOMS] with the first LAGS rows given, v [(LAGS-1+n)*INPUTS] all given -> the other rows of y. */
void arx_simulate(const arx_model *model, int n, double *y, const double *v);

/* The same from rest with neither bias nor outdoor temperature: the response to a change of the powers. */
void arx_respond(const arx_model *model, int n, double *y, const double *v);

#define ARX_GROUP 4 /* costates that go side by side */

/* costate [n+LAGS][group][ROOMS]: row k holds dJ/dy[k+1] on entry and the total derivative on exit; the last LAGS rows are
 * zero. group is 1 or ARX_GROUP. */
void arx_adjoint(const arx_model *model, int n, int group, double *costate);

#endif
