// A model is a JSON list of layers: ["flatten", {"linear": {"out": 300}}, "relu", ...]. Layers compose ops;
// they have no backward of their own. Shapes are checked when the model is built. A layer may hold lists of
// layers itself, as residual and concat do.
#ifndef TALLY_LAYERS_MODEL_H
#define TALLY_LAYERS_MODEL_H

#include "src/json.h"
#include "src/ops.h"

enum { LAYER_PARAMS = 5 };

struct layer {
    const struct layer_type *type;
    char name[PARAM_NAME - 16]; // "linear1": the type and its number among its kind; "residual1.linear1"
    char path[JSON_PATH];       // where the config describes it, for messages
    void *config;
    struct shape in, out;    // of one sample, without the batch
    bool first;              // it gets the samples themselves
    int param[LAYER_PARAMS]; // indices of its parameters and buffers
    struct model **inner;    // [inner_count] the lists of layers inside it
    int inner_count;
};

struct layer_type {
    const char *name, *help;
    const struct field *fields;
    size_t config_size; // of the struct that the fields fill; 0 with an empty table
    // Checks `in`, sets `out`, adds parameters.
    int (*build)(struct layer *l, struct params *ps, struct err *e);
    // x (B, in...) to (B, out...).
    struct tensor *(*forward)(const struct layer *l, struct tape *t, struct tensor *x);
    // The options with every default filled in; NULL where the fields say it all.
    struct json *(*write)(const struct layer *l);
    // Numbers of step memory that a tape of so many training samples takes, about and rather too many. NULL: three for each
    // output, that is value, gradient and something saved, and what the lists of layers inside take.
    double (*step_numbers)(const struct layer *l, double samples);
};

extern const struct layer_type *const layer_types[]; // NULL-terminated, in the order of layer.def

struct model {
    struct layer *layers;
    int count;
    struct shape in, out; // of one sample
};

// Builds the layers described by the list at `path` for samples of shape `in`, adding their parameters to ps
// (without params_alloc). NULL on failure. Free with model_free.
struct model *model_new(const struct json *list, const char *path, struct shape in, struct params *ps,
                        struct err *e);
void model_free(struct model *m);

// x (B, in...) to (B, out...).
struct tensor *model_forward(const struct model *m, struct tape *t, struct tensor *x);

// Numbers of step memory that a tape of so many training samples takes, about and rather too many; without gradients about
// half of it.
double model_step_numbers(const struct model *m, double samples);

// The list again, with every default filled in. json_free it or add it to another tree.
struct json *model_write_new(const struct model *m);

// For layers: adds the parameter "LAYER.what" and returns its index.
int layer_add_param(struct layer *l, struct params *ps, const char *what, struct shape shape, double bound,
                    double initial);

// For layers: adds the weight (out, in) "LAYER.what" of an op_linear, which nothing else reads; `init` as in
// layers/init.h. Returns its index.
int layer_add_matrix(struct layer *l, struct params *ps, const char *what, int out, int in, int init);

// For layers: adds the buffer "LAYER.what" and returns its index.
int layer_add_buffer(struct layer *l, struct params *ps, const char *what, struct shape shape, double initial,
                     struct average average);

// For layers: builds the list at `path` for samples of shape `in` and appends it to l->inner. Its layers are
// named "LAYER.linear1", or "LAYER.part.linear1" where `part` is not NULL. An empty list gives x itself.
// NULL on failure.
struct model *layer_add_inner(struct layer *l, struct params *ps, const struct json *list, const char *path,
                              const char *part, struct shape in, struct err *e);

// For layers that change each element alone: out = in, no parameters.
int layer_build_elementwise(struct layer *l, struct params *ps, struct err *e);

// The table of a layer without options.
extern const struct field layer_no_fields[];

#endif
