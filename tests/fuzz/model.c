// Target: the inference library's loader, and running what it lets through: a sample's answer must be the same in every
// batch, and the same by other kernels.
//
// The first byte says how; the file follows. So that changed bytes get beyond the checksums and the sizes, both are mended
// first, unless the byte says otherwise.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "infer/crc.h"
#include "infer/cursor.h"
#include "infer/format.h"
#include "infer/tally_infer.h"
#include "tests/fuzz/fuzz.h"

enum { KERNEL = 3, PORTABLE = 4, NOT_AUTO = 56, SIZES_KEPT = 64, CHECKSUMS_KEPT = 128 }; // of the first byte
enum {
    MEMORY = 4 << 20,
    SCRATCH = 8 << 20,
    WORK = 1 << 22,
    BATCHES = 3,
    SAMPLES = 64
}; // what a run may take

// --- mending -----------------------------------------------------------------------------------------------------

static void u32_put(uint8_t *at, size_t value) {
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> 8 * i);
}

static size_t u32_at(const uint8_t *at) {
    struct tally_cursor c = tally_cursor_open(at, 4);
    return tally_read_u32(&c);
}

// The last section takes what the others leave.
static void sizes_mend(uint8_t *file, size_t size, size_t sections) {
    size_t left = size - FORMAT_HEADER - sections * FORMAT_ENTRY;
    u32_put(file + 8, size);
    for (size_t i = 0; i < sections; i++) {
        uint8_t *bytes = file + FORMAT_HEADER + i * FORMAT_ENTRY + 4;
        if (i + 1 == sections) u32_put(bytes, left);
        if (u32_at(bytes) > left) return;
        left -= u32_at(bytes);
    }
}

static void checksums_mend(uint8_t *file, size_t size, size_t sections) {
    const uint8_t *at = file + FORMAT_HEADER + sections * FORMAT_ENTRY;
    for (size_t i = 0; i < sections; i++) {
        uint8_t *entry = file + FORMAT_HEADER + i * FORMAT_ENTRY;
        size_t bytes = u32_at(entry + 4);
        if (bytes > size - (size_t)(at - file)) break;
        u32_put(entry + 8, tally_crc32(0, at, bytes));
        at += bytes;
    }
    u32_put(file + 12, tally_crc32(tally_crc32(0, file, 12), file + FORMAT_HEADER, sections * FORMAT_ENTRY));
}

static void file_mend(uint8_t *file, size_t size, unsigned how) {
    if (size < FORMAT_HEADER) return;
    size_t sections = file[6] | (size_t)file[7] << 8;
    if (sections < 1 || sections > (size - FORMAT_HEADER) / FORMAT_ENTRY) return;
    if (!(how & SIZES_KEPT)) sizes_mend(file, size, sections);
    if (!(how & CHECKSUMS_KEPT)) checksums_mend(file, size, sections);
}

// --- running -----------------------------------------------------------------------------------------------------

// Multiplications and such of all batches together, more or less.
static double work_of(const struct tally_model *m) {
    double work = 0;
    for (size_t i = 0; i < tally_model_layers(m); i++) {
        struct tally_layer l = tally_model_layer(m, i);
        int dense = *l.kernel_one == 'd' || *l.kernel_many == 'd';
        work += (dense ? (double)l.in * (double)l.out : (double)l.products) + 16 * (double)l.out;
        if (strcmp(l.kind, "k_winners") == 0) work += 1100 * (double)l.in; // it may look at each place alone
    }
    return work * 70;
}

// Without the spare bytes of mem_new, which hide an access beyond the end.
static void *exact_new(size_t count, size_t size) {
    void *memory = malloc(count * size);
    CHECK(memory, "no memory for %zu times %zu bytes", count, size);
    return memory;
}

static int same(float a, float b) {
    return a == b || (isnan(a) && isnan(b));
}

