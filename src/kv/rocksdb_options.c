/* SPDX-License-Identifier: Apache-2.0
 *
 * How the embedded engine sets up RocksDB, and why.
 *
 * Recovery after a power cut. The unsynced tail of the log may be torn: cut anywhere, or with holes where the kernel
 * wrote later pages first. "tolerate corrupted tail" refuses to open when it meets a hole; "absolute consistency"
 * refuses any torn tail; "skip any" replays what follows a hole. "point in time" stops at the first bad record and
 * opens: what was synced lies before it and is there, and what is there is a prefix of what was committed. It cannot
 * tell a torn tail from a flipped bit in the synced part of the log (the at most 20 MiB since the memtable was last
 * handed on): rocksdb_mark.c can, and looks before the store is opened for writing.
 *
 * Log files are preallocated (a synced commit costs one fdatasync that need not allocate) but not recycled: RocksDB 7.8
 * switches recycle_log_file_num off in every recovery mode but "skip any" (it sets the option to 0 when it opens),
 * because it could not tell old records from a torn tail. Measured, recycling gains nothing here.
 *
 * Deletions. Queues leave tombstones at the front of their range, which every scan from the front must step over. The
 * engine hands a memtable on after 16,384 deletions, and files with many tombstones close together are compacted early.
 *
 * Memory: block cache (with index and filter blocks inside it; both partitioned, since a filter of a large file would
 * not fit into one shard of the cache and be read again at each lookup, which was measured to double a commit) and
 * three write buffers of 32 MiB at most, of which the engine uses 20 MiB each.
 */
#include "base/err.h"
#include "kv/rocksdb.h"
#include <stdlib.h>
#include <string.h>

enum { CACHE_DEFAULT = 64 << 20, BLOOM_BITS = 10, OPEN_FILES = 512, SHARD_BITS = 3, WARN_LEVEL = 2 };

static void set_table(struct rocks_options *r, size_t cache_bytes)
{
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();

    rocksdb_lru_cache_options_t *c = rocksdb_lru_cache_options_create();

    rocksdb_lru_cache_options_set_capacity(c, cache_bytes ? cache_bytes : CACHE_DEFAULT);
    rocksdb_lru_cache_options_set_num_shard_bits(c, SHARD_BITS);
    r->cache = rocksdb_cache_create_lru_opts(c);
    rocksdb_lru_cache_options_destroy(c);
    rocksdb_block_based_options_set_block_cache(t, r->cache);
    rocksdb_block_based_options_set_block_size(t, 8192);
    rocksdb_block_based_options_set_format_version(t, 5);
    rocksdb_block_based_options_set_filter_policy(t, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS));
    rocksdb_block_based_options_set_whole_key_filtering(t, 1);
    rocksdb_block_based_options_set_index_type(t, rocksdb_block_based_table_index_type_two_level_index_search);
    rocksdb_block_based_options_set_partition_filters(t, 1);
    rocksdb_block_based_options_set_metadata_block_size(t, 8192);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(t, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(t, 1);
    rocksdb_options_set_block_based_table_factory(r->o, t);
    r->table = t;
}

static void set_writing(rocksdb_options_t *o)
{
    rocksdb_options_set_write_buffer_size(o, ROCKS_WRITE_BUFFER);
    rocksdb_options_set_max_write_buffer_number(o, 3);
    rocksdb_options_set_memtable_whole_key_filtering(o, 1);
    rocksdb_options_set_memtable_prefix_bloom_size_ratio(o, 0.02);
    rocksdb_options_set_wal_recovery_mode(o, rocksdb_point_in_time_recovery);
    rocksdb_options_set_enable_write_thread_adaptive_yield(o, 0); /* the commit lock lets one in at a time */
    rocksdb_options_set_bytes_per_sync(o, 1 << 20);
}

static void set_files(rocksdb_options_t *o, bool lz4)
{
    rocksdb_options_set_max_open_files(o, OPEN_FILES);
    rocksdb_options_set_max_background_jobs(o, 2);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(o, 1);
    rocksdb_options_set_max_bytes_for_level_base(o, 128 << 20);
    rocksdb_options_set_target_file_size_base(o, 32 << 20);
    rocksdb_options_set_compression(o, lz4 ? rocksdb_lz4_compression : rocksdb_no_compression);
    rocksdb_options_add_compact_on_deletion_collector_factory(o, 4096, 1024);
    rocksdb_options_set_max_manifest_file_size(o, 16 << 20);
}

static void set_quiet(rocksdb_options_t *o)
{
    rocksdb_options_set_info_log_level(o, WARN_LEVEL);
    rocksdb_options_set_max_log_file_size(o, 1 << 20);
    rocksdb_options_set_keep_log_file_num(o, 3);
    rocksdb_options_set_stats_dump_period_sec(o, 0);
    rocksdb_options_set_stats_persist_period_sec(o, 0);
    rocksdb_options_set_skip_stats_update_on_db_open(o, 1);
}

/* Rows of one kind mostly come in rising order (ids, due times): each is looked for from where the last of its kind
 * went in, instead of from the top of the list. The C API has no setter for it. */
static void set_hint(struct rocks_options *r)
{
    rocksdb_options_t *o = rocksdb_options_create();
    char *err = NULL;

    rocksdb_get_options_from_string(r->o, "memtable_insert_with_hint_prefix_extractor=fixed:1", o, &err);
    CHECK(!err, "%s", err);
    rocksdb_options_destroy(r->o);
    r->o = o;
}

void rocks_options_make(struct rocks_options *ret, size_t cache_bytes, bool lz4)
{
    ret->o = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(ret->o, 1);
    set_table(ret, cache_bytes);
    set_writing(ret->o);
    set_files(ret->o, lz4);
    set_quiet(ret->o);
    set_hint(ret);
}

void rocks_options_free(struct rocks_options *o)
{
    rocksdb_options_destroy(o->o);
    rocksdb_block_based_options_destroy(o->table);
    rocksdb_cache_destroy(o->cache);
}

/* The C API gives only text; these are the beginnings of Status::ToString(). */
static int code_of(const char *err)
{
    if (strncmp(err, "Result incomplete", 17) == 0)
        return ERR_BUSY;
    if (strncmp(err, "Corruption", 10) == 0)
        return ERR_CORRUPT;
    if (strstr(err, "No space left"))
        return ERR_NO_SPACE;
    return ERR_IO;
}

int rocks_error(char *err, const char *doing)
{
    int r;

    if (!err)
        return 0;
    r = err_set(code_of(err), "RocksDB, %s: %s", doing, err);
    rocksdb_free(err);
    return r;
}
