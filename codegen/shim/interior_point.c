/* Mehrotra's predictor-corrector method with a Riccati factorisation of the Newton system.
 *
 * S. Mehrotra, "On the implementation of a primal-dual interior point method" (1992); C. V. Rao, S. J. Wright,
 * J. B. Rawlings, "Application of interior-point methods to model predictive control" (1998). Slacks are eliminated
 * stage by stage, so that soft rows cost no variables.
 */
#include "interior_point.h"

#if NISSE_SMALL_QP

#include <math.h>
#include <string.h>

#define MAX_ITERATIONS 50
#define START_FRACTION 0.5  /* of the way from the lower to the upper bound of an action */
#define START_DISTANCE 0.3  /* from a constraint, at least */
#define START_MU 1.0        /* lam t at the start, in cost units */
#define STEP_FRACTION 0.999 /* of the way to the nearest bound */
#define ROUNDING 1e-12
/* Multiplier or distance. A tank that is drawn empty all day long has multipliers of 1e4, and more: their distances at
 * the barrier are below 1e-16. */
#define SMALLEST 1e-20
#define LOWEST (0.1 * NISSE_BARRIER) /* lam t: from farther below two rows that say nearly the same never come back */
/* A row gives way by this much per unit of its multiplier's step (proximal method of multipliers): it bounds the row's
 * barrier weight, above which nothing of the actions' small curvature would be left in the factor. Residuals are taken
 * without it, so the solution is the program's own. */
#define SOFTENING 1e-8

/* Stage loops are written once and compiled twice: for the N stages with inputs, and for the terminal one. */
#define INLINE static inline __attribute__((always_inline))
typedef struct {
    int first, nu, rows, soft;
} shape;
static const shape STAGE = {0, NISSE_NU, NROWS, NISSE_NSOFT};
static const shape TERMINAL = {NISSE_NU, 0, NISSE_NSOFT_E, NISSE_NSOFT_E};

INLINE double larger(double a, double b) { return a > b ? a : b; }
INLINE double magnitude(double largest, double value) { return larger(largest, fabs(value)); }

/* What is rounding alone must not enter the Newton system, whose barrier weights reach 1e12. */
INLINE double unless_rounding(double residual) { return fabs(residual) > ROUNDING ? residual : 0.0; }

/* C' v of row r. */
INLINE double row_times(const qp_stage *s, shape n, int r, const double *v) {
    double sum = 0.0;
    for (int i = n.first; i < NV; i++) sum += s->C[i + r * NV] * v[i];
    return sum;
}

INLINE void next_state(const qp_stage *s, const double *v, const double *offset, double *x) {
    for (int j = 0; j < NISSE_NX; j++) {
        x[j] = offset[j];
        for (int i = 0; i < NV; i++) x[j] += s->D[i + j * NV] * v[i];
    }
}

/* ---- start: actions half-way, states rolled out; slacks cover what is violated, and their prices are met ---- */

INLINE void start_stage(qp_stage *s, shape n, double mu) {
    for (int i = 0; i < n.nu; i++) {
        s->t[i] = larger(s->v[i] - s->lower[i], START_DISTANCE);
        s->t[AT_UPPER + i] = larger(s->upper[i] - s->v[i], START_DISTANCE);
    }
    for (int r = 0; r < n.rows; r++) s->t[AT_ROWS + r] = larger(row_times(s, n, r, s->v) - s->d[r], START_DISTANCE);
    for (int j = 0; j < AT_SLACKS; j++) s->lam[j] = mu / s->t[j];
    for (int i = 0; i < n.soft; i++) {
        const int r = n.rows - n.soft + i;
        const double violation = s->d[r] - row_times(s, n, r, s->v);
        const double slack = larger(violation + s->t[AT_ROWS + r], mu / s->z[i]);
        s->t[AT_SLACKS + i] = slack;
        s->lam[AT_SLACKS + i] = larger(s->z[i] + s->Z[i] * slack - s->lam[AT_ROWS + r], mu / slack);
    }
}

