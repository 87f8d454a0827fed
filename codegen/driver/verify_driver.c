/* Solves problems from a file of doubles (theta, x0, forecast each) and prints one line per problem, its plan of actions last: for targets that
 * only an emulator can run. Usage: verify_driver FILE COUNT */
#include <stdio.h>
#include <stdlib.h>

#include "nisse_controller.h"

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    nisse_dimensions n;
    nisse_controller_dimensions(&n);
    const size_t forecast = (size_t)(n.horizon + 1) * (size_t)n.nd, width = (size_t)(n.ntheta + n.nx) + forecast;
    FILE *file = fopen(argv[1], "rb");
    double *row = malloc(sizeof(double) * width), *plan = malloc(sizeof(double) * (size_t)n.horizon * (size_t)n.na);
    nisse_controller *controller = nisse_controller_create();
    if (!file || !row || !plan || !controller) return 1;
    for (long i = 0, count = atol(argv[2]); i < count; i++) {
        nisse_result r = {0};
        if (fread(row, sizeof(double), width, file) != width) return 1;
        if (nisse_controller_set_theta(controller, row) != NISSE_OK) return 1;
        nisse_controller_reset(controller);
        nisse_controller_solve(controller, row + n.ntheta, row + n.ntheta + n.nx, NULL, NULL, plan, &r);
        printf("%d %d %.17g %.17g", (int)r.status, (int)r.iterations, r.residual, r.value);
        for (int a = 0; a < n.horizon * n.na; a++) printf(" %.17g", plan[a]);
        printf("\n");
    }
    nisse_controller_destroy(controller);
    free(row);
    free(plan);
    fclose(file);
    return 0;
}
