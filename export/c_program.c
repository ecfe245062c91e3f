// The functions of the generated C that a caller sees, which call those of the stages.
#include <stdio.h>

#include "export/c_source.h"

enum { PLACE = 2 * C_NUMBER };

// The text of a value's place; `index` is added where it is not NULL, `each` numbers a step.
static void place_print(char place[PLACE], const struct c_source *s, int value, size_t each, bool stepping) {
    const struct c_value *v = value == C_SAMPLE ? NULL : &s->values[value];
    int length = snprintf(place, PLACE, "%s", !v ? "x" : v->last == s->net->count ? "y" : "scratch");
    if (v && v->last < s->net->count && v->at)
        length += snprintf(place + length, (size_t)(PLACE - length), " + %zu", v->at);
    if (stepping) snprintf(place + length, (size_t)(PLACE - length), each == 1 ? " + i" : " + i * %zu", each);
}

// A stage's function sees one row or one plane of some kinds of layers; so many of them there are.
static int repeats_of(const struct net_layer *l) {
    switch (l->kind) {
    case NET_LINEAR:
    case NET_SOFTMAX:
    case NET_LAYER_NORM:
    case NET_RMS_NORM:
        return net_row_count(l);
    case NET_MAX_POOL2D:
    case NET_AVG_POOL2D:
    case NET_GLOBAL_AVG_POOL2D:
        return l->in.dim[0];
    default:
        return 1;
    }
}

// The number of the gate.
static void gate_text(char text[PLACE], const struct c_source *s, const struct c_stage *stage) {
    const struct net_layer *l = &s->net->layers[stage->first];
    const struct c_value *v = stage->gate == C_SAMPLE ? NULL : &s->values[stage->gate];
    bool result = v && v->last == s->net->count;
    snprintf(text, PLACE, "%s[%zu]",
             !v       ? "x"
             : result ? "y"
                      : "scratch",
             (v && !result ? v->at : 0) + (size_t)l->unit);
}

static void call_print(struct c_source *s, const struct c_stage *stage) {
    struct bytes *b = &s->functions;
    const struct net_layer *l = &s->net->layers[stage->first];
    size_t times = (size_t)repeats_of(l);
    char place[PLACE];
    bytes_print(b, "    ");
    if (stage->gate != C_NONE && l->kind != NET_MIX) {
        gate_text(place, s, stage);
        bytes_print(b, "if (%s != 0.0f) ", place);
    }
    if (times > 1) bytes_print(b, "for (i = 0; i < %zu; i++) ", times);
    bytes_print(b, "%s_%s(", s->prefix, l->name);
    for (int k = 0; k < net_inputs(l); k++) {
        place_print(place, s, stage->from[k], shape_size(l->in) / times, times > 1);
        bytes_print(b, "%s, ", place);
    }
    if (l->kind == NET_MIX) {
        gate_text(place, s, stage);
        bytes_print(b, "%s, ", place);
    }
    size_t out = shape_size(s->net->layers[stage->end - 1].out);
    place_print(place, s, stage->to, out / times, times > 1);
    bytes_print(b, "%s", place);
    if (stage->spare != C_NONE) {
        place_print(place, s, stage->spare, 0, false);
        bytes_print(b, ", %s", place);
    }
    bytes_print(b, ");\n");
}

void c_run_print(struct c_source *s) {
    struct bytes *b = &s->functions;
    const char *number = s->shifts ? "int32_t" : "float";
    bool loops = false;
    c_places_plan(s);
    for (int i = 0; i < s->count; i++) loops |= repeats_of(&s->net->layers[s->stages[i].first]) > 1;
    bytes_print(b, "void %s_run(const %s *x, %s *y, %s *scratch)\n{\n", s->prefix,
                s->shifts ? "uint8_t" : "float", number, number);
    if (loops) bytes_print(b, "    uint32_t i;\n");
    if (s->scratch == 0) bytes_print(b, "    (void)scratch;\n");
    for (int i = 0; i < s->count; i++) call_print(s, &s->stages[i]);
    bytes_print(b, "}\n\n");
    bytes_print(b,
                "int %s_argmax(const %s *y)\n{\n"
                "    int i, most = 0;\n"
                "    for (i = 1; i < %zu; i++)\n"
                "        if (y[i] > y[most]) most = i;\n"
                "    return most;\n}\n",
                s->prefix, number, shape_size(s->net->layers[s->net->count - 1].out));
}
