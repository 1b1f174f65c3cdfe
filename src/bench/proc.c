/* SPDX-License-Identifier: Apache-2.0
 *
 * What a process has used, from /proc/PID/stat.
 */
#include "base/cleanup.h"
#include "bench/client.h"
#include <string.h>

bool proc_usage(int pid, struct usage *ret)
{
    char name[40], text[1024];
    snprintf(name, sizeof name, "/proc/%d/stat", pid);
    FILE *f AUTO_FCLOSE = fopen(name, "re");
    if (!f)
        return false;
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    const char *p = strrchr(text, ')'); /* the command's name may hold anything */
    unsigned long long user, system;
    long long pages;
    if (!p ||
        sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d %*d %*u %*u %lld",
               &user, &system, &pages) != 3)
        return false;
    ret->cpu = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    ret->rss = (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return true;
}
