/* SPDX-License-Identifier: Apache-2.0
 *
 * The checksums of S3 (x-amz-checksum-*): names, running values, text form, and what becomes of the parts' checksums
 * when an upload completes: COMPOSITE (the checksum of the parts' checksums, "-N") or FULL_OBJECT (the CRC of the
 * whole, which follows from the CRCs and lengths of the parts without reading a byte).
 *
 * Pure but for the digest context a struct s3_sum may hold: s3_sum_done() releases it. One thread at a time.
 */
#pragma once
#include "base/buf.h"
#include "base/hash.h"

enum s3_sum_kind { SUM_CRC32, SUM_CRC32C, SUM_CRC64NVME, SUM_SHA1, SUM_SHA256, SUM_KINDS, SUM_NONE = SUM_KINDS };

struct s3_sum_info {
    const char *name;    /* "CRC32C", as in x-amz-sdk-checksum-algorithm */
    const char *header;  /* "x-amz-checksum-crc32c" */
    const char *element; /* "ChecksumCRC32C" */
    size_t bytes;
    bool full;      /* FULL_OBJECT is possible */
    bool composite; /* COMPOSITE is possible */
};
const struct s3_sum_info *s3_sum_info(enum s3_sum_kind k); /* k < SUM_KINDS */
enum s3_sum_kind s3_sum_by_name(struct str name);          /* any case; SUM_NONE when unknown */
enum s3_sum_kind s3_sum_by_header(struct str header);      /* any case; SUM_NONE */
enum s3_sum_kind s3_sum_by_element(const char *element);

struct s3_sum {
    enum s3_sum_kind kind;
    uint64_t crc;
    struct digest *digest;
};
void s3_sum_begin(struct s3_sum *s, enum s3_sum_kind kind); /* SUM_NONE: adding does nothing */
void s3_sum_add(struct s3_sum *s, const void *p, size_t n);
size_t s3_sum_end(struct s3_sum *s,
                  unsigned char ret[32]); /* bytes written, big-endian; the struct can only be released now */
void s3_sum_done(struct s3_sum *s);

#define SUM_TEXT 56 /* longest base64 text and "-10000" with NUL */
void s3_sum_text(const unsigned char *raw, size_t n, char ret[SUM_TEXT]);
/* Base64 of exactly the kind's length; false when malformed. */
bool s3_sum_parse(enum s3_sum_kind k, struct str text, unsigned char ret[32]);

/* CRC of A then B from crc(A), crc(B) and B's length. Only the three CRC kinds. */
uint64_t s3_sum_combine(enum s3_sum_kind k, uint64_t a, uint64_t b, uint64_t b_bytes);

/* The checksum of a multipart object from those of its parts, one part after the other. */
struct s3_sum_parts {
    enum s3_sum_kind kind;
    bool full;    /* FULL_OBJECT */
    bool missing; /* a part had none: there is no checksum of the whole */
    unsigned n;
    uint64_t crc;
    struct s3_sum over; /* composite: over the raw checksums */
};
void s3_sum_parts_begin(struct s3_sum_parts *s, enum s3_sum_kind kind, bool full);
void s3_sum_parts_add(struct s3_sum_parts *s, struct str text, uint64_t bytes); /* text.p NULL: the part has none */
bool s3_sum_parts_end(struct s3_sum_parts *s, char ret[SUM_TEXT]);              /* false: no checksum; releases */
