/* The RANGED coding. Contracts, sources and the model in range.h. */
#include "infer/range.h"

#include <string.h>

enum {
    UNIT = 1 << 24,      /* of a cell's probability */
    PLACE_MEMORY = 500,  /* a cell's estimate is of about this many last bits: places */
    NUMBER_MEMORY = 250, /* ... numbers */
    MIX_UNIT = 1 << 16,  /* of a mixing weight */
    MIX_RATE = 14, /* shift of the mixing weights' step: 0.02 of error times input; half of it in streams */
    ADAPTIVE_BITS = 3, /* bits of a magnitude, below the leading one, that have cells */
    FLOAT_BITS = 32
};

/* --- the coder ----------------------------------------------------------------------------------------------------- */

uint32_t tally_coder_split(const struct tally_coder *c, uint32_t p) {
    return c->low + (uint32_t)((uint64_t)(c->high - c->low) * p >> 16);
}

static uint32_t next_byte(struct tally_coder *c) {
    if (c->at < c->end) return *c->at++;
    c->failed = 1;
    return 0;
}

static int decode_bit(struct tally_coder *c, int bit, uint32_t p) {
    uint32_t split = tally_coder_split(c, p);
    bit = c->code <= split;
    if (bit)
        c->high = split;
    else
        c->low = split + 1;
    while ((c->low ^ c->high) >> 24 == 0) {
        c->low <<= 8;
        c->high = c->high << 8 | 255;
        c->code = c->code << 8 | next_byte(c);
    }
    return bit;
}

struct tally_coder tally_decoder_open(const unsigned char *bytes, size_t size) {
    struct tally_coder c;
    memset(&c, 0, sizeof c);
    c.bit = decode_bit;
    c.high = UINT32_MAX;
    c.at = bytes;
    c.end = bytes + size;
    for (int i = 0; i < 4; i++) c.code = c.code << 8 | next_byte(&c);
    return c;
}

int tally_decoder_ended(const struct tally_coder *c) {
    return !c->failed && c->at == c->end;
}

/* --- cells --------------------------------------------------------------------------------------------------------- */

static uint32_t cell_chance(const struct tally_cell *cell) {
    uint32_t p = (uint32_t)cell->p >> 8;
    return p < 16 ? 16 : p > 65520 ? 65520 : p;
}

static void cell_learn(struct tally_cell *cell, int bit, int memory) {
    cell->n += cell->n < memory;
    cell->p += ((bit ? UNIT : 0) - cell->p) * 2 / (2 * cell->n + 3);
}

static void cells_open(struct tally_cell *cells, size_t count, int32_t p) {
    for (size_t i = 0; i < count; i++) cells[i].p = p, cells[i].n = 0;
}

static int cell_code(struct tally_cell *cell, struct tally_coder *coder, int bit) {
    bit = coder->bit(coder, bit, cell_chance(cell));
    cell_learn(cell, bit, NUMBER_MEMORY);
    return bit;
}

/* --- numbers ------------------------------------------------------------------------------------------------------- */

static void number_open(struct tally_number_model *m) {
    cells_open(m->sign, 9, UNIT / 2);
    cells_open(m->length[0], TALLY_LASTS * TALLY_LENGTHS, UNIT / 2);
    m->last = 0;
    cells_open(m->bits[0], TALLY_LENGTHS * 8, UNIT / 2);
}

static uint32_t float_code(struct tally_coder *coder, uint32_t bits) {
    uint32_t value = 0;
    for (int i = FLOAT_BITS - 1; i >= 0; i--)
        value = value << 1 | (uint32_t)coder->bit(coder, (int)(bits >> i & 1), 32768);
    return value;
}

/* A magnitude of 1 .. 2^31-1. */
static uint32_t magnitude_code(struct tally_number_model *m, struct tally_coder *coder, uint32_t magnitude) {
    int length = 1, wanted = 1;
    while (wanted < TALLY_LENGTHS - 1 && magnitude >> wanted) wanted++;
    while (length < TALLY_LENGTHS - 1 && cell_code(&m->length[m->last][length], coder, length < wanted))
        length++;
    uint32_t value = 1;
    for (int i = length - 2; i >= 0; i--) {
        int bit = (int)(magnitude >> i & 1), done = length - 2 - i;
        if (done < ADAPTIVE_BITS)
            bit = cell_code(&m->bits[length][(1u << done) - 1 + (value & ((1u << done) - 1))], coder, bit);
        else
            bit = coder->bit(coder, bit, 32768);
        value = value << 1 | (uint32_t)bit;
    }
    return value;
}

/* A number that is not zero; `context` of its sign, below 9. */
static int32_t number_code(struct tally_number_model *m, struct tally_coder *coder, int32_t number,
                           int context, int floats) {
    if (floats) return (int32_t)float_code(coder, (uint32_t)number);
    int negative = cell_code(&m->sign[context], coder, number < 0);
    uint32_t magnitude = magnitude_code(m, coder, number < 0 ? 0u - (uint32_t)number : (uint32_t)number);
    return negative ? -(int32_t)magnitude : (int32_t)magnitude;
}

