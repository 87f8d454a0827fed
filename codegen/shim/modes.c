/* Programs that are convex but for their modes: which of two actions that exclude each other is off at a stage, and on
 * which side of a bend a concave stage cost is. Given the modes the program is a QP.
 *
 * 1. The relaxed program: no action is off, and concave costs are replaced by what `relaxed` says. Where its solution is
 *    one of the true program too, as with ordinary prices, that is all.
 * 2. Descent: an action is off where both of a pair are on, concave costs are replaced by their tangents at the plan
 *    (Yuille & Rangarajan, "The concave-convex procedure", 2003: each lies above the cost, so the true cost falls), and
 *    the program is solved again, until nothing changes.
 * 3. Flips: the multipliers of the dynamics price the state, so the best mode of a stage alone is known (the Hamiltonian
 *    of Pontryagin). Stages that would gain most change their mode, the program descends again, and the change stays if
 *    the true cost fell.
 *
 * The iterations of all passes together are bounded: after NISSE_SEARCH_ITERATIONS nothing new begins. At most three
 * passes come after that: the one under way, one that parts the pairs it left on, and that of the best plan.
 *
 * The solution left behind is that of the last QP, with its multipliers; the value is the true cost of the plan. */
#include "solver.h"

#if NISSE_MODES

#include <math.h>
#include <string.h>

#include "blasfeo/include/blasfeo_d_aux.h"

#define PASSES (NISSE_SMALL_QP ? 40 : 12) /* QPs of the flips */
#define PASSES_OF_A_DESCENT 12
#define PASSES_OF_A_TRIAL 6
/* Flips of a single stage that one after another gain nothing, before it is said that none will: the next ones promise
 * less, and mostly are neighbours of the same hour. */
#define IN_VAIN (NISSE_SMALL_QP ? PASSES : 2)
#define PARTS 8 /* of an action's range, where the Hamiltonian is looked at */
#define ON 1e-7 /* of an action's range: below it the action is off */
/* Over the sum of all stage costs: differences that are rounding, and gains that are worth a solve. */
#define ROUNDING 1e-7
#define WORTH_A_SOLVE 3e-6

/* What a stage really makes of a point. */
typedef struct {
    double settled[NISSE_NU], cost, cost_unsettled, tangent[AT_LEAST_ONE(NISSE_ND)], next[NISSE_NX];
    double rows[AT_LEAST_ONE(NROWS)];
} stage_facts;

/* The best other mode of a stage. */
typedef struct {
    double gain;
    int action; /* which is on; its partner is off */
    double tangent[AT_LEAST_ONE(NISSE_ND)];
} flip;

typedef struct {
    nisse_controller *c;
    const double *x0, *first_action;
    double turnover;     /* sum of the sizes of all stage costs: the scale of money */
    bool both[NISSE_N];  /* two actions are on that exclude each other */
    bool loose[NISSE_N]; /* the cost is not the one solved for */
    bool solved;
    int violations, loosenesses;
    double value; /* true cost of the plan */
} search;

static stage_facts facts(search *s, int k, const double *row, const double *u) {
    const casadi_function *f = &s->c->f_settle;
    stage_facts out;
    double parameters[NPAR];
    memcpy(parameters, s->c->parameters[k], sizeof parameters);
    memcpy(parameters, row, sizeof(double) * NISSE_ND);
    f->arg[0] = s->c->capsule->nlp_out->ux[k].pa + NISSE_NU;
    f->arg[1] = u;
    f->arg[2] = parameters;
    double *results[] = {out.settled, &out.cost, &out.cost_unsettled, out.tangent, out.next, out.rows};
    memcpy(f->res, results, sizeof results);
    call_casadi(f);
    return out;
}

static const double *true_row(const search *s, int k) { return s->c->forecast + k * NISSE_ND; }
static const double *plan(const search *s, int k) { return s->c->capsule->nlp_out->ux[k].pa; }

static bool is_bent(const search *s, int k) {
    return memcmp(s->c->modes.row[k], true_row(s, k), sizeof(double) * NISSE_ND) != 0;
}

static bool is_given(const search *s, int k) { return k == 0 && s->first_action; }

static bool is_on(const double *u, int i) {
    return u[i] - nisse_u_lower[i] > ON * (nisse_u_upper[i] - nisse_u_lower[i]);
}

/* ---- one pass ---- */