static void start(qp_stage *stages, const double *x0, const double *action) {
    memcpy(stages[0].v + NISSE_NU, x0, sizeof(double) * NISSE_NX);
    for (int k = 0; k <= NISSE_N; k++) {
        qp_stage *s = &stages[k];
        for (int j = 0; j < INEQUALITIES; j++) s->lam[j] = s->t[j] = 1.0;
        memset(s->pi, 0, sizeof s->pi);
        if (k == NISSE_N) break;
        for (int i = 0; i < NISSE_NU; i++) {
            const bool given = k == 0 && action && i < NISSE_NA;
            s->pinned[i] = s->pinned[i] || given;
            s->v[i] = given ? action[i] : s->lower[i];
            if (s->pinned[i]) {
                s->lower[i] = s->v[i] - 1.0; /* bounds that do not matter */
                s->upper[i] = s->v[i] + 1.0;
            } else {
                s->v[i] += START_FRACTION * (s->upper[i] - s->lower[i]);
            }
        }
        next_state(s, s->v, s->b, stages[k + 1].v + NISSE_NU);
    }
    for (int k = 0; k < NISSE_N; k++) start_stage(&stages[k], STAGE, START_MU);
    start_stage(&stages[NISSE_N], TERMINAL, START_MU);
}

/* ---- residuals ---- */

typedef struct {
    double linear, product; /* max-norms: of the linear equations, and of lam t less the barrier */
    double sum;             /* of lam t */
} residuals;

INLINE void stage_residuals(qp_stage *s, shape n, const double *pi_before, const double *x_next, residuals *all) {
    const double *lam = s->lam, *t = s->t;
    for (int i = n.first; i < NV; i++) {
        double sum = s->g[i];
        for (int j = n.first; j < NV; j++) sum += s->H[i >= j ? i + j * NV : j + i * NV] * s->v[j];
        for (int j = 0; x_next && j < NISSE_NX; j++) sum += s->D[i + j * NV] * s->pi[j];
        for (int r = 0; r < n.rows; r++) sum -= s->C[i + r * NV] * lam[AT_ROWS + r];
        s->res_g[i] = sum;
    }
    for (int i = 0; i < n.nu; i++) {
        s->res_g[i] = s->pinned[i] ? 0.0 : s->res_g[i] - lam[i] + lam[AT_UPPER + i];
        s->res_d[i] = unless_rounding(s->v[i] - s->lower[i] - t[i]);
        s->res_d[AT_UPPER + i] = unless_rounding(s->upper[i] - s->v[i] - t[AT_UPPER + i]);
        all->linear = magnitude(magnitude(all->linear, s->res_d[i]), s->res_d[AT_UPPER + i]);
    }
    for (int i = 0; i < NISSE_NX; i++) s->res_g[NISSE_NU + i] = pi_before ? s->res_g[NISSE_NU + i] - pi_before[i] : 0.0;
    for (int i = n.first; i < NV; i++) all->linear = magnitude(all->linear, s->res_g[i]);
    for (int r = 0; r < n.rows; r++) {
        const int i = r - (n.rows - n.soft);
        const double slack = i >= 0 ? t[AT_SLACKS + i] : 0.0;
        s->res_d[AT_ROWS + r] = unless_rounding(row_times(s, n, r, s->v) + slack - s->d[r] - t[AT_ROWS + r]);
        all->linear = magnitude(all->linear, s->res_d[AT_ROWS + r]);
        if (i < 0) continue;
        s->res_s[i] = s->z[i] + s->Z[i] * t[AT_SLACKS + i] - lam[AT_ROWS + r] - lam[AT_SLACKS + i];
        all->linear = magnitude(all->linear, s->res_s[i]);
    }
    if (x_next) {
        next_state(s, s->v, s->b, s->res_b);
        for (int j = 0; j < NISSE_NX; j++) {
            s->res_b[j] = unless_rounding(s->res_b[j] - x_next[j]);
            all->linear = magnitude(all->linear, s->res_b[j]);
        }
    }
    for (int j = 0; j < INEQUALITIES; j++) {
        const bool used = j < AT_ROWS ? n.nu > 0 : j < AT_SLACKS ? j - AT_ROWS < n.rows : j - AT_SLACKS < n.soft;
        s->target[j] = NISSE_BARRIER - lam[j] * t[j];
        if (used) {
            all->product = magnitude(all->product, s->target[j]);
            all->sum += lam[j] * t[j];
        }
        s->inv_t[j] = 1.0 / (t[j] + (j >= AT_ROWS && j < AT_SLACKS ? SOFTENING * lam[j] : 0.0));
    }
}

