#include "mpc.h"

#include <math.h>
#include <string.h>

#define LEAVING_ARC 3 /* intervals between solves: 1.5 h */

static size_t line(size_t doubles) { return (doubles + 7) / 8 * 8; }

size_t mpc_size(const mpc_config *config) {
    const int n = config->moves * ROOMS, m = config->horizon * ROOMS;
    const size_t responses = (line((size_t)m + 4 * ROOMS) + (size_t)m) * ROOMS;
    return 64 + qp_matrices_size(n, m) +
           sizeof(double) *
               (line((size_t)config->horizon) + line((size_t)config->moves) + 2 * line((size_t)n) + responses);
}

void mpc_create(const mpc_config *config, const int *start, mpc *model, void *memory) {
    double *next = (double *)(((uintptr_t)memory + 63) / 64 * 64);
    model->config = *config;
    model->start = start;
    model->n = config->moves * ROOMS, model->m = config->horizon * ROOMS;
    model->weight = next, next += line((size_t)config->horizon);
    model->move_weight = next, next += line((size_t)config->moves);
    model->upper = next, next += line((size_t)model->n);
    model->lower = next, next += line((size_t)model->n);
    model->step_response = next, next += line((size_t)model->m + 4 * ROOMS) * ROOMS;
    model->bias_response = next, next += (size_t)model->m * ROOMS;
    qp_matrices_create(model->n, model->m, &model->qp, next);
    double factor = config->dt_h;
    for (int k = 0; k < config->horizon; k++, factor *= config->discount) model->weight[k] = factor;
    model->terminal = factor / config->dt_h;
    for (int move = 0; move < config->moves; move++) {
        model->move_weight[move] = 0.0;
        for (int k = start[move]; k < start[move + 1]; k++) model->move_weight[move] += model->weight[k];
    }
    for (int i = 0; i < model->n; i++) model->upper[i] = config->power_max[i % ROOMS], model->lower[i] = 0.0;
}

/* Gamma: temperatures after step k against move i. By linearity the response to a move held over [a, b) is the step
 * response since a less the one since b, so one simulation per heat pump fills the matrix. */
static void fill_gamma(mpc *model, double *y, double *v) {
    const int horizon = model->config.horizon;
    const size_t ld = (size_t)model->qp.ld;
    for (int pump = 0; pump < ROOMS; pump++) {
        memset(v, 0, sizeof(double) * (size_t)((LAGS - 1 + horizon) * INPUTS));
        for (int k = 0; k < horizon; k++) v[(LAGS - 1 + k) * INPUTS + 1 + pump] = 1.0;
        arx_respond(&model->arx, horizon, y, v);
        const double *step = y + YWIN; /* [k][room] after k + 1 steps */
        double *kept = model->step_response + pump * (horizon + 4) * ROOMS;
        memset(kept, 0, sizeof(double) * (size_t)((horizon + 4) * ROOMS));
        memcpy(kept + 2 * ROOMS, step, sizeof(double) * (size_t)model->m);
        for (int move = 0; move < model->config.moves; move++) {
            const int a = model->start[move], b = model->start[move + 1];
            for (int k = a; k < horizon; k++)
                for (int room = 0; room < ROOMS; room++) {
                    double response = step[(k - a) * ROOMS + room];
                    if (k >= b) response -= step[(k - b) * ROOMS + room];
                    model->qp.gamma[(size_t)(k * ROOMS + room) * ld + (size_t)(move * ROOMS + pump)] = response;
                }
        }
    }
}

static void fill_bias_response(mpc *model, double *y, double *v) {
    const int horizon = model->config.horizon;
    memset(v, 0, sizeof(double) * (size_t)((LAGS - 1 + horizon) * INPUTS));
    for (int source = 0; source < ROOMS; source++) {
        arx_model unit = model->arx;
        memset(unit.bias, 0, sizeof unit.bias);
        unit.bias[source] = 1.0;
        memset(y, 0, sizeof(double) * YWIN);
        arx_simulate(&unit, horizon, y, v);
        for (int i = 0; i < model->m; i++) model->bias_response[i * ROOMS + source] = y[YWIN + i];
    }
}

