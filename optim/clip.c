// clip: scales the gradients of the list's parameters so that their common L2 norm is at most `norm` (Pascanu
// et al. 2013, algorithm 1), as torch.nn.utils.clip_grad_norm_ does but for its 1e-6 in the division.
#include <math.h>

#include "optim/optim.h"

struct clip {
    double norm;
};

static const struct field fields[] = {
    {"norm", FIELD_REAL, offsetof(struct clip, norm), 1, 1e-12, 1e12, NULL, "largest norm that passes"},
    FIELD_END};

static int clip_build(struct stage *s, uint64_t seed, struct err *e) {
    (void)seed, (void)e;
    s->own = mem_new(1, sizeof(double)); // this step's factor
    return 0;
}

static void clip_prepare(struct stage *s, const struct step *step) {
    const struct clip *config = s->config;
    double squares = 0;
    for (int i = 0; i < s->count; i++) squares += stage_grad_squares(s, i, step->threads);
    double norm = sqrt(squares);
    *(double *)s->own = norm > config->norm ? config->norm / norm : 1;
}

static void clip_update(const struct stage *s, struct span *span, const struct step *step) {
    (void)step;
    real factor = (real) * (double *)s->own;
    if (factor == 1) return;
    for (size_t i = span->first; i < span->end; i++) span->grad[i] *= factor;
}

const struct stage_type clip_stage = {
    .name = "clip",
    .help = "limits the norm of the gradient; put it before the stage that moves",
    .fields = fields,
    .config_size = sizeof(struct clip),
    .build = clip_build,
    .prepare = clip_prepare,
    .update = clip_update};
