// The k largest of n numbers; among equals the first ones.
#ifndef TALLY_SRC_WINNERS_H
#define TALLY_SRC_WINNERS_H

#include <string.h>

#include "src/base.h"

// An integer that orders as the number does; every NaN has its place, so that a comparison always decides.
static inline uint64_t winners_key(double value) {
    uint64_t bits;
    value += 0.0; // -0 becomes 0, its equal
    memcpy(&bits, &value, sizeof bits);
    return bits >> 63 ? ~bits : bits | (uint64_t)1 << 63;
}

// Writes the places, 0 .. n-1, of the k largest keys in rising order, 1 <= k <= n. The keys are `stride` apart; room
// is for n keys.
void winners_pick(uint32_t *winner, int k, const uint64_t *key, size_t n, size_t stride, uint64_t *room);

#endif
