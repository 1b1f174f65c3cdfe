/* SPDX-License-Identifier: Apache-2.0
 *
 * /api/v1/info/..., /api/v1/properties, /api/v1/faults, /health: what this process is and how it stands.
 */
#include "admin/rest.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/version.h"
#include "conf/conf.h"
#include "meta/meta.h"

int rest_health(struct rest *r)
{
    bool ok = !r->a->stopping;
    return rest_json(r, ok ? 200 : 503, json_pack("{s:s}", "status", ok ? "ok" : "stopping"));
}

int rest_info_nodes(struct rest *r)
{
    const char *s3 = r->a->o.s3_address;
    return rest_json(r, 200,
                     json_pack("{s:[{s:s, s:s, s:s}]}", "workers", "id", r->a->o.worker_id, "address",
                               s3[0] ? s3 : r->a->address, "status", "ONLINE"));
}

int rest_info_version(struct rest *r)
{
    return rest_json(r, 200, json_pack("{s:s}", "version", FOREBAY_VERSION));
}

static int sum_ufs(void *arg, struct meta_mount *mt)
{
    struct traffic *t = arg;
    struct ufs_figures f;
    if (!mt->ufs)
        return 0;
    ufs_figures(mt->ufs, &f);
    t->ufs_read += f.bytes_read;
    t->ufs_written += f.bytes_written;
    t->throttled += f.throttled;
    for (size_t i = 0; i < 16; i++) {
        t->calls[i] += f.calls[i];
        t->errors[i] += f.errors[i];
        t->ns[i] += f.ns[i];
        spread_sum(&t->time[i], &f.time[i]);
    }
    return 0;
}

void traffic_read(struct admin *a, struct traffic *ret)
{
    *ret = (struct traffic){0};
    meta_mount_each(a->o.meta, sum_ufs, ret);
}

double traffic_hit_ratio(uint64_t hit_bytes, const struct traffic *t)
{
    double all = (double)hit_bytes + (double)t->ufs_read;
    return all > 0 ? (double)hit_bytes / all : 1;
}

static json_t *dirs_json(struct page_store *s)
{
    json_t *dirs = json_array();
    for (size_t i = 0; i < page_dir_count(s); i++) {
        struct page_dir_figures d;
        page_dir_figures(s, i, &d);
        json_array_append_new(dirs, json_pack("{s:s, s:I, s:I, s:b, s:s}", "path", d.path, "capacityBytes",
                                              (json_int_t)d.bytes, "usedBytes", (json_int_t)d.used, "failed", d.failed,
                                              "reason", d.reason ? d.reason : ""));
    }
    return dirs;
}

static json_t *cache_json(struct admin *a)
{
    struct page_figures p;
    struct traffic t;
    page_figures(a->o.pages, &p);
    traffic_read(a, &t);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:o}", "capacityBytes", (json_int_t)p.capacity,
                     "usedBytes", (json_int_t)(p.capacity - p.free), "freeBytes", (json_int_t)p.free, "pinnedBytes",
                     (json_int_t)p.pinned, "pinnedLimitBytes", (json_int_t)p.pinned_limit, "evictableBytes",
                     (json_int_t)p.evictable, "unknownBytes", (json_int_t)p.unknown, "evictedBytes",
                     (json_int_t)p.evicted_bytes, "corruptPages", (json_int_t)p.corrupt, "hitRatio",
                     traffic_hit_ratio(p.hit_bytes, &t), "dirs", dirs_json(a->o.pages));
}

int rest_info_cache(struct rest *r)
{
    return rest_json(r, 200, cache_json(r->a));
}

int rest_info_report(struct rest *r)
{
    struct admin *a = r->a;
    struct page_figures p;
    page_figures(a->o.pages, &p);
    json_t *j = json_object();
    json_object_set_new(j, "version", json_string(FOREBAY_VERSION));
    json_object_set_new(j, "start", json_integer((json_int_t)a->start_ms));
    json_object_set_new(j, "uptime", json_integer((json_int_t)(clock_wall_ms() - a->start_ms)));
    json_object_set_new(j, "rpcPort", json_integer(0)); /* one process: there is no RPC */
    json_object_set_new(j, "webPort", json_integer(atoi(strrchr(a->address, ':') + 1)));
    json_object_set_new(j, "masterAddress", json_string(a->address));
    json_object_set_new(j, "masterVersions",
                        json_pack("[{s:s, s:s}]", "version", FOREBAY_VERSION, "address", a->address));
    json_object_set_new(j, "safeMode", json_boolean(p.unknown != 0));
    json_object_set_new(j, "liveWorkers", json_integer(1));
    json_object_set_new(j, "lostWorkers", json_integer(0));
    json_object_set_new(j, "capacity", json_integer((json_int_t)p.capacity));
    json_object_set_new(j, "freeCapacity", json_integer((json_int_t)p.free));
    json_object_set_new(j, "s3Address", json_string(a->o.s3_address));
    json_object_set_new(j, "dataDirectory", json_string(a->o.data_dir));
    return rest_json(r, 200, j);
}

/* ---- properties ---- */

struct properties {
    const struct conf *conf;
    json_t *list;
};

static int add_property(void *arg, const struct conf_item *it)
{
    struct properties *p = arg;
    json_t *j = json_pack("{s:s, s:s, s:s, s:b}", "name", it->name, "value", it->value, "source", it->source, "inForce",
                          it->in_force);
    if (it->type == CONF_SIZE && it->value[0])
        json_object_set_new(j, "bytes", json_integer((json_int_t)conf_size(p->conf, it->prop)));
    if (it->type == CONF_MS && it->value[0])
        json_object_set_new(j, "ms", json_integer((json_int_t)conf_ms(p->conf, it->prop)));
    json_array_append_new(p->list, j);
    return 0;
}

int rest_properties(struct rest *r)
{
    const char *name = rest_param(r, "name");
    struct properties p = {r->a->o.conf, json_array()};
    struct conf_item it;
    int code = 0;
    if (!name)
        code = conf_each(p.conf, add_property, &p);
    else if ((code = conf_get_by_name(p.conf, str_of(name), &it)) == 0)
        code = add_property(&p, &it);
    if (code < 0) {
        json_decref(p.list);
        return code;
    }
    return rest_json(r, 200, json_pack("{s:o}", "properties", p.list));
}

/* ---- faults ---- */

int rest_faults_get(struct rest *r)
{
    json_t *list = json_array();
    for (int i = 0; i < FAULT_COUNT; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:I}", "name", fault_name((enum fault_point)i), "text",
                                              fault_text((enum fault_point)i), "visits",
                                              (json_int_t)fault_visits((enum fault_point)i)));
    return rest_json(r, 200, json_pack("{s:o}", "faults", list));
}

int rest_faults_arm(struct rest *r)
{
    const char *spec;
    if (!r->a->o.faults)
        return err_set(ERR_DENIED,
                       "faults are armed only in a process that was started with FOREBAY_FAULT in its environment");
    TRY(rest_string(r, "arm", &spec));
    TRY(fault_arm(spec));
    return rest_done(r);
}
