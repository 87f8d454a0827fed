/* HPIPM by itself on an OCP QP with one-sided rows: what the deployed solves are compared with.
 *
 * stages: per stage, column-major, in this order: A B b Q S R q r C D d zl Zl; x_0 is folded into stage 0, which has no
 * state. The soft rows are the last `soft` of a stage, and all `soft_end` of the terminal one. blocks: stages after
 * partial condensing, or N for none. Returns the CPU time of the QP alone: condensing, interior point, expansion.
 */
#include <stdlib.h>
#include <time.h>

#include "blasfeo_common.h"
#include "hpipm_d_ocp_qp.h"
#include "hpipm_d_ocp_qp_dim.h"
#include "hpipm_d_ocp_qp_ipm.h"
#include "hpipm_d_ocp_qp_sol.h"
#include "hpipm_d_part_cond.h"

static double cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static struct d_ocp_qp_dim make_dim(int N) {
    struct d_ocp_qp_dim dim;
    d_ocp_qp_dim_create(N, &dim, calloc(1, d_ocp_qp_dim_memsize(N)));
    return dim;
}

static void set_tolerances(struct d_ocp_qp_ipm_arg *arg, double mu0, double tolerance, double complementarity) {
    int iterations = 200;
    d_ocp_qp_ipm_arg_set_default(SPEED, arg);
    d_ocp_qp_ipm_arg_set_mu0(&mu0, arg);
    d_ocp_qp_ipm_arg_set_iter_max(&iterations, arg);
    d_ocp_qp_ipm_arg_set_tol_stat(&tolerance, arg);
    d_ocp_qp_ipm_arg_set_tol_eq(&tolerance, arg);
    d_ocp_qp_ipm_arg_set_tol_ineq(&tolerance, arg);
    d_ocp_qp_ipm_arg_set_tol_comp(&complementarity, arg);
}

