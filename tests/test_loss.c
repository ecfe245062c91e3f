// Losses, metrics and scores: values by hand, what is refused, what is written back; and runs whose every part wants
// something else of them.
#include "experiments/loss.h"

#include "tests/check.h"

static const struct dataset classes_3 = {.sample = {1, {2}}, .classes = 3},
                            positions = {.sample = {1, {2}}, .classes = 3, .targets = 2},
                            numbers = {.sample = {1, {2}}, .target = {1, {2}}};

static struct loss loss_of(const char *loss, const char *metrics, const struct dataset *data) {
    struct json *l = loss ? json_of(loss) : NULL, *m = metrics ? json_of(metrics) : NULL;
    struct loss out;
    struct err e = {""};
    if (loss_read(&out, l ? json_find(l, "loss") : NULL, m, data, "train", &e) != 0) fail_msg("%s", e.text);
    json_free(l);
    json_free(m);
    return out;
}

// The loss of the outputs y, and its gradient in grad.
static double loss_value(double *grad, const struct loss *l, struct shape shape, const double *y,
                         const struct truth *truth, bool training) {
    struct tape *t = tape_new(NULL, 0);
    tape_reset(t, training);
    struct tensor *x = tape_leaf(t, shape, true);
    for (size_t i = 0; i < x->size; i++) x->value[i] = (real)y[i];
    struct tensor *loss = loss_forward(l, t, x, truth);
    double value = (double)loss->value[0];
    if (training) tape_backward(t, loss, 1);
    for (size_t i = 0; training && i < x->size; i++) grad[i] = (double)x->grad[i];
    tape_free(t);
    return value;
}

// --- values ----------------------------------------------------------------------------------------------------

// Two samples of two positions: the loss is the mean over the four.
static void cross_entropy_of_positions(void **state) {
    (void)state;
    static const double y[12] = {0, 1, 2, -1, 0.5, 0, 3, 0, 0, 1, 1, 1};
    static const uint8_t labels[4] = {2, 0, 0, 1};
    struct loss l = loss_of(NULL, NULL, &positions);
    double wanted = 0, grad[12];
    for (int i = 0; i < 4; i++) {
        double sum = exp(y[3 * i]) + exp(y[3 * i + 1]) + exp(y[3 * i + 2]);
        wanted -= (y[3 * i + labels[i]] - log(sum)) / 4;
    }
    const struct truth truth = {4, labels, NULL};
    assert_near(loss_value(grad, &l, shape_3(2, 2, 3), y, &truth, true), wanted, 1e-6);
    assert_near(grad[9], exp(1) / (3 * exp(1)) / 4, 1e-7);
    assert_near(grad[10], (1 / 3.0 - 1) / 4, 1e-7);
    assert_near(loss_value(NULL, &l, shape_2(4, 3), y, &truth, false), wanted, 1e-6);
}

// Smoothing belongs to training: what is told of a model is the plain loss.
static void smoothing_only_in_training(void **state) {
    (void)state;
    static const double y[3] = {2, 0, -1};
    static const uint8_t labels[1] = {0};
    const struct truth truth = {1, labels, NULL};
    struct loss l = loss_of("{\"loss\": {\"cross_entropy\": {\"label_smoothing\": 0.3}}}", NULL, &classes_3);
    double grad[3], sum = log(exp(2) + 1 + exp(-1)), plain = sum - 2;
    double smooth = 0.8 * (sum - 2) + 0.1 * sum + 0.1 * (sum + 1);
    assert_near(loss_value(NULL, &l, shape_2(1, 3), y, &truth, false), plain, 1e-6);
    assert_near(loss_value(grad, &l, shape_2(1, 3), y, &truth, true), smooth, 1e-6);
}

static void mse_of_classes_and_numbers(void **state) {
    (void)state;
    static const double y[6] = {1, 0.5, 0, 0, 0, 2};
    static const uint8_t labels[2] = {0, 2};
    real values[6] = {1, 1, 1, 0, 0, 0};
    const struct truth named = {2, labels, NULL}, numbered = {2, NULL, values};
    struct loss l = loss_of("{\"loss\": \"mse\"}", NULL, &classes_3);
    double grad[6];
    assert_near(loss_value(grad, &l, shape_2(2, 3), y, &named, true), (0.25 + 1) / 6, 1e-7);
    assert_near(grad[1], 2 * 0.5 / 6, 1e-7);
    assert_near(grad[0], 0, 1e-7);
    l = loss_of("{\"loss\": {\"mse\": {}}}", NULL, &numbers);
    assert_near(loss_value(grad, &l, shape_2(2, 3), y, &numbered, true), (0.25 + 1 + 4) / 6, 1e-7);
    assert_near(grad[5], 2 * 2.0 / 6, 1e-7);
}

static struct score score_of(const struct loss *l, const double *y, const struct truth *truth, double loss) {
    struct tape *t = tape_new(NULL, 0);
    tape_reset(t, false);
    struct tensor *out = tape_leaf(t, shape_2((int)truth->rows, 3), false);
    for (size_t i = 0; i < out->size; i++) out->value[i] = (real)y[i];
    real value = (real)loss;
    struct score s = {0};
    for (int i = 0; i < 2; i++) score_add(&s, l, out, truth, tape_input(t, (struct shape){0}, &value));
    tape_free(t);
    return s;
}