static residuals compute_residuals(qp_stage *stages) {
    residuals all = {0};
    stage_residuals(&stages[0], STAGE, NULL, stages[1].v + NISSE_NU, &all);
    for (int k = 1; k < NISSE_N; k++)
        stage_residuals(&stages[k], STAGE, stages[k - 1].pi, stages[k + 1].v + NISSE_NU, &all);
    stage_residuals(&stages[NISSE_N], TERMINAL, stages[NISSE_N - 1].pi, NULL, &all);
    return all;
}

/* ---- the Newton system, a stage at a time ---- */

/* Barrier weights of a stage; those of soft rows in series with the slack's. */
INLINE void weigh(qp_stage *s, shape n) {
    for (int j = 0; j < AT_SLACKS; j++) s->weight[j] = s->lam[j] * s->inv_t[j];
    for (int i = 0; i < n.soft; i++) {
        const int r = AT_ROWS + n.rows - n.soft + i;
        const double own = s->Z[i] + s->lam[AT_SLACKS + i] * s->inv_t[AT_SLACKS + i];
        s->soft_pivot[i] = 1.0 / (own + s->weight[r]);
        s->weight[r] *= own * s->soft_pivot[i];
    }
}

/* Gradient of the Newton system without the cost-to-go; leaves `shift` behind for the multipliers. */
INLINE void stage_gradient(qp_stage *s, shape n, double *g) {
    for (int i = n.first; i < NV; i++) g[i] = s->res_g[i];
    for (int i = 0; i < n.nu; i++) {
        const int up = AT_UPPER + i;
        g[i] -= s->target[i] * s->inv_t[i] - s->weight[i] * s->res_d[i];
        g[i] += s->target[up] * s->inv_t[up] - s->weight[up] * s->res_d[up];
    }
    for (int r = 0; r < n.rows; r++) {
        const int j = AT_ROWS + r, i = r - (n.rows - n.soft), slack = AT_SLACKS + i;
        const double w = s->lam[j] * s->inv_t[j];
        double shift = s->target[j] * s->inv_t[j] - w * s->res_d[j];
        if (i >= 0) shift -= w * s->soft_pivot[i] * (shift + s->target[slack] * s->inv_t[slack] - s->res_s[i]);
        s->shift[r] = shift;
        for (int m = n.first; m < NV; m++) g[m] -= s->C[m + r * NV] * shift;
    }
}

/* h (NV x NV, lower) = H + weights. */
INLINE void stage_hessian(const qp_stage *s, shape n, double *h) {
    for (int j = n.first; j < NV; j++)
        for (int i = j; i < NV; i++) {
            double sum = s->H[i + j * NV];
            for (int r = 0; r < n.rows; r++) sum += s->weight[AT_ROWS + r] * s->C[i + r * NV] * s->C[j + r * NV];
            h[i + j * NV] = sum;
        }
    for (int i = 0; i < n.nu; i++) h[i + i * NV] += s->weight[i] + s->weight[AT_UPPER + i];
}

