// Initial weights. Contracts in init.h.
#include "layers/init.h"

#include <math.h>

double init_bound(int init, double in, double out) {
    switch (init) {
    case INIT_XAVIER:
        return sqrt(6 / (in + out));
    case INIT_LECUN:
        return sqrt(3 / in);
    case INIT_PYTORCH:
        return sqrt(1 / in);
    default:
        return sqrt(6 / in);
    }
}
