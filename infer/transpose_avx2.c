/* Samples to lanes and back by AVX2, eight by eight: half rows are loaded side by side, then two rounds of shuffles put each column
 * into a vector. Also part of the AVX-512 set: the loop waits for memory, not for shuffles. */
#include "infer/model.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

#define TARGET __attribute__((target("avx2")))

/* Rows r and r + 4 at column `at`, four numbers each. */
TARGET static inline __m256 halves(const float *x, size_t stride, size_t r, size_t at) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(x + r * stride + at)),
                                _mm_loadu_ps(x + (r + 4) * stride + at), 1);
}

/* Four columns of eight rows of x to four rows of y. */
TARGET static inline void columns_4(float *y, size_t lanes, const float *x, size_t stride) {
    __m256 a = halves(x, stride, 0, 0), b = halves(x, stride, 1, 0), c = halves(x, stride, 2, 0),
           d = halves(x, stride, 3, 0);
    __m256 ab_low = _mm256_unpacklo_ps(a, b), ab_high = _mm256_unpackhi_ps(a, b);
    __m256 cd_low = _mm256_unpacklo_ps(c, d), cd_high = _mm256_unpackhi_ps(c, d);
    _mm256_storeu_ps(y, _mm256_shuffle_ps(ab_low, cd_low, _MM_SHUFFLE(1, 0, 1, 0)));
    _mm256_storeu_ps(y + lanes, _mm256_shuffle_ps(ab_low, cd_low, _MM_SHUFFLE(3, 2, 3, 2)));
    _mm256_storeu_ps(y + 2 * lanes, _mm256_shuffle_ps(ab_high, cd_high, _MM_SHUFFLE(1, 0, 1, 0)));
    _mm256_storeu_ps(y + 3 * lanes, _mm256_shuffle_ps(ab_high, cd_high, _MM_SHUFFLE(3, 2, 3, 2)));
}

/* Samples may lie a power of two apart, where only a few of their lines find room in the first cache at a time: so eight
 * are read to the end of a line each, and eight are written from end to end. */

TARGET void tally_to_lanes_avx2(float *y, const float *x, size_t features, size_t count, size_t lanes) {
    enum { LINE = 16 };
    size_t whole = features / LINE * LINE, eights = count / 8 * 8;
    for (size_t first = 0; first < whole; first += LINE)
        for (size_t s = 0; s < eights; s += 8)
            for (size_t j = first; j < first + LINE; j += 4)
                columns_4(y + j * lanes + s, lanes, x + s * features + j, features);
    for (size_t j = 0; j < features; j++) {
        float *to = y + j * lanes;
        for (size_t s = j < whole ? eights : 0; s < count; s++) to[s] = x[s * features + j];
        for (size_t s = count; s < lanes; s++) to[s] = 0;
    }
}

TARGET void tally_from_lanes_avx2(float *y, const float *x, size_t features, size_t count, size_t lanes) {
    size_t whole = features / 8 * 8, eights = count / 8 * 8;
    for (size_t first = 0; first < eights; first += 8)
        for (size_t j = 0; j < whole; j += 8)
            for (size_t s = first; s < first + 8; s += 4)
                columns_4(y + s * features + j, features, x + j * lanes + s, lanes);
    for (size_t s = 0; s < count; s++)
        for (size_t j = s < eights ? whole : 0; j < features; j++) y[s * features + j] = x[j * lanes + s];
}

#else

void tally_to_lanes_avx2(float *y, const float *x, size_t features, size_t count, size_t lanes) {
    (void)y, (void)x, (void)features, (void)count, (void)lanes; /* no set that calls it exists here */
}

void tally_from_lanes_avx2(float *y, const float *x, size_t features, size_t count, size_t lanes) {
    (void)y, (void)x, (void)features, (void)count, (void)lanes;
}

#endif
