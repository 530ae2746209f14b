/* Measures one .onnx or .ort file on a machine without Python, and prints one JSON document, like bench.py.
 *
 *     ./runner model.onnx [--runs 50] [--warmup 10] [--threads 1] [--progress] [--outputs] [--leash]
 *                         [--input FILE.bin SIZExSIZE...]...
 *
 * It needs libonnxruntime.so beside it or where the system looks for libraries. To build it:
 *
 *     aarch64-linux-gnu-gcc -std=gnu11 -O2 -o runner runner.c onnxruntime.c machine.c -ldl -lm
 *
 * The rules are those of bench.py, with these differences. Members that only compute with others (latency_ms,
 * steady_state, golden) are left to the PC, which has the functions of bench.py for them; `--outputs` appends the
 * outputs of the last run as raw bytes, and on x86 those of exact kernels after them. Inputs come from raw files with their shapes, one `--input` for each in the model's order;
 * without any they are made up: floats between -1 and 1, any 8-bit integers, 0 or 1 else. With `--leash` the
 * program ends when its stdin does, so that nothing keeps running when the connection is lost.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runner.h"

#define SCHEMA 1
#ifdef __x86_64__
#define HAS_EXACT 1
#else
#define HAS_EXACT 0
#endif
#define TIMER_SAMPLES 1000

typedef struct {
    const char *model;
    int runs, warmup, threads, progress, outputs, leash, inputs;
    const char *input[MAX_TENSORS], *shape[MAX_TENSORS];
} Options;

static Options options = {.runs = 50, .warmup = 10, .threads = 1};
static FILE *answer; /* what was stdout; descriptor 1 goes to stderr, because libraries print there */

static const Type types[] = {
    {"float32", 4, 1, 'f'}, {"uint8", 1, 2, 'i'},  {"int8", 1, 3, 'i'},  {"uint16", 2, 4, 'n'}, {"int16", 2, 5, 'n'},
    {"int32", 4, 6, 'n'},   {"int64", 8, 7, 'n'},  {"bool", 1, 9, 'n'},  {"float64", 8, 11, 'f'},
};

const Type *type_of_onnx(int code)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (types[i].onnx == code) {
            return &types[i];
        }
    }
    return NULL;
}

int64_t elements(const Tensor *tensor)
{
    int64_t count = 1;
    for (int i = 0; i < tensor->rank; i++) {
        count *= tensor->shape[i];
    }
    return count;
}

void fail(const char *kind, const char *format, ...)
{
    char message[2000];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    fprintf(answer, "{\"schema\": %d, \"error\": \"%s\", \"message\": ", SCHEMA, kind);
    print_string(answer, message);
    fputs("}\n", answer);
    fclose(answer);
    exit(strcmp(kind, "usage") == 0 ? 2 : 1);
}

void report(const char *stage, const char *facts)
{
    if (options.progress) {
        fprintf(stderr, "@ {\"stage\": \"%s\"%s}\n", stage, facts);
    }
}

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* --- Inputs ------------------------------------------------------------------------------------------------------ */

static void read_shape(Tensor *tensor, const char *text)
{
    int64_t sizes[MAX_RANK];
    int rank = 0;
    for (const char *p = text; *p != '\0' && rank < MAX_RANK; rank++) {
        char *end;
        sizes[rank] = strtoll(p, &end, 10);
        if (end == p || sizes[rank] < 0) {
            fail("usage", "%s is no shape", text);
        }
        p = *end == 'x' ? end + 1 : end;
    }
    int same = rank == tensor->rank && (tensor->dynamic || memcmp(sizes, tensor->shape, sizeof *sizes * (size_t)rank) == 0);
    if (!same) {
        fail("bad-golden", "%s has another shape than %s", tensor->name, text);
    }
    memcpy(tensor->shape, sizes, sizeof *sizes * (size_t)rank);
}

static void read_input(Tensor *tensor, const char *path, size_t bytes)
{
    FILE *file = fopen(path, "rb");
    size_t size = file == NULL ? 0 : fread(tensor->data, 1, bytes, file);
    if (file == NULL || size != bytes || getc(file) != EOF) {
        fail("bad-golden", "%s does not hold the %zu bytes of %s", path, bytes, tensor->name);
    }
    fclose(file);
}

/* Knuth's 64-bit linear congruential generator; the same inputs every time. */
static uint32_t next_random(void)
{
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33);
}

static void make_input(Tensor *tensor, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += tensor->type->bytes) {
        char *place = (char *)tensor->data + at;
        double value = next_random() / 1073741824.0 - 1; /* 31 bits: from -1 to 1 */
        if (tensor->type->kind == 'i') {
            *place = (char)next_random();
        } else if (tensor->type->kind == 'n') {
            *place = (char)(next_random() & 1); /* little-endian, and the rest is zero */
        } else if (tensor->type->bytes == 4) {
            float number = (float)value;
            memcpy(place, &number, sizeof number);
        } else {
            memcpy(place, &value, sizeof value);
        }
    }
}

