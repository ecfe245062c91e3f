// Shapes. Contracts in shape.h.
#include "src/shape.h"

#include <stdio.h>
#include <string.h>

struct shape shape_1(int a) {
    return (struct shape){1, {a}};
}

struct shape shape_2(int a, int b) {
    return (struct shape){2, {a, b}};
}

struct shape shape_3(int a, int b, int c) {
    return (struct shape){3, {a, b, c}};
}

size_t shape_size(struct shape s) {
    size_t size = 1;
    for (int i = 0; i < s.rank; i++)
        CHECK(s.dim[i] >= 1 && size_mul(&size, size, (size_t)s.dim[i]), "shape: dimension %d is %d", i,
              s.dim[i]);
    return size;
}

bool shape_equal(struct shape a, struct shape b) {
    if (a.rank != b.rank) return false;
    for (int i = 0; i < a.rank; i++)
        if (a.dim[i] != b.dim[i]) return false;
    return true;
}

const char *shape_text(char text[SHAPE_TEXT], struct shape s) {
    int used = snprintf(text, SHAPE_TEXT, "(");
    for (int i = 0; i < s.rank; i++)
        used += snprintf(text + used, (size_t)(SHAPE_TEXT - used), "%s%d", i ? ", " : "", s.dim[i]);
    snprintf(text + used, (size_t)(SHAPE_TEXT - used), ")");
    return text;
}
