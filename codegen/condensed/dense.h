/* The few dense kernels of the condensed solver, row-major, written so that a compiler turns them into vector code. */
#ifndef NISSE_CONDENSED_DENSE_H
#define NISSE_CONDENSED_DENSE_H

double dense_dot(int n, const double *a, const double *b);
void dense_axpy(int n, double scale, const double *x, double *y);

/* Lower triangle of the leading n x n block: matrix += scale * x x'. */
void dense_rank_one(int n, int ld, double *matrix, double scale, const double *x);

/* Lower Cholesky factor in place, panel [4*ld] scratch. 0 if a pivot is not positive. */
int dense_cholesky(int n, int ld, double *matrix, double *panel);

/* x := (L L')^-1 x */
void dense_cholesky_solve(int n, int ld, const double *factor, double *x);

#endif
