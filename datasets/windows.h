// A text as samples: windows of its tokens, whose labels are the same tokens moved by one, so that each position is to be
// answered with the token that follows.
//
// Training, validation and test are three pieces of the text, one after the other: windows overlap, and parts drawn from
// among them would share their tokens. Training windows begin `step` tokens apart; those of the other pieces do not
// overlap, so that each token counts once.
#ifndef TALLY_DATASETS_WINDOWS_H
#define TALLY_DATASETS_WINDOWS_H

#include "datasets/dataset.h"

struct windows {
    int64_t context, step; // step 0: half a context, so that each token is also seen with that much before it
    int64_t classes;       // 0, or at least as many as the alphabet has
    double validation, test;
};

// The lines of a field table for `member`, a struct windows of a set's config.
// clang-format off
#define WINDOWS_FIELDS(config, member) \
    {"context", FIELD_INT, offsetof(struct config, member.context), 64, 2, 65536, NULL, "tokens of a sample"}, \
    {"step", FIELD_INT, offsetof(struct config, member.step), 0, 0, 1 << 24, NULL, \
     "tokens from training sample to training sample; 0: half a context"}, \
    {"classes", FIELD_INT, offsetof(struct config, member.classes), 0, 0, 256, NULL, \
     "so many, of which some may never occur: texts of other alphabets fit the same model; 0: the alphabet's"}, \
    {"validation", FIELD_REAL, offsetof(struct config, member.validation), 0.05, 0, 0.5, NULL, \
     "share of the text that is the validation part, behind the training part"}, \
    {"test", FIELD_REAL, offsetof(struct config, member.test), 0.05, 0.001, 0.4, NULL, \
     "share of the text, its end, that is the test part"}
// clang-format on

// Makes the set of the text's bytes: with `all` each of the 256 bytes is a class; else those that occur are, in rising order,
// and they must be ASCII; a class beyond them stands for '?'. Errors start with `where`.
int windows_make(struct dataset *d, const uint8_t *text, size_t size, bool all, const struct windows *options,
                 const char *where, struct err *e);

#endif
