/* What the parts of the native runner share. */
#ifndef EDGECOMP_RUNNER_H
#define EDGECOMP_RUNNER_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define MAX_TENSORS 64
#define MAX_RANK 8

/* A tensor's type: as numpy calls it, its bytes, and what ONNX calls it. */
typedef struct {
    const char *name;
    size_t bytes;
    int onnx;
    char kind; /* f: float, i: any integer of 8 bits, n: a wider integer or a truth value, mostly an index */
} Type;

/* An input or output as the runtime has it. `data` belongs to us for inputs, to the runtime for outputs. */
typedef struct {
    char name[256];
    const Type *type;
    int rank;
    int64_t shape[MAX_RANK];
    int dynamic; /* whether the file leaves a size open */
    void *data;
} Tensor;

typedef struct {
    const char *name;
    char version[32];
    int inputs, outputs;
    Tensor input[MAX_TENSORS], output[MAX_TENSORS];
} Model;

/* Prints {"schema": 1, "error": KIND, "message": ...} as the answer and ends the program. */
_Noreturn void fail(const char *kind, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A line of --progress on stderr. */
void report(const char *stage, const char *facts);

int64_t elements(const Tensor *tensor);
const Type *type_of_onnx(int code);

/* onnxruntime.c: finds the library, loads a file, runs it once on `input[].data`, gives up what the last run made.
 * On x86 without VNNI int8 kernels saturate; with `exact` they do not, and are slower. */
void runtime_open(Model *model);
void runtime_load(Model *model, const char *path, int threads, int exact);
void runtime_bind(Model *model);
void runtime_run(Model *model);
void runtime_outputs(Model *model);

/* machine.c: members of the JSON document. */
void print_string(FILE *stream, const char *text);
void print_machine(FILE *stream);
void print_conditions(FILE *stream);
void resident_memory(long *resident, long *peak);

#endif
