/* The native file: what `tally export` writes and the loader reads. Little-endian, no alignment. Version 1 holds a chain of
 * layers; version 2 any net, and is written only where version 1 can't hold it.
 *
 *   header      0 "TLYN"   4 u16 version   6 u16 sections   8 u32 bytes of the file
 *              12 u32 CRC-32 of bytes 0 .. 11 and the directory
 *   directory   per section: u16 kind, u16 0, u32 bytes, u32 CRC-32
 *   sections    in the order of the directory, without gaps, to the end of the file: one PROGRAM, then one LAYER for
 *               each layer of the program that has tensors; or, version 2, one STREAM for all of them
 *
 *   PROGRAM     version 1: u8 rank (1 .. 4), u32 dim [rank] of one input sample, u16 layers, then per layer u8 kind and
 *               linear: u32 out, u8 bias (0 or 1)   affine (y = scale · x + shift): f32 scale, f32 shift   others: nothing
 *
 *               version 2: numbers without a type are of 7 bits a byte, low ones first, the top bit where more follow (LEB128).
 *               u8 rank, dim [rank], layers, then per layer u8 kind, with FORMAT_INPUTS added where inputs are given: a distance
 *               for each, 1 the result of the layer before, i + 1 in layer i the sample. Not given, it is 1; add, concat,
 *               select and mix give both, a mix 0 where it has no second. With FORMAT_GATED: the distance of the gate, and a unit of its
 *               result. Then u8 form, the FORMAT_HAS_ bits (in layers that may have any of them), and
 *                 linear: out   conv2d: out, window, groups if HAS_GROUPS   max_pool2d, avg_pool2d: window
 *                 affine: f32 scale, f32 shift   leaky_relu: f32 slope   layer_norm, rms_norm: f32 eps   k_winners: k
 *                 embedding: count, dimension   select: out, k, block
 *               window: size down, across; then, if HAS_STRIDE, HAS_PADDING, HAS_DILATION, such a pair each, else 1, 0, 1
 *
 *   gates       a layer with a gate computes nothing for a sample whose number at that unit of that result is 0. Its result
 *               is read only behind the same gate and unit. A mix, which always has a gate, adds gate · input to its second
 *               input (0 where it has none), and is there for every sample; so is a gate's own result
 *   select      linear of the rows in the k blocks of `block` rows, the last may have fewer, with the largest numbers in the
 *               second input, among equals the first ones; the other rows give 0
 *
 *   tensors     of a layer, in this order: factor (HAS_FACTOR, and batch_norm), weight (linear, conv2d, select,
 *               embedding, positional_embedding), bias (HAS_BIAS, and batch_norm). Rows and columns of a weight: out and inputs; out and
 *               channels / groups · kernel; count and dimension; all dimensions of the sample but the last, and the last.
 *               Factor and bias are of each row of the weight, else of each channel (batch_norm, k_winners) or of each place in
 *               the last dimension (norms). Beside a weight, a factor is part of it: a number is scale · f(counter) · factor
 *
 *   LAYER       the tensors' headers, then their payloads
 *   header      u8 values, u8 map, u8 coding, u8 0, u32 nonzero, f64 scale, and f64 parameter for the maps that have one:
 *               a number is scale · f(counter), or the float itself (map none, scale 1)
 *
 *   coding      DENSE   values [rows · columns]
 *               ROWS    entries of each row [rows], u16 where columns < 65536, else u32; u8 step [entries]; values [entries].
 *                       An entry lies `step` columns after the one before; the first of a row `step` after column 0. A gap
 *                       of more than 255 columns is bridged by entries of value 0 with step 255.
 *               RANGED  one stream of the range coder (range.h) for all tensors together, to the end of the section
 *
 * What is not a weight is a tensor of 1 row, coded DENSE, or RANGED with its weight. The values of a tensor that is not DENSE
 * are never 0, the bridges of ROWS apart.
 *
 *   STREAM      a short header for each tensor of all layers, then one stream of the range coder for them all, whose model
 *               also knows which rows of the weight before have any (range.h)
 *   short       u8 values + 8 · map, FORMAT_DOUBLES added where scale and parameter are f64, else f32; nonzero; scale (but map
 *   header      none), parameter
 *
 * A stream can say "nothing here" for less than 1/2000 of a bit, so a small file could keep its reader decoding for ever.
 * Hence the numbers of all range coded tensors of a file, dead ones too, are at most FORMAT_RANGED_FREE, and
 * FORMAT_RANGED_BYTE more for each byte of the file; at a density of 0.1 % there are some 400 to a byte. A reader that
 * allows itself less memory than 16 bytes for each of FORMAT_RANGED_FREE grants as many fewer of those. */
