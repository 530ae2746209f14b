/* What a machine tells of itself in /proc and /sys: the same members as bench.py's, as far as files hold them.
 *
 * "cpuinfo" goes whole: edgecomp reads it on the PC with the function that bench.py has for it.
 */
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "runner.h"

/* A small file without the white space at its end; NULL when there is none. To be freed. */
static char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return NULL;
    }
    size_t size = 0, room = 1 << 16;
    char *text = malloc(room + 1);
    if (text != NULL) {
        size = fread(text, 1, room, file);
        while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == ' ' || text[size - 1] == '\0')) {
            size--;
        }
        text[size] = '\0';
    }
    fclose(file);
    return text;
}

/* A JSON string, or null. Bytes that are not ASCII are written as Latin-1. */
void print_string(FILE *stream, const char *text)
{
    if (text == NULL) {
        fputs("null", stream);
        return;
    }
    putc('"', stream);
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        if (*p < 0x20 || *p == '"' || *p == '\\' || *p > 0x7e) {
            fprintf(stream, "\\u%04x", *p);
        } else {
            putc(*p, stream);
        }
    }
    putc('"', stream);
}

static void print_file(FILE *stream, const char *member, const char *path)
{
    char *text = read_file(path);
    fprintf(stream, "\"%s\": ", member);
    print_string(stream, text);
    free(text);
}

/* PRETTY_NAME of /etc/os-release, else what uname says. */
static void print_system(FILE *stream, const struct utsname *names)
{
    char *text = read_file("/etc/os-release");
    char *found = text == NULL ? NULL : strstr(text, "PRETTY_NAME=");
    if (found != NULL) {
        found += strlen("PRETTY_NAME=");
        found[strcspn(found, "\n")] = '\0';
        if (*found == '"') {
            found++;
            found[strcspn(found, "\"")] = '\0';
        }
    }
    fputs("\"os\": ", stream);
    print_string(stream, found != NULL ? found : names->sysname);
    free(text);
}

void print_machine(FILE *stream)
{
    struct utsname names;
    uname(&names);
    fputs("{", stream);
    print_file(stream, "board", "/proc/device-tree/model");
    fputs(", ", stream);
    print_file(stream, "cpuinfo", "/proc/cpuinfo");
    fprintf(stream, ", \"count\": %ld, \"usable\": %ld, ", sysconf(_SC_NPROCESSORS_CONF), sysconf(_SC_NPROCESSORS_ONLN));
    print_system(stream, &names);
    fputs(", \"kernel\": ", stream);
    print_string(stream, names.release);
    fputs(", \"machine\": ", stream);
    print_string(stream, names.machine);
    fprintf(stream, ", \"userland_bits\": %zu}", 8 * sizeof(void *));
}

/* {NAME: VALUE / `divisor`, ...} of the files FOLDER/`file` of the folders that a pattern finds; null without any. */
static void print_numbers(FILE *stream, const char *pattern, const char *file, double divisor)
{
    glob_t found = {0};
    int count = 0;
    glob(pattern, 0, NULL, &found);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        char path[512], name[300];
        snprintf(path, sizeof path, "%s/%s", found.gl_pathv[i], file);
        char *text = read_file(path);
        snprintf(path, sizeof path, "%s/type", found.gl_pathv[i]);
        char *type = read_file(path); /* of a thermal zone */
        char *end = text;
        double value = text == NULL ? 0 : strtod(text, &end);
        if (end != text) {
            const char *folder = strrchr(found.gl_pathv[i], '/') + 1;
            snprintf(name, sizeof name, "%s%s%s", folder, type == NULL ? "" : " ", type == NULL ? "" : type);
            fputs(count++ == 0 ? "{" : ", ", stream);
            print_string(stream, name);
            fprintf(stream, ": %g", value / divisor);
        }
        free(text);
        free(type);
    }
    fputs(count > 0 ? "}" : "null", stream);
    globfree(&found);
}

void print_conditions(FILE *stream)
{
    double load[3];
    char *text = read_file("/proc/loadavg");
    int loads = text == NULL ? 0 : sscanf(text, "%lf %lf %lf", &load[0], &load[1], &load[2]);
    free(text);
    fputs("{\"frequency_khz\": ", stream);
    print_numbers(stream, "/sys/devices/system/cpu/cpu[0-9]*", "cpufreq/scaling_cur_freq", 1);
    fputs(", ", stream);
    print_file(stream, "governor", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    fputs(", \"temperature_c\": ", stream);
    print_numbers(stream, "/sys/class/thermal/thermal_zone*", "temp", 1000);
    fputs(", \"throttling\": null, \"load_average\": ", stream);
    if (loads == 3) {
        fprintf(stream, "[%g, %g, %g]}", load[0], load[1], load[2]);
    } else {
        fputs("null}", stream);
    }
}

/* Bytes of this process: now, and the most there ever was; -1 where the system does not say. */
void resident_memory(long *resident, long *peak)
{
    char *text = read_file("/proc/self/status");
    const char *now = text == NULL ? NULL : strstr(text, "VmRSS:");
    const char *most = text == NULL ? NULL : strstr(text, "VmHWM:");
    *resident = now == NULL ? -1 : strtol(now + 6, NULL, 10) * 1024;
    *peak = most == NULL ? -1 : strtol(most + 6, NULL, 10) * 1024;
    free(text);
}
