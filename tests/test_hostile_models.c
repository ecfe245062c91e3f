// Models from strangers: what the inference library's loader refuses, each with its status and the exact line a user reads,
// and that nothing leaks, whatever happens. Each row of hostile_models.inc breaks a good model in one place, with sizes and
// checksums mended where they are not the point; hostile_ranged.inc has streams that no writer writes. What is too slow to
// be let through is here too; the search for what nobody thought of is in fuzz/.
#include <limits.h>

#include "export/tally.h"
#include "infer/crc.h"
#include "infer/model.h"
#include "infer/range.h"
#include "tests/check.h"
#include "tests/nets.h"

enum { ROWS = 4, LIMIT = 1 << 20, BATCH = 5, WIDE = 70000 };

// --- an allocator that counts ------------------------------------------------------------------------------

enum { HEAP_HEAD = 16, HEAP_CALLS = 256 };

struct heap {
    size_t now, most, limit;    // bytes that are out; over `limit` is a failure of the library
    long calls, fail_at;        // the fail_at-th call gets nothing; 0: none
    size_t reached[HEAP_CALLS]; // bytes that were out after each call
};

static void *heap_allocate(void *context, size_t bytes) {
    struct heap *h = context;
    if (++h->calls == h->fail_at) return NULL;
    if (h->now + bytes > h->limit) fail_msg("%zu bytes asked for, over the limit of %zu", bytes, h->limit);
    char *memory = malloc(HEAP_HEAD + bytes);
    assert_non_null(memory);
    memcpy(memory, &bytes, sizeof bytes);
    memset(memory + HEAP_HEAD, 0xa5, bytes);
    h->now += bytes;
    if (h->now > h->most) h->most = h->now;
    if (h->calls <= HEAP_CALLS) h->reached[h->calls - 1] = h->now;
    return memory + HEAP_HEAD;
}

static void heap_release(void *context, void *memory) {
    struct heap *h = context;
    char *block = (char *)memory - HEAP_HEAD;
    size_t bytes;
    memcpy(&bytes, block, sizeof bytes);
    h->now -= bytes;
    free(block);
}

static struct tally_options heap_options(struct heap *h, enum tally_kernel kernel) {
    return (struct tally_options){h->limit, kernel, 0, heap_allocate, heap_release, h};
}

// Loads, and frees what was loaded. What a refusal must leave behind is checked.
static int load_try(const void *bytes, size_t size, struct heap *h, enum tally_kernel kernel,
                    struct tally_error *e) {
    struct tally_options options = heap_options(h, kernel);
    struct tally_model *m = (struct tally_model *)h;
    h->now = h->most = 0;
    h->calls = 0;
    memset(e, 0x7f, sizeof *e);
    int status = tally_model_load(&m, bytes, size, &options, e);
    assert_non_null(memchr(e->text, 0, sizeof e->text));
    assert_true((status == TALLY_OK) == (m != NULL) && (status == TALLY_OK) == (*e->text == 0));
    if (m) assert_int_equal(tally_model_bytes(m), h->now);
    tally_model_free(m);
    assert_int_equal(h->now, 0);
    return status;
}

// --- good models -------------------------------------------------------------------------------------------

enum good {
    NET,
    ROWS8,
    ROWS16,
    ROWS32,
    ROWSF,
    EXP8,
    MADAM16,
    BRIDGE8,
    BRIDGEF,
    WIDE8,
    DENSE8,
    DENSE16,
    DENSE32,
    DENSEF,
    SMALL8,
    SMALLF,
    EVERY,
    STREAM,
    WORDS,
    CHOOSING,
    GOODS
};

// A layer of 4 rows: 5 in the first column, -7 in the last but two; none; 127 in the last; -1 in the second. `times`
// brings the counters into larger types.
static const struct {
    enum number_kind kind;
    int columns;
    int32_t times;
    bool dense, small;
} goods[GOODS] = {[NET] = {NUMBER_SQUARE, 6, 1, false, false},
                  [ROWS8] = {NUMBER_SQUARE, 6, 1, false, false},
                  [ROWS16] = {NUMBER_SQUARE, 6, 200, false, false},
                  [ROWS32] = {NUMBER_SQUARE, 6, 20000, false, false},
                  [ROWSF] = {NUMBER_KINDS, 6, 1, false, false},
                  [EXP8] = {NUMBER_EXP, 6, 1, false, false},
                  [MADAM16] = {NUMBER_MADAM, 6, 200, false, false},
                  [BRIDGE8] = {NUMBER_SQUARE, 600, 1, false, false},
                  [BRIDGEF] = {NUMBER_KINDS, 600, 1, false, false},
                  [WIDE8] = {NUMBER_SQUARE, WIDE, 1, false, false},
                  [DENSE8] = {NUMBER_SQUARE, 6, 1, true, false},
                  [DENSE16] = {NUMBER_SQUARE, 6, 200, true, false},
                  [DENSE32] = {NUMBER_SQUARE, 6, 20000, true, false},
                  [DENSEF] = {NUMBER_KINDS, 6, 1, true, false},
                  [SMALL8] = {NUMBER_SQUARE, 6, 1, false, true},
                  [SMALLF] = {NUMBER_KINDS, 6, 1, false, true},
                  [STREAM] = {.small = true}};

