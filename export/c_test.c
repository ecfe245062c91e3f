// The text of NAME_test.c: a program that compares NAME_run with a vector made here, or labels images from a file.
#include <stdio.h>

#include "export/c_source.h"
#include "src/rng.h"

enum { LINE_BYTES = 24, LINE_FLOATS = 6 };

// Pixels like a drawing's: about a fifth of them is not 0.
static void pixels_draw(uint8_t *pixel, size_t n) {
    struct rng r = rng_stream(0, "c self-test");
    for (size_t i = 0; i < n; i++) {
        uint32_t drawn = rng_u32(&r);
        pixel[i] = drawn % 5 ? 0 : (uint8_t)(drawn >> 24);
    }
}

static void pixels_print(struct bytes *b, const uint8_t *pixel, size_t n) {
    bytes_print(b, "static const uint8_t image[%zu] = {", n);
    for (size_t i = 0; i < n; i++)
        bytes_print(b, "%s%s%d", i ? "," : "", i % LINE_BYTES ? " " : "\n    ", pixel[i]);
    bytes_print(b, "};\n\n");
}

static void wanted_integers(struct bytes *b, const struct c_source *s, const uint8_t *pixel, size_t outputs) {
    int32_t *y = mem_new(outputs, sizeof *y);
    shifts_run(s->shifts, pixel, y);
    bytes_print(b, "static const int32_t wanted[%zu] = {", outputs);
    for (size_t i = 0; i < outputs; i++)
        bytes_print(b, "%s%s%ld", i ? "," : "", i % LINE_FLOATS ? " " : "\n    ", (long)y[i]);
    bytes_print(b, "};\n\n");
    mem_free(y);
}

static void wanted_floats(struct bytes *b, const struct c_source *s, const uint8_t *pixel, size_t inputs,
                          size_t outputs) {
    float *x = mem_new(inputs, sizeof *x), *y = mem_new(outputs, sizeof *y);
    char text[C_NUMBER];
    for (size_t i = 0; i < inputs; i++)
        x[i] = c_takes_numbers(s) ? (float)pixel[i] : (float)pixel[i] / 255.0f;
    net_forward(s->original, x, y);
    bytes_print(b, "static const float wanted[%zu] = {", outputs);
    for (size_t i = 0; i < outputs; i++)
        bytes_print(b, "%s%s%s", i ? "," : "", i % LINE_FLOATS ? " " : "\n    ", c_float_text(text, y[i]));
    bytes_print(b, "};\n\n");
    mem_free(x);
    mem_free(y);
}

static const char main_text[] = "/* Labels the images of a file, or says what is wrong with it. */\n"
                                "static int label(FILE *file)\n"
                                "{\n"
                                "    static uint8_t pixel[INPUTS];\n"
                                "    static NUMBER y[OUTPUTS];\n"
                                "    size_t got;\n"
                                "    while ((got = fread(pixel, 1, INPUTS, file)) == INPUTS) {\n"
                                "        int i;\n"
                                "        run(pixel, y);\n"
                                "        printf(\"%d\", ARGMAX(y));\n"
                                "        for (i = 0; i < OUTPUTS; i++) print(y[i]);\n"
                                "        printf(\"\\n\");\n"
                                "    }\n"
                                "    if (got == 0 && !ferror(file)) return 0;\n"
                                "    fprintf(stderr, \"the file ends inside an image\\n\");\n"
                                "    return 1;\n"
                                "}\n\n"
                                "static int self_test(void)\n"
                                "{\n"
                                "    static NUMBER y[OUTPUTS];\n"
                                "    int i;\n"
                                "    run(image, y);\n"
                                "    for (i = 0; i < OUTPUTS; i++) {\n"
                                "        if (equal(y[i], wanted[i])) continue;\n"
                                "        printf(\"output %d is\", i);\n"
                                "        print(y[i]);\n"
                                "        printf(\", wanted\");\n"
                                "        print(wanted[i]);\n"
                                "        printf(\"\\n\");\n"
                                "        return 1;\n"
                                "    }\n"
                                "    printf(\"ok\\n\");\n"
                                "    return 0;\n"
                                "}\n\n";

