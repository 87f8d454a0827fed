/* Derivatives of the optimal cost and of the first moves, in all of theta, from the factor that the solve left behind.
 *
 * V:  dV/dtheta = dJ/dtheta at the optimal u (envelope theorem): one adjoint recursion through the ARX.
 * pi: with F the free moves and M = d2J/du2 on F, M du_F/dtheta = -d/dtheta (dJ/du)_F. For a first move i and z = -M^-1 e_i,
 *       du_i/dtheta = d/dtheta ( z' dJ/du ) = d/dtheta DJ(u)[z],
 *     the derivative of a directional derivative. DJ(u)[z] = sum_k l'(y_k)' dy_k + ..., where dy is the response to z; y
 *     and dy obey the same recursion, so their costates do: lambda belongs to y and is driven by l'' dy, mu to dy and is
 *     driven by l', the same mu as in dV/dtheta. No derivative of Gamma or H is ever formed.
 */
#include <string.h>

#include "mpc.h"

/* The plan's signals, and l' of the temperatures, which the adjoint recursion turns into mu. */
static void linearise(const mpc *model, mpc_work *work) {
    const mpc_config *c = &model->config;
    const qp_matrices *qp = &model->qp;
    const double *y = work->qp.y;
    for (int row = 0; row < LAGS - 1 + c->horizon; row++) {
        double *signals = work->signals + row * SIGNALS;
        memcpy(signals, row < LAGS ? work->y + row * ROOMS : y + (row - LAGS) * ROOMS, sizeof(double) * ROOMS);
        signals[ROOMS] = work->v[row * INPUTS];
    }
#pragma omp simd
    for (int i = 0; i < model->m; i++) {
        const double low = qp->lower[i] - y[i], high = y[i] - qp->upper[i];
        work->costate[i] =
            qp->q[i] * (y[i] - qp->target[i]) + qp->w[i] * ((high > 0 ? high : 0.0) - (low > 0 ? low : 0.0));
    }
    for (int room = 0; room < ROOMS; room++)
        work->costate[(c->horizon - 1) * ROOMS + room] += model->terminal * model->theta[THETA_SLOPE + room];
    memset(work->costate + model->m, 0, sizeof(double) * YWIN);
}

/* mu, once per solve. */
static void find_adjoint(const mpc *model, mpc_work *work) {
    if (work->adjoint_known) return;
    linearise(model, work);
    arx_adjoint(&model->arx, model->config.horizon, 1, work->costate);
    contract_hold(model->config.moves, model->start, work->costate, work->held_costate);
    work->adjoint_known = 1;
}

static plan_regressors regressors(const mpc *model, const mpc_work *work) {
    return (plan_regressors){
        .steps = model->config.horizon,
        .moves = model->config.moves,
        .start = model->start,
        .signals = work->signals,
        .past_power = work->v,
        .power = work->qp.u,
    };
}

/* What the temperatures are compared with, theta's share included. */
typedef struct {
    double target[ROOMS], lower[ROOMS], upper[ROOMS];
} band;

static band band_of(const mpc *model) {
    band of;
    for (int room = 0; room < ROOMS; room++) {
        of.target[room] = model->config.set_point + model->theta[THETA_SET_POINT + room];
        of.lower[room] = model->config.low + model->theta[THETA_BACKOFF_LOW + room];
        of.upper[room] = model->config.high - model->theta[THETA_BACKOFF_HIGH + room];
    }
    return of;
}

