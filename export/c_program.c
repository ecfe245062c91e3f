// The order of the generated functions, and where each puts its numbers.
//
// Numbers live in x, in the caller's scratch and at last in y. What acts element by element works in place. Of the vectors
// in scratch only two neighbours are ever alive, so they lie in turn at its begin and at its end.
#include <stdio.h>

#include "export/c_source.h"

enum { PLACE = C_NUMBER };

// --- stages ------------------------------------------------------------------------------------------------------------

static bool is_map(enum net_kind kind) {
    return kind != NET_LINEAR && kind != NET_SOFTMAX;
}

void c_stages_plan(struct c_source *s) {
    const struct net *n = s->net;
    s->stages = mem_new((size_t)n->count + 1, sizeof *s->stages);
    for (int i = 0; i < n->count; i++) {
        enum net_kind kind = n->layers[i].kind;
        struct c_stage *last = s->count ? &s->stages[s->count - 1] : NULL;
        if (is_map(kind) && last && last->kind != C_SOFTMAX)
            last->end = i + 1;
        else if (!is_map(kind))
            s->stages[s->count++] = (struct c_stage){kind == NET_LINEAR ? C_LINEAR : C_SOFTMAX, i, i + 1};
        else if (kind != NET_FLATTEN &&
                 !s->shifts) // pixels are integers >= 0, which a relu leaves as they are
            s->stages[s->count++] = (struct c_stage){C_MAPS, i, i + 1};
    }
    if (s->count == 0) s->stages[s->count++] = (struct c_stage){C_MAPS, 0, n->count};
}

// --- places ------------------------------------------------------------------------------------------------------------

static size_t stage_out(const struct c_source *s, int i) {
    return shape_size(s->net->layers[s->stages[i].end - 1].out);
}

// Whether stage i makes a new vector: it can't change x.
static bool is_new(const struct c_source *s, int i) {
    return i == 0 || s->stages[i].kind == C_LINEAR;
}

// The last stage that makes a new vector; that is y.
static int last_new(const struct c_source *s) {
    int i = s->count - 1;
    while (!is_new(s, i)) i--;
    return i;
}

static size_t scratch_size(const struct c_source *s) {
    size_t size = 0, before = 0;
    for (int i = 0; i < last_new(s); i++) {
        if (!is_new(s, i)) continue;
        size_t now = stage_out(s, i);
        size = before + now > size ? before + now : size;
        before = now;
    }
    return size;
}

// Where stage i writes; `turn` counts the vectors before it.
static void place_print(char place[PLACE], const struct c_source *s, int i, int turn) {
    size_t offset = turn % 2 ? s->scratch - stage_out(s, i) : 0;
    if (i >= last_new(s))
        snprintf(place, PLACE, "y");
    else if (offset)
        snprintf(place, PLACE, "scratch + %zu", offset);
    else
        snprintf(place, PLACE, "scratch");
}

// --- functions ---------------------------------------------------------------------------------------------------------

void c_run_print(struct c_source *s) {
    struct bytes *b = &s->functions;
    const char *number = s->shifts ? "int32_t" : "float";
    char from[PLACE] = "x", to[PLACE];
    s->scratch = scratch_size(s);
    bytes_print(b, "void %s_run(const %s *x, %s *y, %s *scratch)\n{\n", s->prefix,
                s->shifts ? "uint8_t" : "float", number, number);
    if (s->scratch == 0) bytes_print(b, "    (void)scratch;\n");
    for (int i = 0, turn = -1; i < s->count; i++) {
        turn += is_new(s, i);
        place_print(to, s, i, turn);
        bytes_print(b, "    %s_%s(%s, %s);\n", s->prefix, s->net->layers[s->stages[i].first].name, from, to);
        snprintf(from, sizeof from, "%s", to);
    }
    bytes_print(b, "}\n\n");
    bytes_print(b,
                "int %s_argmax(const %s *y)\n{\n"
                "    int i, most = 0;\n"
                "    for (i = 1; i < %zu; i++)\n"
                "        if (y[i] > y[most]) most = i;\n"
                "    return most;\n}\n",
                s->prefix, number, stage_out(s, s->count - 1));
}
