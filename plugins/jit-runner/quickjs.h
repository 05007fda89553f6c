/* Included before every C file of QuickJS (`cargo xtask plugins` passes `-include`). It gives QuickJS a stack limit.
 *
 * QuickJS switches its own off on WASI (`update_stack_limit`), and deep recursion would end in a trap instead of a
 * JavaScript error. So the C library's headers are read as they are, and then QuickJS is told that this is not WASI.
 * `__GLIBC__` is what it takes to find `malloc_usable_size`, without which the memory limit would count nothing.
 */
#include <alloca.h>
#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#undef __wasi__
#define __GLIBC__ 2

/* What can be measured is the shadow stack, which a frame that holds nothing in memory does not use. The padding makes
 * every function that checks the limit use some, so that the shadow stack ends before WebAssembly's own stack does. */
#define __builtin_frame_address(level) ({ volatile char padding[256]; (void *)padding; })