static void fill_inputs(Model *model)
{
    if (options.inputs > 0 && options.inputs != model->inputs) {
        fail("bad-golden", "the artifact takes %d inputs, golden has %d", model->inputs, options.inputs);
    }
    for (int i = 0; i < model->inputs; i++) {
        Tensor *tensor = &model->input[i];
        if (options.inputs > 0) {
            read_shape(tensor, options.shape[i]);
        }
        size_t bytes = (size_t)elements(tensor) * tensor->type->bytes;
        tensor->data = calloc(1, bytes + 1);
        if (tensor->data == NULL) {
            fail("bad-model", "no memory for %s", tensor->name);
        }
        if (options.inputs > 0) {
            read_input(tensor, options.input[i], bytes);
        } else {
            make_input(tensor, bytes);
        }
    }
}

/* --- The measurement --------------------------------------------------------------------------------------------- */

static void stop_without_owner(void)
{
    struct pollfd watched = {.fd = 0, .events = POLLIN};
    char byte;
    if (options.leash && poll(&watched, 1, 0) > 0 && read(0, &byte, 1) <= 0) {
        exit(130);
    }
}

/* Nanoseconds of each of `count` runs: the clock is around the runtime's own call and nothing else. */
static void timed_runs(Model *model, int64_t *samples, int count, const char *stage)
{
    int64_t due = now();
    for (int i = 0; i < count; i++) {
        stop_without_owner();
        int64_t start = now();
        runtime_run(model);
        int64_t stop = now();
        samples[i] = stop - start;
        if (*stage != '\0' && stop > due) {
            char facts[80];
            snprintf(facts, sizeof facts, ", \"done\": %d, \"total\": %d", i + 1, count);
            report(stage, facts);
            due = stop + 1000000000;
        }
    }
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double timer_cost(void)
{
    int64_t samples[TIMER_SAMPLES];
    for (int i = 0; i < TIMER_SAMPLES; i++) {
        int64_t start = now();
        samples[i] = now() - start;
    }
    qsort(samples, TIMER_SAMPLES, sizeof *samples, by_size);
    return (double)samples[TIMER_SAMPLES / 2] / 1e6;
}

/* --- The document ------------------------------------------------------------------------------------------------ */

static void print_samples(const char *member, const int64_t *samples, int count)
{
    fprintf(answer, ", \"%s\": [", member);
    for (int i = 0; i < count; i++) {
        fprintf(answer, "%s%.6f", i > 0 ? ", " : "", (double)samples[i] / 1e6);
    }
    putc(']', answer);
}

static void print_tensors(const char *member, const Tensor *tensors, int count)
{
    fprintf(answer, ", \"%s\": [", member);
    for (int i = 0; i < count; i++) {
        fprintf(answer, "%s{\"name\": ", i > 0 ? ", " : "");
        print_string(answer, tensors[i].name);
        fprintf(answer, ", \"dtype\": \"%s\", \"shape\": [", tensors[i].type->name);
        for (int j = 0; j < tensors[i].rank; j++) {
            fprintf(answer, "%s%lld", j > 0 ? ", " : "", (long long)tensors[i].shape[j]);
        }
        fputs("]}", answer);
    }
    putc(']', answer);
}

static void print_bytes(const char *member, long bytes)
{
    fprintf(answer, bytes < 0 ? "\"%s\": null" : "\"%s\": %ld", member, bytes);
}

/* The text of print_conditions at this moment. */
static char *conditions(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    print_conditions(stream);
    fclose(stream);
    return text;
}

/* The outputs of the last run, and those of a session with exact kernels where that is another one. */
static void write_outputs(Model *model)
{
    for (int exact = 0; exact <= HAS_EXACT; exact++) {
        if (exact) {
            int64_t shapes[MAX_TENSORS][MAX_RANK];
            for (int i = 0; i < model->inputs; i++) {
                memcpy(shapes[i], model->input[i].shape, sizeof shapes[i]);
            }
            runtime_load(model, options.model, options.threads, 1);
            for (int i = 0; i < model->inputs; i++) {
                memcpy(model->input[i].shape, shapes[i], sizeof shapes[i]);
            }
            runtime_bind(model);
            runtime_run(model);
            runtime_outputs(model);
        }
        for (int i = 0; i < model->outputs; i++) {
            fwrite(model->output[i].data, model->output[i].type->bytes, (size_t)elements(&model->output[i]), answer);
        }
    }
}

static void measure(void)
{
    static Model model;
    long unloaded, loaded, steady, peak;
    char facts[100];
    report("import", ", \"runtime\": \"onnxruntime\", \"version\": null");
    runtime_open(&model);
    snprintf(facts, sizeof facts, ", \"runtime\": \"%s\", \"version\": \"%s\"", model.name, model.version);
    report("load", facts);
    char *before = conditions();
    resident_memory(&unloaded, &peak);
    int64_t start = now();
    runtime_load(&model, options.model, options.threads, 0);
    double load_ms = (double)(now() - start) / 1e6;
    resident_memory(&loaded, &peak);
    fill_inputs(&model);
    runtime_bind(&model);

    int64_t first, *warmup = calloc((size_t)options.warmup + 1, 8), *samples = calloc((size_t)options.runs, 8);
    int half = (options.runs + 1) / 2;
    if (warmup == NULL || samples == NULL) {
        fail("usage", "no memory for so many runs");
    }
    report("first run", "");
    timed_runs(&model, &first, 1, "");
    timed_runs(&model, warmup, options.warmup, "warm-up");
    timed_runs(&model, samples, half, "first half");
    char *during = conditions();
    timed_runs(&model, samples + half, options.runs - half, "second half");
    resident_memory(&steady, &peak);
    char *after = conditions();
    runtime_outputs(&model);

    fprintf(answer, "{\"schema\": %d, \"model\": {", SCHEMA);
    fputs("\"file\": ", answer);
    const char *slash = strrchr(options.model, '/');
    print_string(answer, slash == NULL ? options.model : slash + 1);
    print_tensors("inputs", model.input, model.inputs);
    print_tensors("outputs", model.output, model.outputs);
    fprintf(answer, "}, \"runtime\": {\"name\": \"%s\", \"version\": \"%s\"}", model.name, model.version);
    fprintf(answer, ", \"settings\": {\"runs\": %d, \"warmup\": %d, \"threads\": %d, \"inputs\": \"%s\"}", options.runs,
            options.warmup, options.threads, options.inputs > 0 ? "golden" : "random");
    fprintf(answer, ", \"load_ms\": %.6f, \"first_inference_ms\": %.6f", load_ms, (double)first / 1e6);
    print_samples("warmup_ms", warmup, options.warmup);
    print_samples("samples_ms", samples, options.runs);
    fprintf(answer, ", \"timer_ms\": %.6f, \"memory_bytes\": {", timer_cost());
    print_bytes("before_load", unloaded);
    fputs(", ", answer);
    print_bytes("after_load", loaded);
    fputs(", ", answer);
    print_bytes("steady", steady);
    fputs(", ", answer);
    print_bytes("peak", peak);
    fputs("}, \"machine\": ", answer);
    print_machine(answer);
    fprintf(answer, ", \"conditions\": {\"before\": %s, \"during\": %s, \"after\": %s}, \"profile\": null}\n", before, during,
            after);
    if (options.outputs) {
        write_outputs(&model);
    }
    fclose(answer);
}

/* --- The command line -------------------------------------------------------------------------------------------- */

static int number(const char *option, const char *text, int least)
{
    char *end;
    long value = text == NULL ? -1 : strtol(text, &end, 10);
    if (text == NULL || end == text || *end != '\0' || value < least || value > 1 << 30) {
        fail("usage", "argument %s: %s is no number of at least %d", option, text == NULL ? "nothing" : text, least);
    }
    return (int)value;
}

static void parse(char **words)
{
    for (; *words != NULL; words++) {
        if (strcmp(*words, "--runs") == 0) {
            options.runs = number("--runs", *++words, 1);
        } else if (strcmp(*words, "--warmup") == 0) {
            options.warmup = number("--warmup", *++words, 0);
        } else if (strcmp(*words, "--threads") == 0) {
            options.threads = number("--threads", *++words, 1);
        } else if (strcmp(*words, "--progress") == 0) {
            options.progress = 1;
        } else if (strcmp(*words, "--outputs") == 0) {
            options.outputs = 1;
        } else if (strcmp(*words, "--leash") == 0) {
            options.leash = 1;
        } else if (strcmp(*words, "--input") == 0 && words[1] != NULL && words[2] != NULL && options.inputs < MAX_TENSORS) {
            options.input[options.inputs] = *++words;
            options.shape[options.inputs++] = *++words;
        } else if (**words != '-' && options.model == NULL) {
            options.model = *words;
        } else {
            fail("usage", "%s is not understood", *words);
        }
        if (*words == NULL) {
            break;
        }
    }
    if (options.model == NULL) {
        fail("usage", "no model is named");
    }
}

int main(int count, char **words)
{
    (void)count;
    answer = fdopen(dup(1), "wb");
    dup2(2, 1);
    parse(words + 1);
    measure();
    return 0;
}
