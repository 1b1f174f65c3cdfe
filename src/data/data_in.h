/* SPDX-License-Identifier: Apache-2.0
 * Inside the room. */
#pragma once
#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/trace.h"
#include "data/data.h"
#include <stdatomic.h>

enum { DATA_PASSES = 64 };

/* A listing of the UFS under way, page after page: when it has seen everything, the directory is complete. */
struct pass {
    uint64_t dir, epoch, start_ms;
    bool deep, dirty;
    struct buf through;
    uint64_t used_ms;
};

struct data {
    struct meta *meta;
    struct page_store *pages;
    uint32_t page_size;
    uint64_t reader_hold_ms;
    atomic_uint_fast64_t readers_cut;
    struct lock lock; /* RANK_META + 1: passes */
    struct pass pass[DATA_PASSES];
};