static void number_put(struct net_tensor *t, int row, int column, int32_t counter) {
    size_t i = (size_t)row * (size_t)net_columns(t) + (size_t)column;
    if (t->counted)
        t->counter[i] = counter;
    else
        t->value[i] = (float)counter / 8;
}

static struct net *good_net_new(enum good g) {
    if (g == WORDS) return nets_words_new();
    if (g == CHOOSING) return nets_choosing_new();
    if (g >= EVERY) return nets_every_new();
    int columns = goods[g].columns;
    const int32_t times = goods[g].times;
    struct net *n = nets_new(g == NET ? shape_3(1, 2, 3) : shape_1(columns));
    const struct nets_weights w = {goods[g].kind, 127 * times, 0, BIAS_COUNTERS};
    if (g == NET) nets_add(n, NET_FLATTEN);
    struct net_layer *l = nets_linear(n, ROWS, &w, 1);
    number_put(&l->weight, 0, 0, 5 * times);
    number_put(&l->weight, 0, columns - 3, -7 * times);
    number_put(&l->weight, 2, columns - 1, 127 * times);
    number_put(&l->weight, 3, 1, -1 * times);
    nets_refresh(&l->weight, w.limit);
    for (int i = 0; i < ROWS; i++) number_put(&l->bias, 0, i, (int32_t[]){10, 0, -20, 30}[i]);
    l->bias.scale = 0.0625;
    for (int i = 0; i < ROWS; i++) l->bias.value[i] = (float)l->bias.counter[i] / 16;
    if (g != NET) return n;
    nets_add(n, NET_RELU);
    struct net_layer *affine = nets_add(n, NET_AFFINE);
    affine->scale = 0.5;
    affine->shift = 0.25;
    nets_linear(n, 2, &(struct nets_weights){NUMBER_KINDS, 0, 1, BIAS_NONE}, 2);
    nets_add(n, NET_SOFTMAX);
    return n;
}

static void net_compose(struct bytes *file, const struct net *n, const struct export_options *o) {
    struct err e = {""};
    struct export_sizes sizes = {.layer = mem_new((size_t)n->count, sizeof *sizes.layer)};
    if (tally_compose(file, n, o, &sizes, &e) != 0) fail_msg("%s", e.text);
    mem_free(sizes.layer);
}

static void good_compose(struct bytes *file, enum good g) {
    struct net *n = good_net_new(g);
    net_compose(file, n,
                &(struct export_options){.dense = goods[g].dense,
                                         .profile = goods[g].small ? PROFILE_SMALL : PROFILE_FAST});
    net_free(n);
}

static void answers_check(const struct tally_model *m, const struct net *n) {
    size_t in = tally_model_inputs(m), out = tally_model_outputs(m), bytes = tally_scratch_bytes(m, BATCH);
    float *x = mem_new(BATCH * in, sizeof *x), *y = mem_new(BATCH * out, sizeof *y);
    float *wanted = mem_new(out, sizeof *wanted);
    void *scratch = mem_new(bytes, 1);
    struct tally_error e;
    for (size_t i = 0; i < BATCH * in; i++) x[i] = (float)(i % 7) / 4 - 0.5f;
    assert_int_equal(tally_run(m, x, BATCH, y, scratch, bytes, &e), TALLY_OK);
    for (size_t s = 0; s < BATCH; s++) {
        net_forward(n, x + s * in, wanted);
        assert_memory_equal(y + s * out, wanted, out * sizeof *y);
    }
    mem_free(scratch);
    mem_free(wanted);
    mem_free(y);
    mem_free(x);
}