INLINE void solve_with_factor(const double *L, double *b) {
    for (int i = 0; i < NISSE_NU; i++) {
        for (int j = 0; j < i; j++) b[i] -= L[i + j * NISSE_NU] * b[j];
        b[i] *= L[i + i * NISSE_NU]; /* the diagonal is kept inverted */
    }
    for (int i = NISSE_NU - 1; i >= 0; i--) {
        for (int j = i + 1; j < NISSE_NU; j++) b[i] -= L[j + i * NISSE_NU] * b[j];
        b[i] *= L[i + i * NISSE_NU];
    }
}

/* Cost-to-go, gain and factor of a stage from the cost-to-go of the next; false when not positive definite. */
INLINE bool factorise_stage(qp_stage *s, const qp_stage *next) {
    double h[NV * NV], PD[NISSE_NX * NV];
    stage_hessian(s, STAGE, h);
    for (int i = 0; i < NV; i++)
        for (int c = 0; c < NISSE_NX; c++) {
            PD[c + i * NISSE_NX] = 0.0;
            for (int r = 0; r < NISSE_NX; r++) PD[c + i * NISSE_NX] += s->D[i + r * NV] * next->P[r + c * NISSE_NX];
        }
    for (int j = 0; j < NV; j++)
        for (int i = j; i < NV; i++)
            for (int c = 0; c < NISSE_NX; c++) h[i + j * NV] += PD[c + i * NISSE_NX] * s->D[j + c * NV];
    for (int i = 0; i < NISSE_NU; i++) {
        if (!s->pinned[i]) continue;
        for (int j = 0; j < i; j++) h[i + j * NV] = 0.0;
        for (int j = i; j < NV; j++) h[j + i * NV] = i == j;
    }
    for (int j = 0; j < NISSE_NU; j++) {
        double pivot = h[j + j * NV];
        for (int m = 0; m < j; m++) pivot -= s->L[j + m * NISSE_NU] * s->L[j + m * NISSE_NU];
        if (!(pivot > 0.0)) return false;
        const double inverse = 1.0 / sqrt(pivot);
        s->L[j + j * NISSE_NU] = inverse;
        for (int i = j + 1; i < NISSE_NU; i++) {
            double sum = h[i + j * NV];
            for (int m = 0; m < j; m++) sum -= s->L[i + m * NISSE_NU] * s->L[j + m * NISSE_NU];
            s->L[i + j * NISSE_NU] = sum * inverse;
        }
    }
    for (int x = 0; x < NISSE_NX; x++) {
        for (int u = 0; u < NISSE_NU; u++) s->K[u + x * NISSE_NU] = h[NISSE_NU + x + u * NV];
        solve_with_factor(s->L, s->K + x * NISSE_NU);
    }
    for (int j = 0; j < NISSE_NX; j++)
        for (int i = j; i < NISSE_NX; i++) {
            double sum = h[NISSE_NU + i + (NISSE_NU + j) * NV];
            for (int u = 0; u < NISSE_NU; u++) sum -= h[NISSE_NU + i + u * NV] * s->K[u + j * NISSE_NU];
            s->P[i + j * NISSE_NX] = sum;
            s->P[j + i * NISSE_NX] = sum;
        }
    return true;
}

static bool factorise(qp_stage *stages) {
    qp_stage *last = &stages[NISSE_N];
    double h[NV * NV];
    weigh(last, TERMINAL);
    stage_hessian(last, TERMINAL, h);
    for (int j = 0; j < NISSE_NX; j++)
        for (int i = j; i < NISSE_NX; i++) {
            last->P[i + j * NISSE_NX] = h[NISSE_NU + i + (NISSE_NU + j) * NV];
            last->P[j + i * NISSE_NX] = h[NISSE_NU + i + (NISSE_NU + j) * NV];
        }
    for (int k = NISSE_N - 1; k >= 0; k--) {
        weigh(&stages[k], STAGE);
        if (!factorise_stage(&stages[k], &stages[k + 1])) return false;
    }
    return true;
}

