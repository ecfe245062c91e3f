// Where the files of a data set are: in the folders of a data_source, the first that has them.
#ifndef TALLY_DATASETS_SOURCE_H
#define TALLY_DATASETS_SOURCE_H

#include "datasets/dataset.h"

enum { SOURCE_PATH = 4096 };

// Puts into `path` the first FOLDER/NAME for which there(path) is true: for each folder of the source every name of the
// list (ended by NULL; "" is the folder itself). A name that begins with '/' is taken alone. Else sets source->missing
// and fails with "SET: WHAT not found in FOLDER, FOLDER (get it: GET)"; `get` may be NULL.
int source_find(char path[SOURCE_PATH], struct data_source *source, const char *const *names,
                bool (*there)(const char *path), const char *set, const char *what, const char *get,
                struct err *e);

// Whether so many bytes of samples are allowed.
int source_room(const struct data_source *source, double bytes, const char *set, struct err *e);

// The most bytes that a file or its content may have: `limit`, or less where the source allows less.
size_t source_limit(const struct data_source *source, size_t limit);

#endif