void mpc_value_gradient(const mpc *model, mpc_work *work, double *gradient) {
    const mpc_config *c = &model->config;
    find_adjoint(model, work);
    const plan_regressors plan = regressors(model, work);
    contract_plan(&plan, 1, work->costate, N_THETA, gradient + THETA_A);
    double bias[ROOMS] = {0}, error[ROOMS] = {0}, square[ROOMS] = {0}, below[ROOMS] = {0}, above[ROOMS] = {0};
    const band of = band_of(model);
    for (int k = 0; k < c->horizon; k++) {
        const double dt = model->weight[k], *y = work->qp.y + k * ROOMS, *costate = work->costate + k * ROOMS;
#pragma omp simd
        for (int room = 0; room < ROOMS; room++) {
            const double off = y[room] - of.target[room];
            const double low = of.lower[room] - y[room], high = y[room] - of.upper[room];
            bias[room] += costate[room];
            error[room] += dt * off;
            square[room] += dt * off * off;
            below[room] += low > 0.0 ? dt * low : 0.0;
            above[room] += high > 0.0 ? dt * high : 0.0;
        }
    }
    for (int room = 0; room < ROOMS; room++) {
        gradient[THETA_BIAS + room] = bias[room];
        gradient[THETA_SET_POINT + room] = -2.0 * c->beta * model->theta[THETA_COMFORT + room] * error[room];
        gradient[THETA_COMFORT + room] = c->beta * square[room];
        gradient[THETA_BACKOFF_LOW + room] = c->penalty * below[room];
        gradient[THETA_BACKOFF_HIGH + room] = c->penalty * above[room];
        const double last = work->qp.y[(c->horizon - 1) * ROOMS + room] - c->set_point;
        gradient[THETA_SLOPE + room] = model->terminal * last;
        gradient[THETA_CURVATURE + room] = 0.5 * model->terminal * last * last;
    }
    double price = 0.0, square_of_power = 0.0;
    for (int i = 0; i < model->n; i++) {
        const double power = work->qp.u[i];
        price += work->paid[i / ROOMS] * power;
        square_of_power += model->move_weight[i / ROOMS] * power * power;
    }
    gradient[THETA_PRICE] = price;
    gradient[THETA_POWER] = 0.5 * square_of_power;
}

/* sums [4][ARX_GROUP][ROOMS] over the horizon of dy: weighted, times the error, and where it is below and above the band */
static inline void band_sums(int horizon, const band *of, const double *restrict weight, const double *restrict y,
                             const double *restrict change, double (*restrict sums)[ARX_GROUP][ROOMS]) {
    double sum[4][ARX_GROUP][ROOMS] = {{{0}}};
    for (int k = 0; k < horizon; k++, y += ROOMS)
        for (int g = 0; g < ARX_GROUP; g++, change += ROOMS)
#pragma omp simd
            for (int room = 0; room < ROOMS; room++) {
                const double weighted = weight[k] * change[room];
                sum[0][g][room] += weighted;
                sum[1][g][room] += weighted * (y[room] - of->target[room]);
                sum[2][g][room] += y[room] < of->lower[room] ? weighted : 0.0;
                sum[3][g][room] += y[room] > of->upper[room] ? weighted : 0.0;
            }
    memcpy(sums, sum, sizeof sum);
}

/* The columns of d/dtheta DJ(u)[z] for the terms that act on the cost directly, in rows [ARX_GROUP][N_THETA]. */
static void cost_columns(const mpc *model, const mpc_work *work, double *rows) {
    const mpc_config *c = &model->config;
    const int last = c->horizon - 1;
    const band of = band_of(model);
    double sums[4][ARX_GROUP][ROOMS], price[ARX_GROUP][ROOMS] = {{0}}, power[ARX_GROUP][ROOMS] = {{0}};
    band_sums(c->horizon, &of, model->weight, work->qp.y, work->change_y, sums);
    const double *change = work->change_power;
    for (int move = 0; move < c->moves; move++)
        for (int g = 0; g < ARX_GROUP; g++, change += ROOMS)
#pragma omp simd
            for (int pump = 0; pump < ROOMS; pump++) {
                price[g][pump] += work->paid[move] * change[pump];
                power[g][pump] += model->move_weight[move] * work->qp.u[move * ROOMS + pump] * change[pump];
            }
    for (int g = 0; g < ARX_GROUP; g++, rows += N_THETA) {
        const double *last_change = work->change_y + (last * ARX_GROUP + g) * ROOMS;
        for (int room = 0; room < ROOMS; room++) {
            rows[THETA_SET_POINT + room] = -2.0 * c->beta * model->theta[THETA_COMFORT + room] * sums[0][g][room];
            rows[THETA_COMFORT + room] = 2.0 * c->beta * sums[1][g][room];
            rows[THETA_BACKOFF_LOW + room] = -c->penalty * sums[2][g][room];
            rows[THETA_BACKOFF_HIGH + room] = c->penalty * sums[3][g][room];
            rows[THETA_SLOPE + room] = model->terminal * last_change[room];
            const double last_error = work->qp.y[last * ROOMS + room] - c->set_point;
            rows[THETA_CURVATURE + room] = model->terminal * last_error * last_change[room];
        }
        rows[THETA_PRICE] = (price[g][0] + price[g][1]) + (price[g][2] + price[g][3]);
        rows[THETA_POWER] = (power[g][0] + power[g][1]) + (power[g][2] + power[g][3]);
    }
}