// Every kernel, by default options and by an allocator of the caller's.
static void good_check(const struct bytes *file, const struct net *n) {
    const struct net_layer *first = n->layers; // with weights
    while (!first->weight.shape.rank) first++;
    for (int kernel = TALLY_AUTO; kernel <= TALLY_DENSE; kernel++) {
        struct tally_model *m;
        struct tally_error e;
        struct heap heap = {.limit = SIZE_MAX};
        struct tally_options options = heap_options(&heap, (enum tally_kernel)kernel);
        if (kernel == TALLY_DENSE && first->weight.size > LIMIT / 4) continue;
        if (tally_model_load(&m, file->at, file->size, kernel ? &options : NULL, &e)) fail_msg("%s", e.text);
        assert_int_equal(tally_model_inputs(m), shape_size(n->in));
        assert_int_equal(tally_model_layers(m), n->count);
        struct tally_layer l = tally_model_layer(m, (size_t)(first - n->layers));
        assert_int_equal(l.weights, first->weight.size);
        assert_int_equal(l.nonzero, net_nonzero(&first->weight));
        answers_check(m, n);
        tally_model_free(m);
        assert_int_equal(heap.now, 0);
    }
}

static void good_models(void **state) {
    (void)state;
    for (int g = 0; g < GOODS; g++) {
        struct net *n = good_net_new((enum good)g);
        struct bytes file = {0};
        good_compose(&file, (enum good)g);
        good_check(&file, n);
        bytes_free(&file);
        net_free(n);
    }
}

// Codings, kinds of values, number systems and biases, each with each.
static void good_mixtures(void **state) {
    (void)state;
    static const int32_t limits[] = {100, 2000, 50000};
    for (int i = 0; i < 3 * (NUMBER_KINDS + 1) * 3 * 3; i++) {
        int coding = i % 3, kind = i / 3 % (NUMBER_KINDS + 1), bits = i / 3 / (NUMBER_KINDS + 1) % 3;
        const struct nets_weights w = {(enum number_kind)kind, limits[bits], 0.2,
                                       (enum nets_bias)(i / 9 / (NUMBER_KINDS + 1))};
        struct net *n = nets_new(shape_1(40));
        struct bytes file = {0};
        nets_linear(n, 9, &w, (uint64_t)i);
        net_compose(&file, n,
                    &(struct export_options){.dense = coding == 0,
                                             .profile = coding == 1 ? PROFILE_FAST : PROFILE_SMALL});
        good_check(&file, n);
        bytes_free(&file);
        net_free(n);
    }
}

// --- breaking them -----------------------------------------------------------------------------------------

// Where a row's edit is made. From PUT on `section` counts from 0, the program (REMOVE and TWICE take the last), `at` is an
// offset in it, below 0 one from its end, and sizes and checksums are mended.
enum edit {
    RAW,    // of the file: bytes put over those at `at`; nothing mended
    HEAD,   // the same, all checksums mended
    SHORT,  // the file loses its last -at bytes; nothing mended
    PUT,    // bytes put over those at `at`
    ADD,    // bytes put in before `at`; ADD_END: behind the last
    CUT,    // the bytes from `at` to the end go
    REMOVE, // the section goes
    TWICE   // the section comes twice
};

enum { ADD_END = INT_MAX };

struct row {
    enum good good;
    enum edit edit;
    int section, at;
    const char *bytes;
    size_t count;
    int status;
    const char *message;
};

#define B(text) text, sizeof text - 1

static const struct row rows[] = {
#include "tests/hostile_models.inc"
};

enum { SECTIONS = 16 };

struct sections {
    struct bytes part[SECTIONS];
    int count;
    unsigned version, kind; // of the file, and of the sections behind the program; 0: as in version 1
};

static void sections_take(struct sections *s, const struct bytes *file) {
    s->count = file->at[6];
    s->version = file->at[4];
    if (s->count > 1) s->kind = file->at[FORMAT_HEADER + FORMAT_ENTRY];
    size_t at = FORMAT_HEADER + (size_t)s->count * FORMAT_ENTRY;
    for (int i = 0; i < s->count; i++) {
        struct tally_cursor c = tally_cursor_open(file->at + FORMAT_HEADER + i * FORMAT_ENTRY + 4, 4);
        size_t bytes = tally_read_u32(&c);
        bytes_add(&s->part[i], file->at + at, bytes);
        at += bytes;
    }
}