void mpc_set_theta(mpc *model, const double *theta) {
    const mpc_config *c = &model->config;
    qp_matrices *qp = &model->qp;
    memcpy(model->theta, theta, sizeof model->theta);
    arx_set(&model->arx, theta + THETA_A, theta + THETA_B, theta + THETA_BIAS);
    double y[(LAGS + c->horizon) * ROOMS], v[(LAGS - 1 + c->horizon) * INPUTS];
    fill_gamma(model, y, v);
    fill_bias_response(model, y, v);
    const double power_curvature = c->regularisation + theta[THETA_POWER];
    for (int i = 0; i < model->n; i++) qp->r[i] = power_curvature * model->move_weight[i / ROOMS];
    int move = 0;
    for (int k = 0; k < c->horizon; k++) {
        if (k >= model->start[move + 1]) move++;
        for (int room = 0; room < ROOMS; room++) {
            const int i = k * ROOMS + room;
            qp->width[i] = (move + 1) * ROOMS;
            qp->q[i] = 2.0 * c->beta * theta[THETA_COMFORT + room] * model->weight[k];
            qp->target[i] = c->set_point + theta[THETA_SET_POINT + room];
            qp->w[i] = c->penalty * model->weight[k];
            qp->lower[i] = c->low + theta[THETA_BACKOFF_LOW + room];
            qp->upper[i] = c->high - theta[THETA_BACKOFF_HIGH + room];
        }
    }
    /* The terminal parabola joins the one of the last row: q/2 (y - t)^2 + curvature/2 (y - set_point)^2 up to a constant. */
    for (int room = 0; room < ROOMS; room++) {
        const int i = (c->horizon - 1) * ROOMS + room;
        const double curvature = model->terminal * theta[THETA_CURVATURE + room];
        const double sum = qp->q[i] + curvature;
        if (sum > 0.0) qp->target[i] = (qp->q[i] * qp->target[i] + curvature * c->set_point) / sum;
        qp->q[i] = sum;
    }
    qp_matrices_condense(qp);
}

/* Doubles of the arrays of a mpc_work, in the order in which they lie in memory. */
enum { WORK_ARRAYS = 13 };
static void work_sizes(const mpc *model, size_t *doubles) {
    const size_t horizon = (size_t)model->config.horizon, moves = (size_t)model->config.moves, n = (size_t)model->n;
    const size_t sizes[WORK_ARRAYS] = {
        (LAGS + horizon) * ROOMS,
        (LAGS - 1 + horizon) * INPUTS,
        n,
        n,
        n,
        moves,
        (LAGS - 1 + horizon) * SIGNALS,
        (LAGS + horizon) * ROOMS,
        moves * YWIN,
        n * ARX_GROUP,
        n * ARX_GROUP,
        (horizon + 1) * ROOMS * ARX_GROUP,
        (LAGS + horizon) * ROOMS * ARX_GROUP,
    };
    for (int i = 0; i < WORK_ARRAYS; i++) doubles[i] = line(sizes[i]);
}

size_t mpc_work_size(const mpc *model) {
    size_t sizes[WORK_ARRAYS], doubles = 0;
    work_sizes(model, sizes);
    for (int i = 0; i < WORK_ARRAYS; i++) doubles += sizes[i];
    return 64 + sizeof(double) * doubles + (size_t)(model->n + model->m) + qp_work_size(model->n, model->m);
}

void mpc_work_create(const mpc *model, mpc_work *work, void *memory) {
    double *next = (double *)(((uintptr_t)memory + 63) / 64 * 64);
    size_t sizes[WORK_ARRAYS];
    work_sizes(model, sizes);
    double **arrays[WORK_ARRAYS] = {
        &work->y,         &work->v,       &work->linear,       &work->lb,     &work->ub,           &work->paid,
        &work->signals,   &work->costate, &work->held_costate, &work->column, &work->change_power, &work->change_y,
        &work->co_change,
    };
    for (int i = 0; i < WORK_ARRAYS; i++) *arrays[i] = next, next += sizes[i];
    qp_work_create(model->n, model->m, &work->qp, next);
    work->kept_bound = (int8_t *)next + qp_work_size(model->n, model->m);
    work->kept_side = work->kept_bound + model->n;
    work->kept = 0;
}

