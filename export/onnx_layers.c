// Layers as nodes of an ONNX graph. Which node is which layer is in onnx.c.
#include "export/onnx_parts.h"

static void node(struct graph *g, const char *type, const char *out, const char *a, const char *b) {
    graph_add_node(g, (struct graph_node){.type = type, .out = out, .in = {a, b}});
}

static void node_along(struct graph *g, const char *type, const char *out, const char *a, const char *b,
                       int axis) {
    graph_add_node(g, (struct graph_node){
                          .type = type, .out = out, .in = {a, b}, .attribute = {GRAPH_INT_IS("axis", axis)}});
}

// A bias or factor, of the last dimension (channels false) or of the first one.
static const char *vector_add(char name[ONNX_NAME], struct graph *g, const struct net_layer *l,
                              const char *what, const struct net_tensor *t, bool channels) {
    struct net_tensor shaped = *t;
    if (channels) shaped.shape.rank = l->in.rank;
    for (int i = 1; i < shaped.shape.rank; i++) shaped.shape.dim[i] = 1;
    onnx_tensor(g, onnx_part(name, l->name, what), &shaped, NULL, true);
    return name;
}

// --- with weights ------------------------------------------------------------------------------------------------------

static void linear_add(struct graph *g, const struct net_layer *l, const char *in, const char *out,
                       bool dense) {
    char weight[ONNX_NAME], bias[ONNX_NAME], turned[ONNX_NAME], product[ONNX_NAME];
    bool biased = l->bias.shape.rank > 0;
    onnx_tensor(g, onnx_part(weight, l->name, "weight"), &l->weight, &l->factor, dense);
    if (biased) vector_add(bias, g, l, "bias", &l->bias, false);
    if (l->in.rank > 1) {
        node(g, "Transpose", onnx_part(turned, l->name, "turned"), weight, NULL);
        node(g, "MatMul", biased ? onnx_part(product, l->name, "product") : out, in, turned);
        if (biased) node(g, "Add", out, product, bias);
        return;
    }
    graph_add_node(g, (struct graph_node){.type = "Gemm",
                                          .out = out,
                                          .in = {in, weight, biased ? bias : NULL},
                                          .attribute = {GRAPH_INT_IS("transB", 1)}});
}

static struct graph_attribute pair(const char *name, const int values[2]) {
    return (struct graph_attribute){
        .name = name, .type = GRAPH_INTS, .list = {values[0], values[1]}, .count = 2};
}

// kernel_shape, strides and pads of a convolution or pooling, in the first three places of its list.
static void window_add(struct graph_node *n, const struct window *w) {
    n->attribute[0] = pair("kernel_shape", w->size);
    n->attribute[1] = pair("strides", w->stride);
    n->attribute[2] =
        (struct graph_attribute){.name = "pads",
                                 .type = GRAPH_INTS,
                                 .list = {w->padding[0], w->padding[1], w->padding[0], w->padding[1]},
                                 .count = 4};
}

static void conv2d_add(struct graph *g, const struct net_layer *l, const char *in, const char *out,
                       bool dense) {
    char weight[ONNX_NAME], bias[ONNX_NAME];
    bool biased = l->bias.shape.rank > 0;
    onnx_tensor(g, onnx_part(weight, l->name, "weight"), &l->weight, &l->factor, dense);
    if (biased) vector_add(bias, g, l, "bias", &l->bias, false);
    struct graph_node n = {.type = "Conv", .out = out, .in = {in, weight, biased ? bias : NULL}};
    window_add(&n, &l->window);
    n.attribute[3] = pair("dilations", l->window.dilation);
    n.attribute[4] = (struct graph_attribute)GRAPH_INT_IS("group", l->groups);
    graph_add_node(g, n);
}