// The file of these sections, with sizes and checksums that are right.
static void sections_compose(struct bytes *file, const struct sections *s) {
    struct bytes directory = {0};
    size_t size = FORMAT_HEADER + (size_t)s->count * FORMAT_ENTRY;
    for (int i = 0; i < s->count; i++) {
        bytes_add_u16(&directory, i == 0 ? FORMAT_PROGRAM : s->kind ? s->kind : FORMAT_LAYER);
        bytes_add_u16(&directory, 0);
        bytes_add_u32(&directory, (uint32_t)s->part[i].size);
        bytes_add_u32(&directory, tally_crc32(0, s->part[i].at, s->part[i].size));
        size += s->part[i].size;
    }
    bytes_add(file, FORMAT_MAGIC, 4);
    bytes_add_u16(file, s->version ? s->version : 1);
    bytes_add_u16(file, (unsigned)s->count);
    bytes_add_u32(file, (uint32_t)size);
    bytes_add_u32(file, tally_crc32(tally_crc32(0, file->at, 12), directory.at, directory.size));
    bytes_add(file, directory.at, directory.size);
    for (int i = 0; i < s->count; i++) bytes_add(file, s->part[i].at, s->part[i].size);
    bytes_free(&directory);
}

static void sections_free(struct sections *s) {
    for (int i = 0; i < SECTIONS; i++) bytes_free(&s->part[i]);
}

static void section_edit(struct sections *s, const struct row *r) {
    struct bytes *part = &s->part[r->section], tail = {0};
    size_t at = r->at == ADD_END ? part->size : r->at < 0 ? part->size - (size_t)-r->at : (size_t)r->at;
    assert_true(at <= part->size && r->section < s->count);
    if (r->edit == PUT) {
        assert_true(r->count <= part->size - at && memcmp(part->at + at, r->bytes, r->count) != 0);
        memcpy(part->at + at, r->bytes, r->count);
    } else if (r->edit == ADD || r->edit == CUT) {
        bytes_add(&tail, part->at + at, r->edit == ADD ? part->size - at : 0);
        part->size = at;
        bytes_add(part, r->bytes, r->count);
        bytes_add(part, tail.at, tail.size);
        bytes_free(&tail);
    } else {
        struct bytes *last = &s->part[s->count - 1];
        if (r->edit == TWICE) bytes_add(&s->part[s->count++], last->at, last->size);
        if (r->edit == REMOVE) bytes_free(last), s->count--;
    }
}

static void u32_put(unsigned char *at, uint32_t value) {
    for (int i = 0; i < 4; i++) at[i] = (unsigned char)(value >> 8 * i);
}

// Of the sections as the directory has them, as far as they are inside the file, and of the header.
static void checksums_mend(struct bytes *file) {
    size_t count = file->at[6] | (size_t)file->at[7] << 8, left = file->size - FORMAT_HEADER;
    if (count > left / FORMAT_ENTRY) return;
    const unsigned char *section = file->at + FORMAT_HEADER + count * FORMAT_ENTRY;
    left -= count * FORMAT_ENTRY;
    for (size_t i = 0; i < count; i++) {
        unsigned char *entry = file->at + FORMAT_HEADER + i * FORMAT_ENTRY;
        struct tally_cursor c = tally_cursor_open(entry + 4, 4);
        size_t bytes = tally_read_u32(&c);
        if (bytes > left) break;
        u32_put(entry + 8, tally_crc32(0, section, bytes));
        section += bytes;
        left -= bytes;
    }
    uint32_t sum = tally_crc32(0, file->at, 12);
    u32_put(file->at + 12, tally_crc32(sum, file->at + FORMAT_HEADER, count * FORMAT_ENTRY));
}

static void row_compose(struct bytes *file, const struct row *r) {
    struct bytes good = {0};
    good_compose(&good, r->good);
    if (r->edit == RAW || r->edit == HEAD) {
        assert_true((size_t)r->at + r->count <= good.size);
        assert_memory_not_equal(good.at + r->at, r->bytes, r->count);
        memcpy(good.at + r->at, r->bytes, r->count);
        if (r->edit == HEAD) checksums_mend(&good);
        bytes_add(file, good.at, good.size);
    } else if (r->edit == SHORT) {
        bytes_add(file, good.at, good.size - (size_t)-r->at);
    } else {
        struct sections s = {0};
        sections_take(&s, &good);
        section_edit(&s, r);
        sections_compose(file, &s);
        sections_free(&s);
    }
    bytes_free(&good);
}

static const char many_layers[] = ""; // no message; layers as such take more memory than most rows may

// Whether the file is refused as the row says; from memory that ends where the file does.
static bool is_refused(const struct bytes *file, int status, const char *message, size_t row) {
    struct tally_error e;
    struct heap heap = {.limit = message == many_layers ? 2 * LIMIT : LIMIT};
    unsigned char *exact = malloc(file->size + 1);
    assert_non_null(exact);
    memcpy(exact + 1, file->at, file->size);
    int found = load_try(exact + 1, file->size, &heap, TALLY_SPARSE, &e);
    free(exact);
    if (found == status && strcmp(e.text, message) == 0) return true;
    print_error("row %zu\n  found  %d %s\n  wanted %d %s\n", row, found, e.text, status, message);
    return false;
}

