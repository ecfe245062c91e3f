// What was built. The macros and tally_commit.h come from CMakeLists.txt.
#include "experiments/version.h"

#include <tally_commit.h>

const char *version_text(void) {
    return TALLY_VERSION;
}

const char *version_commit(void) {
    return TALLY_COMMIT;
}

const char *version_build(void) {
    return TALLY_BUILD;
}
