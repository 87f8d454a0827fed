/* A controller called from C: one plan of a bundle of the `battery` house, half full, on a day with two prices.

    mkdir battery && tar xf battery.nisse -C battery && cd battery      # lib/<arch>/, src/nisse_controller.h
    cc -Isrc ../examples/bundle_from_c.c lib/$(uname -m)/libnisse_controller.so -Wl,-rpath,$PWD/lib/$(uname -m) \
        -Wl,-rpath-link,lib/$(uname -m) -o example && ./example
*/
#include <stdio.h>
#include <stdlib.h>
#include "nisse_controller.h"

/* The order of `forecasts` in manifest.json. */
enum { LOAD_KW, PV_KW, BUY, SELL };

int main(void) {
    nisse_dimensions n;
    nisse_controller_dimensions(&n);
    if (n.abi_version != NISSE_ABI_VERSION || n.nx != 1 || n.nd != 4) return 1; /* another header, or another house */
    double *x0 = calloc(n.nx, sizeof(double)), *action = calloc(n.na, sizeof(double));
    double *forecast = calloc((size_t)(n.horizon + 1) * n.nd, sizeof(double)); /* row-major, one row per stage */
    if (!x0 || !action || !forecast) return 1;
    x0[0] = 0.5;
    for (int k = 0; k <= n.horizon; k++) {
        double *row = forecast + (size_t)k * n.nd;
        row[LOAD_KW] = 1.0;
        row[PV_KW] = 0.0;
        row[BUY] = k % 96 < 48 ? 0.15 : 0.30; /* EUR/kWh */
        row[SELL] = 0.10;
    }
    nisse_controller *controller = nisse_controller_create();
    nisse_result result;
    if (!controller) return 1;
    if (nisse_controller_solve(controller, x0, forecast, action, NULL, NULL, &result) != NISSE_OK) return 1;
    printf("charge %.3f kW, discharge %.3f kW, residual %.1e\n", action[0], action[1], result.residual);
    nisse_controller_destroy(controller);
    free(forecast), free(action), free(x0);
    return 0;
}