static void every_row(void **state) {
    (void)state;
    int failed = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct bytes file = {0};
        row_compose(&file, &rows[i]);
        failed += !is_refused(&file, rows[i].status, rows[i].message, i);
        bytes_free(&file);
    }
    assert_int_equal(failed, 0);
    assert_true(sizeof rows / sizeof *rows >= 80);
}

// As many layers and sections as there may be, and one more; neither fits a row.
static void too_many(void **state) {
    (void)state;
    for (int more = 0; more < 2; more++) {
        struct sections s = {.count = 1};
        struct bytes file = {0}, *program = &s.part[0];
        bytes_add(program, "\1\2\0\0\0", 5);
        bytes_add_u16(program, (unsigned)(FORMAT_LAYERS_MAX + more));
        for (int i = 0; i < FORMAT_LAYERS_MAX + more; i++)
            bytes_add(program, &(unsigned char){FORMAT_RELU}, 1);
        sections_compose(&file, &s);
        assert_true(is_refused(&file, more ? TALLY_BAD_FILE : TALLY_OK,
                               more ? "program: 4097 layers in 4097 bytes, wanted 1 to 4096" : many_layers,
                               0));
        bytes_free(&file);
        // Sections of nothing: those that are too many are refused before the first is looked at.
        size_t size = FORMAT_HEADER + (size_t)(FORMAT_SECTIONS_MAX + more) * FORMAT_ENTRY;
        bytes_add(&file, FORMAT_MAGIC, 4);
        bytes_add_u16(&file, 1);
        bytes_add_u16(&file, (unsigned)(FORMAT_SECTIONS_MAX + more));
        bytes_add_u32(&file, (uint32_t)size);
        while (file.size < size) bytes_add_u16(&file, 0);
        checksums_mend(&file);
        assert_true(is_refused(&file, TALLY_BAD_FILE,
                               more ? "header: 1025 sections in 12316 bytes, wanted 1 to 1024"
                                    : "section 0: kind 0 and 0 behind it, wanted 1 and 0",
                               0));
        bytes_free(&file);
        sections_free(&s);
    }
}

// --- streams that no writer writes -------------------------------------------------------------------------

enum { STREAM_ROWS = 3, STREAM_COLUMNS = 4, STREAM_WEIGHTS = STREAM_ROWS * STREAM_COLUMNS };

struct stream_row {
    enum format_values values;
    uint32_t claimed; // weights that are not zero, by the header
    int32_t weights[STREAM_WEIGHTS];
    enum format_values bias_values;
    uint32_t bias_claimed;
    int32_t bias[STREAM_ROWS];
    int tail; // bytes added to the stream's end, or cut from it
    int status;
    const char *message;
};

static const struct stream_row stream_rows[] = {
#include "tests/hostile_ranged.inc"
};

static int encode_bit(struct tally_coder *c, int bit, uint32_t p) {
    uint32_t split = tally_coder_split(c, p);
    if (bit)
        c->high = split;
    else
        c->low = split + 1;
    while ((c->low ^ c->high) >> 24 == 0) {
        bytes_add(c->context, &(unsigned char){(unsigned char)(c->low >> 24)}, 1);
        c->low <<= 8;
        c->high = c->high << 8 | 255;
    }
    return bit;
}

static void stream_add(struct bytes *b, const struct stream_row *r) {
    struct tally_coder coder = {.bit = encode_bit, .high = UINT32_MAX, .context = b};
    struct tally_matrix_model *model = mem_new(1, sizeof *model);
    uint32_t alive[STREAM_COLUMNS] = {0};
    const struct tally_matrix of = {STREAM_ROWS, STREAM_COLUMNS, r->claimed,
                                    .floats = r->values == FORMAT_F32};
    tally_matrix_open(model, &of, alive);
    for (int i = 0; i < STREAM_ROWS; i++) {
        int32_t row[STREAM_COLUMNS];
        memcpy(row, r->weights + i * STREAM_COLUMNS, sizeof row);
        tally_code_row(model, &coder, row);
    }
    int32_t bias[STREAM_ROWS];
    memcpy(bias, r->bias, sizeof bias);
    tally_code_numbers(&coder, bias, STREAM_ROWS, r->bias_values == FORMAT_F32, NULL);
    for (int shift = 24; shift >= 0; shift -= 8)
        bytes_add(b, &(unsigned char){(unsigned char)(coder.low >> shift)}, 1);
    mem_free(model);
}