#ifndef TALLY_INFER_FORMAT_H
#define TALLY_INFER_FORMAT_H

#define FORMAT_MAGIC "TLYN"

enum {
    FORMAT_VERSION = 2,
    FORMAT_HEADER = 16,
    FORMAT_ENTRY = 12,
    FORMAT_SECTIONS_MAX = 1024,
    FORMAT_LAYERS_MAX = 4096,
    FORMAT_DIM_MAX = 1 << 24,
    FORMAT_STEP_MAX = 255,
    FORMAT_SHORT_COLUMNS = 65536, /* fewer columns than this: row counts are u16 */
    FORMAT_RANGED_MAX = 1 << 27,  /* weights of a RANGED layer */
    FORMAT_RANGED_FREE = 1 << 24, /* see above */
    FORMAT_RANGED_BYTE = 512,
    FORMAT_INPUTS = 128, /* bits of a kind */
    FORMAT_GATED = 64,
    FORMAT_DOUBLES = 64 /* bit of a short header */
};

/* What a layer of version 2 has, or is. */
enum format_form {
    FORMAT_HAS_BIAS = 1,
    FORMAT_HAS_FACTOR = 2,
    FORMAT_HAS_STRIDE = 4,
    FORMAT_HAS_PADDING = 8,
    FORMAT_HAS_DILATION = 16,
    FORMAT_HAS_GROUPS = 32,
    FORMAT_COUNT_PAD = 64, /* avg_pool2d: the padding counts */
    FORMAT_LOCAL = 128     /* k_winners: at each place */
};

enum format_section { FORMAT_PROGRAM = 1, FORMAT_LAYER = 2, FORMAT_STREAM = 3 };

enum format_kind {
    FORMAT_FLATTEN = 1,
    FORMAT_LINEAR = 2,
    FORMAT_AFFINE = 3,
    FORMAT_RELU = 4,
    FORMAT_GELU = 5,
    FORMAT_TANH = 6,
    FORMAT_SIGMOID = 7,
    FORMAT_SOFTMAX = 8,
    FORMAT_KIND_END_1, /* of version 1 */
    FORMAT_LEAKY_RELU = 9,
    FORMAT_SILU = 10,
    FORMAT_CONV2D = 11,
    FORMAT_MAX_POOL2D = 12,
    FORMAT_AVG_POOL2D = 13,
    FORMAT_GLOBAL_AVG_POOL2D = 14,
    FORMAT_BATCH_NORM = 15,
    FORMAT_K_WINNERS = 16,
    FORMAT_LAYER_NORM = 17,
    FORMAT_RMS_NORM = 18,
    FORMAT_ADD = 19,
    FORMAT_CONCAT = 20,
    FORMAT_EMBEDDING = 21,
    FORMAT_POSITIONAL_EMBEDDING = 22,
    FORMAT_SELECT = 23,
    FORMAT_MIX = 24,
    FORMAT_KIND_END
};

enum format_values { FORMAT_I8 = 1, FORMAT_I16 = 2, FORMAT_I32 = 3, FORMAT_F32 = 4, FORMAT_VALUES_END };

/* Tally's number systems, src/number.h; NONE goes with FORMAT_F32 and only with it. */
enum format_map {
    FORMAT_NONE = 0,
    FORMAT_MAP_LINEAR = 1,
    FORMAT_SQUARE = 2,
    FORMAT_POWER = 3,
    FORMAT_EXP = 4,
    FORMAT_POW2 = 5,
    FORMAT_MADAM = 6,
    FORMAT_MAP_END
};

enum format_coding { FORMAT_DENSE = 1, FORMAT_ROWS = 2, FORMAT_RANGED = 3, FORMAT_CODING_END };

#endif
