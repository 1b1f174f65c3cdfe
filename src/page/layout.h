/* SPDX-License-Identifier: Apache-2.0
 *
 * What lies on the disk. Little-endian, as the machine has it.
 *
 * A directory holds:
 *     lock                 flock'ed by the process that owns the directory; its text is that process's id
 *     label                one line: version, page size, segment payload; written once
 *     probe                written and synced to see whether a failed disk works again
 *     segments/NNNNNNNN    segment files of one size, made when first needed, reused for ever
 *
 * A segment file:
 *     block 0              struct disk_seg: who this segment is in its present life
 *     block 1 ..           small: struct disk_table and its rows, once the segment is sealed
 *                          bulk: one struct disk_head with block checksums per slot, 4 KiB each
 *     last block of area   struct disk_seg again (a flipped bit in block 0 must not lose a segment)
 *     payload              small: a log of records (struct disk_head, 4 checksums, bytes, zeros up to 4 KiB)
 *                          bulk: slots of one size, contiguous
 *
 * Identity: id is random, made with the file; life counts the segment's uses. Both are in every record, so that what a
 * former life left behind is never taken for a record of this one. pos (in 4 KiB of payload) is there too, so that a
 * copy of a record inside another record's bytes is never taken for one.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum {
    PG_BLOCK = 4096,      /* every record and slot header starts on such a bound */
    PG_CRC_BLOCK = 16384, /* bytes under one CRC32C */
    PG_SMALL_MAX = 65536, /* longest page in a small segment */
    PG_SMALL_CRCS = PG_SMALL_MAX / PG_CRC_BLOCK,
    PG_REC_HEAD = 96,        /* disk_head, 4 checksums and 8 zero bytes: the payload follows */
    PG_SLOT_MIN = 128 << 10, /* smallest bulk class */
    PG_SLOT_MAX = 4 << 20,
    PG_CRCS_MAX = PG_SLOT_MAX / PG_CRC_BLOCK,
    PG_CLASSES_MAX = 7, /* 0: small, 1..6: 128 KiB .. 4 MiB */
    PG_SEG_MAX = 256 << 20,
    PG_VERSION = 1
};
#define PG_SEG_MAGIC 0x67536246u   /* "FbSg" */
#define PG_TABLE_MAGIC 0x62546246u /* "FbTb" */
#define PG_REC_MAGIC 0x63526246u   /* "FbRc" */
#define PG_SLOT_MAGIC 0x6c536246u  /* "FbSl" */

struct disk_seg {
    uint32_t magic, crc; /* crc: of what follows it */
    uint64_t id, life;
    uint32_t payload; /* bytes */
    uint16_t version;
    uint8_t cls;     /* 0 small, k: slots of 64 KiB << k */
    uint8_t written; /* every payload block was written once: overwriting allocates nothing */
};
struct disk_page {
    uint64_t blob, content, birth_ms, seq;
    uint32_t index, len;
};
struct disk_head {
    uint32_t magic, crc; /* crc: of what follows it, block checksums of len included */
    uint64_t seg, life;
    struct disk_page page;
    uint32_t pos;   /* payload block (small) or slot number (bulk) */
    uint32_t birth; /* enum page_birth */
    /* uint32_t block_crc[] follows: 4 (small) or as many as len needs */
};
struct disk_row {
    struct disk_page page;
    uint32_t pos, birth;
};
struct disk_table {
    uint32_t magic, crc; /* crc: of what follows it, rows included */
    uint64_t seg, life;
    uint32_t count, end; /* rows; payload blocks used */
    /* struct disk_row row[] follows */
};
_Static_assert(sizeof(struct disk_seg) == 32, "layout");
_Static_assert(sizeof(struct disk_page) == 40, "layout");
_Static_assert(sizeof(struct disk_head) == 72, "layout");
_Static_assert(sizeof(struct disk_row) == 48, "layout");
_Static_assert(sizeof(struct disk_table) == 32, "layout");
_Static_assert(sizeof(struct disk_head) + PG_SMALL_CRCS * 4 <= PG_REC_HEAD, "layout");
_Static_assert(sizeof(struct disk_head) + PG_CRCS_MAX * 4 <= PG_BLOCK, "layout");

static inline uint32_t pg_crcs(uint32_t len)
{
    return (len + PG_CRC_BLOCK - 1) / PG_CRC_BLOCK;
}
/* Payload blocks of a small record. */
static inline uint32_t pg_small_blocks(uint32_t len)
{
    return (PG_REC_HEAD + len + PG_BLOCK - 1) / PG_BLOCK;
}
static inline uint32_t pg_slot_size(unsigned cls)
{
    return (PG_SLOT_MIN >> 1) << cls;
}
/* Class that a page of len bytes belongs into. */
static inline unsigned pg_class(uint32_t len)
{
    unsigned c = 0;
    while (len > (c ? pg_slot_size(c) : PG_SMALL_MAX))
        c++;
    return c;
}
/* Header area of a segment: block 0, the largest possible slot table, the copy of block 0. */
static inline uint32_t pg_area(uint32_t payload)
{
    return PG_BLOCK * (2 + payload / PG_SLOT_MIN);
}
