/* Derivatives of the optimal cost and of the first moves, in all of theta, from the factor that the solve left behind.
 *
 * V:  dV/dtheta = dJ/dtheta at the optimal u (envelope theorem): one adjoint recursion through the ARX.
 * pi: with F the free moves and M = d2J/du2 on F, M du_F/dtheta = -d/dtheta (dJ/du)_F. For a first move i and z = M^-1 e_i,
 *       du_i/dtheta = -d/dtheta ( z' dJ/du ) = -d/dtheta DJ(u)[z],
 *     the derivative of a directional derivative. DJ(u)[z] = sum_k l'(y_k)' dy_k + ..., where dy is the response to z; y
 *     and dy obey the same recursion, so their costates do: lambda belongs to y and is driven by l'' dy, mu to dy and is
 *     driven by l', the same mu as in dV/dtheta. No derivative of Gamma or H is ever formed.
 */
#include <string.h>

#include "dense.h"
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
        work->costate[i] = qp->q[i] * (y[i] - qp->target[i]) + qp->w[i] * ((high > 0 ? high : 0.0) - (low > 0 ? low : 0.0));
    }
    for (int room = 0; room < ROOMS; room++)
        work->costate[(c->horizon - 1) * ROOMS + room] += model->terminal * model->theta[THETA_SLOPE + room];
    memset(work->costate + model->m, 0, sizeof(double) * YWIN);
}

/* mu, once per solve. */
static void find_adjoint(const mpc *model, mpc_work *work) {
    if (work->adjoint_known) return;
    linearise(model, work);
    arx_adjoint(&model->arx, model->config.horizon, work->costate);
    contract_hold(model->config.moves, model->start, 1, work->costate, work->held_costate);
    work->adjoint_known = 1;
}

static plan_regressors regressors(const mpc *model, const mpc_work *work) {
    return (plan_regressors){
        .steps = model->config.horizon, .moves = model->config.moves,
        .signals = work->signals, .past_power = work->v, .power = work->qp.u,
    };
}

void mpc_value_gradient(const mpc *model, mpc_work *work, double *gradient) {
    const mpc_config *c = &model->config;
    const double *theta = model->theta;
    memset(gradient, 0, sizeof(double) * N_THETA);
    find_adjoint(model, work);
    const plan_regressors plan = regressors(model, work);
    contract_plan(&plan, 1, work->costate, work->held_costate, gradient + THETA_A, gradient + THETA_B);
    double bias[ROOMS] = {0}, error[ROOMS] = {0}, square[ROOMS] = {0}, below[ROOMS] = {0}, above[ROOMS] = {0};
    double target[ROOMS], lower[ROOMS], upper[ROOMS];
    for (int room = 0; room < ROOMS; room++) {
        target[room] = c->set_point + theta[THETA_SET_POINT + room];
        lower[room] = c->low + theta[THETA_BACKOFF_LOW + room];
        upper[room] = c->high - theta[THETA_BACKOFF_HIGH + room];
    }
    for (int k = 0; k < c->horizon; k++) {
        const double dt = model->weight[k], *y = work->qp.y + k * ROOMS, *costate = work->costate + k * ROOMS;
#pragma omp simd
        for (int room = 0; room < ROOMS; room++) {
            const double off = y[room] - target[room], low = lower[room] - y[room], high = y[room] - upper[room];
            bias[room] += costate[room];
            error[room] += dt * off;
            square[room] += dt * off * off;
            below[room] += low > 0.0 ? dt * low : 0.0;
            above[room] += high > 0.0 ? dt * high : 0.0;
        }
    }
    for (int room = 0; room < ROOMS; room++) {
        gradient[THETA_BIAS + room] = bias[room];
        gradient[THETA_SET_POINT + room] = -2.0 * c->beta * theta[THETA_COMFORT + room] * error[room];
        gradient[THETA_COMFORT + room] = c->beta * square[room];
        gradient[THETA_BACKOFF_LOW + room] = c->penalty * below[room];
        gradient[THETA_BACKOFF_HIGH + room] = c->penalty * above[room];
        const double last = work->qp.y[(c->horizon - 1) * ROOMS + room] - c->set_point;
        gradient[THETA_SLOPE + room] = model->terminal * last;
        gradient[THETA_CURVATURE + room] = 0.5 * model->terminal * last * last;
    }
    for (int i = 0; i < model->n; i++) {
        const double power = work->qp.u[i];
        gradient[THETA_PRICE] += work->paid[i / ROOMS] * power;
        gradient[THETA_POWER] += 0.5 * model->move_weight[i / ROOMS] * power * power;
    }
}