// Rows of the table by whole numbers, which come as floats.
static void embedding_add(struct graph *g, const struct net_layer *l, const char *in, const char *out,
                          bool dense) {
    char weight[ONNX_NAME], least[ONNX_NAME], most[ONNX_NAME], inside[ONNX_NAME], index[ONNX_NAME];
    onnx_tensor(g, onnx_part(weight, l->name, "weight"), &l->weight, NULL, dense);
    graph_add_scalar(g, onnx_part(least, l->name, "least"), 0);
    graph_add_scalar(g, onnx_part(most, l->name, "most"), (float)(net_rows(&l->weight) - 1));
    graph_add_node(g, (struct graph_node){.type = "Clip",
                                          .out = onnx_part(inside, l->name, "inside"),
                                          .in = {in, least, most}});
    graph_add_node(g, (struct graph_node){.type = "Cast",
                                          .out = onnx_part(index, l->name, "index"),
                                          .in = {inside},
                                          .attribute = {GRAPH_INT_IS("to", GRAPH_INT64)}});
    node_along(g, "Gather", out, weight, index, 0);
}

static void positional_add(struct graph *g, const struct net_layer *l, const char *in, const char *out,
                           bool dense) {
    char weight[ONNX_NAME];
    onnx_tensor(g, onnx_part(weight, l->name, "weight"), &l->weight, NULL, dense);
    node(g, "Add", out, in, weight);
}

// --- pooling -----------------------------------------------------------------------------------------------------------

static void pool_add(struct graph *g, const struct net_layer *l, const char *in, const char *out) {
    bool most = l->kind == NET_MAX_POOL2D;
    struct graph_node n = {.type = most ? "MaxPool" : "AveragePool", .out = out, .in = {in}};
    window_add(&n, &l->window);
    n.attribute[3] = most ? pair("dilations", l->window.dilation)
                          : (struct graph_attribute)GRAPH_INT_IS("count_include_pad", l->count_pad);
    graph_add_node(g, n);
}

static void global_add(struct graph *g, const struct net_layer *l, const char *in, const char *out) {
    char mean[ONNX_NAME];
    node(g, "GlobalAveragePool", onnx_part(mean, l->name, "mean"), in, NULL);
    node_along(g, "Flatten", out, mean, NULL, 1);
}

// --- element by element ------------------------------------------------------------------------------------------------

// y = scale · x + shift.
static void affine_add(struct graph *g, const struct net_layer *l, const char *in, const char *out) {
    char scale[ONNX_NAME], shift[ONNX_NAME], scaled[ONNX_NAME];
    graph_add_scalar(g, onnx_part(scale, l->name, "scale"), (float)l->scale);
    graph_add_scalar(g, onnx_part(shift, l->name, "shift"), (float)l->shift);
    node(g, "Mul", onnx_part(scaled, l->name, "scaled"), in, scale);
    node(g, "Add", out, scaled, shift);
}

static void batch_norm_add(struct graph *g, const struct net_layer *l, const char *in, const char *out) {
    char factor[ONNX_NAME], bias[ONNX_NAME], scaled[ONNX_NAME];
    vector_add(factor, g, l, "factor", &l->factor, true);
    vector_add(bias, g, l, "bias", &l->bias, true);
    node(g, "Mul", onnx_part(scaled, l->name, "scaled"), in, factor);
    node(g, "Add", out, scaled, bias);
}

// y = x / 2 · (1 + erf(x / sqrt(2))).
static void gelu_add(struct graph *g, const struct net_layer *l, const char *in, const char *out) {
    char root[ONNX_NAME], scaled[ONNX_NAME], twice[ONNX_NAME], half[ONNX_NAME], below[ONNX_NAME];
    graph_add_scalar(g, onnx_part(root, l->name, "root"), 0.70710678118654752f);
    onnx_constant(g, l->name, "one", 1);
    graph_add_scalar(g, onnx_part(half, l->name, "half"), 0.5f);
    node(g, "Mul", onnx_part(scaled, l->name, "scaled"), in, root);
    onnx_step(g, l->name, "Erf", "erf", "scaled", NULL);
    onnx_step(g, l->name, "Add", "below", "erf", "one");
    node(g, "Mul", onnx_part(twice, l->name, "twice"), in, onnx_part(below, l->name, "below"));
    node(g, "Mul", out, twice, half);
}

