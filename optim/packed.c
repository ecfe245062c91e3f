// Packing frozen matrices (src/params.h) together with the slots of their stages. The lists of the living numbers come from
// the checkpointed masks, and packing moves numbers without changing them: so a stopped run goes on to the same bits.
// Contracts in optim.h.
#include "optim/optim.h"
#include "src/sparse.h"

// Moves the slots of all packed parameters.
static void slots_move(struct optim *o, void (*move)(void *numbers, size_t bytes, const struct sparse *s)) {
    for (int list = 0; list < OPTIM_LISTS; list++)
        for (int i = 0; i < o->count[list]; i++) {
            const struct stage *s = &o->stages[list][i];
            for (int k = 0; k < s->slot_count; k++)
                for (int j = 0; s->slots[k].per_weight && j < s->count; j++) {
                    const struct sparse *sparse = o->params->list[s->param[j]].sparse;
                    if (sparse) move(s->slots[k].value[j], sizeof(real), sparse);
                }
        }
}

static void spans_cut(struct optim *o) {
    for (int list = 0; list < OPTIM_LISTS; list++)
        for (int i = 0; i < o->count[list]; i++) stage_cut(&o->stages[list][i]);
}

void optim_ready(struct optim *o) {
    if (o->packed || !o->sparsity.frozen || o->sparsity.sparse_density == 0) return;
    o->packed = true;
    params_pack(o->params, o->sparsity.sparse_density);
    slots_move(o, sparse_pack);
    spans_cut(o);
}

void optim_settle(struct optim *o, int threads) {
    lazy_settle(o, threads);
    if (!o->packed) return;
    o->packed = false;
    slots_move(o, sparse_unpack);
    params_unpack(o->params);
    spans_cut(o);
}
