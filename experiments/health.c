// Warnings of a run. Contracts in health.h.
#include "experiments/health.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double LIMIT_SHARE = 0.01;

void health_open(struct health *h, const struct run *r) {
    h->dead_said = mem_new((size_t)r->params->count, sizeof *h->dead_said);
    h->limit_said = mem_new((size_t)r->params->count, sizeof *h->limit_said);
}

void health_close(struct health *h) {
    mem_free(h->dead_said);
    mem_free(h->limit_said);
}

static bool dies(const struct param *p) {
    return param_is_weight(p) && param_dead(p);
}

int health_dead(const struct params *ps) {
    for (int i = 0; i < ps->count; i++)
        if (dies(&ps->list[i])) return i;
    return -1;
}

void health_step(struct health *h, const struct run *r, struct log *l) {
    for (int i = 0; i < r->params->count; i++) {
        const struct param *p = &r->params->list[i];
        if (h->dead_said[i] || !dies(p)) continue;
        log_line(l, "warning: every weight of %s is zero since epoch %d, step %d; try a lower rate or leak",
                 p->name, (int)r->epoch + 1, (int)r->step);
        h->dead_said[i] = true;
    }
}

void health_epoch(struct health *h, const struct run *r, struct log *l) {
    for (int i = 0; i < r->params->count; i++) {
        const struct param *p = &r->params->list[i];
        if (!p->counted || h->limit_said[i]) continue;
        double share = (double)param_saturated(p) / (double)p->size;
        if (share <= LIMIT_SHARE) continue;
        log_line(l,
                 "warning: %.1f %% of the counters of %s are at their limit, %d; try more bits or a smaller "
                 "unit",
                 100 * share, p->name, (int)p->number.limit);
        h->limit_said[i] = true;
    }
}

bool health_finite(char text[HEALTH_TEXT], struct run *r, double loss) {
    char rates[160];
    double epochs = (double)r->config.train.epochs;
    bool step_failed = *r->fault;
    int bad = step_failed ? -1 : params_not_finite(r->params);
    if (!step_failed && bad < 0) return true;
    if (!step_failed) snprintf(r->fault, sizeof r->fault, "%s", r->params->list[bad].name);
    optim_rates(rates, sizeof rates, r->optim, (double)r->epoch + (double)r->batch / (double)run_batches(r),
                epochs);
    snprintf(text, HEALTH_TEXT, "epoch %d, step %d: %s is not finite (loss %.4g, rate %s)", (int)r->epoch + 1,
             (int)r->step + step_failed, r->fault, loss, rates);
    return false;
}