// The first of equal outputs counts; sums are over rows; what is not asked for is not told.
static void scores(void **state) {
    (void)state;
    static const double y[9] = {1, 1, 0, 0, 2, 1, 0, 0, 5};
    static const uint8_t labels[3] = {1, 1, 2};
    const struct truth truth = {3, labels, NULL};
    static const struct {
        const char *metrics, *text;
        bool error, perplexity;
    } rows[] = {{NULL, "error 33.33 %", true, false},
                {"[]", "loss 1.5000", false, false},
                {"[\"perplexity\"]", "loss 1.5000 (perplexity 4.482)", false, true},
                {"[\"perplexity\", \"error\"]", "error 33.33 % (perplexity 4.482)", true, true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct loss l = loss_of(NULL, rows[i].metrics, &classes_3);
        struct score s = score_of(&l, y, &truth, 1.5);
        char text[SCORE_TEXT];
        assert_true(s.count == 6 && s.judged == (rows[i].error ? 6 : 0) &&
                    s.wrong == (rows[i].error ? 2 : 0));
        assert_near(score_loss(s), 1.5, 1e-12);
        assert_true(isnan(score_error(s)) != rows[i].error);
        assert_true(isnan(score_perplexity(&l, s)) != rows[i].perplexity);
        assert_string_equal(score_text(text, &l, s, "error "), rows[i].text);
    }
    assert_true(isnan(score_loss((struct score){0})) && isnan(score_error((struct score){0})));
}

// --- reading and writing ---------------------------------------------------------------------------------------

static void refused(void **state) {
    (void)state;
    static const struct {
        const char *train; // {"loss": ..., "metrics": ...}
        const struct dataset *data;
        const char *message;
    } rows[] = {
        {"{\"loss\": \"cross_entropi\"}", &classes_3,
         "train.loss: unknown loss 'cross_entropi'; did you mean 'cross_entropy'?"},
        {"{\"loss\": [\"mse\"]}", &classes_3,
         "train.loss: wanted a name or {\"name\": {options}}, found a list"},
        {"{\"loss\": {\"mse\": {\"label_smoothing\": 0.1}}}", &classes_3,
         "train.loss.mse: unknown key 'label_smoothing'; there are none"},
        {"{\"loss\": {\"cross_entropy\": {\"label_smoothing\": 1}}}", &classes_3,
         "train.loss.cross_entropy.label_smoothing: 1 is not in 0 .. 0.999"},
        {"{}", &numbers,
         "train.loss: 'cross_entropy' wants classes, the data set has numbers to answer with; use \"mse\""},
        {"{\"metrics\": \"error\"}", &classes_3,
         "train.metrics: wanted a list of metrics, such as [\"error\"], found a string"},
        {"{\"metrics\": [1]}", &classes_3, "train.metrics.0: wanted a metric's name, found a number"},
        {"{\"metrics\": [\"error\", \"eror\"]}", &classes_3,
         "train.metrics.1: unknown metric 'eror'; did you mean 'error'?"},
        {"{\"metrics\": [\"error\", \"error\"]}", &classes_3, "train.metrics.1: 'error' is given twice"},
        {"{\"loss\": \"mse\", \"metrics\": [\"error\"]}", &numbers,
         "train.metrics.0: 'error' wants classes, the data set has numbers to answer with"},
        {"{\"loss\": \"mse\", \"metrics\": [\"perplexity\"]}", &classes_3,
         "train.metrics.0: 'perplexity' wants the loss 'cross_entropy', not 'mse'"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct json *train = json_of(rows[i].train);
        struct loss l;
        struct err e = {""};
        assert_int_equal(
            loss_read(&l, json_find(train, "loss"), json_find(train, "metrics"), rows[i].data, "train", &e),
            -1);
        assert_string_equal(e.text, rows[i].message);
        json_free(train);
    }
}

// What is written reads back as the same; the defaults are left out.
static void written(void **state) {
    (void)state;
    static const struct {
        const char *train;
        const struct dataset *data;
        const char *out;
    } rows[] = {
        {"{}", &classes_3, "{}"},
        {"{\"loss\": \"cross_entropy\", \"metrics\": [\"error\"]}", &positions, "{}"},
        {"{\"loss\": \"mse\"}", &numbers, "{\"loss\":{\"mse\":{}}}"},
        {"{\"metrics\": []}", &classes_3, "{\"metrics\":[]}"},
        {"{\"metrics\": [\"perplexity\", \"error\"]}", &classes_3,
         "{\"metrics\":[\"error\",\"perplexity\"]}"},
        {"{\"loss\": {\"cross_entropy\": {\"label_smoothing\": 0.1}}}", &classes_3,
         "{\"loss\":{\"cross_entropy\":{\"label_smoothing\":0.1}}}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct json *train = json_of(rows[i].train), *out = json_object_new();
        struct loss l, again;
        struct err e = {""};
        assert_int_equal(
            loss_read(&l, json_find(train, "loss"), json_find(train, "metrics"), rows[i].data, "train", &e),
            0);
        loss_write(out, &l, rows[i].data);
        char *text = json_print_new(out, false);
        assert_string_equal(text, rows[i].out);
        assert_int_equal(
            loss_read(&again, json_find(out, "loss"), json_find(out, "metrics"), rows[i].data, "train", &e),
            0);
        assert_memory_equal(&l, &again, sizeof l);
        mem_free(text);
        json_free(out);
        json_free(train);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cross_entropy_of_positions),
        cmocka_unit_test(smoothing_only_in_training),
        cmocka_unit_test(mse_of_classes_and_numbers),
        cmocka_unit_test(scores),
        cmocka_unit_test(refused),
        cmocka_unit_test(written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