// The answers to SAMPLES samples; free them. The blocks are of exactly the sizes that the library promises to stay in.
static float *model_run_new(const struct tally_model *m) {
    static const size_t batches[BATCHES] = {SAMPLES, 5, 1};
    size_t in = tally_model_inputs(m), out = tally_model_outputs(m);
    float *wanted = exact_new(SAMPLES * out, sizeof *wanted);
    for (int k = 0; k < BATCHES; k++) {
        size_t batch = batches[k], bytes = tally_scratch_bytes(m, batch);
        float *x = exact_new(batch * in, sizeof *x), *y = exact_new(batch * out, sizeof *y);
        char *scratch = exact_new(bytes + 1, 1);
        struct tally_error e;
        for (size_t i = 0; i < batch * in; i++) x[i] = i % 3 ? (float)(i % 11) / 4 - 1 : 0;
        int status = tally_run(m, x, batch, y, scratch + 1, bytes, &e); // from an odd address
        CHECK(status == TALLY_OK, "run: %s", e.text);
        for (size_t i = 0; i < batch * out; i++)
            CHECK(k == 0 || same(y[i], wanted[i]), "number %zu is %g alone, %g among %d", i, (double)y[i],
                  (double)wanted[i], SAMPLES);
        if (k == 0) memcpy(wanted, y, batch * out * sizeof *y);
        free(scratch);
        free(y);
        free(x);
    }
    return wanted;
}

// The model's answers, to be freed; NULL where it is refused or takes too long. *count gets how many there are.
static float *model_try_new(size_t *count, const uint8_t *file, size_t size,
                            const struct tally_options *options) {
    struct tally_model *m;
    struct tally_error e;
    float *answers = NULL;
    int status = tally_model_load(&m, file, size, options, &e);
    CHECK((status == TALLY_OK) == (m != NULL), "status %d, model %p", status, (void *)m);
    if (!m) {
        fuzz_check_message(e.text);
        return NULL;
    }
    CHECK(tally_model_bytes(m) <= options->memory_limit, "%zu bytes", tally_model_bytes(m));
    CHECK(tally_model_nonzero(m) <= tally_model_weights(m), "more weights than there are");
    if (tally_scratch_bytes(m, SAMPLES) <= SCRATCH && work_of(m) <= WORK) answers = model_run_new(m);
    *count = SAMPLES * tally_model_outputs(m);
    tally_model_free(m);
    return answers;
}

// By portable code and the other kernel.
static void others_compare(const float *answers, size_t count, const uint8_t *file, size_t size,
                           struct tally_options options) {
    size_t other_count;
    options.portable = !options.portable;
    options.kernel = options.kernel == TALLY_DENSE ? TALLY_SPARSE : TALLY_DENSE;
    float *others = model_try_new(&other_count, file, size, &options);
    for (size_t i = 0; others && i < count; i++)
        CHECK(count == other_count && same(answers[i], others[i]),
              "number %zu of %zu is %g, %g by other kernels", i, other_count, (double)answers[i],
              (double)others[i]);
    free(others);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    if (size < 1) return 0;
    unsigned how = input[0];
    uint8_t *file = exact_new(size, 1); // from an odd address, and never NULL
    memcpy(file + 1, input + 1, size - 1);
    file_mend(file + 1, size - 1, how);
    struct tally_options options = {.memory_limit = MEMORY, .portable = (how & PORTABLE) != 0};
    options.kernel = (enum tally_kernel)(how & KERNEL);
    // Measuring takes a thousand times as long as the rest, so few inputs choose it.
    if (options.kernel > TALLY_DENSE || (options.kernel == TALLY_AUTO && how & NOT_AUTO))
        options.kernel = TALLY_SPARSE;
    size_t count;
    float *answers = model_try_new(&count, file + 1, size - 1, &options);
    if (answers) others_compare(answers, count, file + 1, size - 1, options);
    free(answers);
    free(file);
    return 0;
}