void mpc_work_reset(const mpc *model, mpc_work *work) {
    qp_work_reset(&work->qp, model->n);
    work->kept = 0;
}

void mpc_work_shift(const mpc *model, mpc_work *work) {
    const int shift = model->config.decision * ROOMS, rows = model->config.apply * ROOMS;
    /* A finite horizon ends with an arc that leaves the turnpike (coasting, since heat is worth nothing after it). That arc
     * stays at the end and does not come nearer, so its sets stay where they are. Moves later in the horizon may be held
     * longer: then this is a guess, as a warm start may be. */
    const int moves = model->n - LEAVING_ARC * shift, temperatures = model->m - LEAVING_ARC * rows;
    if (moves > 0) memmove(work->qp.bound, work->qp.bound + shift, (size_t)moves);
    if (temperatures > 0) memmove(work->qp.side, work->qp.side + rows, (size_t)temperatures);
}

/* Terms of the cost that the QP leaves out: linear in the last temperatures, and constants. */
static double left_out(const mpc *model, const double *last_free) {
    const mpc_config *c = &model->config;
    double sum = 0.0;
    for (int room = 0; room < ROOMS; room++) {
        const int i = (c->horizon - 1) * ROOMS + room;
        const double curvature = model->terminal * model->theta[THETA_CURVATURE + room];
        const double q = model->qp.q[i] - curvature, target = c->set_point + model->theta[THETA_SET_POINT + room];
        const double joint = model->qp.target[i];
        sum += 0.5 * (q * target * target + curvature * c->set_point * c->set_point - model->qp.q[i] * joint * joint);
        sum += model->terminal * model->theta[THETA_SLOPE + room] * (last_free[room] - c->set_point);
    }
    return sum;
}

void mpc_solve(const mpc *model, mpc_work *work, const double *history_y, const double *history_v,
               const double *outdoor, const double *price, const double *first, qp_result *result) {
    const mpc_config *c = &model->config;
    const int n = model->n;
    memcpy(work->y, history_y, sizeof(double) * YWIN);
    memset(work->v, 0, sizeof(double) * (size_t)((LAGS - 1 + c->horizon) * INPUTS));
    memcpy(work->v, history_v, sizeof(double) * (LAGS - 1) * INPUTS);
    for (int k = 0; k < c->horizon; k++) work->v[(LAGS - 1 + k) * INPUTS] = outdoor[k];
    arx_simulate(&model->arx, c->horizon, work->y, work->v);

    memset(work->linear, 0, sizeof(double) * (size_t)n);
    const double price_scale = model->theta[THETA_PRICE];
    for (int move = 0; move < c->moves; move++) {
        double sum = 0.0;
        for (int k = model->start[move]; k < model->start[move + 1]; k++) sum += model->weight[k] * price[k];
        work->paid[move] = sum;
        for (int pump = 0; pump < ROOMS; pump++) work->linear[move * ROOMS + pump] = price_scale * sum;
    }
    for (int room = 0; room < ROOMS; room++)
        if (model->theta[THETA_SLOPE + room] != 0.0)
            for (int i = 0; i < n; i++)
                work->linear[i] +=
                    model->terminal * model->theta[THETA_SLOPE + room] *
                    model->qp.gamma[(size_t)((c->horizon - 1) * ROOMS + room) * (size_t)model->qp.ld + (size_t)i];
    memcpy(work->lb, model->lower, sizeof(double) * (size_t)n);
    memcpy(work->ub, model->upper, sizeof(double) * (size_t)n);
    if (first) {
        memcpy(work->lb, first, sizeof(double) * (size_t)(c->decision * ROOMS));
        memcpy(work->ub, first, sizeof(double) * (size_t)(c->decision * ROOMS));
    }
    work->adjoint_known = 0;
    qp_solve(&model->qp, &work->qp, work->linear, work->y + YWIN, work->lb, work->ub, result);
    result->objective += left_out(model, work->y + YWIN + (c->horizon - 1) * ROOMS);
}
