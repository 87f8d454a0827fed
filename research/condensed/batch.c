#define _POSIX_C_SOURCE 200809L
#include "batch.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int model_n_theta(void) { return N_THETA; }

mpc *model_new(const mpc_config *config, const int *start) {
    const size_t starts = sizeof(int) * (size_t)(config->moves + 1);
    mpc *model = calloc(1, sizeof *model + mpc_size(config) + starts);
    if (!model) return NULL;
    char *memory = (char *)(model + 1);
    int *own_start = (int *)memcpy(memory + mpc_size(config), start, starts);
    mpc_create(config, own_start, model, memory);
    return model;
}

void model_free(mpc *model) { free(model); }

/* A solver per thread, made anew only when the next job's model has other dimensions. */
typedef struct {
    mpc_work work;
    void *memory;
    int n, m;
} thread_solver;

static mpc_work *solver_for(thread_solver *solver, const mpc *model) {
    if (!solver->memory || solver->n != model->n || solver->m != model->m) {
        free(solver->memory);
        solver->memory = malloc(mpc_work_size(model));
        if (!solver->memory) return NULL;
        mpc_work_create(model, &solver->work, solver->memory);
        solver->n = model->n, solver->m = model->m;
    }
    mpc_work_reset(model, &solver->work);
    return &solver->work;
}

static void run_solve(solve_job *job, mpc_work *work) {
    const mpc *model = job->model;
    const size_t outputs = (size_t)(model->config.decision * ROOMS);
    qp_result result;
    mpc_solve(model, work, job->history_y, job->history_v, job->outdoor, job->price, job->first, &result);
    memcpy(job->action, work->qp.u, sizeof(double) * outputs);
    *job->status = result.status;
    if (job->iterations) *job->iterations = result.iterations;
    if (job->value) *job->value = result.objective;
    if (job->residual) *job->residual = result.residual;
    if (job->plan_u) memcpy(job->plan_u, work->qp.u, sizeof(double) * (size_t)model->n);
    if (job->plan_y) memcpy(job->plan_y, work->qp.y, sizeof(double) * (size_t)model->m);
    if (job->value_gradient) mpc_value_gradient(model, work, job->value_gradient);
    if (job->policy_jacobian) mpc_policy_jacobian(model, work, 1, job->policy_jacobian, job->action_inverse);
}

/* What one interval between solves really cost, by the stage cost of mpc.h with the user's weights, not with theta's. */
static void interval_costs(const mpc_config *c, const double *y, const double *v, const double *price, double *costs) {
    memset(costs, 0, sizeof(double) * N_COSTS);
    double weight = c->dt_h;
    for (int k = 0; k < c->apply; k++, weight *= c->discount) {
        double power = 0.0, comfort = 0.0, penalty = 0.0;
        for (int room = 0; room < ROOMS; room++) {
            const double t = y[k * ROOMS + room], error = t - c->set_point;
            const double outside = t < c->low ? c->low - t : t > c->high ? t - c->high : 0.0;
            power += v[k * INPUTS + 1 + room];
            comfort += c->beta * error * error;
            penalty += 0.5 * c->penalty * outside * outside;
        }
        costs[0] += c->dt_h * price[k] * power;
        costs[1] += c->dt_h * comfort;
        costs[2] += c->dt_h * penalty;
        costs[3] += weight * (price[k] * power + comfort + penalty);
    }
}

