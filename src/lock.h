// One folder, one process: who writes a run's folder holds its lock.
//
// It is a POSIX record lock (fcntl) on FOLDER/.lock: the system lets go of it when the process ends, however it ends, so a
// lock file that was left behind, or whose number another process has by now, means nothing; and it holds over NFS. The
// process and its machine are written into the file, for the message alone. The descriptor must stay the only one that this
// process has of the file: closing another one would end the lock.
#ifndef TALLY_SRC_LOCK_H
#define TALLY_SRC_LOCK_H

#include "src/base.h"

struct lock {
    int descriptor; // -1: not held
};

// Makes the folder where there is none, takes its lock, and removes what killed processes have left unfinished there. A
// process that is just ending is waited for, half a second at most. Fails when another process has the lock, and says which.
// Returns 1, with the reason in `e`, when the file system knows no locks: then nothing is held.
int lock_take(struct lock *l, const char *folder, struct err *e);

// Whether the folder holds another lock file by now: it was removed and another process works in one of the same name.
bool lock_is_lost(const struct lock *l, const char *folder);

// Lets go and removes the lock file; `folder` is where it is by now. Nothing when it is not held.
void lock_release(struct lock *l, const char *folder);

#endif
