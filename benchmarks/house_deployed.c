/* Solves the programs of a file (theta once, then x0 and forecast of each) with the controller it is linked to, for
 * counting instructions. The first solve forms what lasts as long as theta, so it is not counted: `counted` is.
 * Usage: house_deployed FILE COUNT */
#include <stdio.h>
#include <stdlib.h>

#include "nisse_controller.h"

__attribute__((noinline)) static int counted(nisse_controller *c, const double *x0, const double *forecast, double *a) {
    nisse_result r = {0};
    const int status = (int)nisse_controller_solve(c, x0, forecast, a, NULL, NULL, &r);
    printf("%d %d", status, (int)r.iterations);
    return status;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    nisse_dimensions n;
    nisse_controller_dimensions(&n);
    const size_t nx = (size_t)n.nx, width = nx + (size_t)(n.horizon + 1) * (size_t)n.nd, ntheta = (size_t)n.ntheta;
    FILE *file = fopen(argv[1], "rb");
    double *theta = malloc(sizeof(double) * ntheta), *row = malloc(sizeof(double) * width);
    double *action = malloc(sizeof(double) * (size_t)n.na);
    nisse_controller *c = nisse_controller_create();
    if (!file || !theta || !row || !action || !c || fread(theta, sizeof(double), ntheta, file) != ntheta) return 1;
    if (nisse_controller_set_theta(c, theta) != NISSE_OK) return 1;
    for (long i = 0, count = atol(argv[2]); i < count; i++) {
        nisse_result r = {0};
        if (fread(row, sizeof(double), width, file) != width) return 1;
        if (i == 0) nisse_controller_solve(c, row, row + nx, action, NULL, NULL, &r);
        if (counted(c, row, row + nx, action) != NISSE_OK) return 1;
        for (int a = 0; a < n.na; a++) printf(" %.17g", action[a]);
        printf("\n");
    }
    nisse_controller_destroy(c);
    fclose(file);
    free(theta);
    free(row);
    free(action);
    return 0;
}
