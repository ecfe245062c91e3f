// Timing pieces of code against each other. Contracts in race.h.
#include "cli/race.h"

#include <stdlib.h>
#include <time.h>

// A run shorter than this would time the clock.
static const double run_seconds = 0.004;

static double thread_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double calls_time(const struct racer *r, size_t calls) {
    double start = thread_seconds();
    r->run(r->context, calls);
    return thread_seconds() - start;
}

// How many calls take `seconds`; at least one.
static size_t calls_for(const struct racer *r, double seconds) {
    size_t calls = 1;
    double took = calls_time(r, calls);
    while (took < seconds / 4) took = calls_time(r, calls *= 2);
    double wanted = (double)calls * seconds / took;
    return wanted < 1 ? 1 : (size_t)wanted;
}

void race_run(struct race *r, const struct racer *racers, int count, double seconds) {
    CHECK(count >= 1 && count <= RACE_RACERS, "race: %d racers, at most %d", count, RACE_RACERS);
    size_t calls[RACE_RACERS];
    double rounds = seconds / (run_seconds * count);
    r->racers = count;
    r->rounds = rounds < RACE_ROUNDS_MIN ? RACE_ROUNDS_MIN : rounds > RACE_ROUNDS ? RACE_ROUNDS : (int)rounds;
    for (int i = 0; i < count; i++) calls[i] = calls_for(&racers[i], seconds / (count * r->rounds));
    for (int round = 0; round < r->rounds; round++)
        for (int k = 0; k < count; k++) {
            int i = round % 2 ? count - 1 - k : k;
            r->seconds[i][round] = calls_time(&racers[i], calls[i]) / (double)calls[i];
        }
}

static int number_order(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Sorts them.
static struct spread spread_of(double *numbers, int count) {
    qsort(numbers, (size_t)count, sizeof *numbers, number_order);
    double median = (numbers[(count - 1) / 2] + numbers[count / 2]) / 2;
    return (struct spread){median, numbers[0], numbers[count - 1]};
}

struct spread race_spread(const struct race *r, int racer) {
    double seconds[RACE_ROUNDS];
    for (int i = 0; i < r->rounds; i++) seconds[i] = r->seconds[racer][i];
    return spread_of(seconds, r->rounds);
}

double race_ratio(const struct race *r, int slow, int fast) {
    double ratios[RACE_ROUNDS];
    for (int i = 0; i < r->rounds; i++) ratios[i] = r->seconds[slow][i] / r->seconds[fast][i];
    return spread_of(ratios, r->rounds).median;
}