static void survey(search *s) {
    s->violations = s->loosenesses = 0;
    s->value = plan_objective(s->c);
    for (int k = 0; k < NISSE_N; k++) {
        const double *u = plan(s, k);
        s->both[k] = s->loose[k] = false;
        for (int i = 0; i < NISSE_NA && !is_given(s, k); i++)
            if (nisse_partner[i] > i && is_on(u, i) && is_on(u, nisse_partner[i])) s->both[k] = true;
        s->violations += s->both[k];
        if (!is_bent(s, k)) continue;
        const double difference =
            facts(s, k, true_row(s, k), u).cost - facts(s, k, s->c->modes.row[k], u).cost_unsettled;
        s->value += difference;
        s->loose[k] = fabs(difference) > ROUNDING * s->turnover;
        s->loosenesses += s->loose[k];
    }
}

/* The search has taken its time: what it has begun becomes a plan that keeps everything, and that is all. */
static bool is_spent(const search *s) { return s->c->iterations >= NISSE_SEARCH_ITERATIONS; }

static void run_pass(search *s) {
    apply_modes(s->c, s->first_action);
    solve_quadratic_program(s->c, s->x0, s->first_action);
    s->solved = s->c->residual <= NISSE_TOLERANCE; /* false for NaN */
    s->value = INFINITY;
    if (s->solved) survey(s);
}

/* ---- modes ---- */

/* Cost of a stage and of the state it leads to, at the prices of this plan. */
static double hamiltonian(search *s, int k, const stage_facts *at) {
    const double *pi = s->c->capsule->nlp_out->pi[k].pa, discount = s->c->parameters[k][NPAR - 1];
    double sum = at->cost;
    for (int j = 0; j < NISSE_NX; j++) sum += pi[j] * at->next[j];
    for (int i = 0; i < NISSE_NSOFT; i++) {
        const double slack = fmax(0.0, -at->rows[NISSE_NHARD + i]);
        sum += discount * slack * (nisse_slack_linear[i] + nisse_slack_quadratic[i] * slack / 2);
    }
    return sum;
}

/* The best point of a stage with one action on and its partner off, over all actions (`paired`: those with one). */
static flip best_flip(search *s, int k, bool paired) {
    const double *u = plan(s, k);
    const stage_facts here = facts(s, k, true_row(s, k), u);
    const double now = hamiltonian(s, k, &here);
    flip best = {.gain = -INFINITY, .action = -1};
    for (int i = 0; i < NISSE_NA; i++) {
        const int partner = nisse_partner[i];
        if (partner < 0 && paired) continue;
        double other[NISSE_NU];
        memcpy(other, u, sizeof other);
        if (partner >= 0) other[partner] = nisse_u_lower[partner];
        for (int part = 0; part <= PARTS; part++) {
            other[i] = nisse_u_lower[i] + (nisse_u_upper[i] - nisse_u_lower[i]) * part / PARTS;
            const stage_facts there = facts(s, k, true_row(s, k), other);
            const double gain = now - hamiltonian(s, k, &there);
            if (!(gain > best.gain)) continue;
            best.gain = gain;
            best.action = i;
            memcpy(best.tangent, there.tangent, sizeof best.tangent);
        }
    }
    return best;
}

static void switch_off(search *s, int k, int off, int on) {
    s->c->modes.pinned[k][off] = true;
    s->c->modes.pinned[k][on] = false;
}

static void apply_flip(search *s, int k, const flip *f) {
    if (f->action < 0) return;
    if (nisse_partner[f->action] >= 0) switch_off(s, k, nisse_partner[f->action], f->action);
    if (is_bent(s, k)) memcpy(s->c->modes.row[k], f->tangent, sizeof(double) * NISSE_ND);
}

/* Stages in a row before k at which two actions are on that exclude each other. */
static int in_a_row_before(const search *s, int k) {
    int n = 0;
    while (n < k && s->both[k - 1 - n]) n++;
    return n;
}

/* Modes that the plan keeps to: at stages where both of a pair are on, or at all of them. Where both are on for several
 * stages they take turns, the better one first: what both waste at once can be moved there and back instead. Small programs
 * look at so many flips that they find as good a plan from either start. */