static void silu_add(struct graph *g, const struct net_layer *l, const char *in, const char *out) {
    char gate[ONNX_NAME];
    node(g, "Sigmoid", onnx_part(gate, l->name, "gate"), in, NULL);
    node(g, "Mul", out, in, gate);
}

static void leaky_relu_add(struct graph *g, const struct net_layer *l, const char *in, const char *out) {
    graph_add_node(g, (struct graph_node){
                          .type = "LeakyRelu",
                          .out = out,
                          .in = {in},
                          .attribute = {{.name = "alpha", .type = GRAPH_A_FLOAT, .real = (float)l->slope}}});
}

// --- rows and groups ---------------------------------------------------------------------------------------------------

static void mean_add(struct graph *g, const char *out, const char *in) {
    graph_add_node(g, (struct graph_node){
                          .type = "ReduceMean",
                          .out = out,
                          .in = {in},
                          .attribute = {{.name = "axes", .type = GRAPH_INTS, .list = {-1}, .count = 1}}});
}

// d = x - mean (rms_norm: x), then d / sqrt(mean of d² + eps) · factor + bias.
static void norm_add(struct graph *g, const struct net_layer *l, const char *in, const char *out) {
    char distance[ONNX_NAME], mean[ONNX_NAME], square[ONNX_NAME], variance[ONNX_NAME], root[ONNX_NAME];
    char factor[ONNX_NAME], bias[ONNX_NAME], normal[ONNX_NAME], scaled[ONNX_NAME];
    bool factors = l->factor.shape.rank > 0, biased = l->bias.shape.rank > 0;
    if (l->kind == NET_LAYER_NORM) {
        mean_add(g, onnx_part(mean, l->name, "mean"), in);
        node(g, "Sub", onnx_part(distance, l->name, "distance"), in, mean);
        in = distance;
    }
    node(g, "Mul", onnx_part(square, l->name, "square"), in, in);
    mean_add(g, onnx_part(variance, l->name, "variance"), square);
    onnx_constant(g, l->name, "eps", l->eps);
    onnx_step(g, l->name, "Add", "above", "variance", "eps");
    onnx_step(g, l->name, "Sqrt", "root", "above", NULL);
    onnx_part(normal, l->name, "normal");
    onnx_part(scaled, l->name, "scaled");
    const char *after = biased ? scaled : out; // the factors
    node(g, "Div", factors ? normal : after, in, onnx_part(root, l->name, "root"));
    if (factors) node(g, "Mul", after, normal, vector_add(factor, g, l, "factor", &l->factor, false));
    if (biased) node(g, "Add", out, scaled, vector_add(bias, g, l, "bias", &l->bias, false));
}

