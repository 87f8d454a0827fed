/* The Newton system of the present sets, solved through a factor of earlier ones.
 *
 *   M = hessian + Gamma' diag(w of the rows outside) Gamma        on the free moves F
 *
 * From one step to the next, and from one solve to the next, few rows and moves change sides. With L L' = M_0 for a base
 * (F_0, rows_0), the present solution is that of the bordered system
 *
 *   [ M_0   B ] [ u_0 ]   [ r_0 ]     a column of B for each row that came (C = w) or went (C = -w):  gamma,   D = -1/C
 *   [ B'    D ] [  t  ] = [  c  ]     for each move put on its bound: the unit vector,                         D = 0
 *                                     for each move freed: its column of M_0,                                  D = M_0's own
 *
 * and costs the triangular solves of B and a small Schur complement S = D - B' M_0^-1 B instead of a factorisation
 * (J. Nocedal, S. Wright, "Numerical Optimization", Section 16.5; R. Bartlett, L. Biegler, "QPSchur"). Two bases are at
 * hand: that of theta (all free, no rows), which costs nothing, and the one factorised last.
 */
#ifndef NISSE_CONDENSED_NEWTON_H
#define NISSE_CONDENSED_NEWTON_H

#include <stddef.h>
#include <stdint.h>

#define BORDER 24 /* columns of B at most; beyond, a factorisation is cheaper */

struct qp_matrices;

/* Where a border starts. */
typedef struct {
    const double *matrix; /* [n*ld] lower triangle of M_0, of all moves */
    const double *factor; /* [n*ld] its Cholesky factor on the free moves */
    int8_t *counted;      /* [m] rows in M_0 */
    int *free;            /* [n] free moves in their order, n_free of them */
    int *position;        /* [n] of a move among them, or -1 */
    int n_free;
    int valid;
} newton_base;

typedef struct {
    newton_base of_theta, own;
    const newton_base *base; /* the one in use */
    double *matrix, *factor; /* [n*ld] memory of `own` */
    double *panel;           /* [4*ld] */
    int renewal; /* factorisations left until `matrix` is summed up afresh: rank-one updates lose digits slowly */
    /* The border: for each column the row or the move it stands for, and C of a row. */
    int columns, width;                            /* width: `columns` rounded up to the stride of z */
    int row[BORDER], bound[BORDER], freed[BORDER]; /* -1 where the column is of another kind */
    double weight[BORDER];
    double *z; /* [n][width] L^-1 B */
    double schur[BORDER * BORDER];
    int pivot[BORDER];
    double *forward; /* [n][4] */
} newton_system;

size_t newton_size(int n, int m);
void newton_create(int n, int m, newton_system *newton, void *memory);
/* Forgets what was factorised. */
void newton_reset(newton_system *newton);

/* Takes the sets: bound [n] and side [m], zero where free and within. 0 if the matrix is not positive definite. */
int newton_take(const struct qp_matrices *qp, newton_system *newton, const int8_t *bound, const int8_t *side);

/* x [n] := M^-1 x on the free moves, zero on the others. */
void newton_solve(const struct qp_matrices *qp, newton_system *newton, const int8_t *bound, double *x);

/* x [n][4] := M^-1 e_i for the four moves i from `first` on, zero for those on a bound. */
void newton_inverse_four(const struct qp_matrices *qp, newton_system *newton, const int8_t *bound, int first,
                         double *x);

/* out [n] += M x for an x [n] with few entries, of all moves. */
void newton_multiply(const struct qp_matrices *qp, const newton_system *newton, const double *x, double *out);

/* (M x)_i for one move i; product [m] holds Gamma x. */
double newton_row(const struct qp_matrices *qp, const newton_system *newton, int i, const double *x,
                  const double *product);

#endif
