// Convolution straight from the image, where windows go over it one by one across: no matrix of what each window sees
// (src/window.h) is made, so that kernels of few numbers or outputs don't wait for memory.
//
// LANES neighbouring windows of a row are a segment; the last segment of a row may begin inside the one before it.
// Sums are in a fixed order. Products and sums are fused where the processor can, as in OpenBLAS.
#ifndef TALLY_SRC_CONV_H
#define TALLY_SRC_CONV_H

#include "src/arena.h"
#include "src/window.h"

struct conv {
    int out, depth; // outputs; numbers of a kernel: planes · kh · kw
    int segments;   // of an image
    int samples;    // images that conv_weight_grad takes together
    int *number;    // [depth] from a window's first number to each of its numbers, in the padded image
    int *image;     // [segments] where the first window begins, in the padded image
    int *result;    // [segments] that window
    size_t *all_images, *all_results; // [samples · segments] room for the same of several images
    bool padded, apart;               // there is padding; segments don't overlap
    size_t padded_size;               // numbers of a padded image
    size_t results_size;              // of an image's results in segments
    struct window window;
    struct patch patch; // of the whole image, without padding
    real *room;         // for padded images and results in segments
};

// Whether it can be done so, and was measured to be faster than a matrix product; `out` kernels.
bool conv_fits(const struct window *w, const struct patch *p, int out);

// How images (planes, height, width) of the patch, all of its rows, are convolved with kernels (out, planes, kh, kw).
struct conv *conv_plan(struct arena *a, const struct window *w, const struct patch *p, int out);

// Numbers of arena that a plan takes, about.
double conv_plan_numbers(const struct window *w, const struct patch *p, int out);

// y (out, windows) = bias (out), or 0 where it is NULL, + weight (out, depth) by what the windows of x see.
void conv_forward(real *y, const struct conv *c, const real *weight, const real *bias, const real *x);

// dweight (out, depth) += the sum over the images of dy (out, windows) by what the windows of x see. Images lie x_step
// numbers apart, results dy_step.
void conv_weight_grad(real *dweight, const struct conv *c, const real *dy, size_t dy_step, const real *x,
                      size_t x_step, int images);

#endif
