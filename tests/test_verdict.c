// Who wins, on made-up results.
#include "experiments/verdict.h"
#include "tests/check.h"

static struct result_run sgd_runs[2], adam_runs[2], square_runs[2], exp_runs[1];

static void variant_set(struct variant *v, const char *name, struct result_run *runs, int count,
                        double density, double error) {
    *v = (struct variant){.runs = runs, .count = count};
    snprintf(v->name, sizeof v->name, "%s", name);
    for (int i = 0; i < count; i++) {
        runs[i].measures.density = density;
        runs[i].measures.test_error = error + 0.1 * i; // standard error 0.05 with two
        for (int k = 0; k < MEASURES_CUTS; k++) runs[i].measures.pruned_error[k] = error + 2 + 0.1 * i;
    }
}

static void who_wins(void **state) {
    (void)state;
    struct variant variants[4];
    variant_set(&variants[0], "sgd", sgd_runs, 2, 1, 1.5);
    variant_set(&variants[1], "adam", adam_runs, 2, 1, 1.2);
    variant_set(&variants[2], "square", square_runs, 2, 0.015, 1.6);
    variant_set(&variants[3], "exp", exp_runs, 1, 0.015, 1.4);
    struct results r = {.variants = variants, .count = 4};
    char text[VERDICTS][VERDICT_TEXT];
    verdicts_make(text, &r);
    assert_string_equal(text[0],
                        "1.5 % density: exp wins with 1.40 ± 0.00 %, 5.0 standard errors before square "
                        "(1.65 ± 0.05 %)");
    assert_string_equal(text[1], "5 % density: no variant is there");
    assert_string_equal(text[2],
                        "one-shot pruning to 10 %: adam wins with 3.25 ± 0.05 %, 4.2 standard errors before "
                        "sgd (3.55 ± 0.05 %)");
    variants[2].runs = exp_runs, variants[2].count = 1;
    verdicts_make(text, &r);
    assert_true(strstr(text[0], "by a distance that one run each can't measure") != NULL);
    r.count = 3;
    verdicts_make(text, &r);
    assert_string_equal(text[0], "1.5 % density: only one variant is there");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(who_wins)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
