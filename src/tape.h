// Tensors and the tape: define by run, walk back.
//
// An op computes at once and pushes its result on the tape. The order of creation is a topological order, so
// backward is one loop from the newest tensor to the oldest. All of it lives in the tape's arena until the
// next tape_reset: nobody frees a tensor.
//
// A step's batch is cut into shards; each shard has its own tape, so that threads share only the parameters'
// values.
#ifndef TALLY_SRC_TAPE_H
#define TALLY_SRC_TAPE_H

#include "src/arena.h"
#include "src/params.h"
#include "src/profile.h"
#include "src/rng.h"
#include "src/shape.h"

enum { OP_INPUTS = 3, TAPE_FAULT = 2 * PARAM_NAME + 64 };

struct op;

struct tensor {
    struct shape shape;
    size_t size;
    real *value; // [size]
    real *grad;  // [size], NULL when nothing asks for it; gradients are added, never assigned, but where
    bool *unset; // nothing was added yet and the numbers mean nothing; NULL: they always do (tape_keep)
    bool blank;  // what `unset` points to, where it is the tensor's own
    const struct op *op;             // NULL for a leaf
    struct tensor *input[OP_INPUTS]; // the op's tensors
    void *saved;                     // what the op's backward needs besides, in the arena
    const struct sparse *sparse; // a parameter that is packed: value and grad are its `size` living numbers
    struct tensor *older;        // the tape: newest first
};

struct tape {
    struct arena *arena;
    struct params *params; // may be NULL in tests
    struct tensor *newest;
    int shard;               // whose gradients tape_param adds to
    bool training;           // dropout drops
    bool recording;          // gradients will be asked for
    struct rng dropout;      // position in the step's dropout stream
    int64_t epoch;           // of the run, for what changes with the epochs
    struct profile *profile; // NULL: nothing is measured
    struct tensor *penalty;  // what layers add to the loss of a training step; NULL: nothing
};

struct tape *tape_new(struct params *params, int shard);
void tape_free(struct tape *t);

// Forgets every tensor and starts the next step. `training` also turns recording on.
void tape_reset(struct tape *t, bool training);

// A leaf without gradient around the caller's numbers, which must outlive the step.
struct tensor *tape_input(struct tape *t, struct shape shape, real *value);

// A leaf with unfilled values of its own; with a zeroed gradient where asked.
struct tensor *tape_leaf(struct tape *t, struct shape shape, bool with_grad);

// A parameter as a leaf; its gradient is the shard's part of the parameters' gradient block. A lazy one of one unit is
// touched; of one with more, the caller touches those that it will use. A packed matrix (src/params.h) is sparse: only
// for ops that say so.
struct tensor *tape_param(struct tape *t, int param);

// The result of an op: unfilled values, and a gradient, unset, when recording and an input has one.
// Unused inputs are NULL.
struct tensor *tape_push(struct tape *t, const struct op *op, struct shape shape, struct tensor *a,
                         struct tensor *b, struct tensor *c);

// The result of an op that shows x's own values in another shape.
struct tensor *tape_share(struct tape *t, const struct op *op, struct shape shape, struct tensor *x);

// Says which is the first tensor of the step with a value that is not finite: "the output of linear (linear1.weight)".
// False: there is none.
bool tape_fault(char text[TAPE_FAULT], const struct tape *t);

// Adds the scalar to the step's penalty.
void tape_add_penalty(struct tape *t, struct tensor *penalty);

// Adds seed · d(loss)/d(leaf) to the gradient of every leaf that has one. `loss` is a scalar of this tape. An op's own
// gradient is spent afterwards: the op may have passed it on (tape_pass).
void tape_backward(struct tape *t, struct tensor *loss, real seed);

// For the backward of an op that `sets` this input's gradient: the factor in front of what is there, 1, or 0 where it is
// unset, and from here on set: the op then writes every number, without reading it.
real tape_keep(struct tensor *x);

// The same for the input x of an op that reads each number of y's gradient once, to make x's number at that place: an unset
// gradient becomes y's own memory, where it can, and the op turns the one into the other where it lies.
real tape_pass(struct tensor *x, const struct tensor *y);

// For an op that leaves the gradient as it is: adds y's to x's. `last`: y's is not read afterwards.
void tape_add_grad(struct tensor *x, const struct tensor *y, bool last);

#endif