void tally_code_numbers(struct tally_coder *coder, int32_t *numbers, size_t count, int floats,
                        const unsigned char *alive) {
    struct tally_number_model model;
    struct tally_cell zero[3];
    number_open(&model);
    cells_open(zero, 3, UNIT / 4);
    int last = 0;
    for (size_t i = 0; i < count && !coder->failed; i++) {
        if (alive) last = alive[i] ? 0 : 2;
        last = cell_code(&zero[last], coder, numbers[i] == 0);
        numbers[i] = last ? 0 : number_code(&model, coder, numbers[i], 0, floats);
    }
}

/* --- places -------------------------------------------------------------------------------------------------------- */

/* e^(1/256) and 1 in 1/2^32. */
static const uint64_t EXP_STEP = UINT64_C(4311777323), EXP_ONE = UINT64_C(1) << 32;

static void logistic_open(struct tally_matrix_model *m) {
    uint64_t e = EXP_ONE; /* e^(i / 256) */
    for (int i = 0; i < 2048; i++) {
        uint64_t p = 65536 - ((EXP_ONE << 16) / (EXP_ONE + e));
        if (p > 65520) p = 65520;
        m->squash[2048 + i] = (uint16_t)p;
        if (i) m->squash[2048 - i] = (uint16_t)(65536 - p);
        e = (e >> 16) * (EXP_STEP >> 16) + ((e >> 16) * (EXP_STEP & 0xffff) >> 16) +
            ((e & 0xffff) * (EXP_STEP >> 16) >> 16);
    }
    m->squash[0] = m->squash[1];
    int at = 0;
    for (int i = 0; i < TALLY_LOGISTIC; i++) {
        while (at < TALLY_LOGISTIC - 1 && m->squash[at] < i * 16 + 8) at++;
        m->stretch[i] = (int16_t)(at - 2048);
    }
}

void tally_matrix_link(struct tally_matrix *of, size_t columns, const unsigned char *alive, size_t count) {
    int fits = alive && columns % count == 0;
    of->before = fits ? alive : NULL;
    of->per = fits ? columns / count : 0;
}

void tally_matrix_open(struct tally_matrix_model *m, const struct tally_matrix *of, uint32_t *alive) {
    memset(m, 0, sizeof *m);
    m->of = *of;
    m->total = (uint64_t)of->rows * of->columns;
    m->alive = alive;
    m->mixed = of->extended ? TALLY_MIXED : 4;
    memset(alive, 0, of->columns * sizeof *alive);
    logistic_open(m);
    uint64_t density = ((uint64_t)of->nonzero * UNIT + m->total / 2) / m->total;
    int32_t p = density < UNIT / 4096          ? UNIT / 4096
                : density > UNIT - UNIT / 4096 ? UNIT - UNIT / 4096
                                               : (int32_t)density;
    cells_open(m->column[0], TALLY_HINTS * TALLY_RATIOS, p);
    cells_open(m->line[0], TALLY_HINTS * TALLY_RATIOS, p);
    cells_open(m->near, TALLY_NEIGHBOURS, p);
    cells_open(m->around, TALLY_RATIOS, p);
    cells_open(m->channel[0], TALLY_HINTS * TALLY_RATIOS, p);
    cells_open(m->both, 64, p);
    number_open(&m->number);
    m->base = m->stretch[p >> 12];
    for (int i = 0; i < m->mixed; i++) m->weight[i] = MIX_UNIT * 3 / 10;
}

/* Which of TALLY_RATIOS half octaves (seen / of) / (nonzero / total) lies in, with a little added to `seen`. */
static size_t ratio_bucket(const struct tally_matrix_model *m, uint64_t seen, uint64_t of) {
    uint64_t expected = (m->of.nonzero + 1) * of,
             ratio = (seen * 4 + 1) * m->total / (expected ? expected : 1);
    size_t octave = 0;
    while (ratio >> octave > 3) octave++;
    size_t bucket = octave * 2 + (size_t)(ratio >> octave & 1) + (ratio > 1);
    return bucket < TALLY_RATIOS ? bucket : TALLY_RATIOS - 1;
}

static int is_alive(const int32_t *row, size_t at, size_t back) {
    return at >= back && row[at - back] != 0;
}

/* Neighbours within the row that are known already: one step away (0 .. 2, more count as 2), two steps away. */
static size_t near_bucket(const struct tally_matrix_model *m, const int32_t *row, size_t j) {
    size_t w = m->of.width, x = w ? j % w : j;
    int close = x >= 1 && is_alive(row, j, 1), far = x >= 2 && is_alive(row, j, 2);
    if (w) {
        close += is_alive(row, j, w) + (x >= 1 && is_alive(row, j, w + 1)) +
                 (x + 1 < w && is_alive(row, j, w - 1));
        far += is_alive(row, j, 2 * w);
    }
    return (size_t)(close > 3 ? 3 : close) * 3 + (size_t)far;
}

