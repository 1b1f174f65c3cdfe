/* SPDX-License-Identifier: Apache-2.0
 *
 * PostObject: an upload out of a browser's form. Fields take the place of headers; the policy among them says what may
 * be sent; what the browser sees afterwards is up to success_action_redirect and success_action_status.
 */
#include "base/mem.h"
#include "s3/object.h"
#include "s3/policy.h"
#include "s3/tags.h"

enum { BUFFER = 64 * 1024, LOCATION_MAX = 28 * 1024 };

struct post {
    struct s3_call *c;
    struct s3_form form;
    struct s3_policy_range range;
    struct s3_sum sum;
    struct str want; /* of the checksum field; p NULL: none */
    char text[SUM_TEXT];
    uint64_t bytes;
    struct buf to; /* where the browser is sent: the answer's Location */
    bool redirect; /* it is another page, which gets the ETag at its end */
};

/* --- names and rights */

/* ${filename} is the name of the file the user chose, wherever it stands. False: it becomes longer than max. */
static bool fill_in(struct post *p, struct str s, size_t max, struct str *ret)
{
    static const struct str var = {"${filename}", 11};
    struct buf b AUTO_BUF = {0};
    struct str name = p->form.filename.p ? p->form.filename : STR("");
    for (const char *at; s.n && b.n <= max && (at = memmem(s.p, s.n, var.p, var.n)) != NULL;
         s = str_from(s, (size_t)(at - s.p) + var.n)) {
        buf_add(&b, s.p, (size_t)(at - s.p));
        buf_str_add(&b, name);
    }
    buf_str_add(&b, s);
    if (b.n > max)
        return false;
    *ret = s3_call_dup(p->c, buf_str(&b));
    return true;
}

/* In all fields together as many bytes as a form may have. */
static int fill_in_fields(struct post *p)
{
    size_t left = S3_FORM_FIELDS_MAX;
    for (size_t i = 0; i < p->form.n; i++) {
        struct str *v = &p->form.field[i].value;
        if (!fill_in(p, *v, left, v))
            return err_set(ERR_FORM_LARGE, "Your POST request fields preceding the upload file were too large.");
        left -= v->n;
    }
    return 0;
}

static int take_key(struct post *p)
{
    struct str key = s3_form_get(&p->form, "key");
    if (!key.p)
        return err_set(ERR_INVALID,
                       "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of "
                       "the fields.");
    if (!fill_in(p, key, URI_KEY_MAX, &key))
        return err_set(ERR_NAME_TOO_LONG, "Your key is too long: it has more than %d bytes", URI_KEY_MAX);
    if (!key.n)
        return err_set(ERR_INVALID, "User key must have a length greater than 0.");
    TRY(s3_uri_check_key(key));
    p->c->key = key;
    p->c->at = s3_object_at(p->c, p->c->bucket, key);
    return 0;
}

static struct str field_of(void *arg, const char *name)
{
    return s3_form_get(arg, name);
}

/* --- headers */

static int take_tagging(struct post *p, struct s3_pairs *ps)
{
    struct s3_tags t AUTO_TAGS = {0};
    struct buf b AUTO_BUF = {0};
    struct str doc = s3_form_get(&p->form, "tagging");
    if (!doc.n)
        return 0;
    TRY(s3_tags_from_xml(&t, doc, p->c->s3->set.tag_limits));
    s3_tags_encode(&b, &t);
    if (t.n)
        s3_pairs_add(ps, STR("x-amz-tagging"), s3_call_dup(p->c, buf_str(&b)));
    return 0;
}

static int take_checksum(struct post *p)
{
    enum s3_sum_kind kind = SUM_NONE;
    unsigned char raw[32];
    for (size_t i = 0; i < p->form.n; i++) {
        enum s3_sum_kind k = s3_sum_by_header(p->form.field[i].name);
        if (k == SUM_NONE)
            continue;
        if (kind != SUM_NONE)
            return err_set(ERR_REQUEST, "Expecting a single x-amz-checksum- field");
        if (!s3_sum_parse(k, p->form.field[i].value, raw))
            return err_set(ERR_REQUEST, "Value for %s field is invalid.", s3_sum_info(k)->header);
        kind = k;
        p->want = p->form.field[i].value;
    }
    s3_sum_begin(&p->sum, kind == SUM_NONE ? SUM_CRC64NVME : kind);
    return 0;
}

static int take_fields(struct post *p, struct s3_pairs *ps)
{
    TRY(fill_in_fields(p));
    TRY(s3_policy_check(&p->form, p->c->bucket, p->c->key, &p->range));
    TRY(s3_refuse_unbuilt_fields(p->form.field, p->form.n));
    TRY(s3_pairs_fields(ps, p->form.field, p->form.n));
    TRY(take_tagging(p, ps));
    return take_checksum(p);
}

/* --- the file */

