/* The few dense kernels of the condensed solver, row-major, written so that a compiler turns them into vector code. */
#ifndef NISSE_CONDENSED_DENSE_H
#define NISSE_CONDENSED_DENSE_H

double dense_dot(int n, const double *a, const double *b);
void dense_axpy(int n, double scale, const double *x, double *y);

/* Lower triangle of `matrix` += scale x x' for many x, gathered by fours: the matrix is what is slow to move. */
typedef struct {
    int ld;
    double *matrix;
    int count;
    int n[4]; /* leading entries of x that may be non-zero; x is readable to the largest n of its four */
    double scale[4];
    const double *x[4];
} rank_updates;
void dense_rank_add(rank_updates *updates, int n, double scale, const double *x);
void dense_rank_flush(rank_updates *updates);

/* y += matrix x, of which the lower triangle is stored. */
void dense_symmetric_add(int n, int ld, const double *matrix, const double *x, double *y);

/* Lower Cholesky factor in place, panel [4*ld] scratch. 0 if a pivot is not positive. */
int dense_cholesky(int n, int ld, double *matrix, double *panel);

/* x := (L L')^-1 x */
void dense_cholesky_solve(int n, int ld, const double *factor, double *x);

#endif
