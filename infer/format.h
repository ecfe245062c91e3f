/* The native file, version 1: what `tally export` writes and the loader reads. Little-endian, no alignment.
 *
 *   header      0 "TLYN"   4 u16 version   6 u16 sections   8 u32 bytes of the file
 *              12 u32 CRC-32 of bytes 0 .. 11 and the directory
 *   directory   per section: u16 kind, u16 0, u32 bytes, u32 CRC-32
 *   sections    in the order of the directory, without gaps, to the end of the file: one PROGRAM, then one LAYER for
 *               each linear layer of the program
 *
 *   PROGRAM     u8 rank (1 .. 4), u32 dim [rank] of one input sample, u16 layers, then per layer u8 kind and
 *               linear: u32 out, u8 bias (0 or 1)   affine (y = scale · x + shift): f32 scale, f32 shift   others: nothing
 *   LAYER       the weight's tensor header, the bias's where there is one, the weight's payload, the bias's
 *   tensor      u8 values, u8 map, u8 coding, u8 0, u32 nonzero, f64 scale, and f64 parameter for the maps that have one:
 *               a number is scale · f(counter), or the float itself (map none, scale 1)
 *
 *   coding      DENSE   values [rows · columns]
 *               ROWS    entries of each row [rows], u16 where columns < 65536, else u32; u8 step [entries]; values [entries].
 *                       An entry lies `step` columns after the one before; the first of a row `step` after column 0. A gap
 *                       of more than 255 columns is bridged by entries of value 0 with step 255.
 *               RANGED  one stream of the range coder (range.h) for weight and bias together, to the end of the section
 *
 * A bias is a tensor of 1 row, coded DENSE, or RANGED with its weight. The values of a tensor that is not DENSE are never
 * 0, the bridges of ROWS apart.
 *
 * A stream can say "nothing here" for less than 1/2000 of a bit, so a small file could keep its reader decoding for ever.
 * Hence the numbers of all RANGED tensors of a file, dead ones too, are at most FORMAT_RANGED_FREE, and
 * FORMAT_RANGED_BYTE more for each byte of the file; at a density of 0.1 % there are some 400 to a byte. A reader that
 * allows itself less memory than 16 bytes for each of FORMAT_RANGED_FREE grants as many fewer of those. */
#ifndef TALLY_INFER_FORMAT_H
#define TALLY_INFER_FORMAT_H

#define FORMAT_MAGIC "TLYN"

enum {
    FORMAT_VERSION = 1,
    FORMAT_HEADER = 16,
    FORMAT_ENTRY = 12,
    FORMAT_SECTIONS_MAX = 1024,
    FORMAT_LAYERS_MAX = 4096,
    FORMAT_DIM_MAX = 1 << 24,
    FORMAT_STEP_MAX = 255,
    FORMAT_SHORT_COLUMNS = 65536, /* fewer columns than this: row counts are u16 */
    FORMAT_RANGED_MAX = 1 << 27,  /* weights of a RANGED layer */
    FORMAT_RANGED_FREE = 1 << 24, /* see above */
    FORMAT_RANGED_BYTE = 512
};

enum format_section { FORMAT_PROGRAM = 1, FORMAT_LAYER = 2 };

enum format_kind {
    FORMAT_FLATTEN = 1,
    FORMAT_LINEAR = 2,
    FORMAT_AFFINE = 3,
    FORMAT_RELU = 4,
    FORMAT_GELU = 5,
    FORMAT_TANH = 6,
    FORMAT_SIGMOID = 7,
    FORMAT_SOFTMAX = 8,
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