// The places of the k largest of x · factor; x there, and zeros elsewhere. All numbers are one group, or the channels at each
// place are. TopK takes the lower index first among equals, as we do.
static void k_winners_add(struct graph *g, const struct net_layer *l, const char *in, const char *out) {
    char scores[ONNX_NAME], factor[ONNX_NAME], flat[ONNX_NAME], flat_scores[ONNX_NAME], k[ONNX_NAME];
    char most[ONNX_NAME], index[ONNX_NAME], winners[ONNX_NAME], zeros[ONNX_NAME], shape[ONNX_NAME],
        placed[ONNX_NAME], back[ONNX_NAME];
    const char *score = in, *from = in;
    bool flatten = !l->local && l->in.rank > 1;
    int64_t count = l->k;
    if (l->factor.shape.rank) {
        vector_add(factor, g, l, "factor", &l->factor, true);
        node(g, "Mul", onnx_part(scores, l->name, "scores"), in, factor);
        score = scores;
    }
    if (flatten) {
        node_along(g, "Flatten", onnx_part(flat, l->name, "flat"), in, NULL, 1);
        from = flat;
        if (score != in)
            node_along(g, "Flatten", onnx_part(flat_scores, l->name, "flat_scores"), score, NULL, 1);
        score = score == in ? flat : flat_scores;
    }
    graph_add_dense(g, onnx_part(k, l->name, "k"), GRAPH_INT64, shape_1(1), &count, sizeof count);
    graph_add_node(g, (struct graph_node){.type = "TopK",
                                          .out = onnx_part(most, l->name, "most"),
                                          .second = onnx_part(index, l->name, "index"),
                                          .in = {score, k},
                                          .attribute = {GRAPH_INT_IS("axis", 1)}});
    node_along(g, "GatherElements", onnx_part(winners, l->name, "winners"), from, index, 1);
    node(g, "Shape", onnx_part(shape, l->name, "shape"), from, NULL);
    node(g, "ConstantOfShape", onnx_part(zeros, l->name, "zeros"), shape, NULL);
    graph_add_node(g, (struct graph_node){.type = "ScatterElements",
                                          .out = flatten ? onnx_part(placed, l->name, "placed") : out,
                                          .in = {zeros, index, winners},
                                          .attribute = {GRAPH_INT_IS("axis", 1)}});
    if (!flatten) return;
    node(g, "Shape", onnx_part(back, l->name, "back"), in, NULL);
    node(g, "Reshape", out, placed, back);
}

// --- choices -----------------------------------------------------------------------------------------------------------

// All rows, times 1 for those in the blocks with the k largest scores and 0 for the others.
static void select_add(struct graph *g, const struct net_layer *l, const char *const in[NET_INPUTS],
                       const char *out, bool dense) {
    char all[ONNX_NAME], k[ONNX_NAME], most[ONNX_NAME], index[ONNX_NAME], shape[ONNX_NAME], zeros[ONNX_NAME],
        chosen[ONNX_NAME], ones[ONNX_NAME], rows[ONNX_NAME], mask[ONNX_NAME];
    int64_t count = l->k;
    linear_add(g, l, in[0], onnx_part(all, l->name, "all"), dense);
    graph_add_dense(g, onnx_part(k, l->name, "k"), GRAPH_INT64, shape_1(1), &count, sizeof count);
    graph_add_node(g, (struct graph_node){.type = "TopK",
                                          .out = onnx_part(most, l->name, "most"),
                                          .second = onnx_part(index, l->name, "index"),
                                          .in = {in[1], k},
                                          .attribute = {GRAPH_INT_IS("axis", 1)}});
    node(g, "Shape", onnx_part(shape, l->name, "shape"), in[1], NULL);
    node(g, "ConstantOfShape", onnx_part(zeros, l->name, "zeros"), shape, NULL);
    onnx_step(g, l->name, "Shape", "places", "index", NULL);
    onnx_step(g, l->name, "ConstantOfShape", "nothing", "places", NULL);
    onnx_step(g, l->name, "Exp", "ones", "nothing", NULL);
    graph_add_node(g, (struct graph_node){.type = "ScatterElements",
                                          .out = onnx_part(chosen, l->name, "chosen"),
                                          .in = {zeros, index, onnx_part(ones, l->name, "ones")},
                                          .attribute = {GRAPH_INT_IS("axis", 1)}});
    int64_t *block = mem_new((size_t)net_rows(&l->weight), sizeof *block);
    for (int i = 0; i < net_rows(&l->weight); i++) block[i] = i / l->block;
    graph_add_dense(g, onnx_part(rows, l->name, "blocks"), GRAPH_INT64, shape_1(net_rows(&l->weight)), block,
                    (size_t)net_rows(&l->weight) * sizeof *block);
    mem_free(block);
    node_along(g, "Gather", onnx_part(mask, l->name, "mask"), chosen, rows, 1);
    node(g, "Mul", out, all, mask);
}

