/* SPDX-License-Identifier: Apache-2.0
 *
 * XML as S3 speaks it: a small reader that turns flat documents into values, and a writer that escapes.
 *
 * Reader: the document is walked once; each element is reported with its path of local names below the document
 * ("Delete/Object/Key"; name space prefixes and attributes are dropped) and its text. Leaves and inner elements both
 * end in a call, so that a list of things is closed by the call for its inner element:
 *
 *     <Delete><Quiet>true</Quiet><Object><Key>a</Key></Object></Delete>
 *
 * calls leaf "Delete/Quiet" "true", open "Delete/Object", leaf "Delete/Object/Key" "a", close "Delete/Object", and the
 * same open and close for "Delete" around all. An element is a leaf when it holds no element; its text is unescaped,
 * not trimmed. An empty element is a leaf with empty text: it is opened like any other only if it turns out to hold
 * elements.
 *
 * Safe on hostile input: a document type declaration is refused (so no entities, no expansion), depth and sizes are
 * limited, memory is bounded by max_text. Bytes may be fed in pieces of any size. Characters that XML cannot carry as
 * themselves arrive as character references: &#x1; (S3 keys may hold them; XML 1.0 forbids them, S3 clients send them
 * all the same) are accepted, with the byte 0 excepted.
 *
 * Ownership: what a callback gets lives until it returns. A reader belongs to one thread at a time.
 */
#pragma once
#include "base/buf.h"

struct xml_limits {
    unsigned max_depth; /* nested elements; 0: 16 */
    size_t max_text;    /* bytes of one leaf's text; 0: 64 KiB */
    uint64_t max_bytes; /* of the whole document; 0: 8 MiB */
};

/* All may be NULL. Non-zero stops the reader and is what xml_feed() and xml_end() return. path is NUL-terminated. */
struct xml_calls {
    int (*open)(void *arg, const char *path);
    int (*leaf)(void *arg, const char *path, struct str text);
    int (*close)(void *arg, const char *path);
};

struct xml_reader;
struct xml_reader *xml_reader_new(const struct xml_calls *calls, void *arg, const struct xml_limits *limits);
/* 0, a callback's code, or ERR_MALFORMED_XML with a sentence; the same code from then on. */
int xml_feed(struct xml_reader *x, const void *p, size_t n);
/* The document must be complete now. */
int xml_end(struct xml_reader *x);
struct xml_reader *xml_reader_free(struct xml_reader *x);

/* All in one, for a document in memory. */
int xml_parse(struct str doc, const struct xml_calls *calls, void *arg, const struct xml_limits *limits);

/* First leaf with this path, copied into ret (NUL added, cut at cap - 1); false when absent or malformed. */
bool xml_find(struct str doc, const char *path, char *ret, size_t cap);

/* --- Writer: appends to a struct buf. Names are constants of ours and not escaped; text is. Characters that XML 1.0
 * cannot carry (control characters but tab, LF, CR) are written as character references, as S3 does; invalid UTF-8
 * bytes too become
 * &#xfffd;: a key that must survive goes url-encoded. */

void xml_decl(struct buf *b);                      /* <?xml version="1.0" encoding="UTF-8"?> and LF */
void xml_open(struct buf *b, const char *name);    /* <name> */
void xml_open_ns(struct buf *b, const char *name); /* with xmlns="http://s3.amazonaws.com/doc/2006-03-01/" */
void xml_close(struct buf *b, const char *name);   /* </name> */
void xml_escape(struct buf *b, struct str text);   /* text only */
void xml_text(struct buf *b, const char *name, struct str text); /* <name>text</name> */
void xml_textz(struct buf *b, const char *name, const char *text);
void xml_u64(struct buf *b, const char *name, uint64_t v);
void xml_bool(struct buf *b, const char *name, bool v);
/* 2026-11-20T23:54:51.123Z */
void xml_time(struct buf *b, const char *name, uint64_t wall_ms);
