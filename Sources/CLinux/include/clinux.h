#pragma once

// System calls of Linux that Swift cannot import by itself: prctl(2) is variadic, the others are GNU extensions.
// Every function returns 0, or the errno of what failed.

/// Nobody but root may read this process's memory, environment or core (PR_SET_DUMPABLE, prctl(2)).
int clinux_forbid_dumps(void);

/// A pipe whose ends are not inherited across exec (pipe2(2)): ends[0] reads, ends[1] writes.
int clinux_pipe(int ends[2]);

/// Closes every descriptor from `first` on (close_range(2)).
int clinux_close_from(int first);