/* u0: [nu]. status: of HPIPM, 0 solved. Memory is left to the process, which ends soon. */
double hpipm_direct(int N, int nx, int nu, int hard, int soft, int soft_end, double *stages, double *lower,
                    double *upper, int blocks, double mu0, double tolerance, double complementarity, double *u0,
                    int *iterations, int *status) {
    struct d_ocp_qp_dim dim = make_dim(N), small = make_dim(blocks);
    const int most = nu + hard + soft + soft_end;
    int *numbers = calloc(most + 1, sizeof(int)), *block_size = calloc(blocks + 1, sizeof(int));
    double *zeros = calloc(most + 1, sizeof(double)), *ones = calloc(most + 1, sizeof(double));
    for (int i = 0; i < most; i++) numbers[i] = i;
    for (int i = 0; i < most; i++) ones[i] = 1.0;
    for (int k = 0; k <= N; k++) {
        const int slacks = k < N ? soft : soft_end;
        d_ocp_qp_dim_set("nx", k, k ? nx : 0, &dim);
        d_ocp_qp_dim_set("nu", k, k < N ? nu : 0, &dim);
        d_ocp_qp_dim_set("nbu", k, k < N ? nu : 0, &dim);
        d_ocp_qp_dim_set("ng", k, k < N ? hard + soft : soft_end, &dim);
        d_ocp_qp_dim_set("nsg", k, slacks, &dim);
        d_ocp_qp_dim_set("ns", k, slacks, &dim);
    }
    struct d_ocp_qp qp, small_qp;
    d_ocp_qp_create(&dim, &qp, calloc(1, d_ocp_qp_memsize(&dim)));
    d_ocp_qp_set_all_zero(&qp);
    double *at = stages;
    for (int k = 0; k <= N; k++) {
        const int x = k ? nx : 0, u = k < N ? nu : 0, slacks = k < N ? soft : soft_end;
        const int rows = k < N ? hard + soft : soft_end, next = k < N ? nx : 0;
        if (k < N) d_ocp_qp_set_A(k, at, &qp);
        at += next * x;
        if (k < N) d_ocp_qp_set_B(k, at, &qp);
        at += next * u;
        if (k < N) d_ocp_qp_set_b(k, at, &qp);
        at += next;
        d_ocp_qp_set_Q(k, at, &qp), at += x * x;
        d_ocp_qp_set_S(k, at, &qp), at += u * x;
        d_ocp_qp_set_R(k, at, &qp), at += u * u;
        d_ocp_qp_set_q(k, at, &qp), at += x;
        d_ocp_qp_set_r(k, at, &qp), at += u;
        d_ocp_qp_set_C(k, at, &qp), at += rows * x;
        d_ocp_qp_set_D(k, at, &qp), at += rows * u;
        d_ocp_qp_set_lg(k, at, &qp), at += rows;
        d_ocp_qp_set_ug_mask(k, zeros, &qp);
        if (u) {
            d_ocp_qp_set("idxbu", k, numbers, &qp);
            d_ocp_qp_set_lbu(k, lower, &qp);
            d_ocp_qp_set_ubu(k, upper, &qp);
        }
        if (slacks == 0) continue;
        int *soft_rows = numbers + u + rows - slacks;
        d_ocp_qp_set("idxs", k, soft_rows, &qp);
        d_ocp_qp_set("zl", k, at, &qp), at += slacks;
        d_ocp_qp_set("Zl", k, at, &qp), at += slacks;
        d_ocp_qp_set("zu", k, zeros, &qp);
        d_ocp_qp_set("Zu", k, ones, &qp);
        d_ocp_qp_set_lus_mask(k, zeros, &qp);
    }
    d_part_cond_qp_compute_block_size(N, blocks, block_size);
    d_part_cond_qp_compute_dim(&dim, block_size, &small);
    struct d_part_cond_qp_arg cond_arg;
    d_part_cond_qp_arg_create(blocks, &cond_arg, calloc(1, d_part_cond_qp_arg_memsize(blocks)));
    d_part_cond_qp_arg_set_default(&cond_arg);
    d_part_cond_qp_arg_set_ric_alg(0, &cond_arg); /* no factor of the Hessian, in which some states have no pivot */
    struct d_part_cond_qp_ws cond_ws;
    d_part_cond_qp_ws_create(&dim, block_size, &small, &cond_arg, &cond_ws,
                             calloc(1, d_part_cond_qp_ws_memsize(&dim, block_size, &small, &cond_arg)));
    d_ocp_qp_create(&small, &small_qp, calloc(1, d_ocp_qp_memsize(&small)));
    struct d_ocp_qp_sol sol, small_sol;
    d_ocp_qp_sol_create(&dim, &sol, calloc(1, d_ocp_qp_sol_memsize(&dim)));
    d_ocp_qp_sol_create(&small, &small_sol, calloc(1, d_ocp_qp_sol_memsize(&small)));
    struct d_ocp_qp_dim *solved = blocks == N ? &dim : &small;
    struct d_ocp_qp_ipm_arg arg;
    d_ocp_qp_ipm_arg_create(solved, &arg, calloc(1, d_ocp_qp_ipm_arg_memsize(solved)));
    set_tolerances(&arg, mu0, tolerance, complementarity);
    struct d_ocp_qp_ipm_ws ws;
    d_ocp_qp_ipm_ws_create(solved, &arg, &ws, calloc(1, d_ocp_qp_ipm_ws_memsize(solved, &arg)));

    double best = 1e9;
    for (int repeat = 0; repeat < 3; repeat++) {
        const double started = cpu_seconds();
        if (blocks == N) {
            d_ocp_qp_ipm_solve(&qp, &sol, &arg, &ws);
        } else {
            d_part_cond_qp_cond(&qp, &small_qp, &cond_arg, &cond_ws);
            d_ocp_qp_ipm_solve(&small_qp, &small_sol, &arg, &ws);
            d_part_cond_qp_expand_sol(&qp, &small_qp, &small_sol, &sol, &cond_arg, &cond_ws);
        }
        const double spent = cpu_seconds() - started;
        if (spent < best) best = spent;
    }
    d_ocp_qp_ipm_get_iter(&ws, iterations);
    d_ocp_qp_ipm_get_status(&ws, status);
    d_ocp_qp_sol_get_u(0, &sol, u0);
    return best;
}
