/* SPDX-License-Identifier: Apache-2.0
 *
 * Multipart uploads (contract in upload.h).
 */
#include "s3/upload.h"

static const struct str pair_name = {"x-amz-checksum-algorithm", 24};

int s3_upload_id(const struct s3_call *c, char ret[FS_UPLOAD_ID])
{
    struct str s = s3_param(c, "uploadId");
    unsigned char raw[16];
    if (!str_unhex(s, raw, sizeof raw))
        return err_set(ERR_NO_UPLOAD,
                       "The specified upload does not exist. The upload ID may be invalid, or the upload may "
                       "have been aborted or completed.");
    memcpy(ret, s.p, s.n);
    ret[s.n] = 0;
    return 0;
}

int s3_upload_part_number(const struct s3_call *c, unsigned *ret)
{
    uint64_t n;
    if (!str_u64(s3_param(c, "partNumber"), S3_PARTS_MAX, &n) || n == 0)
        return err_set(ERR_INVALID, "Part number must be an integer between 1 and %d, inclusive", S3_PARTS_MAX);
    *ret = (unsigned)n;
    return 0;
}

/* --- the checksum */

static int type_of(struct str type, enum s3_sum_kind k, bool *ret_full)
{
    const struct s3_sum_info *i = s3_sum_info(k);
    if (!type.p) {
        *ret_full = !i->composite;
        return 0;
    }
    bool full = str_eq(type, STR("FULL_OBJECT"));
    if (!full && !str_eq(type, STR("COMPOSITE")))
        return err_set(ERR_REQUEST, "Value for x-amz-checksum-type header is invalid.");
    if (full ? !i->full : !i->composite)
        return err_set(ERR_REQUEST, "The %.*s checksum type cannot be used with the %s checksum algorithm.",
                       STR_ARG(type), i->name);
    *ret_full = full;
    return 0;
}

int s3_upload_sum_asked(const struct s3_call *c, struct s3_upload_sum *ret)
{
    struct str name = s3_header_of(c, "x-amz-checksum-algorithm"), type = s3_header_of(c, "x-amz-checksum-type");
    struct s3_upload_sum u = {.asked = name.p, .kind = SUM_CRC64NVME, .full = true};
    if (!name.p && type.p)
        return err_set(ERR_REQUEST,
                       "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.");
    if (name.p) {
        u.kind = s3_sum_by_name(name);
        if (u.kind == SUM_NONE)
            return err_set(ERR_REQUEST,
                           "Checksum algorithm provided is unsupported. Please try again with any of the valid "
                           "types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]");
        TRY(type_of(type, u.kind, &u.full));
    }
    *ret = u;
    return 0;
}

const char *s3_upload_sum_type(const struct s3_upload_sum *u)
{
    return u->full ? "FULL_OBJECT" : "COMPOSITE";
}

struct str s3_upload_sum_text(struct s3_call *c, const struct s3_upload_sum *u)
{
    struct buf b AUTO_BUF = {0};
    buf_printf(&b, "%s/%s", s3_sum_info(u->kind)->name, s3_upload_sum_type(u));
    return s3_call_dup(c, buf_str(&b));
}

bool s3_upload_sum_parse(struct str name, struct str value, struct s3_upload_sum *ret)
{
    const char *slash = value.n ? memchr(value.p, '/', value.n) : NULL;
    if (!str_eq(name, pair_name) || !slash)
        return false;
    size_t at = (size_t)(slash - value.p);
    enum s3_sum_kind k = s3_sum_by_name(str_mk(value.p, at));
    if (k == SUM_NONE)
        return false;
    *ret =
        (struct s3_upload_sum){.asked = true, .kind = k, .full = str_eq(str_from(value, at + 1), STR("FULL_OBJECT"))};
    return true;
}

static void look(void *arg, struct str name, struct str value)
{
    s3_upload_sum_parse(name, value, arg);
}

static int no_part(void *arg, const struct fs_part_info *p)
{
    (void)arg, (void)p;
    return 0;
}

int s3_upload_sum_of(struct s3_call *c, const char *id, struct s3_upload_sum *ret)
{
    struct s3_upload_sum u = {.kind = SUM_CRC64NVME, .full = true};
    bool more;
    TRY(fs_upload_parts(c->fs, c->at, id, S3_PARTS_MAX, 1, no_part, &u, &more, look));
    *ret = u;
    return 0;
}

struct str s3_part_sum(struct str lines, enum s3_sum_kind k)
{
    struct str name = k < SUM_KINDS ? str_of(s3_sum_info(k)->header) : STR("?");
    while (lines.n) {
        const char *lf = memchr(lines.p, '\n', lines.n);
        size_t at = lf ? (size_t)(lf - lines.p) : lines.n;
        struct str line = str_mk(lines.p, at);
        if (line.n > name.n && str_starts(line, name) && line.p[name.n] == '=')
            return str_from(line, name.n + 1);
        lines = str_from(lines, at + 1);
    }
    return (struct str){NULL, 0};
}