static int pump(struct post *p, struct fs_writer *w)
{
    char *room AUTO_FREE = mem_alloc(BUFFER);
    for (ssize_t n; (n = s3_form_read(&p->form, room, BUFFER)) != 0;) {
        if (n < 0)
            return (int)n;
        p->bytes += (uint64_t)n;
        if (p->bytes > p->range.max)
            return err_set(ERR_TOO_LARGE, "Your proposed upload exceeds the maximum allowed size");
        s3_sum_add(&p->sum, room, (size_t)n);
        TRY(fs_write(w, room, (size_t)n));
    }
    if (p->bytes < p->range.min)
        return err_set(ERR_PART_SMALL, "Your proposed upload is smaller than the minimum allowed size");
    return 0;
}

static int check_sum(struct post *p)
{
    unsigned char raw[32];
    s3_sum_text(raw, s3_sum_end(&p->sum, raw), p->text);
    if (p->want.p && !str_eq(p->want, str_of(p->text)))
        return err_set(ERR_BAD_DIGEST, "The %s you specified did not match the calculated checksum.",
                       s3_sum_info(p->sum.kind)->name);
    return 0;
}

static int store(struct post *p, const struct s3_pairs *ps, struct fs_attr *ret)
{
    struct fs_write o;
    struct fs_writer *w;
    s3_write_options(p->c, ps, &o);
    o.cond = (struct fs_cond){0};
    TRY(fs_create(p->c->fs, p->c->at, &o, &w));
    int r = pump(p, w);
    if (r == 0)
        r = check_sum(p);
    if (r < 0) {
        fs_abort(w);
        return r;
    }
    struct fs_pair sum[2] = {{str_of(s3_sum_info(p->sum.kind)->header), str_of(p->text)},
                             {STR("x-amz-checksum-type"), STR("FULL_OBJECT")}};
    struct fs_commit commit = {.meta = sum, .meta_n = 2};
    return fs_commit(w, &commit, ret);
}

/* --- the answer */

static void location(const struct s3_call *c, struct buf *b)
{
    struct str host = http_host(c->rq);
    buf_printf(b, "%s://%.*s/", http_is_tls(c->rq) ? "https" : "http", STR_ARG(host));
    s3_uri_encode(b, c->at.path, true);
}

static bool can_redirect(struct str url)
{
    if (!str_starts(url, STR("http://")) && !str_starts(url, STR("https://")))
        return false;
    for (size_t i = 0; i < url.n; i++)
        if ((unsigned char)url.p[i] <= ' ' || (unsigned char)url.p[i] >= 0x7f)
            return false;
    return url.n > 8;
}

/* Known before the file is stored, so that an answer that cannot be given is no news afterwards. */
static int plan_answer(struct post *p)
{
    struct str url = s3_form_get(&p->form, "success_action_redirect");
    if (!url.p)
        url = s3_form_get(&p->form, "redirect");
    p->redirect = url.p && can_redirect(url);
    if (p->redirect) {
        buf_str_add(&p->to, url);
        buf_putz(&p->to, memchr(url.p, '?', url.n) ? "&bucket=" : "?bucket=");
        s3_uri_encode(&p->to, p->c->bucket, false);
        buf_putz(&p->to, "&key=");
        s3_uri_encode(&p->to, p->c->key, false);
    } else {
        location(p->c, &p->to);
    }
    return p->to.n <= LOCATION_MAX ? 0 : err_set(ERR_INVALID, "the address to answer with is too long");
}

static int created(struct post *p, const char *etag)
{
    struct buf b AUTO_BUF = {0};
    xml_decl(&b);
    xml_open(&b, "PostResponse");
    xml_text(&b, "Location", buf_str(&p->to));
    xml_text(&b, "Bucket", p->c->bucket);
    xml_text(&b, "Key", p->c->key);
    s3_xml_etag(&b, "ETag", etag);
    xml_close(&b, "PostResponse");
    return s3_reply_xml(p->c, 201, &b);
}

static int answer(struct post *p, const struct fs_attr *a)
{
    struct str status = s3_form_get(&p->form, "success_action_status");
    TRY(s3_set_etag(p->c, "ETag", s3_etag(a)));
    TRY(s3_set_state(p->c, a));
    TRY(http_set(p->c->rq, s3_sum_info(p->sum.kind)->header, str_of(p->text)));
    if (p->redirect)
        buf_printf(&p->to, "&etag=%%22%s%%22", s3_etag(a));
    TRY(http_set(p->c->rq, "Location", buf_str(&p->to)));
    if (p->redirect)
        return s3_reply_empty(p->c, 303);
    if (str_eq(status, STR("201")))
        return created(p, s3_etag(a));
    return s3_reply_empty(p->c, str_eq(status, STR("200")) ? 200 : 204);
}

static int post(struct post *p)
{
    struct s3_pairs ps = {.c = p->c};
    struct fs_attr a;
    TRY(s3_form_open(&p->form, p->c));
    TRY(s3_auth_identify_form(p->c->s3->auth, field_of, &p->form, &p->c->user));
    TRY(take_key(p));
    TRY(take_fields(p, &ps));
    TRY(plan_answer(p));
    TRY(store(p, &ps, &a));
    return answer(p, &a);
}

int s3_post_object(struct s3_call *c)
{
    struct post p = {.c = c, .sum.kind = SUM_NONE};
    int r = post(&p);
    s3_sum_done(&p.sum);
    buf_done(&p.to);
    s3_form_done(&p.form);
    return r;
}