/* out [2][ARX_GROUP][ROOMS] = dy of the steps k and k + 1 */
static inline void respond_twice(const mpc *model, int k, int begun, const double *restrict jump,
                                 double *restrict out) {
    enum { PAIR = 2 * ROOMS };
    const long sequence = (model->config.horizon + 4) * ROOMS;
    const double *restrict now = model->step_response + (k + 2) * ROOMS;
    double part[2][ARX_GROUP][PAIR] = {{{0}}};
    for (int move = 0; move < begun; move++) {
        const double *response = now - model->start[move] * ROOMS;
        for (int pump = 0; pump < ROOMS; pump++, response += sequence, jump += ARX_GROUP)
            for (int g = 0; g < ARX_GROUP; g++) {
                const double factor = jump[g];
#pragma omp simd simdlen(8)
                for (int l = 0; l < PAIR; l++) part[pump % 2][g][l] += factor * response[l];
            }
    }
    for (int g = 0; g < ARX_GROUP; g++)
        for (int l = 0; l < PAIR; l++)
            out[(l / ROOMS * ARX_GROUP + g) * ROOMS + l % ROOMS] = part[0][g][l] + part[1][g][l];
}

/* dy = Gamma z, summed by parts: dy[k] = sum over the moves begun of step_response[k - start] (z_move - z_move-1), because
 * those responses stay in the first cache and Gamma does not. Two steps at a time. */
static void respond(const mpc *model, mpc_work *work) {
    const int width = ROOMS * ARX_GROUP, *start = model->start;
    double jump[model->n * ARX_GROUP];
    for (int i = 0; i < model->n * ARX_GROUP; i++)
        jump[i] = (i < width ? 0.0 : work->column[i - width]) - work->column[i];
    for (int k = 0, begun = 0; k < model->config.horizon; k += 2) {
        while (begun < model->config.moves && start[begun] <= k + 1) begun++;
        respond_twice(model, k, begun, jump, work->change_y + k * width);
    }
}

/* bias [ARX_GROUP][ROOMS] := dJ/d bias of each costate: a bias enters every step. */
static inline void bias_of(int horizon, const double *restrict costate, double *restrict bias) {
    enum { WIDTH = ROOMS * ARX_GROUP };
    double sum[WIDTH] = {0};
    for (int k = 0; k < horizon; k++)
#pragma omp simd simdlen(8)
        for (int l = 0; l < WIDTH; l++) sum[l] += costate[k * WIDTH + l];
    memcpy(bias, sum, sizeof sum);
}

/* The same from the slopes that drive the costates. */
static void bias_by_response(const mpc *model, const double *slope, double *bias) {
    memset(bias, 0, sizeof(double) * ROOMS * ARX_GROUP);
    for (int k = 0; k < model->config.horizon; k++)
        for (int g = 0; g < ARX_GROUP; g++, slope += ROOMS)
            for (int room = 0; room < ROOMS; room++)
                for (int source = 0; source < ROOMS; source++)
                    bias[g * ROOMS + source] += model->bias_response[(k * ROOMS + room) * ROOMS + source] * slope[room];
}

/* What follows from the columns of M^-1: the changes of the powers z, the changes dy of the temperatures, and lambda where
 * it is wanted. */
