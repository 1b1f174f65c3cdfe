/* SPDX-License-Identifier: Apache-2.0
 *
 * multipart: objects in parts, one part after the other; an operation is a whole object. An upload that fails is left
 * to the server.
 */
#include "bench/client.h"
#include "net/xml.h"

enum { ID_MAX = 1024 };

static bool create(struct client *c, struct str key, char id[ID_MAX])
{
    static const struct sigv4_pair query[] = {{{"uploads", 7}, {"", 0}}};
    struct request r = {.kind = BENCH_CREATE, .method = "POST", .key = key, .query = query, .query_n = 1, .keep = true};
    if (!client_request(c, &r)) {
        client_failed(c, NULL);
        return false;
    }
    if (!xml_find(buf_str(&c->wire.body), "InitiateMultipartUploadResult/UploadId", id, ID_MAX)) {
        client_failed(c, "no upload id");
        return false;
    }
    return true;
}

static bool part(struct client *c, struct str key, const char *id, unsigned number, const struct content *content,
                 uint64_t offset)
{
    char text[12];
    uint64_t left = c->cfg->size - offset;
    snprintf(text, sizeof text, "%u", number);
    const struct sigv4_pair query[] = {{STR("partNumber"), str_of(text)}, {STR("uploadId"), str_of(id)}};
    struct request r = {.kind = BENCH_PART,
                        .method = "PUT",
                        .key = key,
                        .query = query,
                        .query_n = 2,
                        .content = content,
                        .offset = offset,
                        .length = left < c->cfg->part_size ? left : c->cfg->part_size};
    if (!client_request(c, &r)) {
        client_failed(c, NULL);
        return false;
    }
    xml_open(&c->text, "Part");
    xml_textz(&c->text, "PartNumber", text);
    xml_textz(&c->text, "ETag", c->wire.etag);
    xml_close(&c->text, "Part");
    return true;
}

static void complete(struct client *c, struct str key, const char *id)
{
    const struct sigv4_pair query[] = {{STR("uploadId"), str_of(id)}};
    char code[48];
    struct request r = {.kind = BENCH_COMPLETE,
                        .method = "POST",
                        .key = key,
                        .query = query,
                        .query_n = 1,
                        .body = buf_str(&c->text),
                        .keep = true};
    if (!client_request(c, &r))
        client_failed(c, NULL);
    else if (xml_find(buf_str(&c->wire.body), "Error/Code", code, sizeof code)) /* under a 200, as S3 may */
        client_failed(c, code);
    else
        client_done(c, 0, c->cfg->size);
}

static bool step(struct client *c)
{
    char id[ID_MAX];
    struct content content = content_of(c->cfg->first + client_number(c));
    struct str key = client_key(c, content.number);
    if (!create(c, key, id))
        return true;
    buf_reset(&c->text);
    xml_open_ns(&c->text, "CompleteMultipartUpload");
    uint64_t offset = 0;
    unsigned number = 1;
    do {
        if (!part(c, key, id, number++, &content, offset))
            return true;
        offset += c->cfg->part_size;
    } while (offset < c->cfg->size);
    xml_close(&c->text, "CompleteMultipartUpload");
    complete(c, key, id);
    return true;
}

const struct bench_act bench_op_multipart = {step, NULL, NULL};
