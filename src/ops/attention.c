// attention: scaled dot-product attention of several heads (Vaswani et al. 2017, eq. 1). qkv (B, T, 3 d) holds queries,
// keys and values one after the other, each head's n = d / heads numbers side by side; y (B, T, d). For each sample
// and head
//
//   P[i, :] = softmax over the j that i sees of Q[i] · K[j] / sqrt(n);  y[i] = sum over j of P[i, j] · V[j]
//
// causal: i sees j <= i. window w > 0, with causal only: i sees just i - w < j <= i. topk k > 0: of those only the k
// with the largest scores, among equals the first ones (as in "Explicit Sparse Transformer", Zhao et al. 2019,
// arXiv 1912.11637, sec. 2, which keeps all that equal the k-th); which ones is a constant for the gradient.
//
// dV = Pᵀ · dy;  dP = dy · Vᵀ;  dS = P · (dP - sum over j of dP · P) / sqrt(n);  dQ = dS · K;  dK = dSᵀ · Q
//
// A block of ROWS queries is multiplied by the keys that any of them sees: causal attention does about half of the work
// of a full one, and a window's work grows with T · (w + ROWS). topk saves nothing: its scores are all needed, and the
// products with many zeros are faster dense. Saved, where there is a backward pass: P, those blocks. Measured with 4
// heads of 32 numbers: what would have to be made again is some 40 % of the op's time, and causal P is heads · T / 2
// numbers for a position, less than the 4600 of the rest of a transformer's block up to T = 2300.
#include <math.h>

#include "src/blas.h"
#include "src/curves.h"
#include "src/ops.h"
#include "src/winners.h"

enum { ROWS = 64 };

struct saved {
    int heads, window, topk;
    bool causal;
    real *p;        // blocks of all heads of all samples; without a backward pass room for one
    size_t largest; // numbers of the largest block
};

// Queries first .. first+rows-1 of a head of a sample, and the keys from .. from+span-1, all that any of them sees.
struct block {
    int sample, head, first, rows, from, span;
};

static struct block block_make(const struct saved *s, int length, int first) {
    struct block b = {.first = first, .rows = length - first < ROWS ? length - first : ROWS};
    b.from = s->window && first >= s->window ? first - s->window + 1 : 0;
    b.span = (s->causal ? first + b.rows : length) - b.from;
    return b;
}

static size_t block_size(const struct block *b) {
    return (size_t)b->rows * (size_t)b->span;
}

// The first block is that of zeros; false after the last.
static bool block_next(struct block *b, const struct saved *s, const struct tensor *y) {
    int sample = b->sample, head = b->head, first = b->first + b->rows;
    if (first == y->shape.dim[1]) first = 0, head++;
    if (head == s->heads) head = 0, sample++;
    if (sample == y->shape.dim[0]) return false;
    *b = block_make(s, y->shape.dim[1], first);
    b->sample = sample, b->head = head;
    return true;
}

// The keys that the block's query i sees: begin .. end-1, counted from b->from.
static void keys_of(size_t *begin, size_t *end, const struct saved *s, const struct block *b, int i) {
    int at = b->first + i - b->from;
    *begin = s->window && at >= s->window ? (size_t)(at - s->window + 1) : 0;
    *end = s->causal ? (size_t)at + 1 : (size_t)b->span;
}

// Where the block's queries (part 0), keys (1) or values (2) begin in numbers like qkv.
static size_t part_at(const struct block *b, const struct saved *s, const struct tensor *y, int part) {
    size_t length = (size_t)y->shape.dim[1], d = (size_t)y->shape.dim[2];
    size_t row = (size_t)b->sample * length + (size_t)(part ? b->from : b->first);
    return (row * 3 + (size_t)part) * d + (size_t)b->head * (d / (size_t)s->heads);
}

static size_t result_at(const struct block *b, const struct saved *s, const struct tensor *y) {
    size_t length = (size_t)y->shape.dim[1], d = (size_t)y->shape.dim[2];
    return ((size_t)b->sample * length + (size_t)b->first) * d + (size_t)b->head * (d / (size_t)s->heads);
}

// What choosing the k largest of a row needs: their places, and keys with room for as many.
struct largest {
    uint32_t *place;
    uint64_t *key, *room;
};

static struct largest largest_make(struct tape *t, size_t keys) {
    return (struct largest){arena_alloc(t->arena, keys, sizeof(uint32_t)),
                            arena_alloc(t->arena, keys, sizeof(uint64_t)),
                            arena_alloc(t->arena, keys, sizeof(uint64_t))};
}

// Scores that are not among the k largest of their row become -infinity.
static void block_choose(real *score, const struct largest *c, const struct saved *s, const struct block *b) {
    for (int i = 0; i < b->rows; i++, score += b->span) {
        size_t begin, end;
        keys_of(&begin, &end, s, b, i);
        if (end - begin <= (size_t)s->topk) continue;
        for (size_t j = begin; j < end; j++) c->key[j - begin] = winners_key((double)score[j]);
        winners_pick(c->place, s->topk, c->key, end - begin, 1, c->room);
        const uint32_t *next = c->place, *last = c->place + s->topk;
        for (size_t j = begin; j < end; j++)
            if (next < last && *next == j - begin)
                next++;
            else
                score[j] = -INFINITY;
    }
}