static void find_changes(const mpc *model, mpc_work *work, int with_arx) {
    const int horizon = model->config.horizon, width = ROOMS * ARX_GROUP;
    respond(model, work);
    for (int i = 0; i < model->n; i++)
        for (int g = 0; g < ARX_GROUP; g++)
            work->change_power[(i / ROOMS * ARX_GROUP + g) * ROOMS + i % ROOMS] = -work->column[i * ARX_GROUP + g];
    for (int k = 0; k < horizon; k++) {
        double curvature[ROOMS];
        for (int room = 0, i = k * ROOMS; room < ROOMS; room++, i++)
            curvature[room] = model->qp.q[i] + (work->qp.side[i] ? model->qp.w[i] : 0.0);
        for (int g = 0, l = k * width; g < ARX_GROUP; g++, l += ROOMS)
#pragma omp simd
            for (int room = 0; room < ROOMS; room++)
                work->co_change[l + room] = curvature[room] * work->change_y[l + room];
    }
    if (with_arx) {
        memset(work->co_change + horizon * width, 0, sizeof(double) * (size_t)(LAGS * width));
        arx_adjoint(&model->arx, horizon, ARX_GROUP, work->co_change);
        bias_of(horizon, work->co_change, work->change_bias);
    } else {
        bias_by_response(model, work->co_change, work->change_bias);
    }
}

/* Their rows of the Jacobian and of the inverse. */
static void write_rows(const mpc *model, const mpc_work *work, int with_arx, double *jacobian, double *inverse) {
    const int outputs = model->config.decision * ROOMS;
    for (int g = 0; g < ARX_GROUP; g++) {
        double *row = jacobian + g * N_THETA;
        if (!with_arx) memset(row + THETA_A, 0, sizeof(double) * (N_A + N_B));
        memcpy(row + THETA_BIAS, work->change_bias + g * ROOMS, sizeof(double) * ROOMS);
        /* With the later moves minimised out, the Hessian in the first ones is the inverse of this block of M^-1. */
        for (int i = 0; i < outputs; i++) inverse[g * outputs + i] = work->column[i * ARX_GROUP + g];
    }
    cost_columns(model, work, jacobian);
    if (!with_arx) return;
    const plan_regressors plan = regressors(model, work);
    contract_plan(&plan, ARX_GROUP, work->co_change, N_THETA, jacobian + THETA_A);
    contract_changes(plan.steps, plan.moves, work->costate, work->held_costate, work->change_y, work->change_power,
                     N_THETA, jacobian + THETA_A);
}

static int same_sets(const mpc *model, const mpc_work *work) {
    return !memcmp(work->kept_bound, work->qp.bound, (size_t)model->n) &&
           !memcmp(work->kept_side, work->qp.side, (size_t)model->m);
}

void mpc_policy_jacobian(const mpc *model, mpc_work *work, int with_arx, double *jacobian, double *inverse) {
    const int outputs = model->config.decision * ROOMS, need = with_arx ? 2 : 1;
    if (with_arx) find_adjoint(model, work);
    for (int first = 0; first < outputs; first += ARX_GROUP) {
        const int known = outputs == ARX_GROUP && work->kept >= need && same_sets(model, work);
        if (!known) {
            work->any_free = qp_inverse_columns(&model->qp, &work->qp, first, work->column);
            if (work->any_free) find_changes(model, work, with_arx);
        }
        if (work->any_free) {
            write_rows(model, work, with_arx, jacobian + (size_t)first * N_THETA, inverse + first * outputs);
        } else { /* First moves on their bounds stay there. */
            memset(jacobian + (size_t)first * N_THETA, 0, sizeof(double) * ARX_GROUP * N_THETA);
            memset(inverse + first * outputs, 0, sizeof(double) * (size_t)(ARX_GROUP * outputs));
        }
    }
    work->kept = need;
    memcpy(work->kept_bound, work->qp.bound, (size_t)model->n);
    memcpy(work->kept_side, work->qp.side, (size_t)model->m);
}
