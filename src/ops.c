// The registry of operations, made from ops.def.
#include "src/ops.h"

const struct op *const ops[] = {
#define OP(name, arguments, help) &name##_op,
#include "src/ops.def"
#undef OP
    NULL};

const char *const ops_help[] = {
#define OP(name, arguments, help) help,
#include "src/ops.def"
#undef OP
    NULL};
