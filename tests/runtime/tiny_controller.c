/* A whole controller of one state, small enough to check by hand: x+ = x + theta * (a - d), wanted level 0.5.
 *
 * It moves straight to the wanted level, as far as its bounds allow: a = clip((0.5 - x) / theta + d, -1, 1).
 * TINY_CONTROLLER=crash | hang | nan | unconverged | slow, in the environment at create, makes it misbehave at a level
 * above 0.9; so does -DTINY_MOOD="'c'" and so on at compile time, which also knows 't': crash when theta is above
 * 1.5, and 'b': need 0.6 s of processor time. */
#include "nisse_controller.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef TINY_MOOD
#define TINY_MOOD 0
#endif

enum { N = 4 };

struct nisse_controller {
    double theta;
    char mood;
};

void nisse_controller_dimensions(nisse_dimensions *out) {
    nisse_dimensions d = {NISSE_ABI_VERSION, 1, 1, 1, 1, N, 60.0, 1.0};
    *out = d;
}

nisse_controller *nisse_controller_create(void) {
    nisse_controller *c = malloc(sizeof *c);
    const char *mood = getenv("TINY_CONTROLLER");
    if (c) {
        c->theta = 1.0;
        c->mood = mood ? mood[0] : TINY_MOOD;
    }
    return c;
}

void nisse_controller_destroy(nisse_controller *c) { free(c); }

int32_t nisse_controller_set_theta(nisse_controller *c, const double *theta) {
    if (!(theta[0] >= 0.1 && theta[0] <= 2.0)) return NISSE_BAD_ARGUMENT;
    c->theta = theta[0];
    return NISSE_OK;
}

void nisse_controller_reset(nisse_controller *c) { (void)c; }

static double move(const nisse_controller *c, double x, double d) {
    double a = (0.5 - x) / c->theta + d;
    return a < -1.0 ? -1.0 : a > 1.0 ? 1.0 : a;
}

static int32_t roll_out(nisse_controller *c, const double *x0, const double *forecast, const double *fixed,
                        double *action, double *plan_x, double *plan_a, nisse_result *result) {
    double x = x0[0], value = 0.0;
    memset(result, 0, sizeof *result);
    result->iterations = 1;
    if (x > 0.9 && c->mood == 'c') abort();
    if (x > 0.9 && c->mood == 'h') sleep(3600);
    if (x > 0.9 && c->mood == 's') sleep(3);
    if (x > 0.9 && c->mood == 'b')
        for (const clock_t until = clock() + (clock_t)(0.6 * CLOCKS_PER_SEC); clock() < until;);
    if (c->theta > 1.5 && c->mood == 't') abort();
    for (int k = 0; k <= N; k++) {
        if (plan_x) plan_x[k] = x;
        value += (x - 0.5) * (x - 0.5);
        if (k == N) break;
        double a = k == 0 && fixed ? fixed[0] : move(c, x, forecast[k]);
        if (k == 0 && action) action[0] = a;
        if (plan_a) plan_a[k] = a;
        x += c->theta * (a - forecast[k]);
    }
    result->value = value;
    if (x0[0] > 0.9 && c->mood == 'n') action[0] = NAN;
    if (x0[0] > 0.9 && c->mood == 'u') {
        result->residual = 1.0;
        result->status = NISSE_MAX_ITERATIONS;
    }
    return result->status;
}

int32_t nisse_controller_solve(nisse_controller *c, const double *x0, const double *forecast, double *action,
                               double *plan_x, double *plan_a, nisse_result *result) {
    return roll_out(c, x0, forecast, NULL, action, plan_x, plan_a, result);
}

int32_t nisse_controller_solve_fixed(nisse_controller *c, const double *x0, const double *forecast,
                                     const double *action, double *plan_x, double *plan_a, nisse_result *result) {
    return roll_out(c, x0, forecast, action, NULL, plan_x, plan_a, result);
}

int32_t nisse_controller_differentiate(nisse_controller *c, double *dvalue, double *daction) {
    (void)c;
    if (dvalue) dvalue[0] = 0.0;
    if (daction) daction[0] = 0.0;
    return NISSE_SOLVER_FAILED;
}