// What the gate's number of each sample leaves of in[0], and in[1].
static void mix_add(struct graph *g, const struct net_layer *l, const char *const in[NET_INPUTS],
                    const char *gate, const char *out) {
    char unit[ONNX_NAME], factor[ONNX_NAME], scaled[ONNX_NAME], sides[ONNX_NAME], shaped[ONNX_NAME];
    int64_t index = l->unit, shape[SHAPE_RANK_MAX + 1] = {-1, 1, 1, 1, 1};
    graph_add_dense(g, onnx_part(unit, l->name, "unit"), GRAPH_INT64, shape_1(1), &index, sizeof index);
    node_along(g, "Gather", onnx_part(factor, l->name, "factor"), gate, unit, 1);
    if (l->out.rank > 1) {
        size_t rank = (size_t)l->out.rank + 1;
        graph_add_dense(g, onnx_part(sides, l->name, "sides"), GRAPH_INT64, shape_1((int)rank), shape,
                        rank * sizeof *shape);
        node(g, "Reshape", onnx_part(shaped, l->name, "shaped"), factor, sides);
    }
    node(g, "Mul", in[1] ? onnx_part(scaled, l->name, "scaled") : out, in[0],
         l->out.rank > 1 ? shaped : factor);
    if (in[1]) node(g, "Add", out, in[1], scaled);
}

// --- all ---------------------------------------------------------------------------------------------------------------

void onnx_layer(struct graph *g, const struct net_layer *l, const char *const in[NET_INPUTS],
                const char *gate, const char *out, bool dense) {
    static void (*const plain[NET_KINDS])(struct graph *, const struct net_layer *, const char *,
                                          const char *) = {
        [NET_AFFINE] = affine_add,
        [NET_GELU] = gelu_add,
        [NET_SILU] = silu_add,
        [NET_LEAKY_RELU] = leaky_relu_add,
        [NET_BATCH_NORM] = batch_norm_add,
        [NET_MAX_POOL2D] = pool_add,
        [NET_AVG_POOL2D] = pool_add,
        [NET_GLOBAL_AVG_POOL2D] = global_add,
        [NET_LAYER_NORM] = norm_add,
        [NET_RMS_NORM] = norm_add,
        [NET_K_WINNERS] = k_winners_add,
    };
    static void (*const weighted[NET_KINDS])(struct graph *, const struct net_layer *, const char *,
                                             const char *, bool) = {
        [NET_LINEAR] = linear_add,
        [NET_CONV2D] = conv2d_add,
        [NET_EMBEDDING] = embedding_add,
        [NET_POSITIONAL_EMBEDDING] = positional_add,
    };
    static const char *const types[NET_KINDS] = {
        [NET_FLATTEN] = "Flatten", [NET_RELU] = "Relu", [NET_TANH] = "Tanh",     [NET_SIGMOID] = "Sigmoid",
        [NET_SOFTMAX] = "Softmax", [NET_ADD] = "Add",   [NET_CONCAT] = "Concat",
    };
    if (l->kind == NET_SELECT)
        select_add(g, l, in, out, dense);
    else if (l->kind == NET_MIX)
        mix_add(g, l, in, gate, out);
    else if (weighted[l->kind])
        weighted[l->kind](g, l, in[0], out, dense);
    else if (plain[l->kind])
        plain[l->kind](g, l, in[0], out);
    else if (l->kind == NET_FLATTEN || l->kind == NET_SOFTMAX || l->kind == NET_CONCAT) // the batch is axis 0
        node_along(g, types[l->kind], out, in[0], in[1], l->kind == NET_SOFTMAX ? l->in.rank : 1);
    else
        node(g, types[l->kind], out, in[0], in[1]);
}
