/* SPDX-License-Identifier: Apache-2.0
 *
 * What `forebay doctor` finds. A finding is one thing that was looked at: OK, or WARN or FAIL with the cause and what
 * to do about it. Findings are JSON objects: {"level", "check", "text", "cause", "remedy"}, in the order they were
 * made.
 *
 * What can only be seen from inside (mounts, rules, space, persistence) is looked at here, by the running server for
 * GET /api/v1/doctor and by the command itself on a stopped instance; what concerns the machine is in bin/.
 */
#pragma once
#include <jansson.h>
#include <stdint.h>

struct conf;
struct kv;
struct meta;
struct page_store;
struct persist;

enum doctor_level { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL };

/* Add a finding. check: "space.pinned". cause and remedy: sentences, "" for OK. The text is printf-style. */
void doctor_say(json_t *findings, enum doctor_level level, const char *check, const char *cause, const char *remedy,
                const char *fmt, ...) __attribute__((format(printf, 6, 7)));

/* "6.59MB" in a thread's own memory; the next three calls leave it alone. */
const char *doctor_size(uint64_t bytes);

struct doctor_target {
    struct meta *meta;
    struct page_store *pages;
    struct kv *kv;
    const struct conf *conf;
    struct persist *persist; /* NULL: the instance is stopped */
};
/* Everything inside. Each mount's UFS is opened anew, and an object below .forebay/ put, read and deleted in it. */
void doctor_inside(const struct doctor_target *t, json_t *findings);

/* Its parts. */
void doctor_mounts(const struct doctor_target *t, json_t *findings);
void doctor_rules(const struct doctor_target *t, json_t *findings);