static void tensor_add(struct bytes *b, enum format_values values, uint32_t claimed) {
    const unsigned char kinds[4] = {(unsigned char)values,
                                    values == FORMAT_F32 ? FORMAT_NONE : FORMAT_MAP_LINEAR, FORMAT_RANGED, 0};
    const double scale = 1;
    bytes_add(b, kinds, sizeof kinds);
    bytes_add_u32(b, claimed);
    bytes_add(b, &scale, sizeof scale);
}

static void stream_compose(struct bytes *file, const struct stream_row *r) {
    struct sections s = {.count = 2};
    struct bytes *program = &s.part[0], *layer = &s.part[1];
    bytes_add(program, "\1\4\0\0\0\1\0\2\3\0\0\0\1", 13); // 4 numbers; linear to 3, with a bias
    tensor_add(layer, r->values, r->claimed);
    tensor_add(layer, r->bias_values, r->bias_claimed);
    size_t start = layer->size;
    stream_add(layer, r);
    if (r->tail > 0) bytes_add(layer, "more", (size_t)r->tail);
    if (r->tail < 0) layer->size -= (size_t)-r->tail;
    assert_true(layer->size >= start);
    sections_compose(file, &s);
    sections_free(&s);
}

static void every_stream(void **state) {
    (void)state;
    int failed = 0;
    for (size_t i = 0; i < sizeof stream_rows / sizeof *stream_rows; i++) {
        struct bytes file = {0};
        stream_compose(&file, &stream_rows[i]);
        failed += !is_refused(&file, stream_rows[i].status, stream_rows[i].message, i);
        bytes_free(&file);
    }
    assert_int_equal(failed, 0);
}

// --- all prefixes, all bytes -------------------------------------------------------------------------------

// The file as it is, cut; and each section cut, with the sizes mended.
static void every_prefix(void **state) {
    (void)state;
    struct tally_error e;
    struct heap heap = {.limit = LIMIT};
    for (int g = 0; g < GOODS; g++) {
        struct bytes good = {0};
        good_compose(&good, (enum good)g);
        for (size_t size = 0; size < good.size; size++) {
            unsigned char *exact = malloc(size + 1);
            assert_non_null(exact);
            memcpy(exact + 1, good.at, size);
            assert_int_equal(load_try(exact + 1, size, &heap, TALLY_SPARSE, &e), TALLY_BAD_FILE);
            free(exact);
        }
        struct sections all = {0};
        sections_take(&all, &good);
        for (int part = 0; part < all.count; part++) {
            size_t whole = all.part[part].size;
            for (size_t size = 0; size < whole; size++) {
                struct bytes file = {0};
                all.part[part].size = size;
                sections_compose(&file, &all);
                assert_int_equal(load_try(file.at, file.size, &heap, TALLY_SPARSE, &e), TALLY_BAD_FILE);
                bytes_free(&file);
            }
            all.part[part].size = whole;
        }
        sections_free(&all);
        bytes_free(&good);
    }
}

// Runs what was let through, unless it became too wide.
static void model_exercise(const struct tally_model *m) {
    size_t in = tally_model_inputs(m), out = tally_model_outputs(m), bytes = tally_scratch_bytes(m, 2);
    if (in > 1000 || out > 1000 || bytes > LIMIT) return;
    float *x = mem_new(2 * in, sizeof *x), *y = mem_new(2 * out, sizeof *y);
    void *scratch = mem_new(bytes, 1);
    x[0] = 1;
    assert_int_equal(tally_run(m, x, 2, y, scratch, bytes, NULL), TALLY_OK);
    mem_free(scratch);
    mem_free(y);
    mem_free(x);
}

// Each byte of each section gets a few other values: loaded or refused, nothing breaks.
static void every_byte(void **state) {
    (void)state;
    static const unsigned char flips[] = {1, 2, 128, 255};
    struct heap heap = {.limit = LIMIT / 4};
    struct tally_options options = heap_options(&heap, TALLY_SPARSE);
    size_t loaded = 0, refused = 0;
    for (int g = 0; g < GOODS; g++) {
        if (goods[g].columns > 1000) continue;
        struct bytes good = {0};
        good_compose(&good, (enum good)g);
        size_t first = FORMAT_HEADER + good.at[6] * (size_t)FORMAT_ENTRY;
        for (size_t i = first * sizeof flips; i < good.size * sizeof flips; i++) {
            struct sections s = {0};
            struct bytes file = {0};
            struct tally_model *m;
            good.at[i / sizeof flips] ^= flips[i % sizeof flips];
            sections_take(&s, &good);
            sections_compose(&file, &s);
            sections_free(&s);
            good.at[i / sizeof flips] ^= flips[i % sizeof flips];
            if (tally_model_load(&m, file.at, file.size, &options, NULL) == TALLY_OK) {
                model_exercise(m);
                loaded++;
            } else {
                refused++;
            }
            tally_model_free(m);
            assert_int_equal(heap.now, 0);
            bytes_free(&file);
        }
        bytes_free(&good);
    }
    assert_true(loaded > 100 && refused > 100);
}

