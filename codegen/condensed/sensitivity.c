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

static void spread(const mpc *model, const double *moves, double *v) {
    for (int move = 0; move < model->config.moves; move++)
        for (int k = model->start[move]; k < model->start[move + 1]; k++)
            for (int pump = 0; pump < ROOMS; pump++) v[(LAGS - 1 + k) * INPUTS + 1 + pump] = moves[move * ROOMS + pump];
}

/* The plan's trajectory, its inputs, and l' of the temperatures, which the adjoint recursion turns into mu. */
static void linearise(const mpc *model, mpc_work *work) {
    const mpc_config *c = &model->config;
    const qp_matrices *qp = &model->qp;
    memcpy(work->plan_y, work->y, sizeof(double) * YWIN);
    memcpy(work->plan_y + YWIN, work->qp.y, sizeof(double) * (size_t)model->m);
    spread(model, work->qp.u, work->v);
    memset(work->costate, 0, sizeof(double) * (size_t)((LAGS + c->horizon) * ROOMS));
    const double *y = work->qp.y;
    for (int i = 0; i < model->m; i++) {
        const double low = qp->lower[i] - y[i], high = y[i] - qp->upper[i];
        work->costate[i] = qp->q[i] * (y[i] - qp->target[i]) + qp->w[i] * ((high > 0 ? high : 0.0) - (low > 0 ? low : 0.0));
    }
    for (int room = 0; room < ROOMS; room++)
        work->costate[(c->horizon - 1) * ROOMS + room] += model->terminal * model->theta[THETA_SLOPE + room];
}

/* gradient += (response to the bias)' slope, slope [m] the derivative in the temperatures */
static void bias_gradient(const mpc *model, const double *slope, double *gradient) {
    double sum[ROOMS] = {0};
    for (int i = 0; i < model->m; i++)
        for (int room = 0; room < ROOMS; room++) sum[room] += model->bias_response[i * ROOMS + room] * slope[i];
    for (int room = 0; room < ROOMS; room++) gradient[THETA_BIAS + room] += sum[room];
}

void mpc_value_gradient(const mpc *model, mpc_work *work, double *gradient) {
    const mpc_config *c = &model->config;
    memset(gradient, 0, sizeof(double) * N_THETA);
    linearise(model, work);
    bias_gradient(model, work->costate, gradient);
    arx_adjoint(&model->arx, c->horizon, work->costate);
    work->adjoint_known = 1;
    arx_contract(c->horizon, work->costate, work->plan_y, work->v, gradient + THETA_A, gradient + THETA_B);
    const double *theta = model->theta;
    for (int k = 0; k < c->horizon; k++)
        for (int room = 0; room < ROOMS; room++) {
            const double y = work->qp.y[k * ROOMS + room], dt = model->weight[k];
            const double error = y - c->set_point - theta[THETA_SET_POINT + room];
            const double low = c->low + theta[THETA_BACKOFF_LOW + room] - y;
            const double high = y - c->high + theta[THETA_BACKOFF_HIGH + room];
            gradient[THETA_SET_POINT + room] -= 2.0 * c->beta * theta[THETA_COMFORT + room] * dt * error;
            gradient[THETA_COMFORT + room] += c->beta * dt * error * error;
            if (low > 0.0) gradient[THETA_BACKOFF_LOW + room] += c->penalty * dt * low;
            if (high > 0.0) gradient[THETA_BACKOFF_HIGH + room] += c->penalty * dt * high;
            const double power = work->v[(LAGS - 1 + k) * INPUTS + 1 + room];
            gradient[THETA_PRICE] += dt * work->price[k] * power;
            gradient[THETA_POWER] += 0.5 * dt * power * power;
        }
    for (int room = 0; room < ROOMS; room++) {
        const double error = work->qp.y[(c->horizon - 1) * ROOMS + room] - c->set_point;
        gradient[THETA_SLOPE + room] = model->terminal * error;
        gradient[THETA_CURVATURE + room] = 0.5 * model->terminal * error * error;
    }
}

/* row [N_THETA] += d/dtheta DJ(u)[z] for the terms that act on the cost directly, z being (change_y, change_v). */
static void cost_rows(const mpc *model, const mpc_work *work, const double *change_y, const double *change_v, double *row) {
    const mpc_config *c = &model->config;
    const double *theta = model->theta;
    double target[ROOMS], low[ROOMS], high[ROOMS], scale[ROOMS];
    for (int room = 0; room < ROOMS; room++) {
        target[room] = c->set_point + theta[THETA_SET_POINT + room];
        low[room] = c->low + theta[THETA_BACKOFF_LOW + room];
        high[room] = c->high - theta[THETA_BACKOFF_HIGH + room];
        scale[room] = theta[THETA_COMFORT + room];
    }
    double tracked[ROOMS] = {0}, error[ROOMS] = {0}, below[ROOMS] = {0}, above[ROOMS] = {0};
    double price[ROOMS] = {0}, power[ROOMS] = {0};
    for (int k = 0; k < c->horizon; k++) {
        const double dt = model->weight[k], *y = work->qp.y + k * ROOMS, *change = change_y + YWIN + k * ROOMS;
        const double *v = work->v + (LAGS - 1 + k) * INPUTS + 1, *dv = change_v + (LAGS - 1 + k) * INPUTS + 1;
        const double dt_price = dt * work->price[k];
#pragma omp simd
        for (int room = 0; room < ROOMS; room++) {
            const double weighted = dt * change[room];
            tracked[room] += weighted;
            error[room] += weighted * (y[room] - target[room]);
            below[room] += y[room] < low[room] ? weighted : 0.0;
            above[room] += y[room] > high[room] ? weighted : 0.0;
            price[room] += dt_price * dv[room];
            power[room] += dt * v[room] * dv[room];
        }
    }
    for (int room = 0; room < ROOMS; room++) {
        row[THETA_PRICE] += price[room];
        row[THETA_POWER] += power[room];
        row[THETA_SET_POINT + room] -= 2.0 * c->beta * scale[room] * tracked[room];
        row[THETA_COMFORT + room] += 2.0 * c->beta * error[room];
        row[THETA_BACKOFF_LOW + room] -= c->penalty * below[room];
        row[THETA_BACKOFF_HIGH + room] += c->penalty * above[room];
        const int last = (c->horizon - 1) * ROOMS + room;
        row[THETA_SLOPE + room] += model->terminal * change_y[YWIN + last];
        row[THETA_CURVATURE + room] += model->terminal * (work->qp.y[last] - c->set_point) * change_y[YWIN + last];
    }
}