/* rows [N_THETA][ARX_GROUP] += d/dtheta DJ(u)[z] for the terms that act on the cost directly. */
static void cost_rows(const mpc *model, mpc_work *work) {
    const mpc_config *c = &model->config;
    const double *theta = model->theta;
    double(*rows)[ARX_GROUP] = (double(*)[ARX_GROUP])work->rows;
    for (int room = 0; room < ROOMS; room++) {
        const double target = c->set_point + theta[THETA_SET_POINT + room];
        const double lower = c->low + theta[THETA_BACKOFF_LOW + room], upper = c->high - theta[THETA_BACKOFF_HIGH + room];
        double tracked[ARX_GROUP] = {0}, error[ARX_GROUP] = {0}, below[ARX_GROUP] = {0}, above[ARX_GROUP] = {0};
        for (int k = 0; k < c->horizon; k++) {
            const double dt = model->weight[k], y = work->qp.y[k * ROOMS + room];
            const double off = dt * (y - target), low = y < lower ? dt : 0.0, high = y > upper ? dt : 0.0;
            const double *change = work->change_y + (k * ROOMS + room) * ARX_GROUP;
#pragma omp simd
            for (int g = 0; g < ARX_GROUP; g++) {
                tracked[g] += dt * change[g];
                error[g] += off * change[g];
                below[g] += low * change[g];
                above[g] += high * change[g];
            }
        }
        const double *last = work->change_y + ((c->horizon - 1) * ROOMS + room) * ARX_GROUP;
        const double terminal_error = work->qp.y[(c->horizon - 1) * ROOMS + room] - c->set_point;
        for (int g = 0; g < ARX_GROUP; g++) {
            rows[THETA_SET_POINT + room][g] -= 2.0 * c->beta * theta[THETA_COMFORT + room] * tracked[g];
            rows[THETA_COMFORT + room][g] += 2.0 * c->beta * error[g];
            rows[THETA_BACKOFF_LOW + room][g] -= c->penalty * below[g];
            rows[THETA_BACKOFF_HIGH + room][g] += c->penalty * above[g];
            rows[THETA_SLOPE + room][g] += model->terminal * last[g];
            rows[THETA_CURVATURE + room][g] += model->terminal * terminal_error * last[g];
        }
    }
    for (int i = 0; i < model->n; i++)
        for (int g = 0; g < ARX_GROUP; g++) {
            const double change = work->move_change[i * ARX_GROUP + g];
            rows[THETA_PRICE][g] += work->paid[i / ROOMS] * change;
            rows[THETA_POWER][g] += model->move_weight[i / ROOMS] * work->qp.u[i] * change;
        }
}

/* What follows from the columns z of M^-1: the changes dy of the temperatures, and lambda where it is wanted. */
static void find_changes(const mpc *model, mpc_work *work, int with_arx) {
    const qp_matrices *qp = &model->qp;
    dense_multiply_four(model->m, qp->ld, qp->width, qp->gamma, work->move_change, work->change_y);
    memset(work->change_bias, 0, sizeof work->change_bias);
    for (int i = 0; i < model->m; i++) {
        const double curvature = qp->q[i] + (work->qp.side[i] ? qp->w[i] : 0.0);
        double *slope = work->co_change + i * ARX_GROUP;
#pragma omp simd
        for (int g = 0; g < ARX_GROUP; g++) slope[g] = curvature * work->change_y[i * ARX_GROUP + g];
        for (int source = 0; source < ROOMS; source++)
            for (int g = 0; g < ARX_GROUP; g++)
                work->change_bias[source][g] += model->bias_response[i * ROOMS + source] * slope[g];
    }
    memset(work->co_change + model->m * ARX_GROUP, 0, sizeof(double) * YWIN * ARX_GROUP);
    if (!with_arx) return;
    arx_adjoint_group(&model->arx, model->config.horizon, work->co_change);
    contract_hold(model->config.moves, model->start, ARX_GROUP, work->co_change, work->held_co_change);
}

/* Their rows of the Jacobian and of the inverse. */
static void write_rows(const mpc *model, mpc_work *work, int with_arx, double *jacobian, double *inverse) {
    const int outputs = model->config.decision * ROOMS;
    double *rows = work->rows, *a = rows + THETA_A * ARX_GROUP, *b = rows + THETA_B * ARX_GROUP;
    memset(rows, 0, sizeof(double) * N_THETA * ARX_GROUP);
    if (with_arx) {
        const plan_regressors plan = regressors(model, work);
        contract_plan(&plan, ARX_GROUP, work->co_change, work->held_co_change, a, b);
        contract_changes(plan.steps, plan.moves, work->costate, work->held_costate, work->change_y, work->move_change, a, b);
    }
    memcpy(rows + THETA_BIAS * ARX_GROUP, work->change_bias, sizeof work->change_bias);
    cost_rows(model, work);
    for (int g = 0; g < ARX_GROUP; g++) {
        double *row = jacobian + g * N_THETA;
        for (int p = 0; p < N_THETA; p++) row[p] = -rows[p * ARX_GROUP + g];
        /* With the later moves minimised out, the Hessian in the first ones is the inverse of this block of M^-1. */
        for (int i = 0; i < outputs; i++) inverse[g * outputs + i] = work->move_change[i * ARX_GROUP + g];
    }
}

static int same_sets(const mpc *model, const mpc_work *work) {
    return !memcmp(work->kept_bound, work->qp.bound, (size_t)model->n) && !memcmp(work->kept_side, work->qp.side, (size_t)model->m);
}

void mpc_policy_jacobian(const mpc *model, mpc_work *work, int with_arx, double *jacobian, double *inverse) {
    const int outputs = model->config.decision * ROOMS, need = with_arx ? 2 : 1;
    if (with_arx) find_adjoint(model, work);
    for (int first = 0; first < outputs; first += ARX_GROUP) {
        const int known = outputs == ARX_GROUP && work->kept >= need && same_sets(model, work);
        if (!known) {
            work->any_free = qp_inverse_columns(&model->qp, &work->qp, first, work->move_change);
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
