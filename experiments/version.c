// What was built. The macros come from CMakeLists.txt.
#include "experiments/version.h"

const char *version_text(void) {
    return TALLY_VERSION;
}

const char *version_commit(void) {
    return TALLY_COMMIT;
}

const char *version_build(void) {
    return TALLY_BUILD;
}
