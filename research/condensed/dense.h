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

/* y [m] += matrix x, and y += matrix' x [m]; width [m]: leading entries of each row that may be non-zero, the others are zero. */
void dense_multiply_add(int m, int ld, const int *width, const double *matrix, const double *x, double *y);
void dense_multiply_transposed_add(int m, int ld, const int *width, const double *matrix, const double *x, double *y);

/* Lower Cholesky factor in place, panel [4*ld] scratch. 0 if a pivot is not positive. */
int dense_cholesky(int n, int ld, double *matrix, double *panel);

/* x := L^-1 x, and x := L'^-1 x */
void dense_forward(int n, int ld, const double *factor, double *x);
void dense_backward(int n, int ld, const double *factor, double *x);

/* z [n][width] := L^-1 z, where the rows before `first` are zero; width is a multiple of 4. */
void dense_forward_many(int first, int n, int ld, const double *factor, int width, double *z);

/* x [n][4] := L'^-1 x */
void dense_backward_four(int n, int ld, const double *factor, double *x);

/* product [width][width] += z' z */
void dense_gram(int n, int width, const double *z, double *product);

/* LU factors with row exchanges, in place, n*n without padding. 0 if singular. */
int dense_lu(int n, double *matrix, int *pivot);
void dense_lu_solve(int n, const double *factors, const int *pivot, double *x);

#endif