// --- memory ------------------------------------------------------------------------------------------------

// The n-th allocation fails, for every n.
static void every_allocation(void **state) {
    (void)state;
    for (int g = 0; g < GOODS; g++)
        for (int kernel = TALLY_AUTO; kernel <= TALLY_DENSE; kernel++) {
            struct bytes good = {0};
            struct tally_error e;
            struct heap heap = {.limit = 64 << 20};
            int status = TALLY_NO_MEMORY;
            good_compose(&good, (enum good)g);
            while (status != TALLY_OK) {
                heap.fail_at++;
                status = load_try(good.at, good.size, &heap, (enum tally_kernel)kernel, &e);
                assert_true(status == TALLY_NO_MEMORY || heap.calls < heap.fail_at);
                if (status != TALLY_OK) assert_non_null(strstr(e.text, "no memory for "));
            }
            assert_true(heap.fail_at > 5);
            bytes_free(&good);
        }
}

// One byte less than each stage wants is refused there, and the limit kept by the allocator's own count.
static void every_limit(void **state) {
    (void)state;
    for (int g = 0; g < GOODS; g++)
        for (int kernel = TALLY_SPARSE; kernel <= TALLY_DENSE; kernel++) {
            struct bytes good = {0};
            struct tally_error e;
            struct heap whole = {.limit = 64 << 20};
            good_compose(&good, (enum good)g);
            assert_int_equal(load_try(good.at, good.size, &whole, (enum tally_kernel)kernel, &e), TALLY_OK);
            for (long stage = 0; stage < whole.calls; stage++) {
                struct heap heap = {.limit = whole.reached[stage] - 1};
                char wanted[100];
                assert_int_equal(load_try(good.at, good.size, &heap, (enum tally_kernel)kernel, &e),
                                 TALLY_NO_MEMORY);
                assert_true(heap.calls <= stage);
                snprintf(wanted, sizeof wanted,
                         stage ? "the model wants more than its limit of %zu bytes"
                               : "no memory for the model, or none allowed (limit %zu bytes)",
                         heap.limit);
                assert_string_equal(e.text, wanted);
            }
            struct heap enough = {.limit = whole.most};
            assert_int_equal(load_try(good.at, good.size, &enough, (enum tally_kernel)kernel, &e), TALLY_OK);
            bytes_free(&good);
        }
}

// --- calls -------------------------------------------------------------------------------------------------

static void bad_loads(void **state) {
    (void)state;
    static const char message[] = "load: no model, no bytes, an unknown kernel, or half an allocator";
    struct bytes good = {0};
    struct tally_error e;
    struct tally_model *m = (struct tally_model *)&e;
    good_compose(&good, NET);
    assert_int_equal(tally_model_load(&m, NULL, good.size, NULL, &e), TALLY_BAD_CALL);
    assert_null(m);
    assert_string_equal(e.text, message);
    assert_int_equal(tally_model_load(NULL, good.at, good.size, NULL, &e), TALLY_BAD_CALL);
    assert_string_equal(e.text, message);
    struct tally_options options = {.kernel = (enum tally_kernel)(TALLY_DENSE + 1)};
    assert_int_equal(tally_model_load(&m, good.at, good.size, &options, NULL), TALLY_BAD_CALL);
    options = (struct tally_options){.allocate = heap_allocate};
    assert_int_equal(tally_model_load(&m, good.at, good.size, &options, &e), TALLY_BAD_CALL);
    options = (struct tally_options){.release = heap_release};
    assert_int_equal(tally_model_load(&m, good.at, good.size, &options, &e), TALLY_BAD_CALL);
    assert_null(m);
    // Without an error to fill, and freeing nothing.
    assert_int_equal(tally_model_load(&m, good.at, good.size - 1, NULL, NULL), TALLY_BAD_FILE);
    tally_model_free(m);
    bytes_free(&good);
}

