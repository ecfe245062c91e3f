// How much memory there is. Contracts in memory.h.
#include "src/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/file.h"

// Control groups, version 2 and 1; "max" or a number beyond any machine where there is no limit.
static const char *const group_files[] = {"/sys/fs/cgroup/memory.max",
                                          "/sys/fs/cgroup/memory/memory.limit_in_bytes"};

double memory_machine(void) {
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    double least = pages > 0 && size > 0 ? (double)pages * (double)size : (double)INFINITY;
    for (int i = 0; i < 2; i++) {
        char line[32] = "";
        file_peek(line, sizeof line - 1, group_files[i]);
        double bytes = strtod(line, NULL);
        if (bytes > 0 && bytes < least) least = bytes;
    }
    return least;
}

const char *memory_text(char text[MEMORY_TEXT], double bytes) {
    static const char units[] = "KMGT";
    int unit = 0;
    bytes /= 1000;
    while (bytes >= 999.5 && units[unit + 1]) bytes /= 1000, unit++;
    snprintf(text, MEMORY_TEXT, bytes < 10 ? "%.1f %cB" : "%.0f %cB", bytes, units[unit]);
    return text;
}

bool memory_parse(double *bytes, const char *text) {
    static const char units[] = "KMGT";
    char *end;
    if (*text < '0' || *text > '9') return false;
    *bytes = strtod(text, &end);
    const char *unit = *end ? strchr(units, *end) : NULL;
    if (unit) {
        for (const char *u = units; u <= unit; u++) *bytes *= 1000;
        if (*++end == 'B') end++;
    }
    return *end == 0 && *bytes > 0 && isfinite(*bytes);
}