/* The vectors of a stage's feedback law and cost-to-go. */
INLINE void sweep_back(qp_stage *s, const qp_stage *next) {
    double g[NV], p[NISSE_NX];
    stage_gradient(s, STAGE, g);
    for (int j = 0; j < NISSE_NX; j++) {
        p[j] = next->p[j];
        for (int i = 0; i < NISSE_NX; i++) p[j] += next->P[i + j * NISSE_NX] * s->res_b[i];
    }
    for (int j = 0; j < NISSE_NX; j++)
        for (int i = 0; i < NV; i++) g[i] += s->D[i + j * NV] * p[j];
    for (int i = 0; i < NISSE_NU; i++)
        if (s->pinned[i]) g[i] = 0.0;
    for (int i = 0; i < NISSE_NU; i++) s->k[i] = g[i];
    for (int j = 0; j < NISSE_NX; j++) {
        s->p[j] = g[NISSE_NU + j];
        for (int u = 0; u < NISSE_NU; u++) s->p[j] -= s->K[u + j * NISSE_NU] * g[u];
    }
    solve_with_factor(s->L, s->k);
}

/* Steps of distances and multipliers of a stage, and how far they may go: 1 / ratio. */
INLINE void finish_step(qp_stage *s, shape n, double *ratio) {
    for (int i = 0; i < n.nu; i++) {
        s->dt[i] = s->dv[i] + s->res_d[i];
        s->dt[AT_UPPER + i] = -s->dv[i] + s->res_d[AT_UPPER + i];
    }
    for (int j = 0; j < 2 * n.nu; j++) s->dlam[j] = s->target[j] * s->inv_t[j] - s->weight[j] * s->dt[j];
    for (int r = 0; r < n.rows; r++) {
        const int j = AT_ROWS + r, i = r - (n.rows - n.soft), slack = AT_SLACKS + i;
        const double moved = row_times(s, n, r, s->dv);
        s->dlam[j] = s->shift[r] - s->weight[j] * moved;
        s->dt[j] = moved + s->res_d[j];
        if (i < 0) {
            s->dt[j] += SOFTENING * s->dlam[j];
            continue;
        }
        const double w = s->lam[j] * s->inv_t[j], pull = s->target[slack] * s->inv_t[slack];
        s->dt[slack] = s->soft_pivot[i] * (s->target[j] * s->inv_t[j] - w * s->dt[j] + pull - s->res_s[i]);
        s->dt[j] += s->dt[slack] + SOFTENING * s->dlam[j];
        s->dlam[slack] = pull - s->lam[slack] * s->inv_t[slack] * s->dt[slack];
    }
    for (int j = 0; j < INEQUALITIES; j++) {
        if (j < AT_ROWS ? n.nu == 0 : j < AT_SLACKS ? j - AT_ROWS >= n.rows : j - AT_SLACKS >= n.soft) continue;
        *ratio = larger(*ratio, -s->dt[j] / s->t[j]);
        *ratio = larger(*ratio, -s->dlam[j] / s->lam[j]);
    }
}

/* The Newton step towards the targets; returns the longest step that keeps all multipliers and distances positive. */
static double newton_step(qp_stage *stages) {
    qp_stage *last = &stages[NISSE_N];
    double g[NV], ratio = 0.0;
    stage_gradient(last, TERMINAL, g);
    memcpy(last->p, g + NISSE_NU, sizeof last->p);
    for (int k = NISSE_N - 1; k >= 0; k--) sweep_back(&stages[k], &stages[k + 1]);
    memset(stages[0].dv + NISSE_NU, 0, sizeof(double) * NISSE_NX);
    for (int k = 0; k < NISSE_N; k++) {
        qp_stage *s = &stages[k], *next = &stages[k + 1];
        const double *dx = s->dv + NISSE_NU;
        double *dx_next = next->dv + NISSE_NU;
        for (int i = 0; i < NISSE_NU; i++) {
            s->dv[i] = -s->k[i];
            for (int j = 0; j < NISSE_NX; j++) s->dv[i] -= s->K[i + j * NISSE_NU] * dx[j];
        }
        next_state(s, s->dv, s->res_b, dx_next);
        for (int i = 0; i < NISSE_NX; i++) {
            s->dpi[i] = next->p[i];
            for (int j = 0; j < NISSE_NX; j++) s->dpi[i] += next->P[i + j * NISSE_NX] * dx_next[j];
        }
        finish_step(s, STAGE, &ratio);
    }
    finish_step(last, TERMINAL, &ratio);
    return ratio > 1.0 ? 1.0 / ratio : 1.0;
}

