/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of the RocksDB engine: options and errors.
 */
#pragma once
#include "kv/kv_engine.h"
#include <rocksdb/c.h>

struct rocks_options {
    rocksdb_options_t *o;
    rocksdb_cache_t *cache;
    rocksdb_block_based_table_options_t *table;
};

enum {
    /* A memtable is handed on before RocksDB would do it by itself, at one of these. */
    ROCKS_SWITCH_BYTES = 20 << 20,
    ROCKS_SWITCH_DELETES = 16384,
    ROCKS_WRITE_BUFFER = 32 << 20,
};

void rocks_options_make(struct rocks_options *ret, size_t cache_bytes, bool lz4);
void rocks_options_free(struct rocks_options *o);

/* rocksdb_mark.c. ERR_CORRUPT: less can be read than was synced, and nothing was touched. */
int rocks_mark_check(const char *dir, const rocksdb_options_t *o);
int rocks_mark_open(const char *dir, int *ret_fd);
void rocks_mark_set(int fd, uint64_t sequence); /* synced up to there */

/* Turns an error of the C API into a code and a sentence, and frees it. NULL gives 0. */
int rocks_error(char *err, const char *doing);