static void bad_runs(void **state) {
    (void)state;
    struct bytes good = {0};
    struct tally_model *m;
    struct tally_error e;
    float x[6] = {0}, y[2];
    good_compose(&good, NET);
    assert_int_equal(tally_model_load(&m, good.at, good.size, NULL, NULL), TALLY_OK);
    size_t bytes = tally_scratch_bytes(m, 1);
    void *scratch = mem_new(bytes, 1);
    char message[100];
    snprintf(message, sizeof message, "run: wants x, y and %zu bytes of scratch, has %zu", bytes, bytes - 1);
    assert_int_equal(tally_run(m, x, 1, y, scratch, bytes - 1, &e), TALLY_BAD_CALL);
    assert_string_equal(e.text, message);
    assert_int_equal(tally_run(m, x, BATCH, y, scratch, bytes, &e), TALLY_BAD_CALL);
    assert_int_equal(tally_run(m, NULL, 1, y, scratch, bytes, &e), TALLY_BAD_CALL);
    assert_int_equal(tally_run(m, x, 1, NULL, scratch, bytes, &e), TALLY_BAD_CALL);
    assert_int_equal(tally_run(m, x, 1, y, NULL, bytes, NULL), TALLY_BAD_CALL);
    assert_int_equal(tally_run(m, x, 0, y, scratch, tally_scratch_bytes(m, 0), &e), TALLY_OK);
    assert_int_equal(tally_run(m, x, 1, y, scratch, bytes, &e), TALLY_OK);
    assert_string_equal(e.text, "");
    assert_true(tally_scratch_bytes(m, 64) == tally_scratch_bytes(m, 1000000));
    mem_free(scratch);
    tally_model_free(m);
    bytes_free(&good);
}

// --- work --------------------------------------------------------------------------------------------------

// Layers without a weight, from 1 to `width` and back, range coded: a few bytes each.
static void hollow_compose(struct bytes *file, int width, int pairs) {
    const struct nets_weights none = {NUMBER_SQUARE, 1, 0, BIAS_NONE};
    struct net *n = nets_new(shape_1(1));
    for (int i = 0; i < pairs; i++) {
        nets_linear(n, width, &none, 1);
        nets_linear(n, 1, &none, 1);
    }
    net_compose(file, n, &(struct export_options){.profile = PROFILE_SMALL});
    net_free(n);
}

// A small file can't keep its reader busy: what its streams may mean is bounded, by its size and the memory allowed.
static void bounded_streams(void **state) {
    (void)state;
    enum { WIDTH = 50000, PAIRS = 7 };
    struct bytes file = {0};
    struct tally_error e;
    char message[120];
    hollow_compose(&file, WIDTH, PAIRS);
    struct heap heap = {.limit = 4 << 20};
    size_t most = heap.limit / 16 + FORMAT_RANGED_BYTE * file.size, layers = most / WIDTH;
    assert_in_range(layers, 1, 2 * PAIRS - 1);
    assert_int_equal(load_try(file.at, file.size, &heap, TALLY_SPARSE, &e), TALLY_BAD_FILE);
    snprintf(message, sizeof message, "layer %zu: %d numbers, %zu more may be range coded in so small a file",
             layers, WIDTH, most - layers * WIDTH);
    assert_string_equal(e.text, message);
    heap.limit = 16 << 20;
    assert_int_equal(load_try(file.at, file.size, &heap, TALLY_SPARSE, &e), TALLY_OK);
    bytes_free(&file);
}

// The writer does not write what the loader would refuse for it. Too slow for the sanitizers.
static void hollow_writing(void **state) {
    (void)state;
#ifdef TALLY_HOSTILE
    skip();
#endif
    const struct nets_weights none = {NUMBER_SQUARE, 1, 0, BIAS_NONE};
    struct net *n = nets_new(shape_1(4096));
    struct bytes file = {0};
    struct err e = {""};
    size_t layer;
    nets_linear(n, 4300, &none, 1);
    struct export_sizes sizes = {.layer = &layer};
    assert_int_equal(tally_compose(&file, n, &(struct export_options){.profile = PROFILE_SMALL}, &sizes, &e),
                     -1);
    char message[150];
    snprintf(message, sizeof message,
             "tally: 17612800 numbers in %zu bytes, profile small takes at most %zu; use profile fast",
             sizes.total, FORMAT_RANGED_FREE + FORMAT_RANGED_BYTE * sizes.total);
    assert_string_equal(e.text, message);
    bytes_free(&file);
    net_free(n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_models),    cmocka_unit_test(good_mixtures),
        cmocka_unit_test(every_row),      cmocka_unit_test(too_many),
        cmocka_unit_test(every_stream),   cmocka_unit_test(every_prefix),
        cmocka_unit_test(every_byte),     cmocka_unit_test(every_allocation),
        cmocka_unit_test(every_limit),    cmocka_unit_test(bad_loads),
        cmocka_unit_test(bad_runs),       cmocka_unit_test(bounded_streams),
        cmocka_unit_test(hollow_writing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
