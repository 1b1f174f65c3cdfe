/* SPDX-License-Identifier: Apache-2.0
 *
 * Documents of requests (contract in documents.h). An element that is not understood is refused: it would ask for
 * something that is then not done.
 */
#include "s3/documents.h"

/* --- Delete */

void s3_delete_doc_begin(struct s3_delete_doc *d, struct s3_call *c)
{
    *d = (struct s3_delete_doc){.c = c, .item = s3_call_mem(c, S3_DELETE_KEYS_MAX * sizeof *d->item)};
}

static int delete_open(void *arg, const char *path)
{
    struct s3_delete_doc *d = arg;
    if (strcmp(path, "Delete/Object") != 0)
        return 0;
    if (d->n == S3_DELETE_KEYS_MAX)
        return err_set(ERR_MALFORMED_XML, "more than %d keys", S3_DELETE_KEYS_MAX);
    d->item[d->n] = (struct s3_delete_item){0};
    d->has_key = false;
    return 0;
}

static int delete_member(struct s3_delete_doc *d, const char *name, struct str text)
{
    struct s3_delete_item *i = &d->item[d->n];
    if (!strcmp(name, "Key")) {
        i->key = s3_call_dup(d->c, text);
        d->has_key = true;
    } else if (!strcmp(name, "ETag"))
        i->etag = s3_call_dup(d->c, text);
    else if (!strcmp(name, "VersionId"))
        i->version = s3_call_dup(d->c, text);
    else if (!strcmp(name, "LastModifiedTime") || !strcmp(name, "Size"))
        i->conditions = true;
    else
        return err_set(ERR_MALFORMED_XML, "unexpected element %s", name);
    return 0;
}

static int delete_leaf(void *arg, const char *path, struct str text)
{
    struct s3_delete_doc *d = arg;
    if (!strncmp(path, "Delete/Object/", 14))
        return delete_member(d, path + 14, text);
    if (strcmp(path, "Delete/Quiet") != 0)
        return err_set(ERR_MALFORMED_XML, "unexpected element %s", path);
    d->quiet = str_ieq(text, STR("true"));
    return 0;
}

static int delete_close(void *arg, const char *path)
{
    struct s3_delete_doc *d = arg;
    if (strcmp(path, "Delete/Object") != 0)
        return 0;
    if (!d->has_key)
        return err_set(ERR_MALFORMED_XML, "an Object needs a Key");
    d->n++;
    return 0;
}

const struct xml_calls s3_delete_calls = {.open = delete_open, .leaf = delete_leaf, .close = delete_close};

/* --- CompleteMultipartUpload */

static void grow(struct s3_complete_doc *d)
{
    if (d->n < d->cap)
        return;
    size_t cap = d->cap ? d->cap * 2 : 64;
    struct fs_part *p = s3_call_mem(d->c, cap * sizeof *p);
    if (d->n)
        memcpy(p, d->part, d->n * sizeof *p);
    d->part = p;
    d->cap = cap;
}

static int complete_open(void *arg, const char *path)
{
    struct s3_complete_doc *d = arg;
    if (strcmp(path, "CompleteMultipartUpload/Part") != 0)
        return 0;
    if (d->n == S3_PARTS_MAX)
        return err_set(ERR_MALFORMED_XML, "more than %d parts", S3_PARTS_MAX);
    grow(d);
    d->part[d->n] = (struct fs_part){0};
    return 0;
}

static int take_number(struct fs_part *p, struct str text)
{
    uint64_t n;
    if (!str_u64(text, S3_PARTS_MAX, &n) || !n)
        return err_set(ERR_INVALID, "PartNumber must be an integer between 1 and %d, inclusive", S3_PARTS_MAX);
    p->part = (unsigned)n;
    return 0;
}

static int complete_leaf(void *arg, const char *path, struct str text)
{
    struct s3_complete_doc *d = arg;
    static const struct str part = {"CompleteMultipartUpload/Part/", 29};
    if (!str_starts(str_of(path), part))
        return err_set(ERR_MALFORMED_XML, "unexpected element %s", path);
    struct fs_part *p = &d->part[d->n];
    const char *name = path + part.n;
    if (!strcmp(name, "PartNumber"))
        return take_number(p, text);
    if (!strcmp(name, "ETag"))
        p->etag = s3_call_dup(d->c, text);
    else if (s3_sum_by_element(name) != SUM_NONE)
        p->checksum = s3_call_dup(d->c, text);
    else
        return err_set(ERR_MALFORMED_XML, "unexpected element %s", path);
    return 0;
}

static int complete_close(void *arg, const char *path)
{
    struct s3_complete_doc *d = arg;
    if (strcmp(path, "CompleteMultipartUpload/Part") != 0)
        return 0;
    const struct fs_part *p = &d->part[d->n];
    if (!p->part || !p->etag.p)
        return err_set(ERR_MALFORMED_XML, "a Part needs a PartNumber and an ETag");
    if (d->n && p->part <= d->part[d->n - 1].part)
        return err_set(ERR_PART_ORDER,
                       "The list of parts was not in ascending order. Parts must be ordered by part number.");
    d->n++;
    return 0;
}

const struct xml_calls s3_complete_calls = {.open = complete_open, .leaf = complete_leaf, .close = complete_close};