/* What follows from the columns of M^-1 in work->column: the changes of the trajectories, and lambda where it is wanted. */
static void find_changes(const mpc *model, mpc_work *work, int with_arx) {
    const qp_matrices *qp = &model->qp;
    const int y_stride = work->y_stride;
    dense_multiply_four(model->m, qp->ld, qp->width, qp->gamma, work->move_stride, work->column, y_stride,
                        work->change_y + YWIN);
    for (int g = 0; g < work->changes; g++) {
        const double *change_y = work->change_y + g * y_stride + YWIN;
        double *co_change = work->co_change + g * y_stride, bias[N_THETA] = {0};
        spread(model, work->column + g * work->move_stride, work->change_v + g * work->v_stride);
        for (int k = 0; k < model->m; k++) co_change[k] = (qp->q[k] + (work->qp.side[k] ? qp->w[k] : 0.0)) * change_y[k];
        memset(co_change + model->m, 0, sizeof(double) * YWIN);
        bias_gradient(model, co_change, bias);
        memcpy(work->change_bias[g], bias + THETA_BIAS, sizeof(double) * ROOMS);
    }
    if (with_arx) arx_adjoints(&model->arx, model->config.horizon, work->changes, y_stride, work->co_change);
}

/* Their rows of the Jacobian and of the inverse. */
static void add_rows(const mpc *model, const mpc_work *work, int with_arx, double *jacobian, double *inverse) {
    const int horizon = model->config.horizon, outputs = model->config.decision * ROOMS;
    for (int g = 0; g < work->changes; g++) {
        const int move = work->change_move[g];
        /* With the later moves minimised out, the Hessian in the first ones is the inverse of this block of M^-1. */
        memcpy(inverse + move * outputs, work->column + g * work->move_stride, sizeof(double) * (size_t)outputs);
        double *row = jacobian + (size_t)move * N_THETA;
        const double *change_y = work->change_y + g * work->y_stride, *change_v = work->change_v + g * work->v_stride;
        if (with_arx) {
            arx_contract(horizon, work->co_change + g * work->y_stride, work->plan_y, work->v, row + THETA_A, row + THETA_B);
            arx_contract(horizon, work->costate, change_y, change_v, row + THETA_A, row + THETA_B);
        }
        for (int room = 0; room < ROOMS; room++) row[THETA_BIAS + room] += work->change_bias[g][room];
        cost_rows(model, work, change_y, change_v, row);
        for (int p = 0; p < N_THETA; p++) row[p] = -row[p];
    }
}

static int same_sets(const mpc *model, const mpc_work *work) {
    return !memcmp(work->kept_bound, work->qp.bound, (size_t)model->n) && !memcmp(work->kept_side, work->qp.side, (size_t)model->m);
}

void mpc_policy_jacobian(const mpc *model, mpc_work *work, int with_arx, double *jacobian, double *inverse) {
    const int horizon = model->config.horizon, outputs = model->config.decision * ROOMS, need = with_arx ? 2 : 1;
    memset(jacobian, 0, sizeof(double) * (size_t)(outputs * N_THETA));
    memset(inverse, 0, sizeof(double) * (size_t)(outputs * outputs));
    if (!work->adjoint_known) {
        linearise(model, work);
        if (with_arx) arx_adjoint(&model->arx, horizon, work->costate);
    }
    if (work->kept >= need && same_sets(model, work)) {
        add_rows(model, work, with_arx, jacobian, inverse);
        return;
    }
    for (int g = 0; g < MPC_GROUP; g++) {
        memset(work->change_y + g * work->y_stride, 0, sizeof(double) * YWIN);
        memset(work->change_v + g * work->v_stride, 0, sizeof(double) * (size_t)((LAGS - 1 + horizon) * INPUTS));
    }
    work->changes = 0;
    for (int i = 0; i < outputs; i++) {
        /* A first move on its bound stays there: its row is zero. */
        if (qp_inverse_column(&model->qp, &work->qp, i, work->column + work->changes * work->move_stride))
            work->change_move[work->changes++] = i;
        if (work->changes < MPC_GROUP && i + 1 < outputs) continue;
        find_changes(model, work, with_arx);
        add_rows(model, work, with_arx, jacobian, inverse);
        if (outputs > MPC_GROUP) work->changes = 0;
    }
    work->kept = outputs <= MPC_GROUP ? need : 0;
    memcpy(work->kept_bound, work->qp.bound, (size_t)model->n);
    memcpy(work->kept_side, work->qp.side, (size_t)model->m);
}
