// What a checkpoint says beside its tensors: numbers, shapes and scores as the strings of a safetensors file's metadata. All of
// it may come from a stranger; what is missing, no number or out of its limits is an error that names the key.
#ifndef TALLY_EXPERIMENTS_META_H
#define TALLY_EXPERIMENTS_META_H

#include "experiments/loss.h"
#include "src/safetensors.h"

enum { META_SAMPLE = 1 << 28 }; // numbers of a sample, at most

void meta_add_number(struct json *meta, const char *key, double value); // to the bit

int meta_read(double *value, const struct safetensors *file, const char *key, double min, double max,
              struct err *e);
int meta_read_int(int64_t *value, const struct safetensors *file, const char *key, double min, double max,
                  struct err *e);

// The same where the key may be missing: files from before there was such a thing.
int meta_read_later(int64_t *value, const struct safetensors *file, const char *key, int64_t without,
                    double min, double max, struct err *e);

// A shape as shape_text writes it, of 1 to 3 dimensions (a batch adds one) and at most META_SAMPLE numbers.
int meta_read_shape(struct shape *s, const struct safetensors *file, const char *key, struct err *e);

int meta_read_kind(enum data_kind *kind, const struct safetensors *file, struct err *e);

// PART_loss, PART_wrong and PART_count; `judged`: whether answers are compared with labels.
void meta_add_score(struct json *meta, const char *part, struct score s);
int meta_read_score(struct score *s, const struct safetensors *file, const char *part, bool judged,
                    struct err *e);

#endif
