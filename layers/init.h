// Initial weights of layers with a matrix, uniform in -b .. b; in and out are how many numbers a unit reads and
// how many units read a number:
//
//   kaiming   b = sqrt(6 / in)          He et al. 2015, eq. 10, for relu
//   xavier    b = sqrt(6 / (in + out))  Glorot and Bengio 2010, eq. 16
//   lecun     b = sqrt(3 / in)          LeCun et al. 1998, sec. 4.6
//   pytorch   b = sqrt(1 / in)          what torch.nn.Linear and torch.nn.Conv2d do
#ifndef TALLY_LAYERS_INIT_H
#define TALLY_LAYERS_INIT_H

enum { INIT_KAIMING, INIT_XAVIER, INIT_LECUN, INIT_PYTORCH };

// The words of a FIELD_CHOICE, in the enum's order.
#define INIT_WORDS "kaiming|xavier|lecun|pytorch"

double init_bound(int init, double in, double out);

#endif
