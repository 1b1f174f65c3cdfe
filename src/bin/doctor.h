/* SPDX-License-Identifier: Apache-2.0
 *
 * What `forebay doctor` looks at from outside: this machine, as the configuration would use it.
 */
#pragma once
#include "admin/doctor.h"
#include <stdbool.h>

struct conf;

struct doctor_host {
    const struct conf *conf;
    const char *data; /* the data directory */
    long pid;         /* of the running server on this machine; 0: it is stopped, or runs elsewhere */
};

/* Each adds findings. */
void doctor_files(const struct doctor_host *h, json_t *findings);   /* directories, disks, certificates */
void doctor_machine(const struct doctor_host *h, json_t *findings); /* limits, memory, clock, kernel */
void doctor_network(const struct doctor_host *h, json_t *findings); /* addresses: free, and guarded */