VECTOR_CLONES static void block_softmax(real *restrict p, const struct saved *s, const struct block *b,
                                        real scale) {
    for (int i = 0; i < b->rows; i++, p += b->span) {
        size_t begin, end;
        keys_of(&begin, &end, s, b, i);
        for (size_t j = 0; j < begin; j++) p[j] = 0;
        curve_softmax(p + begin, p + begin, end - begin, scale);
        for (size_t j = end; j < (size_t)b->span; j++) p[j] = 0;
    }
}

static struct saved *saved_new(struct tape *t, const struct tensor *y, int heads, bool causal, int window,
                               int topk) {
    struct saved *s = arena_alloc(t->arena, 1, sizeof *s);
    int length = y->shape.dim[1];
    *s = (struct saved){
        .heads = heads, .window = window < length ? window : 0, .topk = topk, .causal = causal};
    size_t all = 0;
    for (int first = 0; first < length; first += ROWS) {
        struct block b = block_make(s, length, first);
        size_t size = block_size(&b);
        s->largest = size > s->largest ? size : s->largest;
        all += size;
    }
    all *= (size_t)y->shape.dim[0] * (size_t)heads;
    s->p = arena_alloc(t->arena, y->grad ? all : s->largest, sizeof *s->p);
    return s;
}

struct tensor *op_attention(struct tape *t, struct tensor *qkv, int heads, bool causal, int window,
                            int topk) {
    char text[SHAPE_TEXT];
    const int *dim = qkv->shape.dim;
    CHECK(qkv->shape.rank == 3 && heads >= 1 && dim[2] % (3 * heads) == 0 && window >= 0 && topk >= 0 &&
              (causal || !window),
          "attention: %s by %d heads, window %d, topk %d", shape_text(text, qkv->shape), heads, window, topk);
    int length = dim[1], d = dim[2] / 3, n = d / heads;
    struct tensor *y = tape_push(t, &attention_op, shape_3(dim[0], length, d), qkv, NULL, NULL);
    struct saved *s = y->saved = saved_new(t, y, heads, causal, window, topk);
    struct largest largest = largest_make(t, topk ? (size_t)length : 0);
    real scale = (real)(1 / sqrt(n)), *p = s->p;
    for (struct block b = {0}; block_next(&b, s, y); p += y->grad ? block_size(&b) : 0) {
        const real *part[3];
        for (int k = 0; k < 3; k++) part[k] = qkv->value + part_at(&b, s, y, k);
        blas_gemm(p, b.span, b.rows, b.span, n, (struct matrix){part[0], dim[2], false},
                  (struct matrix){part[1], dim[2], true}, 0);
        if (topk) block_choose(p, &largest, s, &b);
        block_softmax(p, s, &b, scale);
        blas_gemm(y->value + result_at(&b, s, y), d, b.rows, n, b.span, (struct matrix){p, b.span, false},
                  (struct matrix){part[2], dim[2], false}, 0);
    }
    return y;
}

// dP becomes dS.
VECTOR_CLONES static void block_softmax_backward(real *restrict dp, const real *restrict p,
                                                 const struct block *b, real scale) {
    size_t n = (size_t)b->span;
    for (int i = 0; i < b->rows; i++, dp += n, p += n) {
        real inner = (real)sums_products(dp, p, n);
        for (size_t j = 0; j < n; j++) dp[j] = p[j] * (dp[j] - inner) * scale;
    }
}

static void attention_backward(struct tape *t, struct tensor *y) {
    const struct saved *s = y->saved;
    struct tensor *qkv = y->input[0];
    int d = y->shape.dim[2], n = d / s->heads, stride = 3 * d;
    real *dp = arena_alloc(t->arena, s->largest, sizeof *dp);
    const real *p = s->p;
    for (struct block b = {0}; block_next(&b, s, y); p += block_size(&b)) {
        const real *part[3];
        real *grad[3];
        for (int k = 0; k < 3; k++) {
            part[k] = qkv->value + part_at(&b, s, y, k);
            grad[k] = qkv->grad + part_at(&b, s, y, k);
        }
        struct matrix dy = {y->grad + result_at(&b, s, y), d, false}, weight = {p, b.span, true};
        struct matrix ds = {dp, b.span, false};
        blas_gemm(grad[2], stride, b.span, n, b.rows, weight, dy, 1);
        blas_gemm(dp, b.span, b.rows, b.span, n, dy, (struct matrix){part[2], stride, true}, 0);
        block_softmax_backward(dp, p, &b, (real)(1 / sqrt(n)));
        blas_gemm(grad[0], stride, b.rows, n, b.span, ds, (struct matrix){part[1], stride, false}, 1);
        ds.transposed = true;
        blas_gemm(grad[1], stride, b.span, n, b.rows, ds, (struct matrix){part[0], stride, false}, 1);
    }
}

static double attention_flops(const struct tensor *y, bool backward) {
    double flops = 0;
    int n = y->shape.dim[2] / ((const struct saved *)y->saved)->heads;
    for (struct block b = {0}; block_next(&b, y->saved, y);)
        flops += (backward ? 8.0 : 4.0) * (double)block_size(&b) * n;
    return flops;
}

static struct tensor *attention_example(struct tape *t, struct tensor **x) {
    return op_attention(t, x[0], 2, true, 3, 2);
}

const struct op attention_op = {.name = "attention",
                                .backward = attention_backward,
                                .flops = attention_flops,
                                .example = attention_example,
                                .example_input = {{3, {2, 5, 12}}},
                                .example_inputs = 1};