static const char file_text[] = "int main(int argc, char **argv)\n"
                                "{\n"
                                "    FILE *file;\n"
                                "    int result;\n"
                                "    if (argc < 2) return self_test();\n"
                                "    if (argv[1][0] == '-' && argv[1][1] == 0) return label(stdin);\n"
                                "    file = fopen(argv[1], \"rb\");\n"
                                "    if (!file) {\n"
                                "        perror(argv[1]);\n"
                                "        return 1;\n"
                                "    }\n"
                                "    result = label(file);\n"
                                "    fclose(file);\n"
                                "    return result;\n"
                                "}\n";

static const char integer_text[] = "static void run(const uint8_t *pixel, int32_t *y)\n"
                                   "{\n"
                                   "    RUN(pixel, y, scratch);\n"
                                   "}\n\n"
                                   "static void print(int32_t y)\n"
                                   "{\n"
                                   "    printf(\" %ld\", (long)y);\n"
                                   "}\n\n"
                                   "static int equal(int32_t a, int32_t b)\n"
                                   "{\n"
                                   "    return a == b;\n"
                                   "}\n\n";

static const char float_text[] =
    "static float x[INPUTS];\n\n"
    "static void run(const uint8_t *pixel, float *y)\n"
    "{\n"
    "    int i;\n"
    "    for (i = 0; i < INPUTS; i++) x[i] = (float)pixel[i] / UNIT;\n"
    "    RUN(x, y, scratch);\n"
    "}\n\n"
    "static void print(float y)\n"
    "{\n"
    "    printf(\" %.9g\", (double)y);\n"
    "}\n\n"
    "static int equal(float a, float b)\n"
    "{\n"
    "    const float size = b < 0.0f ? -b : b, distance = a < b ? b - a : a - b;\n"
    "    return distance <= 1e-4f * (1.0f + size);\n"
    "}\n\n";

void c_self_test(struct bytes *out, const struct c_source *s) {
    size_t inputs = shape_size(s->net->in), outputs = shape_size(s->net->layers[s->net->count - 1].out);
    uint8_t *pixel = mem_new(inputs, 1);
    const char *kind = s->shifts ? "INTS" : "FLOATS";
    pixels_draw(pixel, inputs);
    bytes_print(out,
                "/* %s_test: checks %s.c. Without an argument it runs one image and prints \"ok\", or the "
                "first output\n"
                " * that differs, and then exits with 1. With a file (\"-\": standard input) of images, %zu "
                "bytes each, "
                "it\n * prints a line for each image: the largest output's index and the outputs. */\n",
                s->stem, s->stem, inputs);
    bytes_print(out, "#include \"%s.h\"\n\n#include <stdio.h>\n\n", s->stem);
    bytes_print(out, "#define INPUTS %s_INPUTS\n#define OUTPUTS %s_OUTPUTS\n#define NUMBER %s\n", s->macro,
                s->macro, s->shifts ? "int32_t" : "float");
    if (!s->shifts) bytes_print(out, "#define UNIT %s\n", c_takes_numbers(s) ? "1.0f" : "255.0f");
    bytes_print(out, "#define RUN %s_run\n#define ARGMAX %s_argmax\n\n", s->prefix, s->prefix);
    pixels_print(out, pixel, inputs);
    if (s->shifts)
        wanted_integers(out, s, pixel, outputs);
    else
        wanted_floats(out, s, pixel, inputs, outputs);
    bytes_print(out, "static NUMBER scratch[%s_SCRATCH_%s];\n\n", s->macro, kind);
    bytes_print(out, "%s", s->shifts ? integer_text : float_text);
    bytes_add(out, main_text, sizeof main_text - 1);
    bytes_add(out, file_text, sizeof file_text - 1);
    mem_free(pixel);
}
