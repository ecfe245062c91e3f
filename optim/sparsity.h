// Sparsity control: a path of the density from 1 to a target, and the freeze.
//
// At each epoch start the smallest weights are set to zero until the path's density holds; they may come
// back. At the freeze the pattern becomes final: the leak is off, zeros stay zero, the survivors polish.
#ifndef TALLY_OPTIM_SPARSITY_H
#define TALLY_OPTIM_SPARSITY_H

#include "src/json.h"
#include "src/params.h"

enum sparsity_path { PATH_CUBIC, PATH_NONE };
enum sparsity_granularity { GRANULARITY_UNSTRUCTURED, GRANULARITY_BLOCK, GRANULARITY_N_M };

struct sparsity {
    double target; // density, non-zero / all, over all weights together; 1: leave alone
    int path; // cubic: 1 - (1 - target) (1 - (1 - t)^3), t from begin to end; none: one cut at the freeze
    double begin, end, freeze; // as fractions of the run; freeze 1: never
    int granularity;
    int64_t block_rows, block_columns; // block: whole blocks live or die
    int64_t n, m;                      // n:m: of every m neighbours in a row at most n live
    double sparse_density;             // frozen matrices of at most this density are packed; 0: none
    bool frozen;
};

extern const struct field sparsity_fields[];

// Reads and checks the options against the parameters. A NULL node leaves all weights alone.
int sparsity_read(struct sparsity *s, const struct json *node, const char *path, const struct params *ps,
                  struct err *e);

// The density that the path asks for at the start of `epoch` of `epochs`.
double sparsity_density(const struct sparsity *s, int64_t epoch, int64_t epochs);

// What the start of an epoch asks for: cuts the smallest weights, freezes. To be called once more with epoch == epochs
// when the run is over, so that a run without a freeze, or one too short for its path, still ends at its target.
void sparsity_epoch(struct sparsity *s, struct params *ps, int64_t epoch, int64_t epochs);

// One-shot pruning layer by layer: each weight tensor keeps its largest `keep` of weights, the last one `last` times
// that share (at most all). Schwarz et al. 2021 prune so, with last = 2.
void sparsity_cut_layers(struct params *ps, double keep, double last);

// Zeroes the smallest weights until the density holds (all weight tensors together; in n:m each group).
void sparsity_cut(const struct sparsity *s, struct params *ps, double density);

#endif