/* Survivors so far in the column, twice, and in those beside it. */
static uint64_t around_seen(const struct tally_matrix_model *m, size_t j) {
    const uint32_t *alive = m->alive;
    size_t w = m->of.width;
    if (!w) return (uint64_t)alive[j] * 6;
    uint64_t seen = (uint64_t)alive[j] * 2;
    if (j % w >= 1) seen += alive[j - 1];
    if (j % w + 1 < w && j + 1 < m->of.columns) seen += alive[j + 1];
    if (j >= w) seen += alive[j - w];
    if (j + w < m->of.columns) seen += alive[j + w];
    return seen;
}

/* The estimates that have a say for the place; returns how many. */
static int cells_find(struct tally_cell *cell[TALLY_MIXED], struct tally_matrix_model *m, const int32_t *row,
                      size_t j) {
    const struct tally_matrix *of = &m->of;
    size_t hint = of->before ? 1 + (size_t)of->before[j / of->per] : 0,
           column = ratio_bucket(m, m->alive[j], m->row + 1), line = ratio_bucket(m, m->in_row, j + 1);
    cell[0] = &m->column[hint][column];
    cell[1] = &m->line[hint][line];
    cell[2] = &m->near[near_bucket(m, row, j)];
    cell[3] = &m->around[ratio_bucket(m, around_seen(m, j), 6 * (m->row + 1))];
    if (!of->extended) return 4;
    size_t in_plane = of->plane ? j % of->plane : 0;
    cell[4] = &m->channel[hint][ratio_bucket(m, m->in_plane, in_plane + 1)];
    size_t c = column < 4 ? 0 : (column - 2) / 2, r = line < 4 ? 0 : (line - 2) / 2;
    cell[5] = &m->both[(c > 7 ? 7 : c) * 8 + (r > 7 ? 7 : r)];
    return TALLY_MIXED;
}

static int place_code(struct tally_matrix_model *m, struct tally_coder *coder, const int32_t *row, size_t j,
                      int bit) {
    struct tally_cell *cell[TALLY_MIXED];
    int32_t input[TALLY_MIXED];
    int64_t sum = 0;
    int mixed = cells_find(cell, m, row, j);
    for (int i = 0; i < mixed; i++) {
        input[i] =
            m->stretch[cell[i]->p >> 12 < TALLY_LOGISTIC ? cell[i]->p >> 12 : TALLY_LOGISTIC - 1] - m->base;
        sum += (int64_t)input[i] * m->weight[i];
    }
    int64_t mixture = m->base + sum / MIX_UNIT + 2048;
    int32_t p = m->squash[mixture < 0 ? 0 : mixture >= TALLY_LOGISTIC ? TALLY_LOGISTIC - 1 : mixture];
    bit = coder->bit(coder, bit, (uint32_t)p);
    int64_t error = (bit ? 65536 : 0) - p;
    for (int i = 0; i < mixed; i++) {
        m->weight[i] += (int32_t)(error * input[i] / (1 << (MIX_RATE + m->of.extended)));
        if (m->weight[i] > 8 * MIX_UNIT) m->weight[i] = 8 * MIX_UNIT;
        if (m->weight[i] < -8 * MIX_UNIT) m->weight[i] = -8 * MIX_UNIT;
        cell_learn(cell[i], bit, PLACE_MEMORY);
    }
    return bit;
}

static int sign_of(const int32_t *row, size_t at, size_t back) {
    return at < back || row[at - back] == 0 ? 0 : row[at - back] < 0 ? -1 : 1;
}

/* The signs of the neighbours before it: beside 0 .. 2, above 0 .. 2, each none, plus, minus. */
static int sign_context(const struct tally_matrix_model *m, const int32_t *row, size_t j) {
    size_t w = m->of.width, x = w ? j % w : j;
    int beside = x >= 1 ? sign_of(row, j, 1) : 0, above = 0;
    if (!beside && x >= 2) beside = sign_of(row, j, 2);
    if (w) {
        above = sign_of(row, j, w) + (x >= 1 ? sign_of(row, j, w + 1) : 0) +
                (x + 1 < w ? sign_of(row, j, w - 1) : 0);
    }
    return (beside < 0 ? 2 : beside) * 3 + (above < 0 ? 2 : above > 0);
}

/* The number's size, for that of the next in its row. */
static int size_of(int32_t number) {
    uint32_t a = number < 0 ? 0u - (uint32_t)number : (uint32_t)number;
    return a < 2 ? 1 : a < 4 ? 2 : 3;
}

void tally_code_row(struct tally_matrix_model *m, struct tally_coder *coder, int32_t *row) {
    m->in_row = m->in_plane = 0;
    for (size_t j = 0; j < m->of.columns && !coder->failed; j++) {
        if (m->of.plane && j % m->of.plane == 0) m->in_plane = 0;
        int bit = place_code(m, coder, row, j, row[j] != 0);
        row[j] = bit ? number_code(&m->number, coder, row[j], sign_context(m, row, j), m->of.floats) : 0;
        if (bit && m->of.extended) m->number.last = size_of(row[j]);
        m->in_row += (uint64_t)bit;
        m->in_plane += (uint64_t)bit;
        m->alive[j] += (uint32_t)bit;
    }
    m->row++;
}