static int run_episode(episode_job *job, mpc_work *work) {
    const mpc *model = job->model;
    const mpc_config *c = &model->config;
    const int steps = job->decisions * c->apply, outputs = c->decision * ROOMS;
    double *y = malloc(sizeof(double) * (size_t)((LAGS + steps) * ROOMS + (LAGS - 1 + steps) * INPUTS));
    if (!y) return -1;
    double *v = y + (LAGS + steps) * ROOMS;
    const double no_bias[ROOMS] = {0};
    arx_model world;
    arx_set(&world, job->world_a, job->world_b, no_bias);
    memcpy(y, job->history_y, sizeof(double) * YWIN);
    memcpy(v, job->history_v, sizeof(double) * (LAGS - 1) * INPUTS);
    job->seconds[0] = job->seconds[1] = 0.0;
    for (int d = 0; d < job->decisions; d++) {
        const int t = d * c->apply;
        const double begin = seconds();
        qp_result result;
        mpc_solve(model, work, y + t * ROOMS, v + t * INPUTS, job->outdoor + t, job->price + t, NULL, &result);
        const double solved = seconds();
        if (job->value_gradient) mpc_value_gradient(model, work, job->value_gradient + (size_t)d * N_THETA);
        if (job->policy_jacobian)
            mpc_policy_jacobian(model, work, job->with_arx,
                                job->policy_jacobian + (size_t)d * (size_t)outputs * N_THETA,
                                job->action_inverse + (size_t)d * (size_t)(outputs * outputs));
        job->seconds[0] += solved - begin, job->seconds[1] += seconds() - solved;
        job->status[d] = result.status, job->iterations[d] = result.iterations, job->value[d] = result.objective;

        double *action = job->action + d * outputs;
        memcpy(job->policy + d * outputs, work->qp.u, sizeof(double) * (size_t)outputs);
        for (int i = 0; i < outputs; i++) {
            double power = work->qp.u[i] + (job->exploration ? job->exploration[d * outputs + i] : 0.0);
            const double most = c->power_max[i % ROOMS];
            /* Written so that a NaN from a failed solve becomes "off" and stays out of the world. */
            action[i] = power > 0.0 ? (power < most ? power : most) : 0.0;
        }
        for (int k = 0, move = 0; k < c->apply; k++) {
            if (k >= model->start[move + 1]) move++;
            double *row = v + (LAGS - 1 + t + k) * INPUTS;
            row[0] = job->outdoor[t + k];
            memcpy(row + 1, action + move * ROOMS, sizeof(double) * ROOMS);
            double *next = y + (LAGS + t + k) * ROOMS;
            arx_step(&world, y + (t + k) * ROOMS, v + (t + k) * INPUTS, next);
            for (int room = 0; room < ROOMS; room++) next[room] += job->innovations[(t + k) * ROOMS + room];
        }
        interval_costs(c, y + (LAGS + t) * ROOMS, v + (LAGS - 1 + t) * INPUTS, job->price + t,
                       job->costs + d * N_COSTS);
        if (result.status == QP_SOLVED)
            mpc_work_shift(model, work);
        else
            mpc_work_reset(model, work);
    }
    memcpy(job->y, y + YWIN, sizeof(double) * (size_t)(steps * ROOMS));
    free(y);
    return 0;
}

typedef struct {
    solve_job *solves;
    episode_job *episodes;
    int n_jobs;
    atomic_int next;
    atomic_int failed;
} queue;

static void *serve(void *argument) {
    queue *work = argument;
    thread_solver solver = {0};
    for (int i; (i = atomic_fetch_add(&work->next, 1)) < work->n_jobs;) {
        mpc_work *own = solver_for(&solver, work->solves ? work->solves[i].model : work->episodes[i].model);
        if (!own) {
            atomic_store(&work->failed, 1);
            break;
        }
        if (work->solves)
            run_solve(&work->solves[i], own);
        else if (run_episode(&work->episodes[i], own))
            atomic_store(&work->failed, 1);
    }
    free(solver.memory);
    return NULL;
}

static int run(queue *work, int n_threads) {
    if (n_threads > work->n_jobs) n_threads = work->n_jobs;
    if (n_threads < 1) n_threads = 1;
    pthread_t threads[n_threads];
    int started = 0;
    for (; started < n_threads - 1; started++)
        if (pthread_create(&threads[started], NULL, serve, work)) break;
    serve(work); /* the caller works too, and alone if no thread could be had */
    for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
    return atomic_load(&work->failed) ? -1 : 0;
}

int run_solves(solve_job *jobs, int n_jobs, int n_threads) {
    queue work = {.solves = jobs, .n_jobs = n_jobs};
    return run(&work, n_threads);
}

int run_episodes(episode_job *jobs, int n_jobs, int n_threads) {
    queue work = {.episodes = jobs, .n_jobs = n_jobs};
    return run(&work, n_threads);
}