static void repair(search *s, bool everywhere) {
    for (int k = 0; k < NISSE_N; k++) {
        const double *u = plan(s, k);
        if (s->loose[k]) {
            const stage_facts here = facts(s, k, true_row(s, k), u);
            memcpy(s->c->modes.row[k], here.tangent, sizeof(double) * NISSE_ND);
        }
        if (s->both[k] && !everywhere) {
            const flip best = best_flip(s, k, true);
            const bool turn = !NISSE_SMALL_QP && in_a_row_before(s, k) % 2;
            if (best.action >= 0) {
                const int other = nisse_partner[best.action];
                switch_off(s, k, turn ? best.action : other, turn ? other : best.action);
            }
        }
        for (int i = 0; i < NISSE_NA && (s->both[k] || everywhere) && !is_given(s, k); i++) {
            const int j = nisse_partner[i];
            if (j <= i || s->c->modes.pinned[k][i] || s->c->modes.pinned[k][j]) continue;
            if (u[i] - nisse_u_lower[i] < u[j] - nisse_u_lower[j])
                switch_off(s, k, i, j);
            else
                switch_off(s, k, j, i);
        }
    }
}

/* Passes from the controller's modes until nothing changes; leaves the last one's solution. Number of passes. A plan that
 * keeps all pairs is one already where costs are loose: its value is the true cost. */
static int descend(search *s, int most) {
    for (int pass = 1;; pass++) {
        run_pass(s);
        if (!s->solved || pass == most) return pass;
        if (!s->violations && (!s->loosenesses || is_spent(s))) return pass;
        repair(s, s->violations && (pass >= most / 2 || is_spent(s)));
    }
}

/* ---- flips ---- */

static void survey_flips(search *s, flip *flips) {
    for (int k = 0; k < NISSE_N; k++) {
        bool open = is_bent(s, k);
        for (int i = 0; i < NISSE_NA; i++) open = open || s->c->modes.pinned[k][i];
        flips[k].gain = 0.0;
        if (open && !is_given(s, k)) flips[k] = best_flip(s, k, false);
        if (flips[k].gain < WORTH_A_SOLVE * s->turnover) flips[k].gain = 0.0;
    }
}

/* Flips the given share of the stages that gain, the best first and no two neighbours; returns how many, and the last. */
static int flip_share(search *s, const flip *flips, double share, int *last) {
    bool done[NISSE_N + 2] = {false}; /* with a stage before and after */
    int open = 0, flipped = 0;
    for (int k = 0; k < NISSE_N; k++) open += flips[k].gain > 0.0;
    for (int most = (int)fmax(1.0, open * share); most > 0; most--) {
        int best = -1;
        for (int k = 0; k < NISSE_N; k++)
            if (flips[k].gain > 0.0 && !done[k] && !done[k + 1] && !done[k + 2] &&
                (best < 0 || flips[k].gain > flips[best].gain))
                best = k;
        if (best < 0) break;
        apply_flip(s, best, &flips[best]);
        done[best + 1] = true;
        *last = best;
        flipped++;
    }
    return flipped;
}

static void improve(search *s) {
    flip flips[NISSE_N];
    stage_modes best = s->c->modes;
    double value = s->value, share = 1.0;
    bool at_best = true;
    int in_vain = 0;
    survey_flips(s, flips);
    for (int passes = 0; passes < PASSES && in_vain < IN_VAIN && !is_spent(s);) {
        int last = 0;
        s->c->modes = best;
        const int flipped = flip_share(s, flips, share, &last);
        if (!flipped) break;
        passes += descend(s, PASSES_OF_A_TRIAL < PASSES - passes ? PASSES_OF_A_TRIAL : PASSES - passes);
        at_best = s->solved && !s->violations && s->value < value - WORTH_A_SOLVE * s->turnover;
        if (at_best) {
            best = s->c->modes;
            value = s->value;
            share = fmin(1.0, 2.0 * share);
            in_vain = 0;
            survey_flips(s, flips);
        } else {
            if (flipped == 1) {
                flips[last].gain = 0.0;
                in_vain++;
            }
            share /= 3.0;
        }
    }
    s->c->modes = best;
    if (!at_best) run_pass(s);
}

double solve_with_modes(nisse_controller *c, const double *x0, const double *first_action) {
    search s = {.c = c, .x0 = x0, .first_action = first_action};
    run_pass(&s);
    bool ordinary = !s.violations;
    for (int k = 0; k < NISSE_N && ordinary; k++) ordinary = !is_bent(&s, k);
    if (!s.solved || ordinary) return plan_objective(c);
    for (int k = 0; k < NISSE_N; k++) s.turnover += fabs(facts(&s, k, true_row(&s, k), plan(&s, k)).cost);
    survey(&s);
    if (s.violations || s.loosenesses) {
        repair(&s, false);
        descend(&s, PASSES_OF_A_DESCENT);
    }
    if (s.solved && !s.violations) improve(&s);
    return s.violations ? NAN : s.value;
}

#endif