/* ---- Mehrotra's rule ---- */

enum { PRODUCTS = NISSE_N * (2 * NISSE_NU + NROWS + NISSE_NSOFT) + 2 * NISSE_NSOFT_E };

/* Mean of lam t after a step of length alpha. */
static double mean_product_after(const qp_stage *stages, double alpha) {
    double sum = 0.0;
    for (int k = 0; k <= NISSE_N; k++) {
        const qp_stage *s = &stages[k];
        const shape n = k < NISSE_N ? STAGE : TERMINAL;
        for (int j = n.nu ? 0 : AT_ROWS; j < AT_ROWS + n.rows; j++)
            sum += (s->lam[j] + alpha * s->dlam[j]) * (s->t[j] + alpha * s->dt[j]);
        for (int j = AT_SLACKS; j < AT_SLACKS + n.soft; j++)
            sum += (s->lam[j] + alpha * s->dlam[j]) * (s->t[j] + alpha * s->dt[j]);
    }
    return sum / AT_LEAST_ONE(PRODUCTS);
}

/* Towards the central path at mu, with the second-order term of the predictor. */
static void set_targets(qp_stage *stages, double mu) {
    for (int k = 0; k <= NISSE_N; k++) {
        qp_stage *s = &stages[k];
        for (int j = 0; j < INEQUALITIES; j++) s->target[j] = mu - s->lam[j] * s->t[j] - s->dlam[j] * s->dt[j];
    }
}

static void take_step(qp_stage *stages, double alpha) {
    for (int k = 0; k <= NISSE_N; k++) {
        qp_stage *s = &stages[k];
        for (int i = k < NISSE_N ? 0 : NISSE_NU; i < NV; i++) s->v[i] += alpha * s->dv[i];
        for (int i = 0; k < NISSE_N && i < NISSE_NX; i++) s->pi[i] += alpha * s->dpi[i];
        for (int j = 0; j < INEQUALITIES; j++) {
            s->lam[j] = larger(s->lam[j] + alpha * s->dlam[j], SMALLEST);
            s->t[j] = larger(s->t[j] + alpha * s->dt[j], SMALLEST);
            if (s->lam[j] * s->t[j] >= LOWEST) continue;
            if (s->lam[j] > s->t[j])
                s->t[j] = LOWEST / s->lam[j];
            else
                s->lam[j] = LOWEST / s->t[j];
        }
    }
}

interior_point_result interior_point_solve(qp_stage *stages, const double *x0, const double *action) {
    interior_point_result result = {0};
    start(stages, x0, action);
    for (;; result.iterations++) {
        const residuals now = compute_residuals(stages);
        result.residual = larger(now.linear, now.product);
        result.converged = now.linear <= NISSE_QP_TOLERANCE && now.product <= NISSE_CENTRED * NISSE_BARRIER;
        if (result.converged || result.iterations == MAX_ITERATIONS || !isfinite(result.residual)) return result;
        if (!factorise(stages)) return result;
        const double mu = now.sum / AT_LEAST_ONE(PRODUCTS);
        const double predicted = mean_product_after(stages, newton_step(stages)) / mu;
        set_targets(stages, larger(predicted * predicted * predicted * mu, NISSE_BARRIER));
        const double longest = newton_step(stages);
        take_step(stages, longest < 1.0 ? STEP_FRACTION * longest : 1.0);
    }
}

#endif
