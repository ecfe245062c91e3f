// The largest of many. Contracts in winners.h.
#include "src/winners.h"

// The k-th largest of n keys, k from 1, by Hoare's selection. Reorders the keys.
static uint64_t key_select(uint64_t *key, size_t n, size_t k) {
    size_t first = 0, last = n - 1, wanted = k - 1; // as if in falling order
    while (first < last) {
        uint64_t pivot = key[first + (last - first) / 2];
        size_t i = first, j = last;
        for (;;) {
            while (key[i] > pivot) i++;
            while (key[j] < pivot) j--;
            if (i >= j) break;
            uint64_t other = key[i];
            key[i++] = key[j], key[j--] = other;
        }
        // All before i are at least the pivot, all after j at most; between them, where there is one, is the pivot.
        if (wanted < i)
            last = i - 1;
        else if (wanted > j)
            first = j + 1;
        else
            break;
    }
    return key[wanted];
}

void winners_pick(uint32_t *winner, int k, const uint64_t *key, size_t n, size_t stride, uint64_t *room) {
    for (size_t j = 0; j < n; j++) room[j] = key[j * stride];
    uint64_t last = key_select(room, n, (size_t)k);
    int equals = k;
    for (size_t j = 0; j < n; j++) equals -= key[j * stride] > last;
    for (size_t j = 0; j < n; j++)
        if (key[j * stride] > last || (key[j * stride] == last && equals-- > 0)) *winner++ = (uint32_t)j;
}
