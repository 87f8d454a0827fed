/* Memory of the QP: sizes first, then one block carved up, as embedded code likes it. */
#include <string.h>

#include "dense.h"
#include "qp.h"

static size_t line(int n) { return (size_t)((n + 7) / 8 * 8); }

static void *aligned(void *memory) { return (void *)(((uintptr_t)memory + 63) / 64 * 64); }

size_t qp_matrices_size(int n, int m) {
    const size_t ld = line(n);
    return 64 + sizeof(double) * (ld * (size_t)m + 2 * ld * (size_t)n + 5 * ld + 5 * line(m)) + sizeof(int) * (size_t)m;
}

void qp_matrices_create(int n, int m, qp_matrices *qp, void *memory) {
    const size_t ld = line(n);
    double *next = aligned(memory);
    memset(next, 0, qp_matrices_size(n, m) - 64);
    qp->n = n, qp->m = m, qp->ld = (int)ld;
    qp->gamma = next, next += ld * (size_t)m;
    qp->hessian = next, next += ld * (size_t)n;
    qp->factor = next, next += ld * (size_t)n;
    qp->forward = next, next += 4 * ld;
    qp->r = next, next += ld;
    double **rows[] = {&qp->q, &qp->w, &qp->target, &qp->lower, &qp->upper};
    for (int i = 0; i < 5; i++) *rows[i] = next, next += line(m);
    qp->width = (int *)next;
}

void qp_matrices_condense(qp_matrices *qp) {
    const size_t ld = (size_t)qp->ld;
    memset(qp->hessian, 0, sizeof(double) * ld * (size_t)qp->n);
    for (int i = 0; i < qp->n; i++) qp->hessian[(size_t)i * ld + (size_t)i] = qp->r[i];
    rank_updates updates = {.ld = qp->ld, .matrix = qp->hessian};
    for (int i = 0; i < qp->m; i++) dense_rank_add(&updates, qp->width[i], qp->q[i], qp->gamma + (size_t)i * ld);
    dense_rank_flush(&updates);
    memcpy(qp->factor, qp->hessian, sizeof(double) * ld * (size_t)qp->n);
    double panel[4 * ld];
    qp->convex = dense_cholesky(qp->n, qp->ld, qp->factor, panel);
    memset(qp->forward, 0, sizeof(double) * (size_t)(4 * qp->n));
    for (int c = 0; c < 4; c++) qp->forward[4 * c + c] = 1.0;
    if (qp->convex) dense_forward_many(0, qp->n, qp->ld, qp->factor, 4, qp->forward);
}

size_t qp_work_size(int n, int m) {
    return 64 + sizeof(double) * (7 * line(n) + 4 * line(m)) + newton_size(n, m) + line(n) + line(m);
}

void qp_work_create(int n, int m, qp_work *work, void *memory) {
    double *next = aligned(memory);
    memset(next, 0, qp_work_size(n, m) - 64);
    double **moves[] = {&work->u,       &work->grad,   &work->affine, &work->step,
                        &work->trial_u, &work->best_u, &work->unbound};
    for (int i = 0; i < 7; i++) *moves[i] = next, next += line(n);
    double **rows[] = {&work->y, &work->row, &work->change, &work->trial_y};
    for (int i = 0; i < 4; i++) *rows[i] = next, next += line(m);
    newton_create(n, m, &work->newton, next);
    work->bound = (int8_t *)next + newton_size(n, m);
    work->side = work->bound + line(n);
    work->cold = 1;
}
