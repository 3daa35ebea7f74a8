/* Shared by steps.cpp and its BPF programs. */
#pragma once

#include <linux/types.h>

#define STEPS 16
#define WARM 1024   /* entries of a table that stays in the caches */
#define COLD 524288 /* of one that does not: 262,144 flows in two directions */
#define OUTER_BYTES 50

struct bench_prefix {
    __u32 length;
    __be32 address;
};
