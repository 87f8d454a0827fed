/* A controller whose plan is given: a battery of 10 kWh without losses does what the forecast `wish` says, in kW.
 * States: soc. Actions: charge, discharge. Forecasts: wish, load. theta: gain, which does nothing. With several
 * BATTERIES each does the same, and the state is that of the first. */
#include "nisse_controller.h"

#include <stdlib.h>
#include <string.h>

#ifndef BATTERIES
#define BATTERIES 1
#endif

enum { N = 4, NA = 2 * BATTERIES, ND = 2 };

struct nisse_controller {
    double theta;
};

void nisse_controller_dimensions(nisse_dimensions *out) {
    nisse_dimensions d = {NISSE_ABI_VERSION, 1, NA, ND, 1, N, 900.0, 1.0};
    *out = d;
}

nisse_controller *nisse_controller_create(void) { return calloc(1, sizeof(nisse_controller)); }
void nisse_controller_destroy(nisse_controller *c) { free(c); }
int32_t nisse_controller_set_theta(nisse_controller *c, const double *theta) {
    c->theta = theta[0];
    return NISSE_OK;
}
void nisse_controller_reset(nisse_controller *c) { (void)c; }

int32_t nisse_controller_solve(nisse_controller *c, const double *x0, const double *forecast, double *action,
                               double *plan_x, double *plan_a, nisse_result *result) {
    double soc = x0[0];
    (void)c;
    memset(result, 0, sizeof *result);
    result->iterations = 1;
    for (int k = 0; k <= N; k++) {
        if (plan_x) plan_x[k] = soc;
        if (k == N) break;
        double wish = forecast[k * ND];
        double charge = wish > 0.0 ? wish : 0.0, discharge = wish < 0.0 ? -wish : 0.0;
        for (int b = 0; b < BATTERIES; b++) {
            if (k == 0 && action) action[2 * b] = charge, action[2 * b + 1] = discharge;
            if (plan_a) plan_a[k * NA + 2 * b] = charge, plan_a[k * NA + 2 * b + 1] = discharge;
        }
        soc += 0.025 * wish;
    }
    return NISSE_OK;
}

int32_t nisse_controller_solve_fixed(nisse_controller *c, const double *x0, const double *forecast,
                                     const double *action, double *plan_x, double *plan_a, nisse_result *result) {
    (void)action;
    return nisse_controller_solve(c, x0, forecast, NULL, plan_x, plan_a, result);
}

int32_t nisse_controller_differentiate(nisse_controller *c, double *dvalue, double *daction) {
    (void)c, (void)dvalue, (void)daction;
    return NISSE_OK;
}
